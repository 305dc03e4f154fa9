"""Any file that the world sends: how it is found, and that what is in it arrives as it is."""

from __future__ import annotations

import gzip
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from psycopg import sql

from daybreak_pipeline.errors import SourceError, UsageError
from daybreak_pipeline.importer import find, formats
from daybreak_pipeline.importer.run import ImportFailedError, replay_table
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import NOON, Export, record, uuid

ID = uuid("documents")
PLAIN = f"id,label,updated_at\n{ID},Zoë’s “form”,{NOON}\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.encode("utf-16"),
        b"\xff\xfe" + PLAIN.encode("utf-16-le"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("cp1252"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", "|").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace("id,label,updated_at", " ID ,Label,UPDATED_AT").encode(),
        f'"updated_at","label","id"\n"{NOON}","Zoë’s “form”","{ID}"\n'.encode(),
    ],
    ids=[
        "utf-8", "byte order mark", "utf-16", "utf-16-le", "utf-16-be", "windows-1252", "crlf", "cr", "semicolon", "tab",
        "pipe", "no last line end", "header in another case", "quoted, in another order",
    ],
)  # fmt: skip
def test_every_form_of_a_file_holds_the_same_record(export: Export, content: bytes) -> None:
    export.write_bytes("documents", content)
    assert export.load("documents") == {"status": "imported", "read": 1, "inserted": 1}
    assert export.rows("documents", "label") == [("Zoë’s “form”",)]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zip", ".parquet"])
