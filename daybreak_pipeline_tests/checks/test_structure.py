"""Changes by hand are told from those that migrations made."""

from __future__ import annotations

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.checks.examining import examine, only_failing
from daybreak_pipeline_tests.exports import Export, record

CHANGES = [
    ("ALTER TABLE documents ADD COLUMN shelf text", "column shelf added"),
    ("ALTER TABLE documents DROP COLUMN checkboxes", "column checkboxes dropped"),
    ("ALTER TABLE documents ALTER COLUMN label TYPE text", "column label altered"),
    ("ALTER TABLE documents ALTER COLUMN label DROP NOT NULL", "column label altered"),
    ("ALTER TABLE documents ALTER COLUMN version SET DEFAULT 2", "column version altered"),
    ("ALTER TABLE documents ADD CONSTRAINT positive CHECK (version > 0)", "constraint positive added"),
    ("CREATE INDEX by_hand ON documents (version_date)", "index by_hand added"),
    ("DROP INDEX idx_documents_label", "index idx_documents_label dropped"),
    ("ALTER TABLE documents DISABLE ROW LEVEL SECURITY", "table documents altered"),
]


@pytest.mark.parametrize(("statement", "told"), CHANGES)
def test_a_change_by_hand_is_named(export: Export, statement: str, told: str) -> None:
    export.load("documents", record("documents"))
    export.connection.execute(
        "SELECT reporting.clear()"
    )  # its views are in the way of whoever changes a column
    export.connection.execute(statement.encode())
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity) == ("database_matches_migrations", "ERROR")
    assert finding.counts == {told: 1}
    assert len(export.connection.execute(finding.sql.encode()).fetchall()) == 1
    assert examine(export, "kinships")["database_matches_migrations"].passed


def test_a_trigger_that_was_switched_off_is_named(export: Export) -> None:
    export.connection.execute("ALTER TABLE clinicians DISABLE TRIGGER seal_personal_data_on_insert")
    rule, finding = only_failing(export, "clinicians")
    assert (rule, finding.counts) == (
        "database_matches_migrations",
        {"trigger seal_personal_data_on_insert altered": 1},
    )


def test_a_constraint_that_was_dropped_is_named(export: Export) -> None:
    export.connection.execute("ALTER TABLE organizations DROP CONSTRAINT chk_organizations_kind")
    rule, finding = only_failing(export, "organizations")
    assert (rule, finding.counts) == (
        "database_matches_migrations",
        {"constraint chk_organizations_kind dropped": 1},
    )


def test_a_change_that_is_taken_back_is_none(export: Export) -> None:
    export.connection.execute("CREATE INDEX by_hand ON documents (version_date); DROP INDEX by_hand")
    assert examine(export, "documents")["database_matches_migrations"].passed


def test_an_import_into_an_empty_table_leaves_it_as_it_was(export: Export) -> None:
    """It drops and makes keys and indexes again."""
    export.load("documents", *(record("documents", str(n), label=f"label {n}") for n in range(2000)))
    assert examine(export, "documents")["database_matches_migrations"].passed


def test_each_migration_notes_what_it_leaves(empty: DatabaseSettings) -> None:
    def noted() -> set[tuple[str, ...]]:
        with database.connect(empty) as connection:
            rows = connection.execute("SELECT table_name, kind, name, definition FROM migrations.objects")
            present = connection.execute("SELECT * FROM migrations.current_objects()")
            found = set(rows.fetchall())
            assert found == set(present.fetchall())
            return found

    runner.upgrade(empty)
    first = noted()
    assert {row[0] for row in first} == set(TABLES)
    assert {row[1] for row in first} >= {"table", "column", "constraint", "index", "trigger"}
    runner.downgrade(empty, "0")
    runner.upgrade(empty)
    assert noted() == first
