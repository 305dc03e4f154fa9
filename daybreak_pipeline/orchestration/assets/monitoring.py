"""The server as assets: numbers that the UI plots, and thresholds that are checks. Cheap, and never in an import's way.

One step measures everything in a second or two, in a run of its own that waits behind imports in the queue. Every run
writes 170 kB of events, so the step deletes those of runs that are three days old; ``ingest.server_measurements``
keeps what trends need.
"""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from daybreak_pipeline.monitoring import survey
from daybreak_pipeline.monitoring.metrics import METRICS
from daybreak_pipeline.monitoring.survey import Health
from daybreak_pipeline.monitoring.thresholds import (
    ASSETS,
    CHECKS,
    DATA,
    SESSIONS,
    STORAGE,
    TABLES,
    WAL,
    Judgement,
    State,
)
from daybreak_pipeline.orchestration import check_labels as labels
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.report import server_page, store

MONITOR = "monitor_server"
"""The name of the job."""
STEP = "look_at_server"
NEWS = "news"
"""Metadata of a failed check: whether nobody has been alerted to it within the last hour of this day."""
KEPT = timedelta(days=3)
_DELETED_AT_ONCE = 20
_PLOTTED = {
    SESSIONS: ("sessions", "pools", "certificate"),
    STORAGE: ("databases", "disk"),
    TABLES: ("tables", "indexes", "bloat"),
    WAL: ("checkpoints", "wal", "wal_directory", "archive_queue"),
    DATA: ("imports", "backups"),
}
"""Which groups of metrics are plotted where."""
_TRENDS = {
    "database_growth_bytes_per_day": STORAGE,
    "table_growth_bytes_per_day": STORAGE,
    "disk_full_days": STORAGE,
    "temporary_bytes_per_hour": STORAGE,
    "cache_hit_ratio": SESSIONS,
    "deadlocks_last_hour": SESSIONS,
    "wal_bytes_per_hour": WAL,
    "checkpoints_requested_per_hour": WAL,
    "index_unused_days": TABLES,
}
_SUMMED = {
    "table_bytes",
    "table_rows",
    "table_dead_rows",
    "table_bloat_bytes",
    "index_bloat_bytes",
    "connections",
    "quarantined_records",
    "checks_failed",
}
"""Of other metrics that have several values, the greatest is plotted."""
_SEVERITY = {"ERROR": dg.AssetCheckSeverity.ERROR, "WARN": dg.AssetCheckSeverity.WARN}


def build_monitoring_assets() -> dg.AssetsDefinition:
    """Return the assets of the group ``monitoring`` with their checks."""

    @dg.multi_asset(
        name=STEP,
        specs=[
            dg.AssetSpec(
                key,
                group_name="monitoring",
                owners=["team:data-engineering"],
                kinds={"postgres"},
                description=what,
            )
            for key, what in ASSETS.items()
        ],
        check_specs=[
            dg.AssetCheckSpec(
                one.check, asset=one.asset, description=one.wants, metadata={"runbook": one.runbook.page}
            )
            for one in CHECKS
        ],
        description="Is the server healthy, and how long will it last? [For people](/report/server).",
    )
    def monitor(
        context: dg.AssetExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> Iterator[dg.MaterializeResult[None]]:
        with step_failures(context):
            health = survey.look(health_database.settings(), keep=True)
            page = server_page.html(health, beside=store.pages())
            path = store.write(store.directory() / store.SERVER, page)
            context.log.info("the page for people is %s", path)
        for asset in ASSETS:
            yield dg.MaterializeResult(
                asset_key=asset,
                metadata=_numbers(health, asset),
                check_results=[_result(j, health) for j in health.judgements if j.threshold.asset == asset],
            )
        _forget(context.instance)

    return monitor  # fmt: skip


def _numbers(health: Health, asset: str) -> dict[str, float]:
    """Return one number for each metric that is known: the sum or the greatest where there are several."""
    found: dict[str, float] = {}
    for metric in METRICS.values():
        if metric.group not in _PLOTTED[asset] and _TRENDS.get(metric.name) != asset:
            continue
        values = [m.value for m in health.of(metric.name) if m.value is not None]
        if values:
            found[metric.name] = float(sum(values) if metric.name in _SUMMED else max(values))
    return found


def _result(judgement: Judgement, health: Health) -> dg.AssetCheckResult:
    limit = judgement.threshold.limit(judgement.state)
    numbers = {"value": judgement.value, "limit": limit}
    return dg.AssetCheckResult(
        asset_key=judgement.threshold.asset,
        check_name=judgement.check,
        passed=judgement.state not in _SEVERITY,
        severity=_SEVERITY.get(judgement.state, dg.AssetCheckSeverity.ERROR),
        description=_words(judgement.state, judgement.summary),
        metadata={
            "state": judgement.state,
            labels.FAILING: judgement.failing,
            NEWS: judgement.check in health.news,
            **{name: float(number) for name, number in numbers.items() if number is not None},
        },
    )


def _words(state: State, summary: str) -> str:
    """Return what is said of a check. Dagster has no state for what is not known, so the words must say it."""
    return f"not known: {summary}" if state == "none" else summary


def _forget(instance: dg.DagsterInstance) -> None:
    """Delete the oldest runs of this job, a few at a time."""
    old = dg.RunsFilter(job_name=MONITOR, created_before=datetime.now(UTC) - KEPT)
    for run in instance.get_runs(filters=old, limit=_DELETED_AT_ONCE):
        if run.is_finished:
            instance.delete_run(run.run_id)
