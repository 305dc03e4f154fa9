"""What is wrong around the tables, how it shows, and that it is forgotten when it is over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresRunStorage

from daybreak_pipeline import settings
from daybreak_pipeline.database import Connection
from daybreak_pipeline.definitions import defs
from daybreak_pipeline.operations import dagster_records, notifications
from daybreak_pipeline.operations.dagster_records import Ended
from daybreak_pipeline.orchestration import instance, jobs, process_locks
from daybreak_pipeline.report import store, troubles
from daybreak_pipeline.schema import processes, runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.report.pages import checked, imported


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))


def watched(connection: Connection) -> list[str]:
    found = [trouble.what for trouble in troubles.watch(connection)]
    connection.commit()
    return found


def process(connection: Connection, kind: str, *, began: int, seen: int) -> None:
    """Register a process of another machine: minutes ago."""
    connection.execute(
        "INSERT INTO ingest.processes (kind, host, pid, started_at, seen_at) "
        "VALUES (%s, 'far', 1, now() - make_interval(mins => %s), now() - make_interval(mins => %s))",
        [kind, began, seen],
    )
    connection.commit()


def test_nothing_is_wrong_where_no_up_runs(session: Connection) -> None:
    process(session, "sensor", began=60, seen=50)
    assert watched(session) == []


def test_a_sensor_that_does_not_look_is_noticed_once_it_had_time_to(session: Connection) -> None:
    process(session, "web", began=2, seen=0)
    assert watched(session) == []
    process(session, "sensor", began=60, seen=30)  # that of an earlier up
    assert watched(session) == []
    session.execute("UPDATE ingest.processes SET started_at = now() - interval '1 hour' WHERE kind = 'web'")
    assert watched(session) == ["changed_files"]
    processes.say_alive(session, "sensor")
    assert watched(session) == []


def test_an_up_that_died_is_noticed_until_the_next_one_starts(
    session: Connection, migrated: DatabaseSettings
) -> None:
    process(session, "web", began=60, seen=3)
    (found,) = troubles.watch(session)
    assert (found.clause, found.command) == ("nothing is imported by itself", "daybreak up")
    session.commit()
    with process_locks.held(migrated, "web"):
        assert watched(session) == []
    assert watched(session) == []


def test_missing_migrations_are_counted_and_newer_ones_are_said(session: Connection) -> None:
    newest = int(runner.newest_revision())
    for applied, clause in (
        (newest, None),
        (newest - 1, "a migration is not applied"),
        (newest - 3, "3 migrations are not applied"),
        (newest + 1, "the database is newer than this program"),
    ):
        session.execute("UPDATE migrations.alembic_version SET version_num = %s", [f"{applied:03}"])
        assert [(one.clause, one.refuses) for one in troubles.schema(session)] == [(clause, True)] * bool(
            clause
        )


# --- Runs -------------------------------------------------------------------------------------------------

AT = datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize(
    ("job", "clause"),
    [
        (dagster_records.IMPORT, "the last import failed before it began"),
        (dagster_records.CHECK, "the last run of the checks failed"),
        (dagster_records.REPORT, "the last report could not be made"),
    ],
)
def test_a_failed_run_that_left_nothing_is_said_until_something_went_well_after_it(
    session: Connection, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, job: str, clause: str
) -> None:
    run = Ended(job, "12345678-run", failed=True, at=AT)
    monkeypatch.setattr(dagster_records, "last_ended", lambda _: [run])
    imported(session, "documents", hours_ago=2)
    checked(session, "documents", "orphans", hours_ago=2)
    (found,) = troubles.runs(session, migrated)
    assert found.clause == clause
    assert "see the run 12345678 in the web UI, at /runs/12345678-run" in found.sentence
    assert list(troubles.runs(session, migrated, of_reports=False)) == [found] * (
        job != dagster_records.REPORT
    )
    imported(session, "documents", hours_ago=0.5)
    checked(session, "documents", "orphans", hours_ago=0.5)
    store.write(store.directory() / store.LATEST, "a report")
    assert list(troubles.runs(session, migrated)) == []


def test_a_run_that_failed_for_its_data_says_so_elsewhere(
    session: Connection, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Ended(dagster_records.IMPORT, "the run", failed=True, at=datetime.now(UTC))
    monkeypatch.setattr(dagster_records, "last_ended", lambda _: [run])
    imported(session, "documents", status="failed", error="documents: it is empty")
    session.execute("UPDATE ingest.imports SET run_id = 'the run', finished_at = now() - interval '1 min'")
    assert list(troubles.runs(session, migrated)) == []


@pytest.fixture
def _own_dagster_database(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with databases.copy() as storage:
        monkeypatch.setenv("DAYBREAK_DAGSTER_DB", storage.name)
        yield


@pytest.mark.usefixtures("_own_dagster_database")
def test_the_last_run_of_a_job_is_known_where_the_records_are_ours(
    migrated: DatabaseSettings,
) -> None:
    """The columns are Dagster's own: an upgrade that renames them is noticed here."""
    assert dagster_records.last_ended(migrated) == []
    # An instance would stay known to Dagster in this process after it is closed.
    records = PostgresRunStorage.create_clean_storage(
        instance.storage_url(settings.dagster_database(migrated)), should_autocreate_tables=True
    )
    ended = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    runs = [dg.DagsterRun(job_name=jobs.check_all.name, status=status) for status in ended]
    for run in runs:
        records.add_run(run)
    records.dispose()
    assert dagster_records.last_ended(migrated) == []  # nobody has said whose they are
    instance.claim(migrated)
    (found,) = dagster_records.last_ended(migrated)
    assert (found.job, found.run_id, found.failed) == (dagster_records.CHECK, runs[1].run_id, True)
    assert abs(found.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert dagster_records.last_ended(replace(migrated, name="another")) == []


# --- Alerts -----------------------------------------------------------------------------------------------


def test_a_trouble_is_told_once_and_again_after_it_was_over(
    session: Connection, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    told: list[str] = []

    def deliver(text: str, _notifier: object) -> list[str]:
        told.append(text)
        return []

    monkeypatch.setattr(notifications, "deliver", deliver)
    cursor: str | None = None
    reports = 0

    def tick() -> int:
        nonlocal cursor, reports
        with dg.build_sensor_context(cursor=cursor, repository_def=defs.get_repository_def()) as context:
            found = defs.resolve_sensor_def("tell_of_trouble").evaluate_tick(context)
        cursor = found.cursor
        reports += len(found.run_requests or [])
        return len(told)

    def migration(number: int) -> None:
        session.execute("UPDATE migrations.alembic_version SET version_num = %s", [f"{number:03}"])
        session.commit()

    newest = int(runner.newest_revision())
    assert tick() == 0
    migration(newest - 1)
    assert [tick(), tick()] == [1, 1]
    assert told[0].startswith("Daybreak: migrations: the database has migration ")
    assert json.loads(cursor or "") == ["WARN  migrations"]
    migration(newest)
    assert tick() == 1
    migration(newest - 1)
    assert tick() == 2
    assert reports == 3  # it began, ended, and began again
    kept = session.execute("SELECT message FROM ingest.alerts ORDER BY id").fetchall()
    assert [message for (message,) in kept] == told
    session.commit()
    migration(newest)
    monkeypatch.setenv("DB_PORT", "9")
    assert (tick(), reports) == (2, 3)
