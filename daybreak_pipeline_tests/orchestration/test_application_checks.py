"""Checks of tables that applications have protected: one asset for all, results by table."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.orchestration import application_checks
from daybreak_pipeline.orchestration.build import build_defs
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.report import queries
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.privacy.demographics import (
    ANOTHER,
    CHILD,
    CREATE,
    TABLE,
    insert,
    protect,
    release,
)

COPIED = "UPDATE demographics SET guardian_name_encrypted = legal_name_encrypted"


@pytest.fixture
def given(migrated: DatabaseSettings) -> DatabaseSettings:
    with database.connect(migrated, key=KEY) as owner:
        keys.verify(owner)
        owner.execute(CREATE)
        protect(owner)
        insert(owner, **CHILD)
        insert(owner, **ANOTHER)
    return migrated


def execute(given: DatabaseSettings, statement: str) -> None:
    with database.connect(given, key=KEY) as owner:
        owner.execute(statement.encode())


def checked(given: DatabaseSettings) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the checks in Dagster."""
    installation = Installation(given, KEY, Path("/nowhere"), Path("/nowhere"))
    job = dg.define_asset_job(
        "checked", selection=dg.AssetSelection.checks_for_assets(application_checks.ASSET)
    )
    definitions = dg.Definitions.merge(
        build_defs(health_database=HealthDatabase(lambda: installation)), dg.Definitions(jobs=[job])
    )
    with dg.DagsterInstance.ephemeral() as dagster:
        done = definitions.resolve_job_def("checked").execute_in_process(instance=dagster)
    assert done.success
    return {evaluation.check_name: evaluation for evaluation in done.get_asset_check_evaluations()}


def failing(given: DatabaseSettings) -> set[str] | None:
    """Return which checks of the table fail in the report; None where it has none."""
    with database.connect(given) as reader:
        tables = {table.name: table for table in queries.read(reader).tables}
    if TABLE not in tables:
        return None
    return {check.name for check in tables[TABLE].checks if not check.finding.passed}


def test_what_is_wrong_fails_in_the_ui_and_in_the_report(given: DatabaseSettings) -> None:
    found = checked(given)
    assert {name: one.passed for name, one in found.items()} == {
        "plain_values": True,
        "sealed_values": True,
        "database_matches_migrations": False,  # it came by hand
    }
    execute(given, COPIED)
    found = checked(given)
    assert not found["sealed_values"].passed
    assert str(found["sealed_values"].description).startswith("demographics: 2 sealed values")
    assert failing(given) == {"sealed_values", "database_matches_migrations"}
    execute(given, "DELETE FROM demographics")
    with database.connect(given, key=KEY) as owner:
        release(owner)
    assert failing(given) is None
    assert checked(given) == {}


def test_findings_of_several_tables_are_one_that_says_which(given: DatabaseSettings) -> None:
    execute(given, "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT)")
    execute(given, "SELECT privacy.protect('pets', '{name}')")
    execute(given, "ALTER TABLE pets DROP CONSTRAINT personal_columns_are_sealed")
    execute(given, "ALTER TABLE pets DISABLE TRIGGER seal_personal_data_on_insert")
    execute(given, "INSERT INTO pets VALUES (1, 'Rex'), (2, 'Bo')")
    found = checked(given)["plain_values"]
    assert not found.passed
    assert str(found.description).startswith("pets: 2 personal values")
    assert "Rex" not in str(found)