def test_a_file_is_opened_three_times_at_most(
    export: Export, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning is sniffed once; then it is hashed and read."""
    path = export.write_bytes("documents", b"", suffix)
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": [ID], "label": ["form"], "updated_at": [NOON]}), path)
    elif suffix == ".csv.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("documents.csv", PLAIN)
    else:
        path.write_bytes(gzip.compress(PLAIN.encode()) if suffix == ".csv.gz" else PLAIN.encode())
    opened: list[str] = []
    by_path, by_arrow = Path.open, pa.OSFile

    def open_path(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self.name)
        return by_path(self, *arguments, **options)

    def open_by_arrow(name: str) -> Any:
        opened.append(Path(name).name)
        return by_arrow(name)

    monkeypatch.setattr(Path, "open", open_path)
    monkeypatch.setattr(pa, "OSFile", open_by_arrow)
    assert export.load("documents")["inserted"] == 1
    assert opened.count(path.name) == 3
    opened.clear()
    assert export.load("documents")["status"] == "skipped"
    assert opened.count(path.name) == 2


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_compressed_files_are_read(export: Export, suffix: str) -> None:
    pack = gzip.compress if suffix == ".csv.gz" else zstd.compress
    export.write_bytes("documents", pack(PLAIN.encode()), suffix)
    assert export.load("documents")["inserted"] == 1


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet"])
def test_a_damaged_file_fails_its_table_with_its_name(export: Export, suffix: str) -> None:
    whole = gzip.compress(PLAIN.encode() * 1000)
    export.write_bytes("documents", whole[: len(whole) // 2], suffix)
    with pytest.raises(ImportFailedError, match=rf"documents\{suffix}"):
        export.load("documents")
    assert export.rows("documents", "id") == []


def test_a_directory_of_parts_is_one_source_whatever_the_order_of_their_columns(export: Export) -> None:
    parts = export.directory / "documents"
    (parts / "year=2025" / "month=08").mkdir(parents=True)
    (parts / "part-0.csv").write_text(f"id,label,updated_at\n{uuid('a')},first,{NOON}\n")
    (parts / "year=2025" / "month=08" / "part-1.csv").write_text(
        f"version,updated_at,id,label\n7,{NOON},{uuid('b')},second\n"
    )
    assert export.load("documents")["inserted"] == 2
    assert export.rows("documents", "label", "version") == [("first", 1), ("second", 7)]


def test_records_of_all_parts_are_numbered_on_whichever_way_they_are_read(export: Export) -> None:
    parts = export.directory / "documents"
    parts.mkdir()
    ragged, good = f"{uuid('bad')},ragged", "{},good,{}"
    contents = [
        [ragged, good.format(uuid("a"), NOON)],
        [good.format(uuid("b"), NOON)],
        [ragged],
        [good.format(uuid("c"), NOON)],
    ]
    for number, lines in enumerate(contents):
        (parts / f"part-{number}.csv").write_bytes(csv_text(*lines))
    assert export.load("documents") == {"status": "imported", "read": 5, "inserted": 3, "quarantined": 2}
    assert export.rows("documents", "_record_number") == [(2,), (3,), (5,)]
    assert [number for number, _ in export.refused("documents")] == [1, 4]


def test_a_file_without_records_imports_nothing(export: Export) -> None:
    export.write_bytes("documents", b"id,label,updated_at\n")
    assert export.load("documents") == {"status": "imported"}


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_empty_file_fails_its_table(export: Export, content: bytes) -> None:
    export.write_bytes("documents", content)
    with pytest.raises(ImportFailedError, match=r"documents: documents\.csv is empty, without even a header"):
        export.load("documents")


def test_a_file_without_a_required_column_fails_its_table_by_name(export: Export) -> None:
    export.write_bytes("documents", b"id,updated_at\n")
    message = (
        "documents: documents.csv has no header: its first line that is not blank must name the required columns "
        "id, label; there is no label"
    )
    with pytest.raises(ImportFailedError, match=re.escape(message)):
        export.load("documents")
    ledger = export.connection.execute("SELECT status, error FROM ingest.imports").fetchall()
    assert ledger == [("failed", message)]


def csv_text(*lines: str) -> bytes:
    return csv_text_of("id,label,updated_at", *lines)


def csv_text_of(*lines: str) -> bytes:
    return "\n".join((*lines, "")).encode()


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (f"{uuid('bad')},too few", "line 3: 2 fields instead of 3"),
        (f"{uuid('bad')},too,many,fields", "line 3: 4 fields instead of 3"),
        (
            f'{uuid("bad")},"a "quote" inside",{NOON}',
            "line 3: text follows the closing quote of a cell",
        ),
        (f"{uuid('bad')},a NUL\0character,{NOON}", "line 3: a NUL character"),
    ],
)
def test_a_malformed_record_is_quarantined_with_its_line_and_the_others_load(
    export: Export, bad: str, detail: str
) -> None:
    export.write_bytes("documents", csv_text(f"{uuid('a')},first,{NOON}", bad, f"{uuid('c')},last,{NOON}"))
    assert export.load("documents") == {"status": "imported", "read": 3, "inserted": 2, "quarantined": 1}
    assert export.refused("documents") == [(2, [("malformed_record", None)])]
    kept = export.connection.execute("SELECT reasons -> 0 ->> 'detail' FROM ingest.quarantine").fetchall()
    assert kept == [(detail,)]
    assert export.rows("documents", "label") == [("first",), ("last",)]


def test_a_quote_that_never_closes_takes_only_its_own_record(export: Export) -> None:
    lines = [f"{uuid('a')},first,{NOON}", f'{uuid("bad")},"open,{NOON}', f"{uuid('c')},last,{NOON}"]
    export.write_bytes("documents", csv_text(*lines))
    assert export.load("documents") == {"status": "imported", "read": 3, "inserted": 2, "quarantined": 1}


def test_no_line_of_a_record_that_is_cut_off_is_lost(export: Export) -> None:
    export.write_bytes(
        "documents", csv_text(f"{uuid('a')},first,{NOON}", f'{uuid("bad")},"several\nlines\nand no end')[:-1]
    )
    assert export.load("documents") == {"status": "imported", "read": 4, "inserted": 1, "quarantined": 3}
    kept = export.connection.execute(
        "SELECT privacy.unseal(record_encrypted, privacy.key('seal'))::jsonb ->> '_raw' FROM ingest.quarantine "
        "ORDER BY record_number"
    ).fetchall()
    assert kept == [(f'{uuid("bad")},"several',), ("lines",), ("and no end",)]


def test_a_line_that_copy_takes_for_the_end_of_the_data_is_data(export: Export) -> None:
    export.write_bytes(
        "documents", csv_text(f'{uuid("a")},"before\n\\.\nafter",{NOON}', f"{uuid('b')},second,{NOON}")
    )
    assert export.load("documents")["inserted"] == 2
    assert export.rows("documents", "label") == [("before\n\\.\nafter",), ("second",)]


def test_empty_lines_are_blank_records(export: Export) -> None:
    export.write_bytes(
        "documents", csv_text(f"{uuid('a')},first,{NOON}", "", ",,", f"{uuid('b')},second,{NOON}", "")
    )
    assert export.load("documents") == {"status": "imported", "read": 5, "inserted": 2, "blank": 3}


def test_a_field_of_ten_megabytes_arrives(export: Export) -> None:
    concern = "long story, " * 900_000
    export.add_parents()
    export.load("referrals", record("referrals", "long", concerns=concern))
    assert export.connection.execute(
        "SELECT concerns = %s FROM referrals WHERE concerns <> ''", [concern]
    ).fetchall() == [(True,)]


def test_each_insurance_table_takes_the_file_with_its_columns(export: Export) -> None:
    companies = export.directory / "credentialed_insurances.csv"
    junction = export.directory / "clinician_credentialed_insurances.csv"
    companies.write_text("id,name\n")
    junction.write_text("id,care_provider_profile_id,credentialed_insurance_id\n")
    found = {
        name: find.find(export.directory, TABLES[name]).path
        for name in ("clinician_credentialed_insurances", "clinician_insurance_affiliations")
    }
    assert found == {
        "clinician_credentialed_insurances": companies,
        "clinician_insurance_affiliations": junction,
    }


def test_two_files_for_one_table_that_differ_are_not_guessed_between(export: Export) -> None:
    (export.directory / "clinicians.csv").write_text("id\n")
    (export.directory / "clinicians_anonymized.csv").write_text("id,email\n")
    with pytest.raises(SourceError, match=r"clinicians_anonymized\.csv, clinicians\.csv all hold this table"):
        find.find(export.directory, TABLES["clinicians"])


def test_two_files_for_one_table_with_the_same_content_are_one(export: Export) -> None:
    (export.directory / "clinicians.csv").write_text("id\n")
    (export.directory / "clinicians_anonymized.csv").write_text("id\n")
    assert find.find(export.directory, TABLES["clinicians"]).path.name == "clinicians_anonymized.csv"


def test_a_directory_without_any_export_file_is_refused(export: Export) -> None:
    (export.directory / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="holds no file of an export"):
        find.check_export(export.directory)


def sealed_columns(export: Export, table: str) -> list[tuple[str | None]]:
    """Return the personal columns that are kept beside the schema, opened."""
    return export.connection.execute(
        sql.SQL("SELECT privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM {}").format(
            sql.Identifier(table)
        )
    ).fetchall()


def test_a_column_that_stands_twice_counts_once_where_both_say_the_same(export: Export) -> None:
    export.write_bytes("documents", csv_text_of("id,label, Label ,updated_at", f"{ID},a,a,{NOON}"))
    assert export.load("documents") == {"status": "imported", "read": 1, "inserted": 1}
    assert export.rows("documents", "label") == [("a",)]
    export.write_bytes("documents", csv_text_of("id,label,updated_at", f"{ID},a,{NOON}"))
    assert export.load("documents") == {"status": "imported", "read": 1, "unchanged": 1}


def test_records_in_which_columns_of_one_name_differ_are_quarantined(export: Export) -> None:
    export.write_bytes(
        "documents",
        csv_text_of(
            "id,label,label,version,updated_at,version,label",
            f"{uuid('same')},a,a,1,{NOON},1,a",
            f"{uuid('other')},a,b,1,{NOON},2,c",
            f"{uuid('second is empty')},a,,1,{NOON},,",
            f"{uuid('first is empty')},a,,,{NOON},1,",
            ",,,,,,",
        ),
    )
    counts = {"status": "imported", "read": 5, "inserted": 2, "blank": 1, "quarantined": 2}
    assert export.load("documents") == counts
    assert export.refused("documents") == [
        (2, [("malformed_record", None)]),
        (4, [("malformed_record", None)]),
    ]
    told = export.connection.execute("SELECT reasons -> 0 ->> 'detail' FROM ingest.quarantine ORDER BY id")
    assert told.fetchall() == [
        ("label and label (2) differ; version and version (2) differ; label and label (3) differ",),
        ("version and version (2) differ",),
    ]
    again = replay_table(export.connection, "documents").accounting
    assert (again.read, again.quarantined) == (2, 2)
    export.write_bytes("documents", csv_text_of("id,label,updated_at", f"{uuid('other')},b,{NOON}"))
    assert export.load("documents")["inserted"] == 1
    assert [number for number, _ in export.refused("documents")] == [4]


def test_a_column_that_stands_twice_in_one_part_only_contradicts_nothing_elsewhere(export: Export) -> None:
    parts = export.directory / "documents"
    parts.mkdir()
    (parts / "a.csv").write_bytes(csv_text_of("id,label,label,updated_at", f"{uuid('a')},x,x,{NOON}"))
    (parts / "b.csv").write_bytes(csv_text_of("id,label,updated_at", f"{uuid('b')},y,{NOON}"))
    assert export.load("documents")["inserted"] == 2


def test_unknown_columns_that_stand_twice_are_both_kept(export: Export) -> None:
    header = "id,role,club,club (2),club,full_name,full_name,first_name,first_name,updated_at"
    record = f"{ID},1,chess,go,judo,A B,A C,Ann,Ann,{NOON}"
    export.write_bytes("patients_and_guardians", csv_text_of(header, record))
    assert export.load("patients_and_guardians") == {"status": "imported", "read": 1, "inserted": 1}
    kept = {"export_columns": {"club": "chess", "club (2)": "judo"}}
    assert export.rows("patients_and_guardians", "profile_data") == [(kept,)]
    ((sealed,),) = sealed_columns(export, "patients_and_guardians")
    assert sealed is not None
    # A name with brackets is no identifier, so nobody can tell that it is no value.
    assert json.loads(sealed) == {"column 4": "go", "full_name": "A B", "full_name (2)": "A C"}


def test_columns_without_a_name_are_unknown_columns(export: Export) -> None:
    with_values = csv_text_of("id,,role,updated_at,", f"{ID},Ann,1,{NOON},", f"{uuid('b')},,1,{NOON},")
    export.write_bytes("patients_and_guardians", with_values)
    assert export.load("patients_and_guardians") == {"status": "imported", "read": 2, "inserted": 2}
    # What they hold nobody can tell, so it is never kept in plain JSON.
    assert export.rows("patients_and_guardians", "profile_data") == [({},), ({},)]
    sealed = {
        json.loads(text)["column 2"] if text else None
        for (text,) in sealed_columns(export, "patients_and_guardians")
    }
    assert sealed == {"Ann", None}


@pytest.mark.parametrize("header", ["id,label,updated_at,", "id,,label,updated_at", "id,label,updated_at,,"])
def test_empty_columns_without_a_name_do_no_harm(export: Export, header: str) -> None:
    record = {"id": ID, "label": "x", "updated_at": NOON}
    export.write_bytes(
        "documents", csv_text_of(header, ",".join(record.get(name, "") for name in header.split(",")))
    )
    assert export.load("documents") == {"status": "imported", "read": 1, "inserted": 1}


@pytest.mark.parametrize(("large", "stays"), [(4 << 20, True), (1 << 20, False)])
def test_a_large_file_leaves_the_cache_once_it_is_staged(
    export: Export, monkeypatch: pytest.MonkeyPatch, large: int, stays: bool
) -> None:
    monkeypatch.setattr(formats, "_LARGE", large)
    path = export.write_bytes(
        "documents", PLAIN.encode() + f"{uuid('b')},{'x' * (2 << 20)},{NOON}\n".encode()
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())
    if _in_cache(path) is None:
        pytest.skip("this file system does not tell what is in the cache")
    assert _in_cache(path)
    assert export.load("documents")["read"] == 2
    assert _in_cache(path) is stays


def _in_cache(path: Path) -> bool | None:
    """Whether a file's middle can be read without its disk, None where the system does not tell."""
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(4096)], 1 << 20, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False
        except (OSError, AttributeError):
            return None
