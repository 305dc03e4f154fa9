"""When imports, backups, the maintenance and looks at the server run by themselves."""

from __future__ import annotations

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.backups import drilling, listing
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.backup_events import BACKUP
from daybreak_pipeline.orchestration.jobs import back_up, import_all, maintain, monitor_server, restore_drill
from daybreak_pipeline.timetable import (
    BACKUP_AT,
    DAILY_IMPORT_AT,
    DAILY_MAINTENANCE_AT,
    DRILL_AT,
    daily_cron,
    minutes_cron,
    weekly_cron,
)

daily_import = dg.ScheduleDefinition(
    name="daily_import",
    job=import_all,
    tags_fn=lambda _context: run_requests.tags("schedule", settings.export_dir()),
    cron_schedule=daily_cron(DAILY_IMPORT_AT),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Every day at {DAILY_IMPORT_AT:%H:%M} UTC. Files that have not changed cost milliseconds.",
)

daily_maintenance = dg.ScheduleDefinition(
    name="daily_maintenance",
    job=maintain,
    cron_schedule=daily_cron(DAILY_MAINTENANCE_AT),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Every day at {DAILY_MAINTENANCE_AT:%H:%M} UTC, well before the import.",
)


server_monitoring = dg.ScheduleDefinition(
    name="server_monitoring",
    job=monitor_server,
    tags={run_requests.STARTED_BY: "schedule"},
    cron_schedule=minutes_cron(settings.monitor_minutes()),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every ten minutes, or as DAYBREAK_MONITOR_MINUTES says. A look at the server takes a second or two.",
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
    should_execute=lambda _context: drilling.is_expected(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Proves that the newest backup, or a dump, can be restored, at {DRILL_AT:%H:%M} UTC, in production every day.",
)

SCHEDULES = [
    daily_import,
    daily_maintenance,
    server_monitoring,
    full_backup,
    differential_backup,
    drill,
]
