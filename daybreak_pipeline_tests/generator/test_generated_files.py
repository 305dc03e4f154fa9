"""The files: their names, formats and sizes, and where they may be written."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.generator import export, generate_export
from daybreak_pipeline.generator.source_columns import SOURCE_OF, SOURCES
from daybreak_pipeline.tables import TABLES

from .reference_import import read_records, read_schema

if TYPE_CHECKING:
    from pathlib import Path


def _digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


@pytest.mark.parametrize("faults", [False, True])
def test_same_seed_gives_the_same_bytes(tmp_path: Path, *, faults: bool) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        generate_export(tmp_path / name, patients=120, seed=seed, faults=faults)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "again")
    different = _digests(tmp_path / "other")
    assert all(different[name] != digest for name, digest in _digests(tmp_path / "one").items())


def test_another_seed_gives_other_ids(tmp_path: Path) -> None:
    ids = []
    for seed in (0, 1):
        generate_export(tmp_path / str(seed), patients=200, seed=seed)
        header, records = read_records(tmp_path / str(seed) / "kinships.csv")
        ids.append({record[header.index("id")] for record in records})
    assert not ids[0] & ids[1]


def test_sixteen_files_under_the_names_of_real_exports(clean_export: Path) -> None:
    assert {path.name for path in clean_export.iterdir()} == {source.file for source in SOURCES}
    assert {source.table for source in SOURCES} == set(TABLES)
    for source in SOURCES:
        assert source.file.partition(".")[0] in TABLES[source.table].file_stems


def test_columns_of_the_schema_are_there_in_another_order(clean_export: Path) -> None:
    for table, schema in read_schema().items():
        header, _ = read_records(clean_export / SOURCE_OF[table].file)
        assert set(schema.columns) <= set(header), table
        assert [name for name in header if name in schema.columns] != list(schema.columns), table
        assert set(TABLES[table].signature) <= set(header)


def test_columns_beyond_the_schema(clean_export: Path, faulty_export: Path) -> None:
    def header(directory: Path, table: str) -> list[str]:
        return read_records(directory / SOURCE_OF[table].file)[0]

    assert len(header(clean_export, "clinicians")) == 124
    assert "census_person_id" in header(clean_export, "memberships")
    assert "census_person_id" in header(clean_export, "questionnaires")
    assert "legacy_code" not in header(clean_export, "documents")
    assert "legacy_code" in header(faulty_export, "documents")


def test_formats_of_real_exports(clean_export: Path) -> None:
    text = (clean_export / "questionnaires.csv").read_text(encoding="utf-8")
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", text)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,3} UTC", text)
    assert "\r" not in text
    assert "'+1" in (clean_export / "clinicians_anonymized.csv").read_text(encoding="utf-8")
    schema = pq.read_schema(clean_export / "clinician_availabilities.parquet")
    assert str(schema.field("id").type) == "int64"
    assert str(schema.field("range_start").type) == "timestamp[us, tz=UTC]"
    assert str(schema.field("end_on").type) == "string"


def test_names_come_in_many_scripts(faulty_export: Path) -> None:
    header, records = read_records(faulty_export / "patients_and_guardians_anonymized.csv")
    names = " ".join(record[header.index("last_name")] for record in records)
    for script in ("A-Z", "À-ÿ", "Ẁ-ỹ", "一-鿿", "가-힣", "ء-ي", "א-ת", "\u0410-\u044f", "ऀ-ॿ"):
        assert re.search(f"[{script}]", names), script
    assert "O'" in names


def test_chunks_do_not_show_in_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_export(tmp_path / "whole", patients=500)
    monkeypatch.setattr(export, "CHUNK", 64)
    generate_export(tmp_path / "pieces", patients=500)
    for source in SOURCES:
        whole, pieces = (read_records(tmp_path / name / source.file) for name in ("whole", "pieces"))
        assert whole == pieces, source.file


def test_progress_counts_the_records_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK", 100)
    seen: dict[str, list[int]] = {}
    generate_export(
        tmp_path, patients=250, faults=True, progress=lambda table, n: seen.setdefault(table, []).append(n)
    )
    expected = json.loads((tmp_path / "expected.json").read_text())["tables"]
    assert {table: counts[-1] for table, counts in seen.items()} == {
        t: c["read"] for t, c in expected.items()
    }
    assert len(seen["patients_and_guardians"]) >= 3
    assert all(counts == sorted(counts) for counts in seen.values())


def test_some_tables_have_the_same_bytes_as_in_a_whole_export(tmp_path: Path) -> None:
    some = ["questionnaires", "clinicians"]
    generate_export(tmp_path / "whole", patients=120, seed=3)
    generate_export(tmp_path / "some", patients=120, seed=3, only=some)
    whole, written = _digests(tmp_path / "whole"), _digests(tmp_path / "some")
    assert written.pop("synthetic.txt")
    assert written == {SOURCE_OF[table].file: whole[SOURCE_OF[table].file] for table in some}


def test_refuses_faults_in_some_tables_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known of a whole export"):
        generate_export(tmp_path / "none", patients=1, faults=True, only=["documents"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("patients", [0, -5])
def test_refuses_exports_without_patients(tmp_path: Path, patients: int) -> None:
    with pytest.raises(UsageError, match="the smallest export has 1"):
        generate_export(tmp_path / "none", patients=patients)
    assert not (tmp_path / "none").exists()


def test_refuses_a_directory_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        generate_export(tmp_path, patients=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_refuses_to_overwrite_a_real_export(tmp_path: Path) -> None:
    # A real export has the names that the generator uses, but no file says that it is synthetic.
    generate_export(tmp_path, patients=1)
    windows = tmp_path / "clinician_availabilities.parquet"
    pq.write_table(pq.read_table(windows).replace_schema_metadata(), windows)
    before = _digests(tmp_path)
    with pytest.raises(UsageError, match="real export"):
        generate_export(tmp_path, patients=1)
    windows.unlink()
    with pytest.raises(UsageError, match="real export"):
        generate_export(tmp_path, patients=1)
    before.pop(windows.name)
    assert _digests(tmp_path) == before


def test_refuses_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        generate_export(tmp_path / "file", patients=1)


def test_replaces_what_it_generated_before(tmp_path: Path) -> None:
    generate_export(tmp_path / "used", patients=20, only=["documents"])
    generate_export(tmp_path / "used", patients=40, faults=True)
    generate_export(tmp_path / "used", patients=30)
    generate_export(tmp_path / "deep" / "fresh", patients=30)
    assert _digests(tmp_path / "used") == _digests(tmp_path / "deep" / "fresh")
