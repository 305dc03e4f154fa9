"""Maintenance of an installation: the database, Dagster's records and the home, by one process at a time.

What is done is in ``daybreak_pipeline.maintenance``; this knows Dagster's part, and which imports run there. The command
and the daily job call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from daybreak_pipeline import database, settings
from daybreak_pipeline.maintenance import run
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.maintenance.giving_way import (
    GONE_AFTER_SECONDS,
    GivesWayError,
    watching,
)
from daybreak_pipeline.orchestration import instance, process_locks, run_history
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.sensors import IMPORTING_JOBS
from daybreak_pipeline.schema import locks, processes
from daybreak_pipeline.settings import DatabaseSettings

_RUNNING = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass
class Maintained:
    """What was freed, step by step, and why the rest was left (empty: all was done)."""

    dry_run: bool
    steps: list[Freed] = field(default_factory=list)
    gave_way: str = ""

    @property
    def rows(self) -> int:
        """How many rows and files were deleted or may be overwritten."""
        return sum(step.rows for step in self.steps)

    @property
    def bytes(self) -> int:
        """How many bytes may be used again."""
        return sum(step.bytes for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "dry_run": self.dry_run,
            "rows": self.rows,
            "bytes": self.bytes,
            "gave_way": self.gave_way or None,
            "steps": {step.step: step.as_json() for step in self.steps},
        }


def maintain(
    installation: Installation,
    dagster_instance: dg.DagsterInstance,
    *,
    dry_run: bool,
    tell: Callable[[Freed], None] = lambda _freed: None,
) -> Maintained:
    """Do all of it, or say what it would free; it ends early where an import or another maintenance is at work.

    Args:
        installation: as ``ready`` yields it.
        dagster_instance: its instance.
        dry_run: change nothing.
        tell: called with each step that is done.
    """
    outcome = Maintained(dry_run)
    storage = settings.dagster_database(installation.database) if instance.is_ours(installation) else None
    try:
        with ExitStack() as stack:
            watch = stack.enter_context(
                watching(installation.database, lambda: _importing(installation, dagster_instance))
            )
            watch.check()
            if not dry_run:
                stack.enter_context(_alone(installation.database))
            for freed in run.steps(
                installation.database,
                storage,
                settings.home(),
                watch,
                dry_run=dry_run,
                prune_runs=lambda: run_history.prune(dagster_instance, storage, watch, dry_run=dry_run),
            ):
                outcome.steps.append(freed)
                tell(freed)
    except GivesWayError as error:
        outcome.gave_way = str(error)
    return outcome


def _importing(installation: Installation, dagster_instance: dg.DagsterInstance) -> str | None:
    """Say which of Dagster's runs imports just now: between two of its tables, the database does not show it."""
    running = [
        one
        for one in dagster_instance.get_runs(filters=dg.RunsFilter(statuses=_RUNNING))
        if one.job_name in IMPORTING_JOBS
    ]
    lost = process_locks.lost(installation.database, running) if running else []
    found = [one.run_id for one in running if one not in lost]
    return f"an import is running (run {found[0][:8]})" if found else None


@contextmanager
def _alone(db: DatabaseSettings) -> Iterator[None]:
    """Be the only maintenance of the database while the block runs. One that was killed counts for half a minute.

    A row that is renewed, and no lock: a transaction that stays open would keep VACUUM from freeing anything.

    Raises:
        GivesWayError: another one is at work.
    """
    with ExitStack() as stack:
        with database.connect(db) as connection, connection.transaction():
            locks.take(connection, "maintenance")
            if processes.anybody(connection, "maintenance", GONE_AFTER_SECONDS):
                msg = "another daybreak maintain is at work: nothing was done here"
                raise GivesWayError(msg)
            stack.enter_context(process_locks.held(db, "maintenance"))
        yield
