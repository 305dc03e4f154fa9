"""Imports that run themselves: a changed file is imported within a minute, once.

``export_watch`` looks at the directory; this module decides which imports to request. The ledger knows which content
is in the tables, so a file that was imported by hand, by command or by schedule is not requested again. Dagster keeps
the cursor between ticks and across restarts.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import dagster as dg
import psycopg

from daybreak_pipeline import database, settings, wording
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.importer import ledger
from daybreak_pipeline.importer.ledger import Newest
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.operations import export_watch
from daybreak_pipeline.operations.export_watch import Look
from daybreak_pipeline.orchestration import alerts, process_locks, run_requests
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.jobs import import_all
from daybreak_pipeline.orchestration.request_outcomes import followed_up, is_in, refused
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.schema import processes
from daybreak_pipeline.tables import TABLES, import_order

INTERVAL_SECONDS = 10
HASH_SECONDS = 60
"""After this, files wait for the next tick, so that one evaluation keeps within Dagster's limit (see ``web``)."""
_SHOWN = 3
_ROOM, _ROOM_FOR_A_FILE = 64 * 10**6, 4
"""Bytes that must be free on the server's disk for an import, and how often the size of a file besides."""
_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.SUSPENDED,
]
IMPORTING_JOBS = {import_all.name, "__ASSET_JOB"}  # the latter is what Materialize in the UI runs


@dg.sensor(
    name="changed_files",
    job=import_all,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Watches the export directory. A file that has changed and is complete is imported, with the tables that "
        "depend on it, in one run."
    ),
)
def changed_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Request a run for what has changed, or report what it waits for."""
    before = export_watch.load(context.cursor, settings.export_dir())
    try:
        look = export_watch.look(before, settle_seconds=settings.settle_seconds(), hash_seconds=HASH_SECONDS)
    except DaybreakError as error:
        _say_alive()
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    now = time.time()
    look = look.due(now)
    if not look.is_to_be_compared(now):
        return _skip(look, {})
    try:
        imported, obstacle = _looked_up(look)
        look = look.obstructed(obstacle, now) if obstacle else look.unobstructed(now)
        look = followed_up(context.instance, look, imported)
        missed = set(refused(context.instance, settings.export_dir()))
        busy = _busy(context.instance)
    except (DaybreakError, psycopg.Error) as error:
        # The server went away meanwhile, for example. The next tick finds the same change.
        reason = str(error) if isinstance(error, DaybreakError) else explanations.explain(error)
        look = look.obstructed(reason, now)
        return dg.SensorResult(skip_reason=f"cannot ask for an import: {reason}", cursor=look.state.dump())
    # Content that is in the table already (by hand, command or schedule) is not requested again.
    look = look.answered(
        name for name, sha256 in look.changed.items() if is_in(look, imported.get(name), name, sha256)
    )
    # What others asked for and did not get, because something was wrong that is no fault of the data.
    missed |= {name for name, one in imported.items() if one.outside or one.overdue}
    look = look.noticed({name: imported[name].attempt for name in missed & imported.keys()}, now)
    wanted = {name: sha for name, sha in look.changed.items() if not _touched(name, look) & busy.keys()}
    if not wanted:
        return _skip(look, dict.fromkeys(look.changed, busy))
    request = _request(look, wanted, imported)
    return dg.SensorResult(
        run_requests=[request], cursor=look.asked_for(wanted, request.run_key or "").state.dump()
    )


def _say_alive() -> None:
    """Note that this sensor looks at the export; where the database is away, nobody asks for that."""
    with (
        suppress(DaybreakError, psycopg.Error),
        database.serving() as db,
        database.connect(db, autocommit=True) as connection,
    ):
        processes.say_alive(connection, "sensor")


def _looked_up(look: Look) -> tuple[dict[str, Newest], str]:
    """Return the newest attempt at every table with its content, and what keeps the imports from working that failed.

    Raises:
        UsageError: the environment is not right for an import: nothing is asked for until it is.
    """
    _say_alive()
    with database.serving() as db:
        installation = HealthDatabase(lambda: Installation.of_environment(db))
        with installation.connection() as connection:
            return ledger.newest(connection), _lacks_room(connection, look)


def _lacks_room(connection: Connection, look: Look) -> str:
    """Return that the embedded server's disk is too full for what is to be asked for again; empty where it is not."""
    data = surroundings.embedded_data(connection)
    if not look.postponed or data is None:
        return ""
    needed = _ROOM + _ROOM_FOR_A_FILE * sum(look.state.tables[name].size for name in look.postponed)
    free = shutil.disk_usage(data).free
    if free >= needed:
        return ""
    return f"{wording.size(free)} are free on the server's disk, and the import needs about {wording.size(needed)}"


