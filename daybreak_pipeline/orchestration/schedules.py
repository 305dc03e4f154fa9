"""When imports and the maintenance run by themselves."""

from __future__ import annotations

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.jobs import import_all, maintain
from daybreak_pipeline.timetable import DAILY_IMPORT_AT, DAILY_MAINTENANCE_AT, daily_cron

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

SCHEDULES = [daily_import, daily_maintenance]
