"""When imports run by themselves, and looks at the server."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.jobs import import_all, monitor_server
from daybreak_pipeline.timetable import DAILY_IMPORT_AT, daily_cron, minutes_cron

_NOT_ENDED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
_TAGS: Mapping[str, str] = {run_requests.STARTED_BY: "schedule"}

daily_import = dg.ScheduleDefinition(
    name="daily_import",
    job=import_all,
    tags_fn=lambda _context: run_requests.tags("schedule", settings.export_dir()),
    cron_schedule=daily_cron(DAILY_IMPORT_AT),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Every day at {DAILY_IMPORT_AT:%H:%M} UTC. Files that have not changed cost milliseconds.",
)


@dg.schedule(
    name="server_monitoring",
    job=monitor_server,
    cron_schedule=minutes_cron(settings.monitor_minutes()),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks at the server every ten minutes, or as DAYBREAK_MONITOR_MINUTES says. A look takes a second or two.",
)
def server_monitoring(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a look, unless the last one still waits in the queue: a late look is worth no more than a new one."""
    waiting = dg.RunsFilter(job_name=monitor_server.name, statuses=_NOT_ENDED)
    if context.instance.get_runs(filters=waiting, limit=1):
        return dg.SkipReason("the last look has not ended yet")
    return dg.RunRequest(tags=_TAGS)


SCHEDULES = [daily_import, server_monitoring]
