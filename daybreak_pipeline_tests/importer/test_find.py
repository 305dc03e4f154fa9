"""Which file is whose: names, dates, copies, directories of parts, and files that belong to no table."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from daybreak_pipeline.errors import SourceError, UsageError
from daybreak_pipeline.importer import filenames, find
from daybreak_pipeline.importer.filenames import FileName
from daybreak_pipeline.importer.run import ImportFailedError, import_table
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import NOON, Export, record, uuid

CONTENT = b"id,label\n"


def write(directory: Path, *names: str, content: bytes = CONTENT) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)


def found(directory: Path, table: str = "documents") -> str:
    return find.find(directory, TABLES[table]).path.name


def ignored(directory: Path, table: str = "documents") -> dict[str, str]:
    return {one.file: one.why for one in find.find(directory, TABLES[table]).ignored}


# --- Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "DOCUMENTS.CSV",
        "Documents.Csv.GZ",
        "documents.tsv",
        "documents.txt",
        "documents.csv.zip",
        "documents (1).csv",
        "documents(12).csv",
        "documents - Copy.csv",
        "documents - Copy (2).csv",
        "documents copy 2.csv",
        "Copy of Documents.csv",
        " documents .csv",
        "documents_2025-11-08.csv",
        "documents-20251108.csv.gz",
        "documents_2025_11_08 (1).csv",
        "documents (1)_2025-11-08.csv",
        "documents.2025-11-08.csv",
        "documents_20251108T0500.csv",
        "documents 2025-11-08 05-00-00.csv",
        "documents_2025-11-08T05_00_00.123Z.csv",
        "documents20251108050000.csv",
    ],
)
def test_a_file_is_found_however_its_name_is_written(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert find.candidates(tmp_path, TABLES["documents"]) == [tmp_path / name]
    assert find.unknown(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("Patients-and  Guardians.csv", FileName("patients_and_guardians")),
        ("x_2025-11-08.csv", FileName("x", "20251108")),
        ("x_20251108T0500.csv", FileName("x", "20251108", "050000")),
        ("x_20251108_170530.csv", FileName("x", "20251108", "170530")),
        ("x_20251108_0002.csv", FileName("x", "20251108")),  # a time, or the number of a part?
        ("x_2025-02-30.csv", FileName("x_2025_02_30")),
        ("x_08-11-2025.csv", FileName("x_08_11_2025")),  # the eighth of November, or the eleventh of August?
        ("x_v2.csv", FileName("x_v2")),
        ("_x.csv", FileName("_x")),
        ("2025-11-08.csv", FileName("", "20251108")),
    ],
)
def test_a_name_is_taken_apart(name: str, parsed: FileName) -> None:
    assert filenames.parse(Path(name)) == parsed


def test_files_of_every_kind_are_read(export: Export) -> None:
    for number, name in enumerate(("documents.tsv", "documents.txt", "documents.zip", "Documents (3).CSV")):
        content = f"id\tlabel\tupdated_at\n{uuid(name)}\t{number}\t{NOON}\n"
        path = export.directory / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("inside.csv", content)
        else:
            path.write_text(content)
        assert export.load("documents") == {"status": "imported", "read": 1, "inserted": 1}
        path.unlink()


# --- Several files of one table -----------------------------------------------------------------------


def test_the_newest_date_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    for day in ("2025-11-07", "20251109", "2025-11-08"):
        write(tmp_path, f"documents_{day}.csv", content=CONTENT + day.encode())
    assert found(tmp_path) == "documents_20251109.csv"
    assert ignored(tmp_path) == dict.fromkeys(
        ["documents_2025-11-08.csv", "documents_2025-11-07.csv"], "documents_20251109.csv is newer"
    )


def test_within_a_day_the_later_time_is_read(tmp_path: Path) -> None:
    write(tmp_path, "documents_2025-11-08T0500.csv", content=b"id,a\n")
    write(tmp_path, "documents_2025-11-08T1700.csv")
    assert found(tmp_path) == "documents_2025-11-08T1700.csv"


def test_an_older_file_is_not_looked_into(tmp_path: Path) -> None:
    write(tmp_path, "documents_2025-11-08.csv")
    (tmp_path / "documents_2025-11-07.csv.gz").write_bytes(b"this is not gzip")
    assert found(tmp_path) == "documents_2025-11-08.csv"


@pytest.mark.parametrize(
    "names",
    [
        ("documents_2025-11-08.csv", "documents_20251108.csv"),
        ("documents_2025-11-08.csv", "documents_2025-11-08T0500.csv"),
        ("documents_20251108_0001.csv", "documents_20251108_0002.csv"),
        ("documents_2025-11-08.csv", "documents.csv"),
        ("documents.csv", "documents (1).csv"),
        ("documents.csv", "DOCUMENTS.tsv"),
        ("documents.csv", "documents.csv.gz"),
        ("documents.csv", "documents/part-0.csv"),
    ],
    ids=" and ".join,
)
def test_files_that_nobody_can_choose_between_are_all_named(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path, names[0])
    write(tmp_path, names[1], content=b"id,label\n1,x\n")
    with pytest.raises(SourceError, match="all hold this table and differ") as error:
        found(tmp_path)
    assert all(name.split("/")[0] in str(error.value) for name in names)


@pytest.mark.parametrize(
    "names",
    [
        ("documents.csv", "documents.csv.gz"),
        ("documents.csv", "documents (1).csv"),
        ("documents_2025-11-08.csv", "documents.csv"),
    ],
    ids=" and ".join,
)
def test_one_content_in_two_files_is_read_once(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path, *names)
    assert found(tmp_path) == names[0]
    assert ignored(tmp_path) == {names[1]: f"it holds the same as {names[0]}"}


def test_a_file_that_two_tables_go_by_fails_only_the_one_that_has_no_other(tmp_path: Path) -> None:
    write(tmp_path, "credentialed_insurances.csv", content=b"id,name\n")
    write(tmp_path, "clinician_credentialed_insurances.csv", content=b"")
    assert found(tmp_path, "clinician_credentialed_insurances") == "credentialed_insurances.csv"
    assert find.find(tmp_path, TABLES["clinician_insurance_affiliations"]).header == ()
    (tmp_path / "credentialed_insurances.csv").unlink()
    write(tmp_path, "clinician_credentialed_insurances.csv", content=b"id,care_provider_profile_id\n")
    with pytest.raises(find.AbsentSourceError, match="with a column name"):
        found(tmp_path, "clinician_credentialed_insurances")


# --- Directories of parts -----------------------------------------------------------------------------


def parts(directory: Path) -> list[str]:
    source = find.find(directory, TABLES["documents"])
    return [str(part.path.relative_to(source.path)) for part in source.parts]


def test_what_tools_leave_in_a_directory_is_no_part(tmp_path: Path) -> None:
    write(
        tmp_path / "documents",
        *("part-0.csv", "year=2025/month=8/part-1.csv", "part-2.CSV.GZ", "_SUCCESS", ".part-0.csv.crc"),
        *("._part-0.csv", "_temporary/0/part-9.csv", ".checkpoints/part-0.csv", "year=2025/_started/x.csv"),
    )
    assert parts(tmp_path) == ["part-0.csv", "part-2.CSV.GZ", "year=2025/month=8/part-1.csv"]
    assert ignored(tmp_path) == {}


def test_a_directory_may_be_named_like_a_file(tmp_path: Path) -> None:
    write(tmp_path / "Documents.csv", "part-00000.csv")
    assert parts(tmp_path) == ["part-00000.csv"]


def test_a_file_among_the_parts_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path / "documents", "part-0.csv", "part-00001")
    assert "it is no part" in ignored(tmp_path)["documents/part-00001"]


@pytest.mark.parametrize("names", [(), ("_SUCCESS",), ("part-00000", "part-00001")])
def test_a_directory_without_a_part_is_not_called_empty(export: Export, names: tuple[str, ...]) -> None:
    (export.directory / "documents").mkdir()
    write(export.directory / "documents", *names)
    with pytest.raises(
        ImportFailedError, match=r"no part was recognised among its 2 files|there is no part in it"
    ) as error:
        import_table(export.connection, "documents", export.directory)
    assert "empty" not in str(error.value)


def test_a_directory_without_a_part_is_no_rival_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    write(tmp_path, "documents.csv")
    assert found(tmp_path) == "documents.csv"


def test_links_are_followed_once_and_those_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "part-1.csv")
    write(tmp_path / "export" / "documents", "part-0.csv")
    (tmp_path / "export" / "documents" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "export" / "documents" / "loop").symlink_to(tmp_path / "export" / "documents")
    assert parts(tmp_path / "export") == ["more/part-1.csv", "part-0.csv"]
    (tmp_path / "export" / "documents" / "part-2.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"part-2\.csv: it is a link that leads nowhere"):
        parts(tmp_path / "export")


def test_a_file_that_is_a_link_to_nowhere_is_not_absent(tmp_path: Path) -> None:
    (tmp_path / "documents.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"documents\.csv: it is a link that leads nowhere"):
        found(tmp_path)


def test_a_directory_that_may_not_be_read_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "documents" / "year=2025", "part-0.csv")

    def refuse(_place: str) -> None:
        raise PermissionError(13, "Permission denied", "year=2025")

    monkeypatch.setattr("os.scandir", refuse)
    monkeypatch.setattr(
        Path, "iterdir", lambda _self: iter([tmp_path / "documents", tmp_path / "documents.csv"])
    )
    with pytest.raises(SourceError, match=r"cannot read year=2025: Permission denied"):
        found(tmp_path)


# --- Files of no table --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("memberhips.csv", "memberships"),
        ("Organisations.csv", "organizations"),
        ("orgs_final.csv", "organizations"),
        ("orgs.xlsx", "organizations"),
        ("orgs.csv.bz2", "organizations"),
        ("dump.orgs.csv", "organizations"),
        ("patients.csv", "patients_and_guardians"),
        ("2025-11-08 orgs.csv", "organizations"),
        ("holiday.jpg", None),
        ("and.csv", None),
        ("2025-11-08.csv", None),
    ],
)
def test_a_file_of_no_table_is_named_with_the_one_it_resembles(
    tmp_path: Path, name: str, table: str | None
) -> None:
    write(tmp_path, name, "documents.csv", ".DS_Store", "expected.json", "synthetic.txt")
    ((file, like),) = [(one.file, one.resembles) for one in find.unknown(tmp_path)]
    assert (file, like) == (name, table)


def test_a_directory_of_no_table_is_named_too(tmp_path: Path) -> None:
    write(tmp_path, "old/documents.csv")
    assert [str(one) for one in find.unknown(tmp_path)] == ["old belongs to no table"]


def test_a_missing_files_message_names_the_one_that_may_be_meant(tmp_path: Path) -> None:
    write(tmp_path, "doucments.csv")
    with pytest.raises(find.AbsentSourceError, match=r"\(doucments\.csv resembles it\)$"):
        found(tmp_path)
    with pytest.raises(UsageError, match=r"doucments\.csv belongs to no table; it resembles documents"):
        find.check_export(tmp_path)


def test_a_name_is_shown_without_what_a_terminal_would_obey() -> None:
    assert filenames.shown("a\x1b[2J\n\u202eb\udcff.csv") == "a\\x1b[2J\\n\\u202eb\\udcff.csv"
    long = filenames.shown("x" * 300 + ".csv")
    assert len(long) == 100
    assert long.endswith(".csv")


def test_the_import_says_which_files_it_did_not_read(export: Export) -> None:
    export.write("documents", record("documents")).rename(export.directory / "documents_2025-11-08.csv")
    export.write("documents", record("documents")).rename(export.directory / "documents_2025-11-07.csv")
    result = import_table(export.connection, "documents", export.directory)
    assert [one.file for one in result.ignored] == ["documents_2025-11-07.csv"]
