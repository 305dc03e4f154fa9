"""What is wrong around the tables, so that files are not imported, checks not made, or nobody notices: as it is now.

Migrations that are missing, an export that cannot be looked at, a ``daybreak up`` that died, a sensor that does not look, runs
that failed and left nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.operations import dagster_records
from daybreak_pipeline.operations.dagster_records import Ended
from daybreak_pipeline.report import store
from daybreak_pipeline.report.facts import Trouble
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import processes, runner

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

SILENT_AFTER = timedelta(minutes=5)
"""After this long without a look at the export, its sensor does not look: a look at large files takes a minute."""
_GONE_AFTER = timedelta(minutes=1)
_LEFT_NOTHING = """
    SELECT NOT EXISTS (SELECT FROM ingest.imports i WHERE i.run_id = %(run_id)s OR i.finished_at > %(at)s)
       AND NOT EXISTS (SELECT FROM ingest.check_results c WHERE c.run_id = %(run_id)s)
       AND NOT EXISTS (SELECT FROM ingest.absent_files a WHERE a.run_id = %(run_id)s OR a.last_missed_at > %(at)s)
"""
_CHECKED_SINCE = "SELECT EXISTS (SELECT FROM ingest.check_results c WHERE c.at > %(at)s)"


def schema(connection: Connection) -> Iterator[Trouble]:
    """Say that the database does not have the schema of this program. The embedded one gets it with the next import."""
    if surroundings.embedded_data(connection):
        return
    applied, newest = runner.current_revision(connection) or "none", runner.newest_revision()
    if applied < newest:
        lacking = sum(applied < migration.revision <= newest for migration in runner.migrations())
        yield Trouble(
            "WARN",
            "migrations",
            "a migration is not applied" if lacking == 1 else f"{lacking} migrations are not applied",
            f"the database has migration {applied}, this program needs migration {newest}: until daybreak migrate up, no "
            f"file is imported; {Runbook.SCHEMA_CHANGES.see}",
            command="daybreak migrate up",
            refuses=True,
        )
    elif applied > newest:
        yield Trouble(
            "WARN",
            "migrations",
            "the database is newer than this program",
            f"the database has migration {applied}, this program knows up to {newest} and imports nothing: update the "
            "program",
            refuses=True,
        )


def export(problem: str) -> Iterator[Trouble]:
    """Say why nothing is known of the export directory."""
    if problem:
        yield Trouble("WARN", "export", "the export cannot be looked at", problem)


def watch(connection: Connection) -> Iterator[Trouble]:
    """Say that ``daybreak up`` has died, or that its sensor does not look at the export. One that was stopped is no trouble."""
    if not processes.are_known(connection):
        return
    found = processes.seen(connection, ("web", "sensor"))
    ups = [one for one in found if one.kind == "web"]
    if not ups:
        return
    alive = [one for one in ups if one.silent < _GONE_AFTER]
    if not alive:
        last = max(one.seen_at for one in ups)
        yield Trouble(
            "WARN",
            "daybreak up",
            "nothing is imported by itself",
            "daybreak up has died: nothing watches the export until it is started again",
            last,
            "daybreak up",
        )
        return
    started = min(alive, key=lambda one: one.age)
    looked = [one for one in found if one.kind == "sensor"]
    if all(one.silent > SILENT_AFTER for one in looked) and started.age > SILENT_AFTER:
        yield Trouble(
            "WARN",
            "changed_files",
            "nobody looks for new files",
            "the sensor changed_files does not look at the export: turn it on in the web UI, or look whether the daemon hangs; "
            f"{Runbook.SLOW_OR_STUCK.see}",
            max((one.seen_at for one in looked), default=started.started_at),
        )


def runs(connection: Connection, db: DatabaseSettings, *, of_reports: bool = True) -> Iterator[Trouble]:
    """Say which runs failed and left nothing else that would say so, as long as none went well after them.

    ``of_reports``: those that make the report, too; the report itself does not say that it could not be made.
    """
    for run in dagster_records.last_ended(db):
        if not run.failed:
            continue
        parameters = {"run_id": run.run_id, "at": run.at}
        if run.job == dagster_records.IMPORT and database.value(connection, _LEFT_NOTHING, parameters):
            yield _run(run, "the last import failed before it began", refuses=True)
        if run.job == dagster_records.CHECK and not database.value(connection, _CHECKED_SINCE, parameters):
            yield _run(run, "the last run of the checks failed")
        if run.job == dagster_records.REPORT and of_reports and not _reported_since(run.at):
            yield _run(run, "the last report could not be made")


def _run(run: Ended, clause: str, *, refuses: bool = False) -> Trouble:
    told = f"{clause}: see the run {run.run_id[:8]} in the web UI, at /runs/{run.run_id}"
    return Trouble("WARN", run.job, clause, told, run.at, refuses=refuses)


def _reported_since(at: datetime) -> bool:
    try:
        made = (store.directory() / store.LATEST).stat().st_mtime
    except OSError:
        return False
    return datetime.fromtimestamp(made, UTC) > at
