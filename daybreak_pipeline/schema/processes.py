"""Which processes of the pipeline are at work on a database: each has a row that it renews while it lives.

Rows of ``ingest.processes``, and no lock of a session: a pooler would leave that with a stranger, and anybody could take it.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Literal

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Kind = Literal["command line", "web", "rotation", "maintenance"]
"""``command line``: commands that run a job in their own process. ``web``: the web UI and its daemon. ``rotation``: a
rotation of the encryption key. ``maintenance``: of the database.
"""

_BEGIN = "INSERT INTO ingest.processes (kind, host, pid) VALUES (%s, %s, %s) RETURNING id::text"
_RENEW = "UPDATE ingest.processes SET seen_at = clock_timestamp() WHERE id = %s"
_END = "DELETE FROM ingest.processes WHERE id = %s OR seen_at < clock_timestamp() - interval '1 day'"
_SEEN = """
    SELECT host, pid FROM ingest.processes
    WHERE kind = %s AND seen_at > clock_timestamp() - make_interval(secs => %s) AND id::text IS DISTINCT FROM %s
"""


def are_known(connection: Connection) -> bool:
    """Return whether the database's schema is new enough to know of processes."""
    return bool(database.value(connection, "SELECT to_regclass('ingest.processes') IS NOT NULL"))


def begin(connection: Connection, kind: Kind) -> str:
    """Say that this process is at work, and return its row's id."""
    return str(database.value(connection, _BEGIN, [kind, socket.gethostname(), os.getpid()]))


def renew(connection: Connection, row_id: str) -> None:
    """Say that it still is."""
    connection.execute(_RENEW, [row_id])


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
