"""Connections: to the server that ``DB_HOST`` names, or to the embedded one.

Every connection of the importer is made here, so that the time zone, the key and the error messages
are the same everywhere. SQL is kept with its subject, not here. What a server means that lets nobody in is in ``refusals``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self, TypeAlias, TypeVar

import psycopg
from psycopg import IsolationLevel, Transaction, sql
from psycopg.abc import RV, Params, PQGen, Query, QueryNoTemplate
from psycopg.pq import TransactionStatus
from psycopg.rows import Row, kwargs_row, scalar_row

from daybreak_pipeline import settings
from daybreak_pipeline.database.refusals import refusal
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.settings import DatabaseSettings

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")
_ENVIRONMENT = threading.Lock()
Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]


_GIVE_KEY = "SELECT set_config('daybreak.encryption_key', %s, true)"
_LOG_SLOW = """
    SELECT CASE WHEN current_setting('daybreak.slow_statements', true) <> ''
                 AND current_setting('log_parameter_max_length') = '0' AND {}
                THEN set_config('log_min_duration_statement', current_setting('daybreak.slow_statements'), true) END
"""
"""Has the log name slow statements, where the server asks for it and would not log their parameters."""
_LOG_SLOW_15 = _LOG_SLOW.replace(
    "{}", "has_parameter_privilege('log_min_duration_statement', 'SET')"
).encode()
_LOG_SLOW_14 = _LOG_SLOW.replace("{}", "current_setting('is_superuser')::boolean").encode()
_VERSION_15 = 150000


class _Cursor(psycopg.Cursor[Row]):
    """A cursor whose statement, where it begins a transaction, comes after the key."""

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Run a statement; see psycopg."""
        connection = self.connection
        idle = connection.info.transaction_status == TransactionStatus.IDLE
        if idle and isinstance(connection, SafeConnection) and connection.encryption_key is not None:
            if connection.autocommit:  # the statement is a transaction of its own
                with connection.transaction():
                    return super().execute(query, params, prepare=prepare, binary=binary)  # type: ignore[misc, arg-type]  # its overloads, joined
            connection.give_key()
        return super().execute(query, params, prepare=prepare, binary=binary)  # type: ignore[misc, arg-type]  # its overloads, joined


class SafeConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose key belongs to its transactions, and that stops its statement whatever interrupts it.

    With ``encryption_key`` set, every transaction begins with giving the server the key, until it ends: a session's own
    would be left to whoever gets the session next from a pooler. A bound parameter: the key is never part of SQL
    text, which servers log.

    psycopg stops a statement on ``KeyboardInterrupt``; Dagster turns Ctrl-C into an exception of its own.
    """

    encryption_key: str | None = None
    log_slow: bool = False
    made_for: DatabaseSettings | None = None
    _at_end: ExitStack | None = None
    _has_others: bool = False

    @contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 - as psycopg has it
    ) -> Iterator[Transaction]:
        """Run the block in a transaction, or within one that is open; see psycopg."""
        if self.info.transaction_status != TransactionStatus.IDLE:
            with super().transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
            return
        try:
            with (
                ExitStack() as self._at_end,
                super().transaction(savepoint_name, force_rollback) as transaction,
            ):
                self.give_key()
                yield transaction
        finally:
            self._at_end, self._has_others = None, False

    def others(self, most: int) -> list[Connection]:
        """Open connections to the same database; see ``others``."""
        if self.made_for is None or self._at_end is None or self._has_others:
            return []
        self._has_others = True
        opened: list[Connection] = []
        with suppress(ServerUnavailableError, UsageError):
            while len(opened) < most:
                opened.append(connect(self.made_for, autocommit=True))
                self._at_end.callback(opened[-1].close)
        return opened

    def when_ended(self, call: Callable[[], object]) -> None:
        """Have something called; see ``when_ended``."""
        if self._at_end is None:
            msg = "no transaction is open that this connection began"
            raise RuntimeError(msg)
        self._at_end.callback(call)

    def give_key(self) -> None:
        """Give the server the key, for the transaction that this begins or that has just begun."""
        if self.encryption_key is not None:
            cursor = psycopg.Cursor(self)  # psycopg's own: ours would ask for the key again
            # Some servers log the parameters of statements that fail. What others log, ``operations.server_settings`` says.
            cursor.execute("SET LOCAL log_parameter_max_length_on_error = 0")
            cursor.execute(_GIVE_KEY, [self.encryption_key])
            if self.log_slow:
                cursor.execute(_LOG_SLOW_15 if self.info.server_version >= _VERSION_15 else _LOG_SLOW_14)

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait for the server; see psycopg."""
        try:
            return super().wait(gen, *args, **kwargs)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):
                    self.cancel_safe(timeout=5)
                    super().wait(gen, *args, **kwargs)
            raise


