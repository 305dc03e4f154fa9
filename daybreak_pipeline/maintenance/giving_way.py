"""Maintenance gives way: it begins nothing while an import or a rotation of the key is at work, and stops when one begins.

Statements that run for long, such as VACUUM, are cancelled within a second or two. Nothing of it takes a lock, so
that no import ever waits for the question.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import processes
from daybreak_pipeline.settings import DatabaseSettings

GONE_AFTER_SECONDS = 30
_LOOK_SECONDS = 1.0
_LOCK_PATIENCE = 60
"""For how many looks in a row a statement may wait for somebody's lock."""
# An import locks the row of its table until its transaction ends: the row's xmax is that transaction.
_IMPORTING = """
    SELECT replace(held.name, 'import ', '') FROM ingest.locks held
    JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = held.xmax
    WHERE held.name LIKE 'import %' LIMIT 1
"""
_WAITS = "SELECT coalesce(bool_or(wait_event_type = 'Lock'), false) FROM pg_stat_activity WHERE pid = %s"


class GivesWayError(DaybreakError):
    """Something that matters more is at work. What was done until then stays done, and the next time goes on."""


class LongWaitError(DaybreakError):
    """A statement waited too long for a lock that somebody holds."""


@dataclass
class Watch:
    """Looks for what maintenance has to give way to, through a connection of its own to the database of the tables."""

    connection: Connection
    elsewhere: Callable[[], str | None] = lambda: None
    """Says what is at work that the database does not show; asked before each batch and statement."""

    def reason(self) -> str | None:
        """Return what is at work, None where nothing is."""
        table = database.value(self.connection, _IMPORTING)
        if table:
            return f"an import of {table} is running"
        if processes.anybody(self.connection, "rotation", GONE_AFTER_SECONDS):
            return "a rotation of the encryption key is running"
        return None

    def check(self) -> None:
        """Go on only if nothing is at work.

        Raises:
            GivesWayError: something is.
        """
        reason = self.reason() or self.elsewhere()
        if reason:
            raise GivesWayError(_given_way(reason))

    def waits(self, pid: int) -> bool:
        """Return whether a session waits for a lock."""
        return bool(database.value(self.connection, _WAITS, [pid]))


def _given_way(reason: str) -> str:
    return f"{reason}, and maintenance gives way to it: what is left is done the next time"


@contextmanager
def watching(db: DatabaseSettings, elsewhere: Callable[[], str | None] = lambda: None) -> Iterator[Watch]:
    """Yield a watch on the database of the tables."""
    with database.connect(db, autocommit=True) as connection:
        yield Watch(connection, elsewhere)


def execute(watch: Watch, connection: Connection, statement: sql.Composed) -> set[str]:
    """Run one statement outside any transaction, such as VACUUM, until it ends or has to give way.

    Returns:
        The codes of what the server warned of.

    Raises:
        GivesWayError: something that matters more began; the statement was cancelled.
        LongWaitError: somebody held a lock for too long; the statement was cancelled.
    """
    watch.check()
    warned: set[str] = set()

    def hear(warning: psycopg.errors.Diagnostic) -> None:
        warned.add(warning.sqlstate or "")

    guard = _Guard(watch, connection)
    connection.add_notice_handler(hear)
    guard.start()
    try:
        connection.execute(statement)
    except psycopg.errors.QueryCanceled:
        if guard.reason:
            raise guard.reason from None
        raise
    finally:
        guard.over.set()
        guard.join()
        connection.remove_notice_handler(hear)
    return warned


class _Guard(threading.Thread):
    """Cancels a connection's statement where there is a reason to, until the statement is over."""

    def __init__(self, watch: Watch, connection: Connection) -> None:
        super().__init__(name="maintenance-guard", daemon=True)
        self._watch = watch
        self._connection = connection
        self.over = threading.Event()
        self.reason: DaybreakError | None = None

    def run(self) -> None:
        """Look once a second; cancel again where the statement does not end."""
        waited = 0
        while not self.over.wait(_LOOK_SECONDS):
            try:
                at_work = self._watch.reason()
                waited = waited + 1 if self._watch.waits(self._connection.info.backend_pid) else 0
            except psycopg.Error:
                return  # the server is gone, and with it the statement
            if at_work:
                self.reason = GivesWayError(_given_way(at_work))
            elif waited >= _LOCK_PATIENCE:
                self.reason = LongWaitError(
                    f"somebody holds a lock for more than a minute; {Runbook.SLOW_OR_STUCK.see}"
                )
            if self.reason:
                with suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=5)
