"""Which processes are using a database, to tell lost runs from live ones (``schema.processes``).

Dagster still lists a run as started after its process was killed. If no process of its kind is alive any more, the run
is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import dagster as dg
import psycopg

from daybreak_pipeline import database
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.schema import processes
from daybreak_pipeline.schema.processes import Kind
from daybreak_pipeline.settings import DatabaseSettings

_BEAT_SECONDS = 5
_GONE_AFTER_SECONDS = 30


@contextmanager
def held(db: DatabaseSettings, kind: Kind) -> Iterator[str | None]:
    """Register as a process of this kind while the block runs, and yield the id of the registration.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db, autocommit=True) as connection:
        row = processes.begin(connection, kind) if processes.are_known(connection) else None
    if row is None:  # an older schema: the work in the block will report that
        yield None
        return
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(db, row, over), name="presence", daemon=True)
    beating.start()
    try:
        yield row
    finally:
        over.set()
        beating.join()
        # If this fails, the row expires by itself.
        with suppress(DaybreakError, psycopg.Error), database.connect(db, autocommit=True) as connection:
            processes.end(connection, row)


def lost(
    db: DatabaseSettings, runs: Iterable[dg.DagsterRun], *, besides: str | None = None
) -> list[dg.DagsterRun]:
    """Return those of the running runs that no process is alive for: a process registers before its runs begin.

    ``besides`` is the registration of a process that is known to run nothing any more.

    Raises:
        UsageError: the server cannot be reached.
    """
    commands, web = anybody(db, "command line"), anybody(db, "web", besides=besides)
    return [run for run in runs if not (commands if of_a_command(run) else web)]


def of_a_command(run: dg.DagsterRun) -> bool:
    """Return whether a run is one of a command, in the command's process."""
    return run.tags.get(run_requests.STARTED_BY) == run_requests.COMMAND_LINE


def _beat(db: DatabaseSettings, row: str, over: threading.Event) -> None:
    """Renew the row until ``over`` is set; keep trying while the server is away."""
    while not over.wait(_BEAT_SECONDS):
        with suppress(DaybreakError, psycopg.Error), database.connect(db, autocommit=True) as connection:
            processes.renew(connection, row)


def anybody(db: DatabaseSettings, kind: Kind, *, besides: str | None = None) -> bool:
    """Return whether a process of this kind is alive, or may be; a registration can be left out of account.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db) as connection:
        return not processes.are_known(connection) or processes.anybody(
            connection, kind, _GONE_AFTER_SECONDS, besides=besides
        )
