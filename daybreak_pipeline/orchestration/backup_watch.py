"""Backups without a person: makes one that is due, the first one too, and alerts to an archive that does not work."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import dagster as dg

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import listing, make
from daybreak_pipeline.backups.listing import Backup
from daybreak_pipeline.embedded_postgres.archiving import Agent
from daybreak_pipeline.errors import DaybreakError, TransientError
from daybreak_pipeline.operations import alert_log
from daybreak_pipeline.orchestration.jobs import back_up

log = logging.getLogger("daybreak.alerts")
INTERVAL_SECONDS = 60


@dg.sensor(
    name="backup_when_due",
    job=back_up,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Makes the first backup, and any that the schedule has missed because nothing was running; tells by log, webhook "
        "and mail of a repository that takes no write-ahead log."
    ),
)
def backup_when_due(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Look at the archive and at the age of the newest backup."""
    told = context.cursor or ""
    try:
        agent = listing.embedded_agent()
    except DaybreakError as error:  # there are no backups here
        return dg.SensorResult(skip_reason=str(error), cursor=told)
    kind, trouble, newest = _look(agent)
    if kind not in {"", "away", told}:
        _alert(trouble)
    now = datetime.now(UTC)
    if kind in {"", make.GIVEN_UP} and (newest is None or now - newest.stop > make.LATE_AFTER):
        # One that fails is tried again after an hour.
        key = f"{newest.label if newest else 'first'} {now:%Y-%m-%d %H}"
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key)], cursor=kind)
    return dg.SensorResult(skip_reason=trouble or "no backup is due", cursor=kind)


def _look(agent: Agent) -> tuple[str, str, Backup | None]:
    """Return what is wrong, in one word and in a sentence, both empty where nothing is, and the newest backup."""
    try:
        with database.serving() as db, database.connect(db, autocommit=True) as connection:
            make.require_archiving(agent, connection)
            found = make.archiver(agent, connection)
        if found.kind == make.FAILING:
            return found.kind, str(found), None
        backups = listing.read(agent)
    except TransientError as error:  # the server is away: runs say so
        return "away", str(error), None
    except DaybreakError as error:
        return "unusable", str(error), None
    return found.kind, str(found), backups[-1] if backups else None


def _alert(text: str) -> None:
    """Send one message, as for a failed run; the next is sent when something else is wrong."""
    log.warning("%s", text)
    try:
        notifier = settings.notifier()
    except DaybreakError:
        return  # each failed run says so
    alert_log.send(f"Daybreak: {text}", notifier, database.serving)
