"""Which runs raise an alert: one message for a run, with a link to it.

A message names tables, checks and counts. Why a table failed is in the run's log behind the link: a reason
may quote a file's header, and a message leaves the machine. ``alert_log`` sends it and keeps whom it reached.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.operations import alert_log
from daybreak_pipeline.orchestration import asset_checks, process_locks, run_requests
from daybreak_pipeline.orchestration import check_labels as labels
from daybreak_pipeline.orchestration.assets.imported_tables import EARLY, WHY_ABSENT
from daybreak_pipeline.orchestration.assets.monitoring import NEWS
from daybreak_pipeline.orchestration.jobs import JOBS, RUNBOOKS
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DEFAULT_WEB_URL, NotifierSettings
from daybreak_pipeline.tables import TABLES

log = logging.getLogger("daybreak.alerts")

INTERVAL_SECONDS = 15
_OUR_JOBS = {job.name for job in JOBS} | {"__ASSET_JOB"}
_PAGE = 1000


@dg.run_failure_sensor(
    name="tell_of_failed_runs",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    # Runs of the command line belong to no code location.
    monitor_all_code_locations=True,
    description="Tells by log, webhook and mail of every run that failed, with its tables and checks.",
)
def tell_of_failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Send an alert about one failed run."""
    _tell(context.instance, context.dagster_run, failed=True)


@dg.run_status_sensor(
    name="tell_of_failed_checks",
    run_status=dg.DagsterRunStatus.SUCCESS,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=True,
    description=(
        "Tells by log, webhook and mail of checks that failed with ERROR, and of absent files, in a run that else "
        "succeeded."
    ),
)
def tell_of_failed_checks(context: dg.RunStatusSensorContext) -> None:
    """Send an alert about one run's failed checks and absent files, if there are any."""
    _tell(context.instance, context.dagster_run, failed=False)


def _tell(instance: dg.DagsterInstance, run: dg.DagsterRun, *, failed: bool) -> None:
    if run.job_name not in _OUR_JOBS:
        return
    if not process_locks.of_a_command(run):  # a command has done so itself
        asset_checks.conclude(instance, run.run_id)
    if failed and run.tags.get(run_requests.WILL_RETRY) == "true":
        log.warning(
            "run %s failed and is started again", run.run_id[:8]
        )  # an alert follows if that fails too
        return
    checks = _failed_checks(instance, run.run_id)
    absent = [] if run_requests.PARTIAL in run.tags else _absent_tables(instance, run.run_id)
    if not failed and not checks and not absent:
        return
    try:
        notifier = settings.notifier()
    except UsageError as error:
        log.error("failures are logged and not sent to anybody: %s", error)  # noqa: TRY400 - one line is enough
        notifier = NotifierSettings(DEFAULT_WEB_URL)
    found = Trouble(_failed_tables(instance, run.run_id), absent, checks)
    text, link = message(run, found, failed=failed), f"{notifier.web_url}/runs/{run.run_id}"
    log.warning("%s", " ".join([*text.split(), link]))
    alert_log.send(text, notifier, database.serving, run_id=run.run_id, link=link)


@dataclass(frozen=True)
class Trouble:
    """What went wrong in one run: tables that failed, tables without a file, and failed checks.

    Of a check of a table there is how many records fail, of one of the server what it says.
    """

    failed: list[str]
    absent: list[str]
    checks: dict[str, int | str]


def message(run: dg.DagsterRun, found: Trouble, *, failed: bool) -> str:
    """Return the message about one run: plain text, whose first line serves as the subject of a mail."""
    but = [f"{_number(len(found.checks), 'check')} failed"] if found.checks else []
    but += [f"{_number(len(found.absent), 'file')} absent"] if found.absent else []
    outcome = "failed" if failed else f"succeeded, but {', '.join(but)}"
    lines = [f"Daybreak: run {run.run_id[:8]} of {_job(run)} {outcome}"]
    if found.failed:
        lines.append(f"not imported: {', '.join(found.failed)}")
    if found.absent:
        lines.append(f"file absent, rows kept: {', '.join(found.absent)}")
    lines += [
        f"{check}: {told if isinstance(told, str) else _number(told, 'record')}"
        for check, told in found.checks.items()
    ]
    if not Runbook.is_named_in("\n".join(lines)):
        lines.append(RUNBOOKS.get(run.job_name, Runbook.IMPORT_FAILS).see)
    return "\n".join(lines)


def _job(run: dg.DagsterRun) -> str:
    return "Materialize" if run.job_name == "__ASSET_JOB" else run.job_name


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> dict[str, int | str]:
    """Return the checks of a run that failed with ERROR, as ``asset.check``, with what they counted or say.

    The server is looked at every few minutes: what is no news is left out.
    """
    return {
        f"{found.asset_key.path[-1]}.{found.check_name}": found.description or ""
        if NEWS in found.metadata
        else int(str(found.metadata[labels.FAILING].value))
        for entry in _entries(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if (found := entry.asset_check_evaluation)
        and not found.passed
        and found.severity is dg.AssetCheckSeverity.ERROR
        and (NEWS not in found.metadata or found.metadata[NEWS].value)
    }


def _absent_tables(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the tables that a run left as they were because their file is absent, and was to be expected."""
    return [
        made.asset_key.path[-1]
        for entry in _entries(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
        if (made := entry.asset_materialization)
        and WHY_ABSENT in made.metadata
        and EARLY not in made.metadata
    ]


def _failed_tables(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    steps = [entry.step_key or "" for entry in _entries(instance, run_id, dg.DagsterEventType.STEP_FAILURE)]
    return [step for step in dict.fromkeys(steps) if step in TABLES]


def _entries(
    instance: dg.DagsterInstance, run_id: str, of_type: dg.DagsterEventType
) -> Iterator[dg.EventLogEntry]:
    cursor = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=of_type, limit=_PAGE)
        yield from (record.event_log_entry for record in page.records)
        if not page.has_more:
            return
        cursor = page.cursor


SENSORS = [tell_of_failed_runs, tell_of_failed_checks]
