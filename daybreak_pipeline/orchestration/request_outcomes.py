"""What became of the runs that the export's sensor asked for, and which contents to ask for again.

One whose import failed for its data is not, until it changes. One that failed for another reason (the server was away,
its disk full, the run lost) is, after a pause that grows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from daybreak_pipeline.importer.ledger import Newest
from daybreak_pipeline.locations import Location
from daybreak_pipeline.operations.export_watch import Look
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.jobs import import_all
from daybreak_pipeline.orchestration.resources import OUTSIDE
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

_MOST_STEPS = 1000


def followed_up(instance: dg.DagsterInstance, look: Look, imported: Mapping[str, Newest]) -> Look:
    """Return the look with the outcome of every request that has ended."""
    for request, tables in look.requests.items():
        # Dagster's repetitions of a run carry its tags. The newest comes first.
        runs = instance.get_runs(filters=dg.RunsFilter(tags={run_requests.RUN_KEY: request}))
        if runs and not (runs[0].is_finished and _is_the_last(runs[0])):
            continue
        again = [
            name
            for name in tables
            if not is_in(look, imported.get(name), name, look.state.tables[name].asked)
        ]
        if not runs or runs[0].status is not dg.DagsterRunStatus.FAILURE:
            again = []  # a person cancelled or deleted it, or the file was another one by then
        if again:
            failures = _failures(instance, runs[0].run_id)
            again = [name for name in again if _is_outside(failures, name)]
        look = look.answered(name for name in tables if name not in again)
        look = look.failed(again, time.time())
    return look


def refused(instance: dg.DagsterInstance, directory: Location) -> list[str]:
    """Return the tables that the last import of a directory did not get for a reason outside the data.

    An import that others asked for, the schedule for one: what the sensor asked for itself, ``followed_up`` knows.
    """
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    runs = instance.get_runs(filters=dg.RunsFilter(job_name=import_all.name, statuses=ended), limit=1)
    if not runs or runs[0].status is not dg.DagsterRunStatus.FAILURE or not _is_the_last(runs[0]):
        return []
    tags = runs[0].tags
    if run_requests.RUN_KEY in tags or tags.get(run_requests.EXPORT) != directory.absolute().as_uri():
        return []
    failures = _failures(instance, runs[0].run_id)
    chosen = runs[0].asset_selection
    names = list(TABLES) if chosen is None else [key.path[-1] for key in chosen if len(key.path) == 1]
    return [name for name in names if _is_outside(failures, name)]


def _is_the_last(run: dg.DagsterRun) -> bool:
    """Return whether Dagster will not repeat a run that has ended."""
    return run.status is not dg.DagsterRunStatus.FAILURE or run.tags.get(run_requests.WILL_RETRY) != "true"


def is_in(look: Look, newest: Newest | None, table: str, sha256: str) -> bool:
    """Return whether a content is in its table, as the ledger knows, and no look at it is wanted that has not happened."""
    if newest is None or newest.overdue or look.state.tables[table].noticed == newest.attempt:
        return False
    return newest.sha256 == sha256


def _failures(instance: dg.DagsterInstance, run_id: str) -> dict[str, bool]:
    """Return the steps of a run that failed, and whether for a reason outside the data."""
    found = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=_MOST_STEPS
    ).records
    failures = {}
    for record in found:
        event = record.event_log_entry.dagster_event
        if event and event.step_key:
            failure = event.step_failure_data
            given = failure.user_failure_data
            failures[event.step_key] = bool(given and OUTSIDE in given.metadata) or _of_storage(failure.error)
    return failures


def _of_storage(error: SerializableErrorInfo | None) -> bool:
    """Return whether Dagster could not write its records, which ends a step from outside."""
    while error:
        if error.message.startswith(("psycopg2.", "sqlalchemy.", "dagster_postgres.")):
            return True
        error = error.cause
    return False


def _is_outside(failures: Mapping[str, bool], table: str) -> bool:
    """Return whether the data is not to blame that a table was not imported.

    A table that has not failed was not tried: because one that it depends on failed, or because the run was lost.
    """
    return failures[table] if table in failures else not failures or any(failures.values())
