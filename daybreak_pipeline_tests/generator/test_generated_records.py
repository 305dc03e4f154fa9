"""The records: ids, references and keys of clean exports, and the accounting of planted faults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daybreak_pipeline.generator import generate_export
from daybreak_pipeline.generator.expectations import expected_accounting
from daybreak_pipeline.generator.ids import Draws, uuids
from daybreak_pipeline.generator.source_columns import SOURCE_OF, SOURCES
from daybreak_pipeline.generator.world import World
from daybreak_pipeline.tables import TABLES

from .conftest import CLEAN_PATIENTS, FAULTY_PATIENTS
from .reference_import import OUTCOMES, Database, read_records, read_schema

if TYPE_CHECKING:
    from pathlib import Path


def _frame(directory: Path, table: str) -> pd.DataFrame:
    path = directory / SOURCE_OF[table].file
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])


@pytest.fixture(scope="module")
def frames(clean_export: Path) -> dict[str, pd.DataFrame]:
    return {table: _frame(clean_export, table) for table in TABLES}


def test_ids_are_valid_and_unique() -> None:
    ids = pd.Series(uuids(1, "anything", np.arange(200_000, dtype=np.int64)).to_pylist())
    assert ids.is_unique
    assert ids.str.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").all()


def test_ids_do_not_depend_on_the_batch() -> None:
    whole = uuids(1, "x", np.arange(100, dtype=np.int64))
    assert whole[40:60].equals(uuids(1, "x", np.arange(40, 60, dtype=np.int64)))


def test_draws_are_even_and_within_limits() -> None:
    draws = Draws(0, "test", np.arange(100_000, dtype=np.int64))
    counts = np.bincount(draws.below("ten", 10), minlength=10)
    assert len(counts) == 10
    assert counts.min() > 9_500
    assert abs(draws.chance("third", 1 / 3).mean() - 1 / 3) < 0.01
    assert not draws.chance("never", 0.0).any()
    assert draws.chance("always", 1.0).all()


@pytest.mark.parametrize("table", TABLES)
def test_every_reference_of_a_clean_export_resolves(frames: dict[str, pd.DataFrame], table: str) -> None:
    for reference in TABLES[table].references:
        values = frames[table][reference.column].dropna().astype(str)
        assert len(values), reference.column
        parents = pd.concat([frames[parent][reference.target_column] for parent in reference.tables])
        assert values.isin(parents.astype(str)).all(), reference.column


@pytest.mark.parametrize("table", TABLES)
def test_keys_of_a_clean_export_are_unique(frames: dict[str, pd.DataFrame], table: str) -> None:
    assert frames[table]["id"].notna().all()
    assert frames[table]["id"].is_unique
    natural_key = list(read_schema()[table].natural_key)
    assert not natural_key or not frames[table].duplicated(natural_key).any()


@pytest.mark.parametrize("patients", [1, 2, 3, 7, 19, 20, 21, CLEAN_PATIENTS])
def test_clean_exports_load_completely(tmp_path: Path, patients: int) -> None:
    generate_export(tmp_path, patients=patients)
    database = Database()
    database.load(tmp_path)
    sizes = World(0, patients).sizes
    for table, result in database.results.items():
        assert result.counts["inserted"] == result.counts.total() == sizes[table]
        assert not result.reasons, table
        assert not result.issues, table
        assert not result.orphans, table


@pytest.mark.parametrize("patients", [1, 2, 19, 200])
def test_small_exports_with_faults_are_accounted_for(tmp_path: Path, patients: int) -> None:
    generate_export(tmp_path, patients=patients, seed=patients, faults=True)
    assert _accounting(tmp_path, patients, patients) == _expected(tmp_path)


def test_a_plain_import_arrives_at_the_expected_accounting(faulty_export: Path) -> None:
    assert _accounting(faulty_export, 7, FAULTY_PATIENTS) == _expected(faulty_export)


def _accounting(directory: Path, seed: int, patients: int) -> dict[str, Any]:
    database = Database()
    database.load(directory)
    return database.accounting(seed=seed, patients=patients)


def _expected(directory: Path) -> dict[str, Any]:
    accounting: dict[str, Any] = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    return accounting


def test_read_is_what_the_files_hold(faulty_export: Path) -> None:
    expected = _expected(faulty_export)["tables"]
    for source in SOURCES:
        _, records = read_records(faulty_export / source.file)
        assert len(records) == expected[source.table]["read"], source.file


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20_000_000))
def test_every_record_ends_in_exactly_one_place(patients: int) -> None:
    accounting = expected_accounting(World(0, patients, faults=True))
    for counts in accounting["tables"].values():
        assert counts["read"] == sum(counts[outcome] for outcome in OUTCOMES)
    for table, reasons in accounting["quarantine"].items():
        assert max(reasons.values(), default=0) <= accounting["tables"][table]["quarantined"]


def test_every_kind_of_fault_is_planted(faulty_export: Path) -> None:
    expected = _expected(faulty_export)
    reasons = {code for codes in expected["quarantine"].values() for code in codes}
    assert reasons == {
        "malformed_record",
        "missing_key",
        "invalid_value",
        "missing_required",
        "invalid_enum",
        "missing_parent",
        "duplicate_key",
    }
    issues = {code for codes in expected["field_issues"].values() for code in codes}
    assert issues == {"dangling_reference", "invalid_json"}
    application_level = {
        (table.name, reference.column)
        for table in TABLES.values()
        for reference in table.references
        if not reference.enforced
    }
    orphans = {(table, column) for table, columns in expected["orphans"].items() for column in columns}
    assert orphans == application_level
    for counts in expected["tables"].values():
        assert counts["blank"]
        assert counts["duplicate"]
    junction = expected["tables"]["clinician_insurance_affiliations"]
    assert junction["skipped_deleted"] > 40


def test_one_file_breaks_off_inside_a_quote(faulty_export: Path) -> None:
    odd = [
        source.file
        for source in SOURCES
        if source.file.endswith(".csv") and (faulty_export / source.file).read_bytes().count(b'"') % 2
    ]
    assert odd == ["referrals.csv"]


def test_faults_scale_with_the_export() -> None:
    small, large = (expected_accounting(World(0, n, faults=True))["quarantine"] for n in (1_000, 50_000))
    # One file breaks off once, however large it is.
    small["referrals"]["malformed_record"] = 1 / 50
    assert large == {
        table: {code: count * 50 for code, count in reasons.items()} for table, reasons in small.items()
    }
