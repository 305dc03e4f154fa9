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
def held(db: DatabaseSettings, kind: Kind) -> Iterator[None]:
    """Register as a process of this kind while the block runs.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db, autocommit=True) as connection:
        row = processes.begin(connection, kind) if processes.are_known(connection) else None
    if row is None:  # an older schema: the work in the block will report that
        yield
        return
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(db, row, over), name="presence", daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        # If this fails, the row expires by itself.
        with suppress(DaybreakError, psycopg.Error), database.connect(db, autocommit=True) as connection:
            processes.end(connection, row)


def lost(db: DatabaseSettings, runs: Iterable[dg.DagsterRun]) -> list[str]:
    """Return those of the running runs that no process is alive for: a process registers before its runs begin.

    Raises:
        UsageError: the server cannot be reached.
    """
    commands, web = anybody(db, "command line"), anybody(db, "web")
    by_command = run_requests.COMMAND_LINE
    return [
        run.run_id
        for run in runs
        if not (commands if run.tags.get(run_requests.STARTED_BY) == by_command else web)
    ]


def _beat(db: DatabaseSettings, row: str, over: threading.Event) -> None:
    """Renew the row until ``over`` is set; keep trying while the server is away."""
    while not over.wait(_BEAT_SECONDS):
        with suppress(DaybreakError, psycopg.Error), database.connect(db, autocommit=True) as connection:
            processes.renew(connection, row)


def anybody(db: DatabaseSettings, kind: Kind) -> bool:
    """Return whether a process of this kind is alive, or may be.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db) as connection:
        return not processes.are_known(connection) or processes.anybody(connection, kind, _GONE_AFTER_SECONDS)
