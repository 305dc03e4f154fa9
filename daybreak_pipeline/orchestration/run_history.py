"""Dagster's own history: which of its runs, with their events and check results, need not be kept any longer.

Dagster prunes only ticks. Of every asset the runs of the newest materialization and observation stay, and of every
check that of the newest result: the UI shows them, and the daemon decides by them. What can be asked of Dagster is asked
of its instance; its tables are looked at only to say what was freed, and to find what a killed deletion left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.maintenance.giving_way import Watch

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 200
_EVENTS = (
    "SELECT count(*), coalesce(sum(pg_column_size(e.*)), 0)::bigint FROM event_logs e WHERE run_id = ANY (%s)"
)
# Dagster deletes a run before its events. Events of no run have an empty run_id.
_ORPHANS = """
    SELECT DISTINCT e.run_id FROM event_logs e
    WHERE e.run_id <> '' AND e.timestamp < %s AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = e.run_id)
"""
# Dagster answers this only for one check at a time, by name; here are also those that the code no longer has.
_NEWEST_CHECKS = """
    SELECT DISTINCT ON (asset_key, check_name) run_id FROM asset_check_executions ORDER BY asset_key, check_name, id DESC
"""
_CHECKS = """
    FROM asset_check_executions c
    WHERE c.run_id <> '' AND c.create_timestamp < %s AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = c.run_id)
      AND c.id < (SELECT max(n.id) FROM asset_check_executions n
                  WHERE (n.asset_key, n.check_name) = (c.asset_key, c.check_name))
"""


def prune(
    instance: dg.DagsterInstance,
    storage: DatabaseSettings | None,
    watch: Watch,
    *,
    dry_run: bool,
) -> list[Freed]:
    """Delete old runs with their events, and return what that was.

    Args:
        instance: Dagster's.
        storage: the database in which it keeps its records; None where that is not ours to look into.
        watch: what to give way to, asked before each run.
        dry_run: only count.

    Raises:
        GivesWayError: an import began.
    """
    before = datetime.now(UTC) - timedelta(days=settings.runs_days())
    if storage is None:
        return [
            Freed(
                "Dagster's runs",
                note="DAGSTER_HOME has a dagster.yaml of its own: its records are left alone",
            )
        ]
    with database.connect(storage, autocommit=True) as connection:
        old = _older(instance, before, _needed(instance, connection))
        at = before.replace(tzinfo=None)  # as Dagster has it: UTC without a zone
        orphans = [run for (run,) in connection.execute(_ORPHANS, [at])]
        events, size = connection.execute(_EVENTS, [[*old, *orphans]]).fetchone() or (0, 0)
        _delete(instance, [*old, *orphans], watch, dry_run=dry_run)
        return [
            Freed("Dagster's runs", len(old)),
            Freed("Dagster's events", events, size),
            _check_results(connection, at, old, dry_run=dry_run),
        ]


def _older(instance: dg.DagsterInstance, before: datetime, needed: set[str]) -> list[str]:
    """Return the runs that ended and were created before a time, but for those that are needed."""
    old: list[str] = []
    cursor: str | None = None
    while True:
        page = instance.get_run_records(
            dg.RunsFilter(statuses=_ENDED, created_before=before), limit=_PAGE, ascending=True, cursor=cursor
        )
        runs = [record.dagster_run.run_id for record in page]
        old += [run for run in runs if run not in needed]
        if len(page) < _PAGE:
            return old
        cursor = runs[-1]


def _needed(instance: dg.DagsterInstance, connection: Connection) -> set[str]:
    """Return the runs that an asset's or a check's present state is from."""
    needed = {run for (run,) in connection.execute(_NEWEST_CHECKS)}
    for key in instance.get_asset_keys():
        made = instance.get_latest_materialization_event(key)
        if made:
            needed.add(made.run_id)
        planned = instance.get_latest_planned_materialization_info(key)
        if planned:
            needed.add(planned.run_id)
        for found in (instance.fetch_observations, instance.fetch_failed_materializations):
            needed |= {record.event_log_entry.run_id for record in found(key, limit=1).records}
    return needed


def _delete(instance: dg.DagsterInstance, runs: Sequence[str], watch: Watch, *, dry_run: bool) -> None:
    for run in runs:
        if dry_run:
            return
        watch.check()
        instance.delete_run(run)


def _check_results(connection: Connection, at: datetime, runs: Sequence[str], *, dry_run: bool) -> Freed:
    """Delete the results of checks whose runs are gone, but for the newest of each: Dagster leaves them behind."""
    step = "Dagster's check results"
    try:
        if dry_run:
            rows, size = connection.execute(
                "SELECT count(*), coalesce(sum(pg_column_size(c.*)), 0)::bigint FROM asset_check_executions c "
                "WHERE run_id = ANY (%s)",
                [list(runs)],
            ).fetchone() or (0, 0)
            return Freed(step, rows, size)
        rows, size = connection.execute(
            f"WITH gone AS (DELETE {_CHECKS} RETURNING pg_column_size(c.*) AS size) "  # noqa: S608 - of this file
            "SELECT count(*), coalesce(sum(size), 0)::bigint FROM gone".encode(),
            [at],
        ).fetchone() or (0, 0)
    except psycopg.errors.UndefinedTable:
        return Freed(step, note="Dagster keeps them elsewhere now")
    return Freed(step, rows, size)
