"""Headers of files: where they are found, what columns are called, and that a name is data until it has shown to be one."""

from __future__ import annotations

import gzip
import json
import time
import zipfile
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from daybreak_pipeline.importer import names
from daybreak_pipeline.importer.formats import SUFFIXES
from daybreak_pipeline.importer.parts import Part
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline_tests.exports import NOON, Export, record, uuid

KNOWN = frozenset({"id", "label", "updated_at", "date_of_birth", "first_name"})
ODD_NAMES = (
    "rate %", "[/red]", '"; DROP TABLE documents; --', "\x1b[31mred", "a\0b", "", "x" * 100_000, "{0}", "{{ x }}", "%s",
    "<script>", "555 0173", "1999-08-07", "q12", "---", "mail@example.com", "O'Hara", "a" * 64, "42",
)  # fmt: skip
GOOD_NAMES = ("cap.total", "zip code 2", "v1-b", "prénom usuel", "id_1", "名前", "हिन्दी", "a" * 63, "a1")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_no_identifier_is_called_by_its_position(name: str) -> None:
    assert names.of_columns(["id", name], KNOWN) == ("id", "column 2")


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_an_identifier_keeps_its_name(name: str) -> None:
    assert names.of_columns([name], KNOWN) == (name,)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (" ID ", "id"), ('"Label"', "label"), ("Updated At", "updated_at"), ("updated-at", "updated_at"),
        ("Date of Birth", "date_of_birth"), ("First  Name", "first_name"), ("\u200bid", "id"), ("\ufeffID\u200d", "id"),
        ("“label”", "label"),
        ("\u202elabel\n", "label"), (" 'label' ", "label"), ("FIRST_NAME", "first_name"), ("\u00a0id\u00a0", "id"),
    ],
)  # fmt: skip
def test_a_known_column_is_recognised_however_it_is_written(cell: str, name: str) -> None:
    assert names.of_columns([cell], KNOWN) == (name,)


def test_a_column_that_two_cells_name_has_a_repeat() -> None:
    assert names.of_columns(["First Name", "first_name", "column 1", "%"], KNOWN) == (
        "first_name", "first_name (2)", "column 1", "column 4",
    )  # fmt: skip


@given(
    st.lists(st.one_of(st.text(max_size=70), st.sampled_from([*KNOWN, "column 1", "a", "A "])), max_size=8)
)
def test_names_are_distinct_and_may_be_shown(cells: list[str]) -> None:
    called = names.of_columns(cells, KNOWN)
    assert len(set(called)) == len(called) == len(cells)
    assert all(names.may_be_shown(names.named_like(name)) or names.is_position(name) for name in called)


@pytest.mark.parametrize(
    ("text", "cells", "delimiter", "behind"),
    [
        (b"id,a\n1,2\n", ("id", "a"), b",", b"1,2\n"),
        (b"\n \r\n,,\n;\t\nid,a\r\n1", ("id", "a"), b",", b"1"),
        (b"sep=;\nid;a,b\n1", ("id", "a,b"), b";", b"1"),
        (b'"SEP=|"\r\n\r\nid|a\r1', ("id", "a"), b"|", b"1"),
        (b"sep=^\nid^a\n", ("id", "a"), b"^", b""),
        (b'id,"a;b;c;d",e\n', ("id", "a;b;c;d", "e"), b",", b""),
        (b'"x;y;z",id\n', ("x;y;z", "id"), b",", b""),
        (b"a|b;id\n", ("a|b", "id"), b";", b""),
        (b'id,"two\nlines"\n1', ("id", "two\nlines"), b",", b"1"),
        (b"id", ("id",), b",", b""),
        (b"", (), b",", b""),
        (b"\n\n", (), b",", b"\n\n"),
    ],
)
def test_the_header_is_the_first_line_that_is_not_blank(
    tmp_path: Path, text: bytes, cells: tuple[str, ...], delimiter: bytes, behind: bytes
) -> None:
    part = tmp_path / "file.csv"
    part.write_bytes(text)
    header = Part(part).sniff().header
    assert (header.cells, header.delimiter, text[header.size :]) == (cells, delimiter, behind)


def test_a_header_has_the_encoding_of_its_file(tmp_path: Path) -> None:
    part = tmp_path / "file.csv"
    for text in ("id,prénom\n", "id,prénom\nx,Zoë\n"):
        for codec in ("utf-8", "cp1252", "utf-16", "utf-16-le", "utf-16-be"):
            part.write_bytes(text.encode(codec))
            assert Part(part).header() == ("id", "prénom")


