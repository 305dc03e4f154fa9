"""All rules of a table at once: what they read, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline.checks import rules, scan
from daybreak_pipeline.checks.findings import Tally
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record


@pytest.fixture
def own(session: Connection, tmp_path: Path) -> Export:
    """An export that is imported into a database of the test's own, and committed."""
    export = Export(tmp_path, session)
    export.load("documents", record("documents"))
    session.commit()
    return export


def test_an_import_that_ends_meanwhile_is_no_fault(
    own: Export, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(
        connection: Connection, table: str, faults: Sequence[scan.Fault], *, imported: bool
    ) -> tuple[int, list[Tally]]:
        with psycopg.connect(migrated.conninfo()) as other:
            other.execute("UPDATE documents SET _import_id = _import_id + 1")
        return scan.scan(connection, table, faults, imported=imported)

    catalog = catalogs.read(own.connection, "documents")
    own.connection.commit()
    monkeypatch.setattr(rules, "scan", late)
    assert rules.examine(own.connection, catalog)["row_accounting"].passed
    monkeypatch.undo()
    assert not rules.examine(own.connection, catalog)["row_accounting"].passed


def test_checks_cannot_write(own: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def writing(
        connection: Connection, table: str, faults: Sequence[scan.Fault], *, imported: bool
    ) -> tuple[int, list[Tally]]:
        connection.execute("DELETE FROM documents")
        return scan.scan(connection, table, faults, imported=imported)

    catalog = catalogs.read(own.connection, "documents")
    own.connection.commit()
    monkeypatch.setattr(rules, "scan", writing)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        rules.examine(own.connection, catalog)


def test_only_the_rules_that_are_wanted_are_applied(own: Export) -> None:
    catalog = catalogs.read(own.connection, "documents")
    assert list(rules.examine(own.connection, catalog, {"timestamps", "orphans"})) == [
        "orphans",
        "timestamps",
    ]


def test_a_table_that_is_gone_is_named(own: Export) -> None:
    own.connection.execute("DROP TABLE documents CASCADE")
    catalog = catalogs.read(own.connection, "documents")
    with pytest.raises(UsageError, match="documents: the table is missing"):
        rules.examine(own.connection, catalog)
