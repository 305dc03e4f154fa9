"""When imports, the maintenance and looks at the server run by themselves."""

from __future__ import annotations

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.jobs import import_all, maintain, monitor_server
from daybreak_pipeline.timetable import DAILY_IMPORT_AT, DAILY_MAINTENANCE_AT, daily_cron, minutes_cron

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

SCHEDULES = [daily_import, daily_maintenance, server_monitoring]