def refused(export: Export, table: str = "documents") -> str:
    with pytest.raises(ImportFailedError) as caught:
        export.load(table)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        f"Export of Ann Quill\nid,label\n{uuid('a')},x\n",
        f"{uuid('a')},Quill,{NOON}\n",
        f'id,"label\n{uuid("a")},Quill\n',
        f'id,"label"x\n{uuid("a")},Quill\n',
        f"Quill\0,id,label\n{uuid('a')},x,y\n".replace("label", "lable"),
    ],
)
def test_a_file_without_a_header_fails_and_no_word_of_it_is_repeated(export: Export, content: str) -> None:
    export.write_bytes("documents", content.encode())
    message = refused(export)
    assert "documents.csv has no header" in message
    assert "required columns id, label" in message
    assert "Quill" not in message


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"PK\x03\x04", "a workbook or a zip archive"),
        (b"PAR1", "a parquet file"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"%PDF-1.7", "a PDF document"),
    ],
)
def test_a_file_that_is_no_text_is_called_what_it_is(export: Export, start: bytes, told: str) -> None:
    export.write_bytes("documents", start + bytes(range(256)))
    assert refused(export) == f"documents: documents.csv has no header: it is {told}, not CSV"


def parts(export: Export, **contents: bytes) -> None:
    directory = export.directory / "documents"
    directory.mkdir()
    for name, content in contents.items():
        (directory / f"{name}.csv").write_bytes(content)


def test_a_part_without_a_header_is_never_loaded_by_position(export: Export) -> None:
    parts(
        export, a=f"id,label\n{uuid('a')},x\n".encode(), b=f"{uuid('b')},Quill\n{uuid('c')},Quill\n".encode()
    )
    message = refused(export)
    assert "b.csv has no header" in message
    assert "Quill" not in message
    assert export.rows("documents", "id") == []


def test_parts_may_be_empty_or_have_a_header_alone(export: Export) -> None:
    parts(
        export,
        a=b"",
        b=b"\n",
        c=b"id,label\n",
        d=f"Label,note,ID\nx,y,{uuid('d')}\n".encode(),
        e=f"sep=;\nid;label\n{uuid('e')};z".encode(),
    )
    assert export.load("documents")["inserted"] == 2
    assert export.rows("documents", "label") == [("x",), ("z",)]


def test_a_part_of_no_bytes_is_fine_in_every_format(export: Export) -> None:
    parts(export, a=f"id,label\n{uuid('a')},x\n".encode())
    for name in ("b.parquet", "c.csv", "d.tsv"):
        (export.directory / "documents" / name).write_bytes(b"")
    assert export.load("documents")["inserted"] == 1


def test_a_directory_of_empty_parts_is_empty(export: Export) -> None:
    parts(export, a=b"", b=b"\n")
    assert refused(export) == "documents: every part is empty, without even a header"


def test_personal_columns_with_spaces_are_sealed(export: Export) -> None:
    header = "ID,First Name,Phone Number,FullName,phone_2,Date-of-Birth,555 0173,note"
    record = f"{uuid('a')},Ann,555-1,Ann Quill,555-2,2001-02-03,secret,plain"
    export.write_bytes("clinicians", f"{header}\n{record}\n".encode())
    assert export.load("clinicians")["inserted"] == 1
    assert export.rows("clinicians", "profile_data") == [({"export_columns": {"note": "plain"}},)]
    ((sealed, first),) = export.connection.execute(
        "SELECT privacy.unseal(_export_columns_encrypted, privacy.key('seal')), "
        "privacy.unseal(first_name_encrypted, privacy.key('seal')) FROM clinicians"
    ).fetchall()
    assert first == "Ann"
    assert json.loads(sealed) == {
        "phone_number": "555-1",
        "fullname": "Ann Quill",
        "phone_2": "555-2",
        "date_of_birth": "2001-02-03",
        "column 7": "secret",
    }


def test_memberships_keep_columns_without_a_name_sealed(export: Export) -> None:
    export.add_parents()
    row = f"{uuid('a')},{uuid('child')},{uuid('school')},secret,7b"
    export.write_bytes("memberships", f"id,user_id,organization_id,+1 (818) 555,grade\n{row}\n".encode())
    assert export.load("memberships")["inserted"] == 1
    assert export.rows("memberships", "profile_data") == [({"export_columns": {"grade": "7b"}},)]
    sealed = export.connection.execute(
        "SELECT privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM memberships"
    ).fetchone()
    assert sealed == ('{"column 4": "secret"}',)


@pytest.mark.parametrize(
    "name",
    [
        "guardian phone",
        "mother_first_name",
        "ssn",
        "Emergency-Contact Name",
        "home_address_2",
        "E-Mail (2)",
        "Ｐhone",
    ],
)
def test_a_column_that_is_called_personal_is_sealed_though_nobody_declared_it(
    export: Export, name: str
) -> None:
    """It was kept in plain JSON, where every login of the application reads it without the key."""
    export.write_bytes("patients_and_guardians", f"id,role,{name},grade\n{uuid('a')},1,Kanarie,7b\n".encode())
    assert export.load("patients_and_guardians")["inserted"] == 1
    assert export.rows("patients_and_guardians", "profile_data") == [({"export_columns": {"grade": "7b"}},)]
    sealed = export.connection.execute(
        "SELECT privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM patients_and_guardians"
    ).fetchone()
    assert sealed
    assert list(json.loads(sealed[0]).values()) == ["Kanarie"]


