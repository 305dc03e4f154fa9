"""Migration 019: the source's clock comes to rows that are there, without rewriting them, and goes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, uuid

pytestmark = pytest.mark.slow

BEFORE = "018"
LABEL = "SELECT label, updated_at FROM documents"


def rows(settings: DatabaseSettings, query: str) -> list[tuple[Any, ...]]:
    with database.connect(settings, key=KEY) as connection:
        return connection.execute(query.encode()).fetchall()


def test_rows_that_are_there_are_not_rewritten_and_go_by_their_time(
    migrated: DatabaseSettings, tmp_path: Path
) -> None:
    runner.downgrade(migrated, BEFORE)
    rows(migrated, f"INSERT INTO documents (id, label) VALUES ('{uuid('documents')}', 'kept') RETURNING 1")  # noqa: S608 - words of this test
    before = rows(migrated, "SELECT pg_relation_filenode('documents'), xmin::text FROM documents")
    runner.upgrade(migrated)
    assert rows(migrated, "SELECT pg_relation_filenode('documents'), xmin::text FROM documents") == before
    assert rows(migrated, "SELECT _source_updated_at::text, _edited_at FROM documents") == [
        ("-infinity", None)
    ]
    with database.connect(migrated, key=KEY) as connection:
        Export(tmp_path, connection).write("documents", record("documents", label="old"))
        assert import_table(connection, "documents", tmp_path).accounting.stale == 1
        connection.execute("INSERT INTO documents (label) VALUES ('new')")
    assert rows(migrated, "SELECT label FROM documents WHERE _source_updated_at IS NULL") == [("new",)]


def test_taking_it_back_leaves_the_rows_and_their_triggers(
    export: Export, migrated: DatabaseSettings
) -> None:
    export.load(
        "documents",
        record("documents", label="loaded"),
        record("documents", "gone", _fivetran_deleted="true"),
    )
    export.connection.commit()
    before = rows(migrated, LABEL)
    runner.downgrade(migrated, BEFORE)
    assert rows(migrated, LABEL) == before
    assert rows(migrated, "UPDATE documents SET label = 'edited' RETURNING updated_at > '2026-01-01'") == [
        (True,)
    ]
    assert rows(migrated, "SELECT to_regclass('ingest.tombstones'), to_regclass('ingest.missing_rows')") == [
        (None, None)
    ]
    runner.upgrade(migrated)
    assert rows(migrated, "SELECT label, _source_updated_at::text FROM documents") == [
        ("edited", "-infinity")
    ]


def test_every_table_has_the_two_columns_and_a_place_for_its_tombstones(connection: Connection) -> None:
    for name in TABLES:
        target = sql.Identifier(name)
        assert connection.execute(
            sql.SQL("SELECT count(_source_updated_at), count(_edited_at) FROM {}").format(target)
        ).fetchone() == (0, 0)
    partitions = connection.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ingest.tombstones'::regclass"
    ).fetchone()
    # One for each table whose deletions are flagged, and one for tables to come.
    assert partitions == (
        sum(name not in {"org_contracts", "clinician_availabilities"} for name in TABLES) + 1,
    )


def test_the_audit_trail_does_not_tell_of_the_importers_columns(export: Export) -> None:
    export.load("documents", record("documents", label="loaded"))
    export.connection.execute("UPDATE documents SET label = 'edited'")
    export.connection.commit()
    (change,) = [
        found
        for found in audit.changes(export.connection, table="documents", row_id=uuid("documents"))
        if "UPDATE" in found.describe()
    ]
    assert "label" in change.describe()
    assert "_edited_at" not in change.describe()
