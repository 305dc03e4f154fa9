"""When things run by themselves, independent of Dagster: for the schedules and for ``daybreak status``."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

LATE_AFTER = timedelta(hours=26)
"""How old the last good import of a table may be: a day, and as long as an import of millions of records may take."""
TOO_LATE_AFTER = timedelta(hours=30)
DAILY_IMPORT_AT = time(5, 0, tzinfo=UTC)
BACKUP_AT = time(1, 0, tzinfo=UTC)
DRILL_AT = time(2, 0, tzinfo=UTC)
DAILY_MAINTENANCE_AT = time(3, 0, tzinfo=UTC)


def daily_cron(at: time) -> str:
    """Return the cron expression of every day at a time."""
    return f"{at.minute} {at.hour} * * *"


def minutes_cron(minutes: int) -> str:
    """Return the cron expression of every so many minutes."""
    return f"*/{minutes} * * * *"


def weekly_cron(at: time, days: str) -> str:
    """Return the cron expression of days of the week (0 is Sunday) at a time."""
    return f"{at.minute} {at.hour} * * {days}"


def next_daily(at: time, now: datetime) -> datetime:
    """Return the first moment after ``now`` that has a time of day, in the time zone of ``at``."""
    local = now.astimezone(at.tzinfo)
    today = datetime.combine(local.date(), at)
    return today if today > local else today + timedelta(days=1)