def test_a_column_that_is_not_called_personal_is_kept_as_it_is(export: Export) -> None:
    kept = dict.fromkeys(
        ("renamed", "cellular", "tournament", "plan_name", "organization_name_1", "grade"), "x"
    )
    export.load("patients_and_guardians", record("patients_and_guardians", **kept))
    assert export.rows("patients_and_guardians", "profile_data") == [({"export_columns": kept},)]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_in_no_ledger_and_no_quarantine(export: Export, name: str) -> None:
    cell = '"' + name.replace('"', '""') + '"'
    bad, good = f"nonsense,x,{NOON},1", f"{uuid('a')},y,{NOON},2"
    text = f"id,label,updated_at,{cell}\n{bad}\n{good}\n"
    export.write_bytes("documents", text.encode())
    assert export.load("documents") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    ((columns, unknown),) = export.connection.execute(
        "SELECT source_columns, unknown_values FROM ingest.imports"
    ).fetchall()
    assert (columns, unknown) == (["id", "label", "updated_at", "column 4"], {"column 4": 2})
    ((kept,),) = export.connection.execute(
        "SELECT privacy.unseal(record_encrypted, privacy.key('seal')) FROM ingest.quarantine"
    ).fetchall()
    assert json.loads(kept) == {"id": "nonsense", "label": "x", "updated_at": NOON, "column 4": "1"}


# ------------------------------------------------------------------ compressed files

TEXT = "".join(f"{uuid(str(number))},label {number},{NOON}\n" for number in range(500))
WHOLE = f"id,label,updated_at\n{TEXT}".encode()


def zipped(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__dot__", ".").replace("__slash__", "/"), content)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gz", "zst"])
def test_several_members_are_read_to_the_end_and_a_cut_is_an_error(export: Export, pack: object) -> None:
    assert callable(pack)
    suffix = ".csv.gz" if pack is gzip.compress else ".csv.zst"
    halves = pack(WHOLE[:7000]) + pack(WHOLE[7000:])
    for cut in (20, len(halves) // 3, len(halves) // 2 + 40, len(halves) - 1):
        export.write_bytes("documents", halves[:cut], suffix)
        assert f"cannot read documents{suffix}: it is cut off" in refused(export)
        assert export.rows("documents", "id") == []
    export.write_bytes("documents", halves, suffix)
    assert export.load("documents")["inserted"] == 500


def test_a_flipped_byte_in_an_archive_is_damage(export: Export) -> None:
    broken = bytearray(gzip.compress(WHOLE))
    broken[len(broken) // 2] ^= 0xFF
    export.write_bytes("documents", bytes(broken), ".csv.gz")
    assert refused(export).startswith("cannot read documents.csv.gz: it is damaged")


def test_a_zip_of_one_file_is_read(export: Export) -> None:
    path = export.directory / "documents.zip"
    zipped(path, data__dot__csv=WHOLE, __MACOSX__slash___data__dot__csv=b"x", __dot__hidden=b"y")
    assert Part(path).header() == ("id", "label", "updated_at")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({}, "holds 0 files"),
        ({"a__dot__csv": WHOLE, "b__dot__csv": WHOLE}, "holds 2 files"),
        ({"a__dot__xml": WHOLE}, "holds no .csv, .tsv or .txt file"),
    ],
)
def test_any_other_zip_is_refused(tmp_path: Path, members: dict[str, bytes], told: str) -> None:
    path = tmp_path / "documents.zip"
    zipped(path, **members)
    with pytest.raises(Exception, match=told):
        Part(path).header()


def test_a_cut_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "documents.zip"
    zipped(path, data__dot__csv=WHOLE)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Exception, match=r"cannot read documents\.zip: it is damaged"):
        Part(path).header()


def test_the_longest_suffix_comes_first() -> None:
    assert all(
        not SUFFIXES[later].endswith(SUFFIXES[first])
        for first in range(len(SUFFIXES))
        for later in range(first + 1, len(SUFFIXES))
    )


@pytest.mark.parametrize("again", ["first_name (2)", "First Name (2)", "first_name2", "FIRST-NAME"])
def test_a_personal_column_by_another_number_is_never_kept_plain(export: Export, again: str) -> None:
    export.load("patients_and_guardians", record("patients_and_guardians") | {again: "Kanarie"})
    (text,) = export.connection.execute("SELECT t::text FROM patients_and_guardians t").fetchone() or ("",)
    assert text
    assert "Kanarie" not in text


@pytest.mark.parametrize(
    "more", [[f"c{n}" for n in range(50_000)], ["x"] * 50_000], ids=["names", "one name"]
)
def test_a_file_with_fifty_thousand_columns_fails_at_once(export: Export, more: list[str]) -> None:
    """It took minutes of processor time: one such file kept every other table from being imported."""
    columns = [*record("documents"), *more]
    export.write_bytes("documents", f"{','.join(columns)}\n{',' * (len(columns) - 1)}\n".encode())
    begun = time.process_time()
    with pytest.raises(
        ImportFailedError, match=f"the file has {len(columns):,} columns; nothing was changed"
    ):
        export.load("documents")
    assert time.process_time() - begun < 20  # two seconds, on a machine that is busy with other things
