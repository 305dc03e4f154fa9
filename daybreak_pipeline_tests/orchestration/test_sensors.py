"""The sensor that imports changed files, tick by tick, against a real instance and a real ledger.

That the daemon evaluates it, and that a slowly copied file is waited for, ``test_up_imports`` shows.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import psycopg
import pytest
import sqlalchemy

from daybreak_pipeline import settings
from daybreak_pipeline.definitions import defs
from daybreak_pipeline.importer import find, ledger
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.importer.run import ImportFailedError, ImportPreventedError
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.operations.export_watch import Look, Seen, State
from daybreak_pipeline.orchestration import process_locks, run_requests, runs, sensors
from daybreak_pipeline.orchestration.assets import imported_tables
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record

ORGANIZATIONS = {"organizations", "org_contracts", "referrals", "referral_members", "memberships"}
"""The table and all that depend on it."""


class Ticks:
    """The sensor, evaluated as the daemon does: what it leaves in the cursor is all that it keeps."""

    def __init__(self, dagster: dg.DagsterInstance) -> None:
        self.dagster = dagster
        self.cursor: str | None = None

    def tick(self) -> dg.SensorEvaluationContext:
        return dg.build_sensor_context(
            instance=self.dagster, cursor=self.cursor, repository_def=defs.get_repository_def()
        )

    def once(self) -> tuple[list[dg.RunRequest], str]:
        """Evaluate once, and return what was asked for and why nothing was."""
        with self.tick() as context:
            found = defs.resolve_sensor_def("changed_files").evaluate_tick(context)
        self.cursor = found.cursor
        return list(found.run_requests or []), found.skip_message or ""

    def twice(self) -> tuple[list[dg.RunRequest], str]:
        first, _ = self.once()
        assert first == [], "a file was taken at first sight"
        return self.once()


@pytest.fixture
def ticks(migrated: DatabaseSettings, export: Export, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticks]:
    """The sensor over an export of five tables, of which nothing is imported yet."""
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(export.directory))
    monkeypatch.setattr(settings, "settle_seconds", lambda: 0)
    for table in ("organizations", "contracts"):
        export.write(table, record(table, table.removesuffix("s").replace("organization", "school")))
    for table in ("org_contracts", "memberships", "documents"):
        export.write(table, record(table))
    with dg.DagsterInstance.ephemeral() as dagster:
        yield Ticks(dagster)


def tables(request: dg.RunRequest) -> set[str]:
    return {key.path[-1] for key in request.asset_selection or () if len(key.path) == 1}


def run(ticks: Ticks, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Do what the daemon does with a request."""
    return defs.resolve_job_def("import_all").execute_in_process(
        instance=ticks.dagster,
        run_config=request.run_config,
        asset_selection=list(request.asset_selection or ()),
        raise_on_error=False,
        tags=dict(request.tags) | {"dagster/run_key": request.run_key or ""},
    )


def imported(export: Export) -> list[tuple[str, str]]:
    export.connection.rollback()
    return [
        (str(name), str(status))
        for name, status in export.connection.execute(
            "SELECT table_name, status FROM ingest.imports ORDER BY id"
        )
    ]


def all_known(ticks: Ticks, export: Export) -> None:
    """Import everything that is there by hand, and let the sensor see that."""
    for name in ("organizations", "contracts", "org_contracts", "memberships", "documents"):
        export.load(name)
    export.connection.commit()
    assert ticks.twice() == ([], f"nothing has changed in {export.directory}")


def test_everything_new_is_one_run_of_it_with_its_checks_and_no_other(ticks: Ticks, export: Export) -> None:
    (request,), _ = ticks.twice()
    there = {"organizations", "contracts", "org_contracts", "memberships", "documents"}
    assert tables(request) == there
    result = run(ticks, request)
    assert result.success
    steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert steps == {"observe_export", *there, *(f"check_{name}" for name in there)}
    assert {evaluation.asset_key.path[-1] for evaluation in result.get_asset_check_evaluations()} == there
    assert {name for name, _ in imported(export)} == there


