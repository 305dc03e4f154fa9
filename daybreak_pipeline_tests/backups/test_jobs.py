"""Backups and the drill in Dagster: what the jobs report, and what the sensor does by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from daybreak_pipeline.backups import listing, make
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.definitions import build_defs
from daybreak_pipeline.operations import notifications
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.orchestration.backup_events import BACKUP, DRILL, RESTORABLE
from daybreak_pipeline.orchestration.backup_watch import backup_when_due
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import Site, needs_pgbackrest, until
from daybreak_pipeline_tests.backups.test_making import judged, switch

pytestmark = [needs_pgbackrest, pytest.mark.slow]


@pytest.fixture
def db(site: Site) -> Iterator[DatabaseSettings]:
    with site.up() as found:
        runner.upgrade(found)
        yield found


def run(job: str, **config: object) -> dg.ExecuteInProcessResult:
    with dg.instance_for_test() as instance:
        return (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(run_config=config, instance=instance, raise_on_error=False)
        )


def test_a_backup_and_the_drill_of_it_report_numbers(site: Site, db: DatabaseSettings) -> None:
    (made,) = run("back_up").asset_materializations_for_node(BACKUP)
    assert made.metadata["type"].value == "full"  # the first is, whatever was asked for
    assert listing.read(site.agent)[-1].label == made.metadata["label"].value
    (second,) = run("back_up").asset_materializations_for_node(BACKUP)
    assert second.metadata["type"].value == "differential"
    result = run("restore_drill")
    (proved,) = result.asset_materializations_for_node(DRILL)
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == RESTORABLE
    assert check.passed
    assert proved.metadata["backup_age_hours"].value == 0.0
    assert int(str(proved.metadata["tables"].value)) > 16
    assert db.port  # the server was not stopped by any of it


def test_a_drill_that_fails_is_an_error_with_a_count_and_a_page(site: Site, db: DatabaseSettings) -> None:
    site.backup(db)
    repository = site.agent.repository
    assert isinstance(repository, Path)
    bundle = max(repository.glob("backup/*/*F/bundle/*"), key=lambda path: path.stat().st_size)
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    result = run("restore_drill")
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert int(str(check.metadata["failing"].value)) >= 1
    assert "docs/runbooks/" in (check.description or "")


def test_what_commands_made_is_shown_in_dagster_too(site: Site, db: DatabaseSettings) -> None:
    ran = [
        CliRunner().invoke(main, words, catch_exceptions=False) for words in (["backup"], ["backup", "drill"])
    ]
    assert [one.exit_code for one in ran] == [0, 0], [one.output for one in ran]
    assert "web UI does not show it" not in ran[0].output + ran[1].output
    check = dg.AssetCheckKey(dg.AssetKey(DRILL), RESTORABLE)
    installation = instance.prepare(Installation.of_environment(db))
    with instance.opened(installation) as shown:
        backup, drill = (
            shown.get_latest_materialization_event(dg.AssetKey(name)) for name in (BACKUP, DRILL)
        )
        (proof,) = shown.event_log_storage.get_latest_asset_check_execution_by_key([check]).values()
    assert site.agent.repository
    assert backup
    assert backup.asset_materialization
    assert backup.asset_materialization.metadata["label"].value == listing.read(site.agent)[-1].label
    assert drill
    assert proof.status is AssetCheckExecutionRecordStatus.SUCCEEDED


@pytest.mark.usefixtures("db")
def test_a_backup_is_made_although_dagster_cannot_be_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_DAGSTER_HOST", "127.0.0.1")
    monkeypatch.setenv("DAYBREAK_DAGSTER_PORT", "1")
    ran = CliRunner().invoke(main, ["backup"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert "the web UI does not show it: " in ran.output
    assert len(listing.read(site.agent)) == 1


def asked(cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(cursor=cursor)
    found = backup_when_due(context)
    assert isinstance(found, dg.SensorResult)
    return found


def test_the_first_backup_and_a_missed_one_are_made_without_a_person(
    site: Site, db: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [request.run_key for request in asked().run_requests or []] == [
        f"first {datetime.now(UTC):%Y-%m-%d %H}"
    ]
    made = site.backup(db)
    assert asked().run_requests in (None, [])
    monkeypatch.setattr(make, "LATE_AFTER", timedelta(0))
    assert [str(request.run_key)[: len(made.label)] for request in asked().run_requests or []] == [made.label]


def test_a_repository_that_takes_nothing_is_told_once(
    site: Site, db: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def deliver(text: str, _notifier: object) -> list[str]:
        told.append(text)
        return []

    monkeypatch.setattr(notifications, "deliver", deliver)
    site.backup(db)
    repository = site.agent.repository
    assert isinstance(repository, Path)
    moved = repository.rename(repository.with_name("moved"))
    repository.write_text("in its place")
    switch(db)
    until(lambda: "takes no write-ahead log" in judged(db).text)
    first = asked()
    assert asked(first.cursor).run_requests in (None, [])
    repository.unlink()
    moved.rename(repository)
    assert len(told) == 1
    assert "docs/runbooks/backups-fail.md" in told[0]


def test_where_there_are_no_backups_the_sensor_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", "none")
    found = asked()
    assert found.run_requests in (None, [])
    assert "DAYBREAK_BACKUP_REPO is none" in str(found.skip_reason)
