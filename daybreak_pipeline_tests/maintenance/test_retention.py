"""What is old goes, and nothing that the status, a check, a row's story or a later import needs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer import ledger
from daybreak_pipeline.importer.run import ImportFailedError, replay_table
from daybreak_pipeline.maintenance import retention
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.maintenance.giving_way import GivesWayError, Watch, watching
from daybreak_pipeline.operations import status
from daybreak_pipeline.operations.row_history import trace
from daybreak_pipeline.report import queries
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record, told, uuid

TABLE = "referral_members"
TIMES = {
    "ingest.imports": ("started_at", "finished_at"),
    "ingest.check_results": ("at",),
    "ingest.quarantine": ("first_seen_at", "last_seen_at", "resolved_at"),
    "ingest.field_issues": ("first_seen_at", "resolved_at"),
}


def years_pass(connection: Connection, years: int = 10) -> None:
    """Make everything that was ever recorded so many years older."""
    for table, columns in TIMES.items():
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = {0} - make_interval(years => %(years)s)").format(sql.Identifier(column))
            for column in columns
        )
        target = sql.Identifier(*table.split("."))
        connection.execute(sql.SQL("UPDATE {} SET {}").format(target, changes), {"years": years})
    connection.commit()


def prune(worker: Connection, watch: Watch, *, dry_run: bool = False) -> dict[str, Freed]:
    return {freed.step: freed for freed in retention.prune(worker, watch, dry_run=dry_run)}


def deleted(freed: dict[str, Freed]) -> dict[str, int]:
    return {step: one.rows for step, one in freed.items() if one.rows}


def checked(connection: Connection, table: str, check: str, *results: bool) -> None:
    """Add results of a check, the oldest first, a day apart, the last of them now."""
    for age, passed in zip(range(len(results) - 1, -1, -1), results, strict=True):
        connection.execute(
            "INSERT INTO ingest.check_results (table_name, check_name, passed, severity, failed, total, description, at) "
            "VALUES (%s, %s, %s, 'WARN', 0, 0, '', now() - make_interval(days => %s))",
            [table, check, passed, age],
        )
    connection.commit()


@pytest.fixture
def lived(export: Export) -> Export:
    """An export with a history: healed and waiting records, a repaired value, looks in vain, failures, files twice."""
    export.load(TABLE, record(TABLE, "late"))
    export.add_parents()
    export.load("clinicians", record("clinicians", "x", address="12 Any Street"))
    export.load("clinicians", record("clinicians", "x", address="{}", updated_at="2025-07-01T00:00:00"))
    first = [record("documents", "a"), record("documents", "b", label=None)]
    export.load("documents", *first)
    export.load("documents", record("documents", "a", label="later", updated_at="2025-07-01T00:00:00"))
    export.load("documents", *first)
    for _ in range(3):
        export.load(TABLE)
        export.load("documents")
    export.write_bytes("contracts", b"nothing that is a header\n")
    for _ in range(2):
        with pytest.raises(ImportFailedError):
            export.load("contracts")
    replay_table(export.connection, TABLE)
    export.connection.commit()
    return export


def seen(export: Export) -> dict[str, Any]:
    """Return all that people and programs are told of the tables, but for ages."""
    connection = export.connection
    facts = queries.read(connection)
    found = {
        "status": [{**vars(one), "age_seconds": None} for one in status.read(connection)],
        "checks": {name: examine(export, name) for name in TABLES},
        "newest": ledger.newest(connection),
        "report": [vars(one) for one in facts.tables],
        "contents": {name: ledger.last_content(connection, name) for name in TABLES},
        "origins": {
            name: [
                line
                for (row_id,) in connection.execute(
                    sql.SQL("SELECT id::text FROM {} ORDER BY 1").format(sql.Identifier(name))
                ).fetchall()
                for line in trace(connection, name, row_id)
                if not line.startswith("field issue, resolved")
            ]
            for name in TABLES
        },
    }
    connection.rollback()
    return found


# --- What stays ----------------------------------------------------------------------------------------


def test_status_checks_report_and_stories_are_the_same_afterwards(
    lived: Export, worker: Connection, watch: Watch
) -> None:
    for name in TABLES:
        checked(lived.connection, name, "orphans", True, False, True, False, False)
    years_pass(lived.connection)
    before = seen(lived)
    gone = deleted(prune(worker, watch))
    assert gone["ingest.imports"] >= 4
    assert gone["ingest.check_results"] == 2 * len(TABLES)
    assert gone["ingest.field_issues"] == 1
    assert seen(lived) == before


@pytest.mark.parametrize("pruned", [False, True])
def test_a_later_import_does_the_same_with_and_without_the_old_rows(
    lived: Export, worker: Connection, watch: Watch, pruned: bool
) -> None:
    years_pass(lived.connection)
    if pruned:
        assert deleted(prune(worker, watch))
    assert lived.load(TABLE) == {"status": "skipped"}
    assert lived.load("documents") == {"status": "skipped"}
    # The content of years ago at the row's own place in time: known from the ledger, so not a correction.
    known = [record("documents", "a"), record("documents", "b", label=None)]
    assert lived.load("documents", *known, full=True) == {
        "status": "imported",
        "read": 2,
        "stale": 1,
        "quarantined": 1,
    }
    lived.write("contracts", record("contracts", "contract"), record("contracts", "second"))
    assert lived.load("contracts") == {"status": "imported", "read": 2, "inserted": 1, "unchanged": 1}
    lived.write("documents", record("documents", "b", label="good"))
    assert lived.load("documents")["inserted"] == 1
    assert told(replay_table(lived.connection, TABLE)) == {"status": "imported"}
    lived.connection.commit()


def test_who_was_alerted_is_kept_as_long_as_results_of_checks(
    export: Export, worker: Connection, watch: Watch
) -> None:
    for months in (0, 23, 25):
        export.connection.execute(
            "INSERT INTO ingest.alerts (at, message) VALUES (now() - make_interval(months => %s), '')",
            [months],
        )
    export.connection.commit()
    assert deleted(prune(worker, watch)) == {"ingest.alerts": 1}
    assert database.value(export.connection, "SELECT count(*) FROM ingest.alerts") == 2


def test_open_quarantine_and_open_issues_are_never_deleted(
    export: Export, worker: Connection, watch: Watch
) -> None:
    export.load("clinicians", record("clinicians", "x", address="12 Any Street"))
    export.load("documents", record("documents", "b", label=None))
    export.connection.commit()
    years_pass(export.connection, 100)
    prune(worker, watch)
    assert len(export.refused("documents")) == 1
    assert len(export.issues("clinicians")) == 1


def test_a_resolved_record_goes_unless_a_row_was_loaded_from_it(
    export: Export, worker: Connection, watch: Watch
) -> None:
    export.load(TABLE, record(TABLE, "late"))
    export.add_parents()
    export.load(TABLE)
    export.load("documents", record("documents", "b", label=None), record("documents", "a"))
    export.load("documents", record("documents", "b"))
    export.connection.commit()
    years_pass(export.connection)
    assert deleted(prune(worker, watch))["ingest.quarantine"] == 1
    (left,) = export.connection.execute("SELECT table_name FROM ingest.quarantine").fetchall()
    assert left == (TABLE,)
    export.connection.execute("DELETE FROM referral_members")
    export.connection.commit()
    assert deleted(prune(worker, watch))["ingest.quarantine"] == 1


def test_a_table_that_never_loaded_keeps_its_failures(
    export: Export, worker: Connection, watch: Watch
) -> None:
    export.write_bytes("contracts", b"nothing that is a header\n")
    with pytest.raises(ImportFailedError):
        export.load("contracts")
    export.connection.commit()
    years_pass(export.connection)
    before = seen(export)
    assert deleted(prune(worker, watch)) == {}
    assert seen(export) == before


# --- What goes -----------------------------------------------------------------------------------------


def test_young_rows_stay_and_the_periods_are_settings(
    lived: Export, worker: Connection, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deleted(prune(worker, watch)) == {}
    years_pass(lived.connection, 3)
    monkeypatch.setenv("DAYBREAK_LEDGER_MONTHS", "48")
    assert "ingest.imports" not in deleted(prune(worker, watch))
    monkeypatch.setenv("DAYBREAK_LEDGER_MONTHS", "30")
    assert deleted(prune(worker, watch))["ingest.imports"]


def test_an_empty_database_has_nothing_to_delete(worker: Connection, watch: Watch) -> None:
    freed = prune(worker, watch)
    assert deleted(freed) == {}
    assert {one.bytes for one in freed.values()} == {0}


def test_a_dry_run_counts_the_same_and_deletes_nothing(
    lived: Export, worker: Connection, watch: Watch
) -> None:
    years_pass(lived.connection)
    foretold = prune(worker, watch, dry_run=True)
    assert deleted(foretold) == deleted(prune(worker, watch, dry_run=True)) != {}
    done = prune(worker, watch)
    assert done == foretold
    assert all(one.bytes > 0 for one in done.values() if one.rows)
    assert deleted(prune(worker, watch)) == {}


def test_old_months_of_the_audit_trail_go_and_the_trail_says_so(worker: Connection, watch: Watch) -> None:
    worker.execute(
        "INSERT INTO audit.changes (changed_at, table_name, action, row_id) VALUES ('2010-01-05', 'documents', 'INSERT', 'x')"
    )
    worker.execute("SELECT audit.ensure_partitions()")
    before = prune(worker, watch, dry_run=True)["audit.changes"]
    done = prune(worker, watch)["audit.changes"]
    assert (before.names, done.names, done.rows) == (("changes_2010_01",), ("changes_2010_01",), 1)
    assert before.bytes == done.bytes > 0
    assert database.value(worker, "SELECT rows_deleted FROM audit.changes WHERE action = 'RETENTION'") == 1


# --- Killed, twice at once, in the way, without the right ---------------------------------------------------


def test_what_a_killed_run_has_deleted_stays_deleted_and_the_next_goes_on(
    migrated: DatabaseSettings, session: Connection, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    checked(session, "documents", "orphans", *[True] * 95)
    years_pass(session)
    left = "SELECT count(*) FROM ingest.check_results"
    with database.connect(migrated, autocommit=True) as killed:
        pid = killed.info.backend_pid

        class Killing(Watch):
            asked = 0

            def check(self) -> None:
                self.asked += 1
                if self.asked == 5:
                    watch.connection.execute("SELECT pg_terminate_backend(%s)", [pid])

        with pytest.raises(psycopg.OperationalError):
            prune(killed, Killing(watch.connection))
    between = database.value(watch.connection, left)
    assert 1 < between < 95
    with database.connect(migrated, autocommit=True) as second:
        assert deleted(prune(second, watch)) == {"ingest.check_results": between - 1}


def test_two_at_once_delete_every_row_once(
    migrated: DatabaseSettings, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 7)
    checked(session, "documents", "orphans", *[True] * 120)
    years_pass(session)

    def once(_: int) -> int:
        with database.connect(migrated, autocommit=True) as connection, watching(migrated) as own:
            return prune(connection, own)["ingest.check_results"].rows

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(once, range(2))) == 119


def test_an_import_that_runs_comes_first(lived: Export, worker: Connection, watch: Watch) -> None:
    years_pass(lived.connection)
    before = database.value(watch.connection, "SELECT count(*) FROM ingest.imports")
    lived.connection.execute("SELECT FROM ingest.locks WHERE name = 'import documents' FOR UPDATE")
    with pytest.raises(GivesWayError, match="an import of documents is running, and maintenance gives way"):
        prune(worker, watch)
    assert database.value(watch.connection, "SELECT count(*) FROM ingest.imports") == before
    lived.connection.rollback()
    assert deleted(prune(worker, watch))


def test_a_role_without_the_right_gets_an_error_and_nothing_is_lost(
    lived: Export, migrated: DatabaseSettings, worker: Connection, watch: Watch
) -> None:
    years_pass(lived.connection)
    worker.execute("CREATE ROLE retention_guest")
    try:
        worker.execute("GRANT USAGE ON SCHEMA ingest, audit TO retention_guest")
        worker.execute("GRANT SELECT ON ALL TABLES IN SCHEMA ingest, audit TO retention_guest")
        with database.connect(migrated, autocommit=True) as guest:
            guest.execute("SET ROLE retention_guest")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                prune(guest, watch)
    finally:
        worker.execute("DROP OWNED BY retention_guest")
        worker.execute("DROP ROLE retention_guest")
    assert deleted(prune(worker, watch))


def test_the_id_of_a_row_that_fits_no_table_is_no_obstacle(
    export: Export, worker: Connection, watch: Watch
) -> None:
    export.load("documents", record("documents", "a"), {**record("documents", "b"), "id": "not-an-id"})
    export.connection.execute(
        "UPDATE ingest.quarantine SET row_id = 'not-an-id', resolved_at = now(), resolution = 'absent', import_id = -1"
    )
    export.connection.commit()
    years_pass(export.connection)
    assert deleted(prune(worker, watch))["ingest.quarantine"] == 1
    assert uuid("a") in "".join(str(row) for row in export.rows("documents", "id"))
