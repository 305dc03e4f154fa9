"""What the server's statistics do not have: the disk below it, how old the imports are, and what is known of backups."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import drilling, listing
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.monitoring import measure
from daybreak_pipeline.monitoring.metrics import NOT_VISIBLE, Measurement, of_group
from daybreak_pipeline.operations import status

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from daybreak_pipeline.database import Connection

LOG = logging.getLogger(__name__)
NO_BACKUP = "no backup known"
NEVER_PROVEN = "never restored to prove it"


@dataclass(frozen=True)
class Backups:
    """What is known of backups. ``proven_at`` is when one, or a dump, was last restored to prove that it can be.

    ``elsewhere``: somebody else makes them, where nobody can see them from here.
    """

    newest_at: datetime | None
    proven_at: datetime | None
    wal_gaps: int | None = None
    elsewhere: bool = False


def known_backups() -> Backups | None:
    """Return what is known of backups; None where nothing is. The one place that monitoring learns it from.

    Of a given server only a drill from a dump is: its backups are its administrator's.
    """
    try:
        if listing.is_given():
            proven_at = drilling.proven_at() if settings.drills_from_dump() else None
            return Backups(None, proven_at, elsewhere=True)
        found = listing.read(listing.embedded_agent())
        return Backups(newest_at=found[-1].stop if found else None, proven_at=drilling.proven_at())
    except (
        UsageError
    ) as error:  # no backups are made here, or the repository cannot be read: that is said elsewhere
        LOG.info("nothing is known of backups: %s", error)
        return None


def backups(known: Backups | None, at: datetime) -> list[Measurement]:
    """Return how old the newest backup and the newest proof are, as of a time."""

    def age(metric: str, then: datetime | None, note: str) -> Measurement:
        return Measurement(metric, (at - then).total_seconds() if then else None, note="" if then else note)

    known = known or Backups(None, None)
    no_backup, no_proof, no_gaps = (
        (NOT_VISIBLE, NEVER_PROVEN, NOT_VISIBLE)
        if known.elsewhere
        else (NO_BACKUP, NEVER_PROVEN if known.newest_at else NO_BACKUP, "the drill looks for them")
    )
    return [
        age("backup_age_seconds", known.newest_at, no_backup),
        age("backup_drill_age_seconds", known.proven_at, no_proof),
        Measurement("backup_wal_gaps", known.wal_gaps, note="" if known.wal_gaps is not None else no_gaps),
    ]


def disk(connection: Connection) -> list[Measurement]:
    """Return how much room the embedded server has: of any other server this machine cannot see the disk."""
    data = embedded_data(connection)
    if data is None:
        return [Measurement(metric.name, None, note=NOT_VISIBLE) for metric in of_group("disk")]
    usage = shutil.disk_usage(data)
    return [
        Measurement("disk_free_bytes", usage.free),
        Measurement("disk_bytes", usage.total),
        Measurement("disk_free_ratio", usage.free / usage.total),
    ]


def embedded_data(connection: Connection) -> Path | None:
    """Return the data directory of the embedded server where the connection leads there.

    Children of ``daybreak up`` have the embedded server in their environment like any other one.
    """
    ours = data_directory.existing_data(settings.home())
    try:
        with connection.transaction():
            theirs = database.value(connection, "SELECT current_setting('data_directory')")
    except psycopg.errors.InsufficientPrivilege:
        return None
    return ours if ours is not None and ours.is_dir() and str(ours.resolve()) == theirs else None


def imports(connection: Connection) -> list[Measurement]:
    """Return how old the imports are, and what waits or fails."""
    try:
        with connection.transaction():
            tables = status.read(connection)
    except psycopg.Error as error:
        return measure.attempt("imports", error)
    return [
        measurement
        for table in tables
        for labels in [{"table": table.table}]
        for measurement in (
            Measurement(
                "import_age_seconds", table.age_seconds, labels, "" if table.age_seconds is not None else "never imported"
            ),
            Measurement("quarantined_records", table.quarantined, labels),
            Measurement("checks_failed", len(table.failed_checks), labels),
        )
    ]  # fmt: skip
