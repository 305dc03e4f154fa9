"""Which processes are using a database, to distinguish lost runs from running ones (``schema.processes``).

Dagster keeps a run as started when its process was killed. That no process of a kind lives any more tells
that such runs are lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from daybreak_pipeline import database
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.schema import processes
from daybreak_pipeline.schema.processes import Kind
from daybreak_pipeline.settings import DatabaseSettings

_BEAT_SECONDS = 5
_GONE_AFTER_SECONDS = 30


@contextmanager
def held(db: DatabaseSettings, kind: Kind) -> Iterator[None]:
    """Be seen as one of the kind while the block runs.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db, autocommit=True) as connection:
        row = processes.begin(connection, kind) if processes.are_known(connection) else None
    if row is None:  # an older schema: whatever is to be done will say so
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
        # Where the server is gone, so is what it knew; else the row grows old by itself.
        with suppress(DaybreakError, psycopg.Error), database.connect(db, autocommit=True) as connection:
            processes.end(connection, row)


def _beat(db: DatabaseSettings, row: str, over: threading.Event) -> None:
    """Renew the row until it is over. A server that is away is asked again."""
    while not over.wait(_BEAT_SECONDS):
        with suppress(DaybreakError, psycopg.Error), database.connect(db, autocommit=True) as connection:
            processes.renew(connection, row)


def anybody(db: DatabaseSettings, kind: Kind) -> bool:
    """Return whether a process of the kind is there, or may be.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db) as connection:
        return not processes.are_known(connection) or processes.anybody(connection, kind, _GONE_AFTER_SECONDS)
