"""Which processes of the pipeline are at work on a database: each has a row that it renews while it lives.

Rows of ``ingest.processes``, and no lock of a session: a pooler would leave that with a stranger, and anybody could take it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Kind = Literal["command line", "web", "sensor", "rotation", "maintenance"]
"""``command line``: commands that run a job in their own process. ``web``: the web UI and its daemon. ``sensor``: what
watches the export. ``rotation``: a rotation of the encryption key. ``maintenance``: of the database.
"""

_BEGIN = "INSERT INTO ingest.processes (kind, host, pid) VALUES (%s, %s, %s) RETURNING id::text"
_RENEW = "UPDATE ingest.processes SET seen_at = clock_timestamp() WHERE id = %s"
_RENEW_KIND = "UPDATE ingest.processes SET seen_at = clock_timestamp(), host = %s, pid = %s WHERE kind = %s"
_END = "DELETE FROM ingest.processes WHERE id = %s OR seen_at < clock_timestamp() - interval '1 day'"
_FORGET_DEAD = (
    "DELETE FROM ingest.processes WHERE kind = %s AND seen_at < clock_timestamp() - interval '1 minute'"
)
_ALL_SEEN = """
    SELECT kind, started_at, seen_at, clock_timestamp() - started_at AS age, clock_timestamp() - seen_at AS silent
    FROM ingest.processes WHERE kind = ANY(%s)
"""
_SEEN = """
    SELECT host, pid FROM ingest.processes
    WHERE kind = %s AND seen_at > clock_timestamp() - make_interval(secs => %s) AND id::text IS DISTINCT FROM %s
"""


@dataclass(frozen=True)
class Seen:
    """A process of a kind: when it began and was seen last, and how long ago that is."""

    kind: Kind
    started_at: datetime
    seen_at: datetime
    age: timedelta
    silent: timedelta


def are_known(connection: Connection) -> bool:
    """Return whether the database's schema is new enough to know of processes."""
    return bool(database.value(connection, "SELECT to_regclass('ingest.processes') IS NOT NULL"))


def begin(connection: Connection, kind: Kind) -> str:
    """Say that this process is at work, and return its row's id. A ``web`` that has died is forgotten: this one follows it."""
    if kind == "web":
        connection.execute(_FORGET_DEAD, [kind])
    return str(database.value(connection, _BEGIN, [kind, socket.gethostname(), os.getpid()]))


def renew(connection: Connection, row_id: str) -> None:
    """Say that it still is."""
    connection.execute(_RENEW, [row_id])


def say_alive(connection: Connection, kind: Kind) -> None:
    """Say that the one process of a kind lives that has no beginning and no end of its own."""
    if (
        are_known(connection)
        and not connection.execute(_RENEW_KIND, [socket.gethostname(), os.getpid(), kind]).rowcount
    ):
        begin(connection, kind)


def seen(connection: Connection, kinds: Sequence[Kind]) -> list[Seen]:
    """Return the processes of some kinds that have not said that they ended."""
    return database.every(connection, Seen, _ALL_SEEN, [list(kinds)])


def end(connection: Connection, row_id: str) -> None:
    """Say that it is no more; rows that were left behind long ago go too."""
    connection.execute(_END, [row_id])


def anybody(connection: Connection, kind: Kind, seconds: float, *, besides: str | None = None) -> bool:
    """Return whether a process of a kind has renewed its row in the last seconds. On this machine it must also be there.

    ``besides`` is the id of a row that does not count.
    """
    here = socket.gethostname()
    found = connection.execute(_SEEN, [kind, seconds, besides]).fetchall()
    return any(host != here or _lives(pid) for host, pid in found)


def _lives(pid: int) -> bool:
    """Return whether a process of this machine is there, if only as somebody else's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
