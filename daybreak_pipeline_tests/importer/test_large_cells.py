"""Cells and records that are larger than they may be: refused alone, at the place where they end, and never held whole."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daybreak_pipeline.importer import limits, reader
from daybreak_pipeline.importer.reader import Reader, Segment
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.settings import child_environment
from daybreak_pipeline_tests.exports import NOON, Export, in_blocks, uuid
from daybreak_pipeline_tests.importer.test_reader import Read, as_copy, obvious, texts

CELL, RECORD = 12, 30


def small(text: bytes, delimiter: bytes, width: int, block: int, *, looking: bool = True) -> list[Segment]:
    """Read a text of which no cell may be larger than a dozen bytes."""
    columns = Reader(delimiter, width, largest_cell=CELL, largest_record=RECORD, looking=looking)
    return list(columns.segments(partial(in_blocks, text, block)))


def found_in(segments: list[Segment], delimiter: bytes) -> list[tuple[int, str, Read]]:
    """Return number, reason and content of each record."""
    found: list[tuple[int, str, Read]] = []
    waiting = b""
    for segment in segments:
        waiting += segment.data
        if not segment.records:
            continue
        for row in as_copy(waiting, delimiter):
            if not segment.numbered:
                found.append((len(found) + 1, "", Read(tuple(row))))
                continue
            number, why, raw, *cells = row
            told = Read((), raw.decode()) if why else Read(tuple(cells))
            found.append((int(number), why.decode(), told))
        waiting = b""
    assert not waiting
    return found


def too_large(record: Read) -> bool:
    return any(len(cell) > CELL for cell in record.cells)


@settings(deadline=None, max_examples=1500)
@given(texts(), st.integers(1, 40), st.sampled_from([1, 8, 20, 4 << 20]))
@example((b'"' + b"x" * 40 + b'"\nb\n', b",", 1), 1, 1)
@example((b'"' + b"x\n" * 20 + b'"x\nb\n', b",", 1), 3, 8)
@example((b'"' + b"x\n" * 20, b",", 1), 3, 8)
@example((b"x" * 40 + b',"a\nb",c"d\n"' + b"y" * 40 + b'",\ne,f\n', b",", 2), 7, 1)
@example((b",,,,,,,,,,,\n" * 3 + b"a", b",", 4), 2, 1)
@example((b'12"45678,a\r\n' * 3, b",", 2), 5, 1)
@example((b'"","a""b",\n"",,"",""\n', b",", 3), 1, 1)
def test_a_long_record_is_what_the_contract_says(
    drawn: tuple[bytes, bytes, int], block: int, long: int
) -> None:
    text, delimiter, width = drawn
    expected = obvious(text, delimiter, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LONG", long)
        for looking in (True, False):
            found = found_in(small(text, delimiter, width, block, looking=looking), delimiter)
            assert [number for number, _, _ in found] == list(range(1, len(expected) + 1))
            for (_, why, one), right in zip(found, expected, strict=True):
                if "may have" in why:
                    assert right.raw in {"", one.raw}
                else:
                    assert one == right, why
                    assert not too_large(right)


# ------------------------------------------------------------------ files

MB = 1 << 20
HEADER = b"id,contract_url,updated_at,effective_date,services,terms\n"


def line(word: str, url: bytes = b"x") -> bytes:
    """Return a record of contracts, which have a text of any length."""
    return b"%s,%s,%s,2025-01-01,{onsite_care},[]\n" % (uuid(word).encode(), url, NOON.encode())


def packed(suffix: str, content: bytes) -> bytes:
    if suffix == ".csv.gz":
        return gzip.compress(content, 1)
    if suffix == ".csv.zst":
        return bytes(zstd.compress(content))
    if suffix == ".csv.zip":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("contracts.csv", content)
        return archive.getvalue()
    return content


@pytest.fixture(autouse=True)
def _one_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_MAX_CELL", "1")


def kept(export: Export) -> tuple[str, str]:
    """Return the reason of the only record in quarantine, and its text."""
    [(reasons, text)] = export.connection.execute(
        "SELECT reasons, privacy.unseal(record_encrypted, privacy.key('seal'))::jsonb ->> '_raw' "
        "FROM ingest.quarantine WHERE resolved_at IS NULL"
    ).fetchall()
    [reason] = reasons
    assert reason["code"] == "malformed_record"
    return reason["detail"], text


@pytest.mark.parametrize(
    ("suffix", "size", "quote"),
    [
        (".csv", MB + 1, b""),
        (".csv", MB + 1, b'"'),
        (".csv.gz", 7 * MB, b'"'),
        (".csv.zst", 7 * MB, b""),
        (".csv.zip", 20 * MB, b'"'),
        (".csv.gz", 20 * MB, b""),
    ],
)
def test_a_cell_that_is_too_large_costs_its_record_only(
    export: Export, suffix: str, size: int, quote: bytes
) -> None:
    large = line("large", quote + b"y" * size + quote)
    content = HEADER + line("a") + b'q,"two\nlines",\n' + large + line("b") + line("c", b"z" * MB)
    export.write_bytes("contracts", packed(suffix, content), suffix)
    assert export.load("contracts") == {"status": "imported", "read": 5, "inserted": 3, "quarantined": 2}
    export.connection.execute("DELETE FROM ingest.quarantine WHERE row_id = 'q' OR record_number = 2")
    detail, text = kept(export)
    whole = len(large) - 1
    note = f"1,048,576 of {whole:,} bytes"
    assert detail == (
        f"line 5: column contract_url has {size:,} bytes, and a cell may have 1,048,576 (DAYBREAK_MAX_CELL); "
        f"of its text {note} are kept"
    )
    assert text == f"{large[:MB].decode()} … [cut off here: {note}]"


def test_quotes_inside_a_cell_count_once_and_characters_by_their_bytes(export: Export) -> None:
    fits = line("fits", b'"' + b'""' * MB + b'"')
    too_large = line("not", "é".encode() * (MB // 2) + b"x")
    export.write_bytes("contracts", HEADER + fits + too_large)
    assert export.load("contracts") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert "column contract_url has 1,048,577 bytes" in kept(export)[0]


def test_lines_inside_a_cell_that_is_too_large_are_no_records(export: Export) -> None:
    inside = b"".join(line(f"inside {n}") for n in range(60_000))
    export.write_bytes("contracts", HEADER + line("large", b'"' + inside + b'"') + line("a"))
    assert export.load("contracts") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert export.rows("contracts", "_record_number") == [(2,)]


@pytest.mark.parametrize("end", [b"", b'"x'], ids=["never closed", "text follows"])
def test_a_large_cell_that_does_not_end_as_it_must_takes_its_line_only(export: Export, end: bytes) -> None:
    behind = b"".join(line(f"behind {n}") for n in range(60_000))
    export.write_bytes("contracts", HEADER + line("large", b'"open') + behind + b"1,2,3,4,5" + end + b"\n")
    counts = export.load("contracts")
    assert counts == {"status": "imported", "read": 60_002, "inserted": 60_000, "quarantined": 2}
    export.connection.execute("DELETE FROM ingest.quarantine WHERE record_number > 1")
    detail, text = kept(export)
    assert detail.startswith("line 2: ")
    assert text == line("large", b'"open')[:-1].decode()


def test_many_cells_that_are_never_closed_are_read_twice_at_the_most() -> None:
    text = (b'1,"open\n' + b"2,b\n" * 50_000) * 40
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        for block in in_blocks(text, 10_000):
            read += len(block)
            yield block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LONG", 20_000)
        segments = Reader(b",", 2, largest_cell=100_000).segments(blocks)
        assert sum(segment.records for segment in segments) == 40 * 50_001
    assert read <= 2 * len(text)


def test_a_record_of_several_large_cells_loads(export: Export) -> None:
    export.write_bytes(
        "contracts", b"notes," + HEADER + b"y" * MB + b"," + line("a", b'"' + b"z\n" * (MB // 2) + b'"')
    )
    assert export.load("contracts") == {"status": "imported", "read": 1, "inserted": 1}


def test_a_record_may_not_have_any_number_of_large_cells(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECORD", 5 * MB)
    many = b",".join([b"y" * MB] * 6)
    export.write_bytes("contracts", b"a,b,c,d,e,f," + HEADER + many + b"," + line("a"))
    assert export.load("contracts") == {"status": "imported", "read": 1, "quarantined": 1}
    assert kept(export)[0].startswith("line 2: the record has 6,291,5")


def test_a_record_of_thousands_of_cells_is_malformed(export: Export) -> None:
    export.write_bytes("contracts", HEADER + b",".join([b"y" * 400] * 16_000) + b"\n" + line("a"))
    assert export.load("contracts") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    detail, text = kept(export)
    assert detail == "line 2: 16000 fields instead of 6"
    assert len(text) == 401 * 16_000 - 1


def test_a_line_without_end_is_no_header(export: Export) -> None:
    export.write_bytes("contracts", gzip.compress(HEADER[:-1] + b"," + b"y" * 30 * MB), ".csv.gz")
    with pytest.raises(
        ImportFailedError,
        match=r"^contracts: contracts\.csv\.gz has no header: its first line that is not blank has more than 1,048,576 bytes$",
    ):
        export.load("contracts")


@pytest.mark.slow
def test_a_small_file_of_many_records_simply_loads(export: Export) -> None:
    content = HEADER + b"".join(line(f"{n % 50_000}") for n in range(300_000))
    export.write_bytes("contracts", gzip.compress(content), ".csv.gz")
    counts = export.load("contracts")
    assert counts == {"status": "imported", "read": 300_000, "inserted": 50_000, "duplicate": 250_000}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.string_view()])
def test_a_cell_of_a_parquet_file_may_be_no_larger(export: Export, kind: pa.DataType) -> None:
    urls = [b"x", None, b"y" * (MB + 1), b"z" * MB]
    table = pa.table(
        {
            "id": [uuid(word) for word in "abcd"],
            "contract_url": pa.array(urls, pa.binary()).cast(kind),
            "updated_at": [NOON] * 4,
            "effective_date": ["2025-01-01"] * 4,
            "services": ["{onsite_care}"] * 4,
            "terms": ["[]"] * 4,
        }
    )
    pq.write_table(table, export.directory / "contracts.parquet")
    assert export.load("contracts") == {"status": "imported", "read": 4, "inserted": 3, "quarantined": 1}
    [(reasons, text)] = export.connection.execute(
        "SELECT reasons, privacy.unseal(record_encrypted, privacy.key('seal'))::jsonb FROM ingest.quarantine"
    ).fetchall()
    detail = "column contract_url has 1,048,577 bytes, and a cell may have 1,048,576 (DAYBREAK_MAX_CELL)"
    assert [reason["detail"] for reason in reasons] == [detail]
    assert text["contract_url"] == f"{'y' * MB} … [cut off here: 1,048,576 of 1,048,577 bytes]"
    assert text["id"] == uuid("c")


@pytest.mark.slow
def test_a_bomb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """A cell of 200 MB out of a small file, with the limit of 64 MB that holds if nobody sets another."""
    path = tmp_path / "contracts.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"id,b,c\n1,2,3\n" + b'b,"')
        for _ in range(200):
            file.write(b"y" * MB)
        file.write(b'",c\n1,2,3\n')
    script = f"""
import resource
from pathlib import Path
from daybreak_pipeline.importer.encoding import Text
from daybreak_pipeline.importer.reader import Reader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
segments = Reader(b",", 3).segments(lambda: Text(Path({str(path)!r})).blocks())
records = sum(segment.records for segment in segments)
print(records, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    environment = child_environment(DAYBREAK_MAX_CELL="")
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    records, megabytes = map(int, done.stdout.split())
    assert records == 4
    assert megabytes < 64 + 64
