"""The maintenance as the command and the daily job run it: Dagster's history, imports that come first, and what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.definitions import build_defs
from daybreak_pipeline.orchestration import instance, maintenance, process_locks, readiness, run_history, runs
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.conftest import KEY, _administer
from daybreak_pipeline_tests.exports import Export, record

pytestmark = pytest.mark.slow

YEARS_PASS = (
    "UPDATE runs SET create_timestamp = create_timestamp - interval '10 years' WHERE run_id = ANY (%s)",
    "UPDATE event_logs SET timestamp = timestamp - interval '10 years' WHERE run_id = ANY (%s)",
    "UPDATE asset_check_executions SET create_timestamp = create_timestamp - interval '10 years' WHERE run_id = ANY (%s)",
)


@dataclass
class Place:
    """An installation with a Dagster database of its own, and the export that it imports from."""

    installation: Installation
    dagster: dg.DagsterInstance
    storage: DatabaseSettings
    export: Export

    @property
    def checks(self) -> list[dg.AssetCheckKey]:
        return sorted(build_defs().resolve_asset_graph().asset_check_keys)

    def load(self, *words: str) -> str:
        """Import documents, and return the run."""
        self.export.write("documents", *(record("documents", word) for word in words))
        run_id = runs.run_import(self.installation, only=["documents"]).run_id
        assert run_id
        return run_id

    def years_pass(self, run_ids: Sequence[str]) -> None:
        with psycopg.connect(self.storage.conninfo()) as connection:
            for statement in YEARS_PASS:
                connection.execute(statement.encode(), [list(run_ids)])

    def kept(self, table: str) -> set[str]:
        with psycopg.connect(self.storage.conninfo()) as connection:
            query = sql.SQL("SELECT DISTINCT run_id FROM {} WHERE run_id <> ''").format(sql.Identifier(table))
            return {run for (run,) in connection.execute(query)}

    def maintain(self, *, dry_run: bool = False) -> maintenance.Maintained:
        return maintenance.maintain(self.installation, self.dagster, dry_run=dry_run)

    def state(self) -> dict[str, Any]:
        """Return what the UI shows of assets and checks."""
        keys = self.dagster.get_asset_keys()
        latest = {key: self.dagster.get_latest_materialization_event(key) for key in keys}
        found = {check: self.dagster.get_latest_asset_check_evaluation_record(check) for check in self.checks}
        return {
            "assets": {str(key): made and (made.run_id, made.timestamp) for key, made in latest.items()},
            "observed": {
                str(key): [one.run_id for one in self.dagster.fetch_observations(key, limit=1).records]
                for key in keys
            },
            "checks": {str(check): one and (one.run_id, str(one.status)) for check, one in found.items()},
        }


@pytest.fixture
def place(
    migrated: DatabaseSettings, export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Place]:
    name = f"dagster_{migrated.name}"
    variables = migrated.environment() | {
        "ENCRYPTION_KEY": KEY,
        "DAYBREAK_HOME": str(tmp_path / "home"),
        "DAYBREAK_DAGSTER_DB": name,
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    try:
        with (
            readiness.ready(export_dir=export.directory) as installation,
            instance.opened(installation) as dagster,
        ):
            yield Place(installation, dagster, replace(migrated, name=name), export)
    finally:
        _administer(migrated, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def test_old_runs_go_but_for_those_that_assets_and_checks_are_from(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [place.load("a"), place.load("a", "b")]
    newest = place.load("a", "b", "c")
    place.years_pass([*old, newest])
    shown = place.state()
    foretold = place.maintain(dry_run=True)
    assert place.kept("runs") == {*old, newest}
    done = place.maintain()
    steps = {step.step: step for step in done.steps}
    assert done.gave_way == ""
    assert steps["Dagster's runs"].rows == 2
    assert steps["Dagster's events"].rows > 50
    assert steps["Dagster's events"].bytes > 10_000
    assert steps["Dagster's check results"].rows > 20
    assert [(one.step, one.rows) for one in foretold.steps if "Dagster's" in one.step[:9]] == [
        (one.step, one.rows) for one in done.steps if "Dagster's" in one.step[:9]
    ]
    assert place.kept("runs") == place.kept("event_logs") == place.kept("asset_check_executions") == {newest}
    assert place.state() == shown
    again = {step.step: step.rows for step in place.maintain().steps}
    assert (again["Dagster's runs"], again["Dagster's events"]) == (0, 0)

    # Killed between a run and its events: the next time takes them.
    last = place.load("a", "b", "c", "d")
    place.years_pass([newest])
    with monkeypatch.context() as patch:
        patch.setattr(type(place.dagster._event_storage), "delete_events", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_history.prune(place.dagster, place.storage, _nothing_at_work(), dry_run=False)
    assert (place.kept("runs"), place.kept("event_logs")) == ({last}, {newest, last})
    place.maintain()
    assert place.kept("event_logs") == {last}


def _nothing_at_work() -> Any:
    class Nothing:
        def check(self) -> None: ...

    return Nothing()


def test_a_run_that_imports_comes_first_even_between_two_tables_and_a_lost_one_does_not(place: Place) -> None:
    job = build_defs().resolve_job_def("import_all")
    run = place.dagster.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    with process_locks.held(place.installation.database, "web"):
        done = place.maintain()
    assert done.steps == []
    assert done.gave_way.startswith(f"an import is running (run {run.run_id[:8]}), and maintenance gives way")
    assert place.maintain().gave_way == ""


def test_two_at_once_take_turns_and_one_that_was_killed_is_forgotten(place: Place) -> None:
    with maintenance._alone(place.installation.database):
        assert place.maintain().gave_way == "another daybreak maintain is at work: nothing was done here"
        assert place.maintain(dry_run=True).gave_way == ""
    with database.connect(place.installation.database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ingest.processes (kind, host, pid, seen_at) VALUES "
            "('maintenance', 'another-host', 1, clock_timestamp() - interval '31 seconds')"
        )
    assert place.maintain().gave_way == ""


def test_the_daily_job_records_what_it_freed(place: Place) -> None:
    job = build_defs(health_database=HealthDatabase(lambda: place.installation)).resolve_job_def("maintain")
    result = job.execute_in_process(instance=place.dagster)
    assert result.success
    (made,) = result.asset_materializations_for_node("maintenance")
    assert made.metadata["gave_way"].value == "no"
    assert made.metadata["rows_freed"].value == 0
    steps = made.metadata["steps"].value
    assert isinstance(steps, dict)
    assert {"ingest.imports", "audit.changes", "vacuum", "reindex", "Dagster's runs", "reports"} <= set(steps)


def test_the_command_says_what_it_would_free_and_what_it_freed(place: Place, tmp_path: Path) -> None:
    with database.connect(place.installation.database, autocommit=True) as connection:
        for _ in range(3):
            connection.execute(
                "INSERT INTO ingest.check_results (table_name, check_name, passed, severity, failed, total, description, at) "
                "VALUES ('documents', 'orphans', true, 'WARN', 0, 0, 'fine', now() - interval '9 years')"
            )
    environment = environment_of(place.installation.database, tmp_path / "elsewhere")
    environment |= {"DAYBREAK_DAGSTER_DB": place.storage.name, "DAYBREAK_HOME": str(tmp_path / "home")}
    told = daybreak(environment, "maintain", "--dry-run")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("ingest.check_results: 2 rows, 0.")
    assert "would free 2 rows and files, " in told.stdout
    done = json.loads(daybreak(environment, "maintain", "--json").stdout)
    assert (done["dry_run"], done["rows"], done["gave_way"]) == (False, 2, None)
    assert done["steps"]["ingest.check_results"]["rows"] == 2
    assert done["bytes"] == sum(step["bytes"] for step in done["steps"].values()) > 0
    again = daybreak(environment, "maintain")
    assert (again.returncode, again.stdout, again.stderr) == (0, "nothing to free\n", "")
    with psycopg.connect(place.installation.database.conninfo()) as importing:
        importing.execute("SELECT FROM ingest.locks WHERE name = 'import documents' FOR UPDATE")
        refused = daybreak(environment, "maintain")
    assert (refused.returncode, refused.stdout) == (2, "nothing to free\n")
    assert refused.stderr.startswith("daybreak: an import of documents is running, and maintenance gives way")
