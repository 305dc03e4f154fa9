"""The pipeline's locks: rows of ``ingest.locks``, which only the owner of the tables can lock.

Each is held until the transaction ends, so that nobody can leave one behind, not even through a pooler. Who waits says
for whom and since when, and gives up in the end. So it is with a table, which any application that writes to it can lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import OutsideError

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_SECONDS_UNTIL_TOLD = 5
_PAUSE_SECONDS = 0.2
# The row's xmax is the transaction that has locked it; that transaction holds the lock on its own number.
_HOLDER = """
    SELECT format('%%s (server process %%s%%s), at work since %%s UTC',
                  coalesce(nullif(a.application_name, ''), a.usename, 'a session'), a.pid,
                  ' from ' || host(a.client_addr), to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS'))
    FROM ingest.locks held JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = held.xmax
    JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE held.name = %s
"""


# What keeps others from writing to tables: such a lock that is held, or one that is asked for and stands before ours.
_TABLE_HOLDER = """
    SELECT format('%%s (server process %%s%%s), which has locked %%s%%s',
                  coalesce(nullif(a.application_name, ''), a.usename, 'a session'), a.pid,
                  ' from ' || host(a.client_addr), l.relation::regclass,
                  ', at work since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC')
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.relation = ANY (%(tables)s::regclass[]) AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode = ANY (%(modes)s)
    ORDER BY l.granted DESC, l.waitstart LIMIT 1
"""
_NO_WRITERS = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
_WRITERS = ("RowExclusiveLock", "ShareUpdateExclusiveLock")


class LockedError(OutsideError):
    """Somebody else has held a lock for longer than anybody waits."""


def take(
    connection: Connection,
    name: str,
    *,
    shared: bool = False,
    tell: Callable[[str], None] = lambda _text: None,
    seconds: int | None = None,
) -> None:
    """Lock until the transaction ends.

    Args:
        connection: of the tables' owner, in a transaction.
        name: what is locked, such as ``import referrals``.
        shared: with others that share it; nobody can then have it alone.
        tell: called every five seconds of waiting, with whom it waits for.
        seconds: how long to wait; ``DAYBREAK_LOCK_SECONDS`` by default.

    Raises:
        LockedError: it is still held after that time.
    """
    _wait(
        lambda: _taken(connection, name, shared=shared),
        lambda: _holder(connection, name),
        tell=tell,
        seconds=seconds,
    )


def take_table(
    connection: Connection, table: str, *, tell: Callable[[str], None], seconds: int | None = None
) -> None:
    """Lock a table of ``public`` for writing until the transaction ends; readers and other writers are not kept out.

    Args and errors as ``take``.
    """
    _take_tables(connection, [table], "ROW EXCLUSIVE", _NO_WRITERS, tell=tell, seconds=seconds)


def take_tables_alone(
    connection: Connection,
    tables: Sequence[str],
    *,
    readers_too: bool,
    tell: Callable[[str], None],
    seconds: int | None = None,
) -> None:
    """Lock tables of ``public`` until the transaction ends, so that nobody writes to any, or with ``readers_too`` reads one.

    All at once, or none: nobody has to wait for one while this waits for another. Args and errors as ``take``.
    """
    if readers_too:
        modes = [*_NO_WRITERS, *_WRITERS, "AccessShareLock", "RowShareLock"]
        _take_tables(connection, tables, "ACCESS EXCLUSIVE", modes, tell=tell, seconds=seconds)
    else:
        modes = [*_NO_WRITERS, *_WRITERS]
        _take_tables(connection, tables, "SHARE ROW EXCLUSIVE", modes, tell=tell, seconds=seconds)


def _take_tables(  # noqa: PLR0913 - who asks, what for, how, and how long
    connection: Connection,
    tables: Sequence[str],
    mode: LiteralString,
    others: Sequence[str],
    *,
    tell: Callable[[str], None],
    seconds: int | None,
) -> None:
    names = [sql.Identifier("public", table) for table in tables]
    parameters = {"tables": [name.as_string(connection) for name in names], "modes": list(others)}
    _wait(
        lambda: _tables_taken(connection, names, mode),
        lambda: (
            database.value(connection, _TABLE_HOLDER, parameters)
            or f"another session, which has locked {' or '.join(tables)}"
        ),
        tell=tell,
        seconds=seconds,
    )


def _wait(
    taken: Callable[[], bool],
    holder: Callable[[], str],
    *,
    tell: Callable[[str], None],
    seconds: int | None,
) -> None:
    patience = settings.lock_seconds() if seconds is None else seconds
    begun = told = time.monotonic()
    while not taken():
        now = time.monotonic()
        if now - begun >= patience:
            msg = f"gave up after {patience:,} s of waiting for {holder()}; nothing was changed"
            raise LockedError(msg)
        if now - told >= _SECONDS_UNTIL_TOLD:
            told = now
            tell(f"waits for {holder()}")
        time.sleep(_PAUSE_SECONDS)


def _tables_taken(connection: Connection, names: Sequence[sql.Identifier], mode: LiteralString) -> bool:
    statement = sql.SQL("LOCK TABLE {} IN {} MODE NOWAIT").format(sql.SQL(", ").join(names), sql.SQL(mode))
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _holder(connection: Connection, name: str) -> str:
    return database.value(connection, _HOLDER, [name]) or "another session"


def _taken(connection: Connection, name: str, *, shared: bool) -> bool:
    """Lock if nobody else has, and return whether that succeeded. Never waits: who waits in the server can say nothing."""
    lock = sql.SQL("SELECT true FROM ingest.locks WHERE name = {} FOR {} SKIP LOCKED").format(
        sql.Literal(name), sql.SQL("SHARE" if shared else "UPDATE")
    )
    if database.value(connection, lock):
        return True
    if database.value(connection, "SELECT EXISTS (SELECT FROM ingest.locks WHERE name = %s)", [name]):
        return False
    try:  # the lock of a new table, which somebody else may be making just now
        with connection.transaction(), database.local_settings(connection, lock_timeout="1s"):
            connection.execute("INSERT INTO ingest.locks (name) VALUES (%s) ON CONFLICT DO NOTHING", [name])
    except psycopg.errors.LockNotAvailable:
        return False
    return bool(database.value(connection, lock))
