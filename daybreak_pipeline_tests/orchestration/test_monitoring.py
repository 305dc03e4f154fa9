"""The server as assets: what a look shows in the UI, who is alerted and how often, and what stays of old looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import psycopg
import pytest

from daybreak_pipeline.definitions import build_defs, defs
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.monitoring.metrics import METRICS
from daybreak_pipeline.monitoring.surroundings import Backups
from daybreak_pipeline.monitoring.thresholds import ASSETS, CHECKS
from daybreak_pipeline.orchestration import alerts
from daybreak_pipeline.orchestration.assets import monitoring
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


def look(runs: Runs) -> dg.ExecuteInProcessResult:
    job = build_defs(health_database=HealthDatabase(lambda: runs.installation)).resolve_job_def(
        "monitor_server"
    )
    return job.execute_in_process(instance=runs.dagster)


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def old_backup(monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    with psycopg.connect(runs.settings.conninfo()) as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or (None,)
    assert now
    found = Backups(now - timedelta(hours=51), now, 0)
    monkeypatch.setattr(surroundings, "known_backups", lambda: found)


def test_a_look_is_numbers_that_the_ui_plots_and_a_check_for_each_threshold(runs: Runs) -> None:
    result = look(runs)
    assert set(evaluations(result)) == {one.check for one in CHECKS}
    for asset in ASSETS:
        made = next(
            m for m in result.asset_materializations_for_node(monitoring.STEP) if m.asset_key.path == [asset]
        )
        plotted = {name: value.value for name, value in made.metadata.items() if name in METRICS}
        assert plotted or asset == "data_and_backups"
        assert all(isinstance(value, float) for value in plotted.values())
    sessions = next(
        m
        for m in result.asset_materializations_for_node(monitoring.STEP)
        if m.asset_key.path == ["server_sessions"]
    )
    assert sessions.metadata["connections_used"].value


def test_a_check_says_number_limit_remedy_and_page(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    old_backup(monkeypatch, runs)
    found = evaluations(look(runs))["backup_age"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.description == (
        "51 h since the newest backup, limit 50 h: make one, and look why the schedule did not; see docs/runbooks/backups-fail.md"
    )
    assert found.metadata["limit"].value == 50 * 3600


def test_what_is_not_known_is_said_to_be_so(runs: Runs) -> None:
    found = evaluations(look(runs))["cache_hits"]
    assert found.passed
    assert found.description == "not known: too little history: 0 s of 15 min"


def test_an_alert_says_what_the_check_says_and_only_when_it_is_news(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_backup(monkeypatch, runs)
    first, second = (alerts._failed_checks(runs.dagster, look(runs).run_id) for _ in range(2))
    assert set(first) == {"data_and_backups.backup_age"}
    assert str(first["data_and_backups.backup_age"]).startswith(
        "51 h since the newest backup, limit 50 h: make one"
    )
    assert second == {}
    run = dg.DagsterRun(job_name="monitor_server", run_id="12345678-0")
    text = alerts.message(run, alerts.Trouble([], [], first), failed=False)
    assert text.splitlines()[0] == "Daybreak: run 12345678 of monitor_server succeeded, but 1 check failed"
    assert "docs/runbooks/backups-fail.md" in text


def test_the_history_that_trends_need_is_kept(runs: Runs) -> None:
    look(runs)
    look(runs)
    assert runs.query("SELECT count(DISTINCT at) FROM ingest.server_measurements") == [(2,)]


def test_events_of_old_looks_are_deleted_and_no_others(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "KEPT", timedelta(0))
    first = look(runs).run_id
    job = defs.resolve_job_def("check_all")
    other = runs.dagster.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS).run_id
    last = look(runs).run_id
    there = {run.run_id for run in runs.dagster.get_runs()}
    assert first not in there
    assert {other, last} <= there


def test_a_server_that_is_gone_fails_the_look_in_one_line(runs: Runs) -> None:
    nowhere = HealthDatabase(lambda: (_ for _ in ()).throw(RuntimeError("no installation")))
    result = build_defs(health_database=nowhere).resolve_job_def("monitor_server").execute_in_process(
        instance=runs.dagster, raise_on_error=False
    )  # fmt: skip
    assert not result.success


def test_the_schedule_looks_every_ten_minutes_and_imports_go_first() -> None:
    schedule = defs.resolve_schedule_def("server_monitoring")
    assert (schedule.cron_schedule, schedule.job_name) == ("*/10 * * * *", "monitor_server")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert defs.resolve_job_def("monitor_server").tags["dagster/priority"] == "-10"