def _busy(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the tables that a waiting or running run imports, with the run."""
    busy: dict[str, str] = {}
    commands: bool | None = None
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_ACTIVE)):
        if run.job_name not in IMPORTING_JOBS:
            continue
        if run.tags.get(run_requests.STARTED_BY) == run_requests.COMMAND_LINE:
            # A killed command leaves its run as started for ever: do not wait for it.
            if commands is None:
                with database.serving() as db:
                    commands = process_locks.anybody(db, "command line")
            if not commands:
                continue
        chosen = run.asset_selection or ()
        everything = (
            not chosen and not run.asset_check_selection
        )  # a command's whole import chooses an empty set
        names = TABLES if everything else {key.path[-1] for key in chosen if len(key.path) == 1}
        busy |= dict.fromkeys(names, run.run_id)
    return busy


def _touched(table: str, look: Look) -> set[str]:
    """Return what an import of a table concerns: itself, and its descendants whose files are there and complete."""
    known = look.state.tables
    return {table} | {
        name for name in run_requests.with_descendants([table]) if name in known and known[name].sha256
    }


def _request(look: Look, wanted: Mapping[str, str], imported: Mapping[str, Newest]) -> dg.RunRequest:
    directory = settings.export_dir()
    touched = set[str]().union(*(_touched(name, look) for name in wanted))
    tables = [name for name in import_order() if name in touched]
    # The previous attempt distinguishes a file that comes back (old after new, good after bad) from one already
    # requested.
    attempts = {name: imported[name].attempt if name in imported else 0 for name in wanted}
    content = "".join(f"{name}:{attempts[name]}:{wanted[name]}\n" for name in sorted(wanted))
    # What failed outside of the data may have left nothing in the ledger.
    content += "".join(f"{name}:{number}\n" for name, number in sorted(_failures(look, wanted).items()))
    tags = run_requests.tags("sensor", directory) | run_requests.content_tag(wanted)
    return dg.RunRequest(
        run_key=hashlib.sha256(content.encode()).hexdigest()[:32],
        run_config=run_requests.configuration(directory, tables),
        asset_selection=run_requests.selection(tables),
        tags=tags,
    )


def _failures(look: Look, tables: Iterable[str]) -> dict[str, int]:
    failures = {name: look.state.tables[name].failures for name in tables}
    return {name: number for name, number in failures.items() if number}


def _skip(look: Look, waiting: Mapping[str, Mapping[str, str]]) -> dg.SensorResult:
    reasons = []
    if look.unsettled:
        reasons.append(f"waits until nothing is written any more to {_listed(look.unsettled.values())}")
    if look.unread:
        reasons.append(f"goes on reading at the next tick: {_listed(look.unread.values())}")
    if waiting:
        runs = sorted({run[:8] for busy in waiting.values() for run in busy.values()})
        reasons.append(f"{_listed(waiting)} changed; waits for the end of run {_listed(runs)}")
    if look.postponed:
        at = datetime.fromtimestamp(min(look.postponed.values()), UTC)
        reasons.append(
            f"the import of {_listed(look.postponed)} failed for a reason outside the data; asks again at {at:%H:%M:%S} UTC"
            + (f", or once this is over: {look.state.obstacle}" if look.state.obstacle else "")
        )
    if look.problems:
        reasons.append(_listed(look.problems.values()))
    return dg.SensorResult(
        skip_reason="; ".join(reasons) or f"nothing has changed in {look.state.directory}",
        cursor=look.state.dump(),
    )


def _listed(names: object) -> str:
    """Return the first few of the names, and how many more there are."""
    found = list(dict.fromkeys(names))  # type: ignore[call-overload]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


SENSORS = [changed_files, *alerts.SENSORS]