@contextmanager
def serving() -> Iterator[DatabaseSettings]:
    """Yield the database to use: the given one as it is, or the embedded server, running meanwhile.

    Raises:
        UsageError: the environment is wrong, or the embedded server cannot start.
    """
    given = settings.given_database()
    if given:
        yield given
        return
    from daybreak_pipeline.embedded_postgres import server

    with server.serve(settings.home()) as embedded:
        yield embedded


def connect(
    database: DatabaseSettings,
    *,
    key: str | None = None,
    autocommit: bool = False,
    log_slow: bool = False,
    **parameters: str | int,
) -> Connection:
    """Open a connection in which times are UTC and, with ``key``, personal columns can be sealed in transactions.

    Nothing of it depends on the server's session: a pooler in transaction mode may be in between.

    Args:
        database: where to connect.
        key: the encryption key in hex, as ``privacy.keys`` returns it.
        autocommit: whether statements outside ``connection.transaction()`` are transactions of their own.
        log_slow: whether the server's log may name statements that are slow, in transactions with the key: only where no
            value is ever part of their text.
        parameters: further libpq parameters.

    Raises:
        ServerUnavailableError: the server cannot be reached, or takes no connections now.
        UsageError: it refuses the login.
    """
    try:
        # A pooler takes no start-up options, but keeps these for each of its clients. libpq reads them here.
        with _ENVIRONMENT, settings.own_environment(PGTZ="UTC", PGDATESTYLE="ISO, MDY"):
            connection = SafeConnection.connect(
                database.conninfo(**parameters), autocommit=autocommit, prepare_threshold=None
            )
    except psycopg.OperationalError as error:
        refused = refusal(database, error)
        kind = UsageError if refused.lasts else ServerUnavailableError
        raise kind(refused.text) from None
    connection.made_for = database
    connection.cursor_factory = _Cursor
    connection.encryption_key = key
    connection.log_slow = log_slow
    return connection


def use_key(connection: Connection, key: str) -> None:
    """Have the transactions of a connection, as ``connect`` made it, use another key from the next one on."""
    if not isinstance(connection, SafeConnection):
        msg = "the connection was not made by database.connect"
        raise TypeError(msg)
    connection.encryption_key = key


def others(connection: Connection, *, most: int) -> list[Connection]:
    """Open connections to the same database, without the key, for work beside an open transaction.

    They are closed when it has ended. A transaction gets them once.

    Returns:
        As many as the server takes, or fewer than ``most``; none where ``connection`` is not in a transaction of
        ``connection.transaction()``.
    """
    return connection.others(most) if isinstance(connection, SafeConnection) else []


def when_ended(connection: Connection, call: Callable[[], object]) -> None:
    """Have something called as soon as the open transaction has ended, the last first."""
    if not isinstance(connection, SafeConnection):
        msg = "the connection was not made by database.connect"
        raise TypeError(msg)
    connection.when_ended(call)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Run the block in a transaction that sees one moment, and writes nothing."""
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction():
            yield
    finally:
        connection.isolation_level, connection.read_only = None, None


def is_pooled(connection: Connection) -> bool:
    """Return whether there is a pooler before the server: its clients see another process id than the server's."""
    return bool(value(connection, "SELECT pg_backend_pid()") != connection.info.backend_pid)


