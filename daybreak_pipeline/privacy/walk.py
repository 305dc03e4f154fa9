"""Goes through the rows of a table in batches, each a transaction of its own, and can be stopped at any moment.

What is done with a batch, and where it is noted how far that came, is for those who use it: ``rotation`` and ``binding``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import psycopg
from psycopg.types.json import Jsonb

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy.sealed import Target
from daybreak_pipeline.schema import locks, processes

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Tell = Callable[[str], None]

BATCH = 5000
"""Rows in one transaction: about a second, for which their writers wait."""
_GONE_AFTER_SECONDS = 10
"""Who has not renewed its row for so long is taken for dead."""
_ALONE_SECONDS = 15.0
"""How long one waits for another one to end, or to be taken for dead."""
_PAUSE = 0.5

# Triggers stand aside: for the importer's transactions, and audit's for a rotation's. This gives way before the server
# takes two sessions that wait for each other for a deadlock (deadlock_timeout, 1 s) and ends the other one.
_BATCH_SETTINGS = """
    SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true),
           set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true),
           set_config('lock_timeout', '500ms', true),
           set_config('statement_timeout', '10min', true), set_config('plan_cache_mode', 'force_custom_plan', true)
"""


@dataclass(frozen=True)
class Place:
    """How far one is in a table: the primary key of the last row that is done, and how many are."""

    position: object
    rows: int
    finished: bool


class Work(Protocol):
    """What is done in one table. All of it runs in the transaction of a batch."""

    @property
    def name(self) -> str:
        """What it is called in what is told, e.g. "re-encrypt"."""

    def begin(self) -> Place:
        """Return how far it came before."""

    def move(self, position: object, rows: int, *, finished: bool) -> None:
        """Note how far it is."""

    def change(self, bounds: dict[str, object], *, begun: bool) -> None:
        """Change the rows between two primary keys; without ``begun`` there is no lower one."""


@dataclass(frozen=True)
class Walk:
    """Going through tables: by one session, which says with every batch that it lives (``alone``)."""

    connection: Connection
    tell: Tell
    claim: str
    batch: int = BATCH

    def through(self, target: Target, work: Work) -> int:
        """Go to the end of a table, from where it was stopped; returns how many rows were gone through in all runs."""
        with self.connection.transaction():
            place = work.begin()
        position, done, finished = place.position, place.rows, place.finished
        while not finished:
            try:
                position, rows = self._batch(target, work, position)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                processes.renew(self.connection, self.claim)
                self.tell(f"{target.relation}: waits for a row that another session has locked")
                time.sleep(_PAUSE)
                continue
            done += rows
            finished = rows < self.batch
            of = f" of about {target.expected_rows:,}" if target.expected_rows > done else ""
            self.tell(f"{work.name} {target.relation}: {done:,} rows{of}")
        return done

    def _batch(self, target: Target, work: Work, position: object) -> tuple[object, int]:
        """Do the next rows in one transaction and return the last one's key and their number."""
        with self.connection.transaction():
            processes.renew(self.connection, self.claim)
            self.connection.execute(_BATCH_SETTINGS)
            begun = position is not None
            after = Jsonb(position)
            find = target.find(begun=begun)
            row = self.connection.execute(find, {"after": after, "batch": self.batch}).fetchone()
            rows, last = row or (0, None)
            if rows:
                work.change({"after": after, "up_to": Jsonb(last)}, begun=begun)
            work.move(last, rows, finished=rows < self.batch)
        return last if rows else position, int(rows)


@contextmanager
def alone(connection: Connection) -> Iterator[str]:
    """Be the only one who seals everything again while the block runs; yields the row that says so, to be renewed.

    One that was killed, or whose server was, is taken for dead a moment after it last renewed its row.
    """
    deadline = time.monotonic() + _ALONE_SECONDS
    while (claim := _claimed(connection)) is None:
        if time.monotonic() > deadline:
            msg = (
                "another rotation of the key is running, or daybreak keys bind: wait for it, daybreak keys status "
                "tells how far a rotation is"
            )
            raise UsageError(msg)
        time.sleep(0.1)
    try:
        yield claim
    finally:
        with suppress(psycopg.Error):  # where the server is gone, the row grows old by itself
            processes.end(connection, claim)


def _claimed(connection: Connection) -> str | None:
    with connection.transaction():
        locks.take(connection, "rotation")
        if processes.anybody(connection, "rotation", _GONE_AFTER_SECONDS):
            return None
        return processes.begin(connection, "rotation")


def refuse_hidden_rows(connection: Connection, found: list[Target]) -> None:
    """Make sure that row-level security hides no row from this session: it would keep the old key, unseen."""
    rows = connection.execute(
        """
        SELECT t.relation FROM unnest(%s::text[], %s::text[], %s::text[]) AS t (relation, schema, name),
            LATERAL (SELECT format('%%I.%%I', t.schema, t.name)::regclass AS oid) c
        WHERE row_security_active(c.oid) AND (
            NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive
                        AND p.polroles = '{0}' AND pg_get_expr(p.polqual, p.polrelid) = 'true')
            OR EXISTS (SELECT FROM pg_policy p, unnest(p.polroles) AS named (role)
                       WHERE p.polrelid = c.oid AND NOT p.polpermissive
                         AND (named.role = 0 OR pg_has_role(named.role, 'USAGE'))))
        ORDER BY 1
        """,
        [[t.relation for t in found], [t.schema for t in found], [t.name for t in found]],
    ).fetchall()
    if rows:
        names = ", ".join(name for (name,) in rows)
        msg = f"row-level security hides rows of {names} from user {connection.info.user}: run this as the owner"
        raise UsageError(msg)
