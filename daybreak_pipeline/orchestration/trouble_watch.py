"""Alerts to what no run tells of: files that wait, imports that are overdue, a missing migration, runs that left nothing.

It judges what the report judges (``report.gather``). Each trouble is told once, and again only if it was over meanwhile. The
report is made again when a trouble begins or ends: no import or check would do that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import dagster as dg
import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.operations import alert_log
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.jobs import report_data_quality
from daybreak_pipeline.report.facts import Facts
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.report.verdict import Problem, judge

log = logging.getLogger("daybreak.alerts")
INTERVAL_SECONDS = 300


@dg.sensor(
    name="tell_of_trouble",
    job=report_data_quality,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Tells by log, webhook and mail of what no run tells of: files that are refused or wait too long, overdue imports, "
        "a missing migration, a sensor that does not look. Has the report made again when that changes."
    ),
)
def tell_of_trouble(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Tell of what is new since the last look, and ask for a report if anything has changed."""
    try:
        with database.serving() as db:
            facts = gather(db)
    except (DaybreakError, psycopg.Error):  # the server is away: who watches that tells of it
        return dg.SensorResult(skip_reason="the database does not answer", cursor=context.cursor)
    told = set(json.loads(context.cursor or "[]"))
    found = {f"{problem.severity} {problem.table} {problem.check}": problem for problem in troubles(facts)}
    news = [problem for key, problem in found.items() if key not in told]
    if news:
        _alert(news)
    cursor = json.dumps(sorted(found))
    if found.keys() != told:
        request = dg.RunRequest(tags={run_requests.STARTED_BY: "sensor"})
        return dg.SensorResult(run_requests=[request], cursor=cursor)
    reason = f"{len(found)} found, all of them told before" if found else "nothing is wrong"
    return dg.SensorResult(skip_reason=reason, cursor=cursor)


def troubles(facts: Facts) -> Iterator[Problem]:
    """Yield what is wrong with the environment and with its deliveries. Of failed imports their runs tell.

    A file that waits is on its way, as long as nothing refuses it.
    """
    failing = {table.name for table in facts.tables if table.failing}
    waiting = {table.name for table in facts.tables if table.waiting}
    for problem in judge(facts).problems:
        on_its_way = problem.table in waiting and problem.severity == "WARN"
        if problem.kind == "environment" and problem.table not in failing and not on_its_way:
            yield problem


def _alert(news: list[Problem]) -> None:
    lines = [
        f"{problem.table or problem.check}: {problem.sentence if not problem.table else _without_names(problem)}"
        for problem in news
    ]
    text = "\n".join([f"Daybreak: {lines[0]}", *lines[1:]])
    log.warning("%s", " ".join(text.split()))
    try:
        notifier = settings.notifier()
    except DaybreakError:
        return  # each failed run says so
    alert_log.send(text, notifier, database.serving)


def _without_names(problem: Problem) -> str:
    """Return what is wrong with a table without a file's name, which leaves the machine with a message."""
    return "a delivered file is not loaded" if "delivered" in problem.sentence else problem.sentence
