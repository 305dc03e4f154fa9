"""Events that are stored in batches: Dagster then knows what it knows when it stores each by itself, and soon."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage

from daybreak_pipeline.orchestration import event_batches, instance
from daybreak_pipeline.orchestration.event_batches import stored_in_batches
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import DatabaseSettings

CHECKS = {"good": True, "bad": False}


@pytest.fixture(params=["in memory", "in PostgreSQL"])
def dagster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    if request.param == "in memory":
        with dg.DagsterInstance.ephemeral() as opened:
            yield opened
        return
    db: DatabaseSettings = request.getfixturevalue("migrated")
    prepared = instance.prepare(
        Installation(db, None, export_dir=tmp_path, dagster_home=tmp_path / "dagster")
    )
    with instance.opened(prepared) as opened:
        yield opened


def run(
    dagster: dg.DagsterInstance, look: Callable[[], object] = lambda: None, *, batches: bool = True
) -> str:
    """Run two assets, one below the other, and the checks of the first; ``look`` is called in the second."""

    @dg.asset
    def first(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        context.log.warning("Something to say")
        return dg.MaterializeResult(metadata={"rows": 7}, data_version=dg.DataVersion("v1"))

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec(name, asset="first") for name in CHECKS])
    def checks() -> Iterator[dg.AssetCheckResult]:
        for name, passed in CHECKS.items():
            yield dg.AssetCheckResult(passed=passed, check_name=name, asset_key="first", metadata={"rows": 1})

    @dg.asset(deps=[first])
    def second() -> None:
        look()

    definitions = dg.Definitions(assets=[first, second], asset_checks=[checks])
    with stored_in_batches(dagster) if batches else nullcontext():
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=dagster)
    assert done.success
    return done.run_id


def kept(dagster: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """Return what Dagster shows of a run, without ids and times."""
    entries = [one.event_log_entry for one in dagster.get_records_for_run(run_id).records]
    made = dagster.get_latest_materialization_event(dg.AssetKey("first"))
    assert made
    assert made.asset_materialization
    tags = made.asset_materialization.tags or {}
    record = dagster.get_latest_data_version_record(dg.AssetKey("first"))
    assert record
    checks = {}
    for name in CHECKS:
        key = dg.AssetCheckKey(dg.AssetKey("first"), name)
        execution = dagster.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert execution.event
        assert execution.event.dagster_event
        found = execution.event.dagster_event.asset_check_evaluation_data
        of = found.target_materialization_data
        assert of
        checks[name] = (
            execution.status.value,
            found.passed,
            found.metadata,
            of.storage_id == record.storage_id,
        )
    run = dagster.get_run_by_id(run_id)
    assert run
    return {
        "events": [(one.dagster_event_type, one.step_key, one.level) for one in entries],
        "said": [one.user_message for one in entries if one.dagster_event is None],
        "made": (made.run_id == run_id, made.asset_materialization.metadata, tags["dagster/data_version"]),
        "checks": checks,
        "status": run.status,
    }


def test_what_is_kept_is_what_dagster_keeps_without(dagster: dg.DagsterInstance) -> None:
    alone = kept(dagster, run(dagster, batches=False))
    together = kept(dagster, run(dagster))
    assert together == alone
    assert together["said"] == ["Something to say"]
    assert together["checks"].keys() == CHECKS.keys()
    assert {status for status, *_ in together["checks"].values()} == {"SUCCEEDED", "FAILED"}


def test_events_are_there_while_the_run_goes_on(dagster: dg.DagsterInstance) -> None:
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        made = dagster.get_latest_materialization_event(dg.AssetKey("first"))
        deadline = time.monotonic() + 30
        while "second" not in steps_started(dagster) and time.monotonic() < deadline:
            time.sleep(0.05)
        (newest,) = dagster.get_runs(limit=1)
        seen.append((made is not None and made.run_id == newest.run_id, "second" in steps_started(dagster)))

    run(dagster, look)
    assert seen == [(True, True)]


def steps_started(dagster: dg.DagsterInstance) -> set[str | None]:
    (newest,) = dagster.get_runs(limit=1)
    records = dagster.get_records_for_run(newest.run_id, of_type=dg.DagsterEventType.STEP_START).records
    return {one.event_log_entry.step_key for one in records}


@pytest.mark.parametrize("error", [sa.exc.OperationalError, sa.exc.IntegrityError])
def test_a_batch_that_cannot_be_stored_is_not_lost(
    dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, error: type[sa.exc.DBAPIError]
) -> None:
    """A server that was away for a moment gets it later; what it refuses as a whole is stored one by one."""
    store = event_batches._store
    refusals = [error("INSERT", {}, Exception())]  # a statement

    def refused(storage: Any, events: Sequence[dg.EventLogEntry]) -> None:
        if refusals:
            raise refusals.pop()
        store(storage, events)

    monkeypatch.setattr(event_batches, "_store", refused)
    storage = dagster.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    batches = event_batches._Batches(dagster, storage)
    run_id = dg.DagsterRun(job_name="none").run_id
    for said in ("one", "two"):
        entry = dg.EventLogEntry(None, logging.INFO, said, run_id, time.time())  # type: ignore[no-untyped-call]  # it has no types
        batches.take(entry)
    if error is sa.exc.OperationalError:
        with pytest.raises(error):
            batches.store()
    batches.store()
    batches.store()
    there = dagster.get_records_for_run(run_id).records
    assert [one.event_log_entry.user_message for one in there] == ["one", "two"]
