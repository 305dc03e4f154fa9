"""A parquet file that cannot be read fails its table by name, and the message is true."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import arrow_text, parquet
from daybreak_pipeline.importer.parts import Part
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline_tests.exports import NOON, Export, uuid

LABELS = [f"label {number * 7919 % 10_007}" for number in range(5000)]


def content(**options: Any) -> bytes:
    ids = [uuid(f"document{number}") for number in range(len(LABELS))]
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ids, "label": LABELS, "updated_at": [NOON] * len(ids)}), sink, **options)
    return sink.getvalue()


WHOLE = content(row_group_size=1000, use_dictionary=False)
FOOTER = int.from_bytes(WHOLE[-8:-4], "little") + 8


def corrupted(start: bytes, at: slice) -> bytes:
    """Return a file with some of its bytes turned around."""
    changed = np.frombuffer(start, np.uint8).copy()
    changed[at] ^= 0x55
    return changed.tobytes()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (WHOLE[:-1], "it is cut off: have it sent again"),
        (WHOLE[: len(WHOLE) // 2], "it is cut off: have it sent again"),
        (WHOLE[:4], "it is cut off: have it sent again"),
        (b"PAR1PAR1", "it is cut off: have it sent again"),
        (b"id,label\n1,Ann Doe\n", "it is not a parquet file"),
        (b"PA", "it is not a parquet file"),
        (b"PK\x03\x04" + WHOLE[4:-4] + b"\0\0\0\0", "it is not a parquet file"),
        (b"\0\0\0\0" + WHOLE[4:], "it is damaged: have it sent again"),
        (WHOLE[:1000] + WHOLE[3000:], "it is damaged: have it sent again"),
        (WHOLE[:-FOOTER] + bytes(FOOTER - 8) + WHOLE[-8:], "it is damaged: have it sent again"),
        (WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1", "it is damaged: have it sent again"),
        (corrupted(WHOLE, slice(60_000, 60_400)), "it is damaged: have it sent again"),
        (
            corrupted(content(write_page_checksum=True, compression="none"), slice(60_000, 60_001)),
            "it is damaged: have it sent again",
        ),
        (WHOLE[:-4] + b"PARE", "it is encrypted: send it without"),
        (content(store_schema=False).replace(b"\x05label", b"\x05l\xffbel"), "the name of a column is not UTF-8"),
    ],
    ids=[
        "last byte gone", "half", "four bytes", "marks alone", "csv", "two bytes", "zip", "no mark at its begin",
        "middle gone", "empty footer", "footer longer than the file", "page", "bit of a page", "encrypted footer", "name",
    ],
)  # fmt: skip
def test_the_message_says_what_is_wrong(export: Export, found: bytes, reason: str) -> None:
    (export.directory / "documents.parquet").write_bytes(found)
    with pytest.raises(ImportFailedError) as failed:
        export.load("documents")
    assert str(failed.value) == f"cannot read documents.parquet: {reason}"
    assert export.rows("documents", "id") == []


def test_a_file_that_is_not_there_any_more_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read gone\.parquet: No such file or directory"):
        Part(tmp_path / "gone.parquet").header()
    with pytest.raises(SourceError, match=r"cannot read gone\.parquet: .*No such file or directory"):
        next(parquet.csv_blocks(tmp_path / "gone.parquet"))


class Vault(pe.KmsClient):  # type: ignore[misc] # pyarrow ships no types
    """Keeps keys as anyone can read them."""

    def __init__(self, _: Any) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return b64decode(key)


def test_encrypted_columns_are_called_encrypted(export: Export) -> None:
    table = pa.table({"id": [uuid("a")], "label": ["x"], "updated_at": [NOON]})
    configuration = pe.EncryptionConfiguration("footer", column_keys={"c": ["label"]}, plaintext_footer=True)
    properties = pe.CryptoFactory(Vault).file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    path = export.directory / "documents.parquet"
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    assert path.read_bytes().endswith(b"PAR1")
    with pytest.raises(ImportFailedError, match=r"documents\.parquet: it is encrypted: send it without$"):
        export.load("documents")


def interval_file() -> bytes:
    """Return a file without records whose one column ``i`` is of parquet's INTERVAL, which Arrow does not write."""
    root = b"\x48\x01r\x15\x02\0"  # named r, one child
    interval = (
        b"\x15\x0e\x15\x18\x15\x02\x18\x01i\x25\x2a\0"  # twelve bytes, optional, named i, converted type 21
    )
    footer = b"\x15\x02\x19\x2c" + root + interval + b"\x16\0\x19\x0c\0"
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def test_a_type_that_is_not_supported_is_named_and_not_called_damaged(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export.directory / "documents.parquet"
    path.write_bytes(interval_file())
    with pytest.raises(
        ImportFailedError, match=r"it has a type that is not supported \(column 1: interval\)$"
    ):
        export.load("documents")
    path.write_bytes(WHOLE)
    monkeypatch.setattr(arrow_text, "unsupported", lambda kind: kind if pa.types.is_string(kind) else None)
    with pytest.raises(ImportFailedError, match=r"it has a type that is not supported \(column 1: string\)$"):
        export.load("documents")


def test_a_feature_that_arrow_does_not_have_is_not_called_damage(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opens(*_: Any, **__: Any) -> None:
        msg = "Support for codec 'lzo' not built"
        raise pa.ArrowNotImplementedError(msg)

    (export.directory / "documents.parquet").write_bytes(WHOLE)
    monkeypatch.setattr(pq, "ParquetFile", opens)
    with pytest.raises(ImportFailedError, match=r"it uses a feature of parquet that is not supported$"):
        export.load("documents")


def test_positions_are_those_of_whole_columns() -> None:
    kinds = [
        pa.int8(),
        pa.struct([("a", pa.int8()), ("b", pa.map_(pa.string(), pa.int8()))]),
        pa.list_(pa.uuid()),
    ]
    schema = pa.schema([(f"c{position}", kind) for position, kind in enumerate(kinds)])
    assert parquet._columns_of_leaves(schema) == [1, 2, 2, 2, 3]


def test_a_fault_of_ours_is_not_called_damage(
    export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(_: Any) -> None:
        msg = "a fault of ours"
        raise pa.ArrowInvalid(msg)

    (export.directory / "documents.parquet").write_bytes(WHOLE)
    monkeypatch.setattr(arrow_text, "text", fails)
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))  # where its trace is written
    with pytest.raises(ImportFailedError, match=r"an error in the pipeline itself \(ArrowInvalid"):
        export.load("documents")


def test_a_file_with_fewer_records_than_it_says_is_damaged(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = parquet._read
    monkeypatch.setattr(parquet, "_read", lambda part, file: list(whole(part, file))[:-1])
    (export.directory / "documents.parquet").write_bytes(WHOLE)
    with pytest.raises(ImportFailedError, match="it is damaged: it does not have as many records as it says"):
        export.load("documents")
    assert export.rows("documents", "id") == []
