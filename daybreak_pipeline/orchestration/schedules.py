"""When imports and backups run by themselves."""

from __future__ import annotations

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.backups import listing
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.assets.backups import BACKUP
from daybreak_pipeline.orchestration.jobs import back_up, import_all, restore_drill
from daybreak_pipeline.timetable import BACKUP_AT, DAILY_IMPORT_AT, DRILL_AT, daily_cron, weekly_cron

daily_import = dg.ScheduleDefinition(
    name="daily_import",
    job=import_all,
    tags_fn=lambda _context: run_requests.tags("schedule", settings.export_dir()),
    cron_schedule=daily_cron(DAILY_IMPORT_AT),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Every day at {DAILY_IMPORT_AT:%H:%M} UTC. Files that have not changed cost milliseconds.",
)


def _backups_are_expected(_context: dg.ScheduleEvaluationContext) -> bool:
    return listing.are_expected()


full_backup = dg.ScheduleDefinition(
    name="weekly_full_backup",
    job=back_up,
    run_config={"ops": {BACKUP: {"config": {"full": True}}}},
    cron_schedule=weekly_cron(BACKUP_AT, "0"),
    execution_timezone="UTC",
    should_execute=_backups_are_expected,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"A backup of everything, every Sunday at {BACKUP_AT:%H:%M} UTC. Older ones than are kept are deleted.",
)

differential_backup = dg.ScheduleDefinition(
    name="daily_backup",
    job=back_up,
    cron_schedule=weekly_cron(BACKUP_AT, "1-6"),
    execution_timezone="UTC",
    should_execute=_backups_are_expected,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"A backup of what changed since the last full one, at {BACKUP_AT:%H:%M} UTC.",
)

drill = dg.ScheduleDefinition(
    name="restore_drill",
    job=restore_drill,
    cron_schedule=daily_cron(DRILL_AT)
    if settings.environment() == "production"
    else weekly_cron(DRILL_AT, "0"),
    execution_timezone="UTC",
    should_execute=_backups_are_expected,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Proves that the newest backup can be restored, at {DRILL_AT:%H:%M} UTC, in production every day.",
)

SCHEDULES = [daily_import, full_backup, differential_backup, drill]
