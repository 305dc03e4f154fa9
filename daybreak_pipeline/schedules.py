"""When imports run by themselves."""

from __future__ import annotations

import dagster as dg

from daybreak_pipeline import run_requests, settings
from daybreak_pipeline.jobs import import_all

daily_import = dg.ScheduleDefinition(
    name="daily_import",
    job=import_all,
    tags_fn=lambda _context: run_requests.tags("schedule", settings.export_dir()),
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 05:00 UTC. Files that have not changed cost milliseconds.",
)

SCHEDULES = [daily_import]