def value(connection: Connection, query: QueryNoTemplate, parameters: Params | None = None) -> Any:
    """Return the one value that a query returns; None where it returns no row."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, parameters).fetchone()


def one(
    connection: Connection, kind: Callable[..., T], query: QueryNoTemplate, parameters: Params | None = None
) -> T | None:
    """Return the only row of a query as an object made from its columns by name; None if there is no row."""
    with connection.cursor(row_factory=kwargs_row(kind)) as cursor:
        return cursor.execute(query, parameters).fetchone()


def every(
    connection: Connection, kind: Callable[..., T], query: QueryNoTemplate, parameters: Params | None = None
) -> list[T]:
    """Return the rows of a query, each as an object made from its columns by name."""
    with connection.cursor(row_factory=kwargs_row(kind)) as cursor:
        return cursor.execute(query, parameters).fetchall()


def count_rows(connection: Connection, table: sql.Composable) -> int:
    """Return how many rows a table has."""
    return int(value(connection, sql.SQL("SELECT count(*) FROM {}").format(table)))


def has_rows(connection: Connection, table: sql.Composable) -> bool:
    """Return whether a table has any row, without counting them."""
    return bool(value(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)))


_SET_LOCAL = (
    "SELECT set_config(name, setting, true) FROM unnest(%s::text[], %s::text[]) AS given (name, setting)"
)
"""Unlike SET, this takes a list of names, such as a search path, in the form in which the server shows it."""


@contextmanager
def local_settings(connection: Connection, **values: str | int | bool) -> Iterator[None]:
    """Have settings of the server for the statements of the block; afterwards they are as they were before it."""
    if not values:
        yield
        return
    names = list(values)
    found = connection.execute(
        "SELECT current_setting(name) FROM unnest(%s::text[]) WITH ORDINALITY AS given (name, place) ORDER BY place",
        [names],
    )
    before = [setting for (setting,) in found]
    connection.execute(_SET_LOCAL, [names, [str(value) for value in values.values()]])
    yield  # an error needs no way back: it ends the transaction, or goes back to a savepoint, and the settings with it
    connection.execute(_SET_LOCAL, [names, before])


def verbatim(connection: Connection, part: sql.Composable) -> sql.SQL:
    """Return a piece of SQL in the form for a statement with parameters, where a percent sign begins one.

    A name, a default and the expression of a CHECK may have it.
    """
    return sql.SQL(part.as_string(connection).replace("%", "%%"))


def state_of(error: psycopg.Error) -> str | None:
    """Return the server's code of an error; None where the error did not come from the server."""
    return error.diag.sqlstate or error.sqlstate


def is_lost(error: psycopg.Error, connection: Connection | None = None) -> bool:
    """Return whether an error without a code says that the connection broke.

    psycopg has no code of its own for that. Where the connection is at hand and whole, it was something else.
    """
    return (
        state_of(error) is None
        and isinstance(error, psycopg.OperationalError)
        and (connection is None or connection.closed)
    )


def is_transient(error: psycopg.Error, connection: Connection | None = None) -> bool:
    """Return whether a failed statement may succeed when it is simply tried again.

    So it is after a lost connection, a server that shuts down or recovers, too many connections, a lock that somebody
    held, a deadlock and a serialization failure; never where the server refused what it was given.
    """
    state = state_of(error)
    if state is None:
        return is_lost(error, connection)
    return state[:2] == "08" or state in _TRANSIENT_STATES


def is_outside(error: psycopg.Error, connection: Connection | None = None) -> bool:
    """Return whether a statement failed for a reason outside of what the server was given.

    Besides what is transient: a full disk, no memory, a limit of its configuration, a cancelled statement, files that
    it cannot read or write, damage to its own data, a missing right, a server that takes no writes.
    """
    state = state_of(error) or ""
    return (
        is_transient(error, connection)
        or state.startswith(("53", "57", "58", "XX"))
        or state in {"25006", "42501"}
    )


_TRANSIENT_STATES = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    }
)