def test_a_changed_file_is_asked_for_with_what_depends_on_it(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    export.write("organizations", record("organizations", "school", name="Another School"))
    (request,), _ = ticks.twice()
    assert tables(request) == {"organizations", "org_contracts", "memberships"}
    assert tables(request) == ORGANIZATIONS & set(TABLES) - {
        "referrals",
        "referral_members",
    }  # no files of these
    assert request.tags["daybreak/started_by"] == "sensor"
    assert request.tags["daybreak/export"] == export.directory.as_uri()
    content = {"organizations": Source.at(export.directory / "orgs.csv").sha256()}
    assert request.tags["daybreak/content"] == run_requests.content_tag(content)["daybreak/content"]
    assert request.tags["daybreak/content"].endswith(" (1 file)")


def test_one_content_is_asked_for_once_even_if_its_import_fails(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    export.write_bytes("documents", b"id\n")  # lacks a required column
    (request,), _ = ticks.twice()
    assert not run(ticks, request).success
    assert imported(export)[-1] == ("documents", "failed")
    for _ in range(3):
        assert ticks.once() == ([], f"nothing has changed in {export.directory}")


def test_a_restarted_sensor_knows_what_it_asked_for(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    ticks.once()
    again = Ticks(ticks.dagster)
    again.cursor = ticks.cursor
    (request,), _ = again.once()  # the look before the restart counts
    assert tables(request) == {"documents"}
    third = Ticks(ticks.dagster)
    third.cursor = again.cursor
    assert third.once()[0] == third.once()[0] == []


def test_a_lost_cursor_asks_under_the_same_key_so_that_dagster_drops_it(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    ticks.cursor = None
    (again,), _ = ticks.twice()
    assert again.run_key == request.run_key
    assert tables(again) == {"documents"}


def test_a_content_that_comes_back_is_imported_again(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    keys = set()
    for label in ("one", "two", "one", "two"):
        export.write("documents", record("documents", label=label))
        (request,), _ = ticks.twice()
        assert run(ticks, request).success
        keys.add(request.run_key)
    assert len(keys) == 4
    assert imported(export)[-4:] == [("documents", "imported")] * 4


def test_what_was_imported_by_hand_is_not_asked_for(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    export.load("documents")
    export.connection.commit()
    assert ticks.twice() == ([], f"nothing has changed in {export.directory}")
    export.write("documents", record("documents", label="newer_label"))
    assert len(ticks.twice()[0]) == 1


@pytest.mark.parametrize("bad", [b"", b"id\n", None], ids=["empty", "broken", "absent"])
@pytest.mark.parametrize("by", ["the sensor", "hand"])
def test_a_file_that_was_bad_for_a_while_is_looked_at_again_when_it_is_as_before(
    ticks: Ticks, export: Export, bad: bytes | None, by: str
) -> None:
    all_known(ticks, export)
    content = export.directory / "orgs.csv"
    good = content.read_bytes()
    content.unlink() if bad is None else content.write_bytes(bad)
    requests = ticks.twice()[0] if by == "the sensor" else []
    assert all(not run(ticks, request).success for request in requests)
    if by == "hand" or bad is None:
        with suppress(ImportFailedError):
            export.load("organizations")
        export.connection.commit()
    content.write_bytes(good)
    (request,), _ = ticks.twice()
    assert "organizations" in tables(request)
    assert run(ticks, request).success
    assert ("organizations", "skipped") in imported(export)
    for _ in range(3):
        assert ticks.once() == ([], f"nothing has changed in {export.directory}")


def test_an_absent_file_keeps_nothing_else_from_being_imported_and_is_not_asked_for(
    ticks: Ticks, export: Export
) -> None:
    all_known(ticks, export)
    (export.directory / "orgs.csv").unlink()
    export.load("organizations")
    export.connection.commit()
    export.write("memberships", record("memberships"), record("memberships", "second"))
    (request,), _ = ticks.twice()
    assert tables(request) == {"memberships"}
    assert run(ticks, request).success
    for _ in range(3):
        assert ticks.once() == ([], f"nothing has changed in {export.directory}")


def test_a_touched_file_is_not_imported_again(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    os.utime(export.directory / "orgs.csv", (1, 1))
    assert ticks.twice() == ([], f"nothing has changed in {export.directory}")


def test_a_dependent_that_is_still_being_written_is_left_out(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    export.write("organizations", record("organizations", "school", name="Another School"))
    ticks.once()
    export.write("memberships", record("memberships"), record("memberships", "second"))
    (request,), _ = ticks.once()
    assert tables(request) == {"organizations", "org_contracts"}


def test_it_says_what_it_waits_for(ticks: Ticks) -> None:
    requests, reason = ticks.once()
    assert requests == []
    # The first of them, and how many more there are.
    assert reason == (
        "waits until nothing is written any more to orgs.csv (0.0 MB), contracts.csv (0.0 MB), "
        "org_contracts.csv (0.0 MB) and 2 more"
    )


def started(
    ticks: Ticks, job: str, selection: list[str] | None, status: dg.DagsterRunStatus, **tags: str
) -> str:
    """Make a run that some other process is at."""
    created = ticks.dagster.create_run_for_job(
        defs.resolve_job_def(job),
        status=status,
        tags=tags,
        asset_selection=None if selection is None else frozenset(dg.AssetKey(name) for name in selection),
    )
    return created.run_id


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
@pytest.mark.parametrize("selection", [None, ["memberships"]], ids=["all", "a dependent"])
def test_no_second_run_piles_up_on_one_of_the_same_tables(
    ticks: Ticks, export: Export, status: dg.DagsterRunStatus, selection: list[str] | None
) -> None:
    all_known(ticks, export)
    export.write("organizations", record("organizations", "school", name="Another School"))
    run_id = started(ticks, "import_all", selection, status)
    requests, reason = ticks.twice()
    assert requests == []
    assert reason == f"organizations changed; waits for the end of run {run_id[:8]}"
    ticks.dagster.delete_run(run_id)
    assert len(ticks.once()[0]) == 1


def test_every_run_that_has_not_ended_is_waited_for() -> None:
    """A queued one, too: Dagster makes none in a test without a process that has its code."""
    ended = {"SUCCESS", "FAILURE", "CANCELED", "MANAGED"}
    assert {status.name for status in sensors._ACTIVE} == {
        status.name for status in dg.DagsterRunStatus
    } - ended


def test_a_run_of_other_tables_or_of_checks_holds_nothing_back(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    started(ticks, "import_all", ["documents"], dg.DagsterRunStatus.STARTED)
    started(ticks, "check_all", None, dg.DagsterRunStatus.STARTED)
    export.write("organizations", record("organizations", "school", name="Another School"))
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    assert tables(request) == {"organizations", "org_contracts", "memberships"}


@pytest.mark.parametrize("selection", [None, []])
def test_a_command_at_work_is_waited_for_and_a_killed_one_is_not(
    ticks: Ticks, export: Export, migrated: DatabaseSettings, selection: list[str] | None
) -> None:
    """Dagster notes of a job that runs in its caller's process, whole, that an empty set of assets was chosen."""
    all_known(ticks, export)
    of_a_command = {"daybreak/started_by": "command line"}
    started(ticks, "import_all", selection, dg.DagsterRunStatus.STARTED, **of_a_command)
    export.write("documents", record("documents", label="new_label"))
    with process_locks.held(migrated, "command line"):
        requests, reason = ticks.twice()
        assert requests == []
        assert "waits for the end of run" in reason
    assert len(ticks.once()[0]) == 1


def test_a_database_that_does_not_answer_is_a_reason_to_wait(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DB_PORT", "9")
        requests, reason = ticks.twice()
        assert requests == []
        assert reason.startswith("cannot ask for an import: cannot connect to the PostgreSQL server")
    assert len(ticks.once()[0]) == 1


def test_a_connection_that_is_lost_is_a_reason_to_wait(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_connection: object) -> dict[str, ledger.Newest]:
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "newest", lost)
        requests, reason = ticks.twice()
        assert (requests, reason.partition(" (")[0]) == (
            [],
            "cannot ask for an import: the connection to the server was lost",
        )
    assert len(ticks.once()[0]) == 1


@pytest.mark.parametrize(("path", "message"), [("nowhere", "there is no directory"), ("", "holds no file")])
def test_a_directory_that_is_missing_or_empty_is_a_reason_and_what_was_known_stays(
    ticks: Ticks, export: Export, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    all_known(ticks, export)
    known = ticks.cursor
    empty = export.directory / "empty"
    empty.mkdir()
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(empty / path))
    requests, reason = ticks.once()
    assert (requests, ticks.cursor) == ([], known)
    assert message in reason
    assert "\n" not in reason


def test_a_damaged_file_is_named_and_the_others_are_imported(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    (export.directory / "kinships.csv.gz").write_bytes(b"this is not gzip")
    assert ticks.twice() == (
        [],
        "cannot read kinships.csv.gz: it is damaged, or not what its suffix .csv.gz says: have it sent again",
    )
    export.write("documents", record("documents", label="new_label"))
    assert len(ticks.twice()[0]) == 1


def test_the_cursor_is_compact_json_of_table_hash_size_and_time(ticks: Ticks, export: Export) -> None:
    all_known(ticks, export)
    kept = json.loads(ticks.cursor or "")["tables"]["documents"]
    file = export.directory / "documents.csv"
    assert kept["sha256"] == kept["asked"] == Source.at(file).sha256()
    assert (kept["size"], kept["mtime"]) == (file.stat().st_size, int(file.stat().st_mtime))


def test_it_is_on_by_default_and_looks_often_enough() -> None:
    for name in ("changed_files", "tell_of_failed_runs", "tell_of_failed_checks"):
        sensor = defs.resolve_sensor_def(name)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert 1 <= (sensor.minimum_interval_seconds or 0) <= 15


# --- Imports that failed for a reason outside the data ----------------------------------------------------

FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fail()
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sensor's time: its last number."""
    times = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: times[-1])
    return times


def fail_with(export: Export, code: str, table: str = "documents") -> None:
    """Have the server refuse rows of a table with a code of its own; empty: no longer."""
    export.connection.execute(f"DROP TRIGGER IF EXISTS fail ON {table}; DROP FUNCTION IF EXISTS fail")
    if code:
        export.connection.execute(FAIL.format(code=code, table=table))
    export.connection.commit()


def asked_after(ticks: Ticks, clock: list[float], seconds: float) -> list[dg.RunRequest]:
    clock.append(clock[-1] + seconds)
    return ticks.once()[0]


def test_a_full_disk_is_asked_again_after_pauses_that_grow_and_then_forgotten(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    all_known(ticks, export)
    fail_with(export, "53100")
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    keys = {request.run_key}
    for pause in (60, 120, 240):
        assert not run(ticks, request).success
        requests, reason = ticks.once()
        assert requests == []
        assert reason.startswith(
            "the import of documents failed for a reason outside the data; asks again at "
        )
        assert asked_after(ticks, clock, pause - 1) == []
        (request,) = asked_after(ticks, clock, 1)
        assert tables(request) == {"documents"}
        keys.add(request.run_key)
    assert len(keys) == 4  # Dagster would drop a request that it knows
    fail_with(export, "")
    assert run(ticks, request).success
    assert ticks.once() == ([], f"nothing has changed in {export.directory}")
    assert asked_after(ticks, clock, 100_000) == []


def test_dagsters_own_records_are_outside_the_data_too(
    ticks: Ticks, export: Export, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception())  # noqa: EM101 - a statement

    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    with monkeypatch.context() as patch:
        patch.setattr(imported_tables, "import_table", gone)
        assert not run(ticks, request).success
    assert ticks.once()[0] == []
    assert len(asked_after(ticks, clock, 60)) == 1


def test_the_pause_is_never_longer_than_an_hour() -> None:
    look = Look(State("/export", {"documents": Seen("stamp", 1, 1, sha256="a", asked="a")}))
    for _ in range(2000):
        look = look.failed(["documents"], 0.0)
    assert look.postponed == {"documents": 3600.0}


@pytest.mark.parametrize("code", ["23514", "22P02", "54000"])
def test_what_failed_for_its_data_is_not_asked_again_until_it_changes(
    ticks: Ticks, export: Export, clock: list[float], code: str
) -> None:
    all_known(ticks, export)
    fail_with(export, code)
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    assert not run(ticks, request).success
    assert ticks.once() == ([], f"nothing has changed in {export.directory}")
    assert asked_after(ticks, clock, 100_000) == []
    export.write("documents", record("documents", label="newer_label"))
    ticks.once()
    assert len(asked_after(ticks, clock, 10)) == 1


def test_a_table_that_was_not_tried_is_asked_again_with_the_one_that_it_waits_for(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    all_known(ticks, export)
    fail_with(export, "53200", "organizations")
    export.write("organizations", record("organizations", "school", name="Another School"))
    export.write("memberships", record("memberships"), record("memberships", "second"))
    export.write_bytes("documents", b"id\n")  # its data is at fault
    (request,), _ = ticks.twice()
    assert not run(ticks, request).success
    ticks.once()
    fail_with(export, "", "organizations")
    (again,) = asked_after(ticks, clock, 60)
    assert tables(again) == {"organizations", "org_contracts", "memberships"}
    asked = {
        table: Source.at(export.directory / file).sha256()
        for table, file in (("organizations", "orgs.csv"), ("memberships", "memberships.csv"))
    }
    assert again.tags["daybreak/content"] == run_requests.content_tag(asked)["daybreak/content"]


def test_a_run_that_was_lost_is_asked_again_once_dagster_repeats_it_no_more(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    tags = {"dagster/run_key": request.run_key or ""}
    lost = started(ticks, "import_all", ["documents"], dg.DagsterRunStatus.STARTED, **tags)
    assert asked_after(ticks, clock, 10_000) == []
    given = ticks.dagster.get_run_by_id(lost)
    assert given
    ticks.dagster.report_run_failed(given)
    ticks.dagster.add_run_tags(lost, {"dagster/will_retry": "true"})
    assert asked_after(ticks, clock, 10_000) == []
    ticks.dagster.add_run_tags(lost, {"dagster/will_retry": "false"})
    assert ticks.once()[0] == []
    assert len(asked_after(ticks, clock, 60)) == 1


def test_a_run_that_a_person_cancelled_is_not_asked_again(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    tags = {"dagster/run_key": request.run_key or ""}
    started(ticks, "import_all", ["documents"], dg.DagsterRunStatus.CANCELED, **tags)
    assert ticks.once()[0] == []
    assert asked_after(ticks, clock, 100_000) == []


def test_nothing_is_asked_for_until_the_environment_is_right(
    ticks: Ticks, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_known(ticks, export)
    export.write("documents", record("documents", label="new_label"))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "newest_revision", lambda: "999")  # a migration that nobody has applied yet
        requests, reason = ticks.twice()
        assert requests == []
        assert "daybreak migrate up" in reason
    with monkeypatch.context() as patch:
        patch.setenv("ENCRYPTION_KEY", "ff" * 32)
        requests, reason = ticks.once()
        assert requests == []
        assert reason.startswith("cannot ask for an import: ")
    assert len(ticks.once()[0]) == 1


def fails_outside(export: Export, table: str = "documents") -> None:
    """Have an import that somebody else asked for fail although nothing is wrong with the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "find", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(ImportPreventedError):
            export.load(table)
    export.connection.commit()


def test_what_failed_for_others_for_a_reason_outside_the_data_is_asked_for_once_more(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    """The daily import failed on a full disk, say, and no file has changed."""
    all_known(ticks, export)
    fails_outside(export)
    assert asked_after(ticks, clock, 60) == []
    (request,) = asked_after(ticks, clock, 60)
    assert tables(request) == {"documents"}
    assert run(ticks, request).success
    assert imported(export)[-1] == ("documents", "skipped")
    assert ticks.once() == ([], f"nothing has changed in {export.directory}")
    assert asked_after(ticks, clock, 100_000) == []


def test_an_import_that_is_overdue_is_asked_for(ticks: Ticks, export: Export, clock: list[float]) -> None:
    """The daily import was refused before it wrote anything, say: a migration was missing."""
    all_known(ticks, export)
    export.connection.execute("UPDATE ingest.imports SET finished_at = finished_at - interval '27 hours'")
    export.connection.commit()
    assert asked_after(ticks, clock, 60) == []
    (request,) = asked_after(ticks, clock, 60)
    assert tables(request) == {"organizations", "contracts", "org_contracts", "memberships", "documents"}
    assert run(ticks, request).success
    assert asked_after(ticks, clock, 100_000) == []


def test_a_daily_import_that_was_refused_is_asked_for_once_more(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    """It began while the server was away, say, and left nothing in the ledger."""
    all_known(ticks, export)
    elsewhere = run_requests.tags("schedule", export.directory / "elsewhere")
    started(ticks, "import_all", None, dg.DagsterRunStatus.FAILURE, **elsewhere)
    assert [asked_after(ticks, clock, 60) for _ in range(2)] == [[], []]
    here = run_requests.tags("schedule", export.directory)
    started(ticks, "import_all", None, dg.DagsterRunStatus.FAILURE, **here)
    assert asked_after(ticks, clock, 60) == []
    (request,) = asked_after(ticks, clock, 60)
    assert tables(request) == {"organizations", "contracts", "org_contracts", "memberships", "documents"}
    assert run(ticks, request).success
    assert asked_after(ticks, clock, 100_000) == []


def test_one_that_is_overdue_and_fails_for_its_data_is_not_asked_for_again_and_again(
    ticks: Ticks, export: Export, clock: list[float]
) -> None:
    all_known(ticks, export)
    export.connection.execute("UPDATE ingest.imports SET finished_at = finished_at - interval '27 hours'")
    export.connection.commit()
    asked_after(ticks, clock, 60)
    (request,) = asked_after(ticks, clock, 60)
    started(
        ticks, "import_all", None, dg.DagsterRunStatus.CANCELED, **{"dagster/run_key": request.run_key or ""}
    )
    assert [asked_after(ticks, clock, 1000) for _ in range(3)] == [[], [], []]


def postponed(ticks: Ticks, export: Export) -> None:
    """Have an import fail on a full disk, so that it is asked for again later."""
    all_known(ticks, export)
    fail_with(export, "53100")
    export.write("documents", record("documents", label="new_label"))
    (request,), _ = ticks.twice()
    assert not run(ticks, request).success
    assert ticks.once()[0] == []
    fail_with(export, "")


def test_when_the_server_is_back_what_was_postponed_is_asked_for_at_once(
    ticks: Ticks, export: Export, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    postponed(ticks, export)
    assert asked_after(ticks, clock, 10) == []
    with monkeypatch.context() as patch:
        patch.setenv("DB_PORT", "9")
        clock.append(clock[-1] + 10)
        assert "cannot ask for an import: cannot connect" in ticks.once()[1]
    assert len(asked_after(ticks, clock, 10)) == 1


def test_when_the_disk_has_room_again_what_was_postponed_is_asked_for_at_once(
    ticks: Ticks, export: Export, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    postponed(ticks, export)
    monkeypatch.setattr(surroundings, "embedded_data", lambda _: export.directory)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
        clock.append(clock[-1] + 10)
        requests, reason = ticks.once()
        assert requests == []
        assert "or once this is over: 1.0 MB are free on the server's disk" in reason
    assert len(asked_after(ticks, clock, 10)) == 1


def test_it_says_that_it_lives(ticks: Ticks, export: Export, clock: list[float]) -> None:
    for _ in range(2):
        asked_after(ticks, clock, 60)
    found = export.connection.execute("SELECT kind FROM ingest.processes").fetchall()
    assert found == [("sensor",)]


def test_it_lives_although_there_is_no_export(
    ticks: Ticks, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(export.directory / "nowhere"))
    ticks.once()
    assert export.connection.execute("SELECT kind FROM ingest.processes").fetchall() == [("sensor",)]


# --- Runs whose process is gone ---------------------------------------------------------------------------


def test_runs_without_a_process_are_lost_and_others_are_not(
    ticks: Ticks, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(
        "daybreak_pipeline.orchestration.instance.opened", lambda _installation: nullcontext(ticks.dagster)
    )
    installation = Installation(migrated, KEY, export_dir=Path("/nowhere"), dagster_home=Path("/nowhere"))
    command = started(
        ticks, "import_all", None, dg.DagsterRunStatus.STARTED, **{"daybreak/started_by": "command line"}
    )
    daemon = started(ticks, "import_all", None, dg.DagsterRunStatus.STARTING)
    started(ticks, "import_all", None, dg.DagsterRunStatus.NOT_STARTED)  # the daemon may yet start it

    def lost(besides: str | None = None) -> set[str]:
        return {run.run_id for run in runs.lost_runs(installation, besides=besides)}

    assert lost() == {command, daemon}
    with process_locks.held(migrated, "command line"):
        assert lost() == {daemon}
        with process_locks.held(migrated, "web") as ours:
            assert lost() == set()
            assert lost(besides=ours) == {daemon}  # of a daemon that this process knows to be gone
            with process_locks.held(migrated, "web"):
                assert lost(besides=ours) == set()
    assert lost() == {command, daemon}

    runs.settle_lost(installation)
    assert status_of(ticks, command) is dg.DagsterRunStatus.CANCELED
    assert status_of(ticks, daemon) is dg.DagsterRunStatus.FAILURE  # which Dagster repeats
    runs.settle_lost(installation)  # nothing is left to do


def status_of(ticks: Ticks, run_id: str) -> dg.DagsterRunStatus:
    run = ticks.dagster.get_run_by_id(run_id)
    assert run
    return run.status
