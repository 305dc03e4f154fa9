"""Rotates the encryption key: re-encrypts everything that is sealed, in batches, resumable at any moment.

The state is in the database (migration 013) and moves in the transaction that rewrites the rows. Where the
keys come from belongs to ``keys``, what depends on them and the SQL for it to ``sealed``. See ADR 0007.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys, sealed
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.privacy.sealed import Target
from daybreak_pipeline.schema import locks, processes

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Tell = Callable[[str], None]
Phase = Literal["re-encrypt", "verify"]

BATCH = 5000
"""Rows in one transaction: about a second, for which their writers wait."""
PATIENCE = 60.0
"""Seconds that older transactions get to end in."""
_GONE_AFTER_SECONDS = 10
"""A rotation that has not renewed its row for so long is taken for dead."""
_ALONE_SECONDS = 15.0
"""How long a rotation waits for another one to end, or to be taken for dead."""
_PAUSE = 0.5

# Triggers stand aside: for the importer's transactions, and audit's for a rotation's. A rotation gives way
# before the server takes two sessions that wait for each other for a deadlock (deadlock_timeout, 1 s) and ends
# the other one.
_BATCH_SETTINGS = """
    SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true),
           set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true),
           set_config('lock_timeout', '500ms', true),
           set_config('statement_timeout', '10min', true), set_config('plan_cache_mode', 'force_custom_plan', true)
"""


@dataclass
class Outcome:
    """What a rotation did. ``finished_before`` means that there was nothing left to do.

    ``damaged`` counts, by table and column, the values that no key opens.
    """

    rotation_id: int | None
    finished_before: bool = False
    rows: dict[str, int] = field(default_factory=dict)
    damaged: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """The state of the key: does the session's fit (None: the database has none yet), and how far is a rotation."""

    fits: bool | None
    unfinished: bool
    rotation_id: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    steps: tuple[tuple[str, str, int, bool], ...] = ()
    damaged: tuple[tuple[str, str, str], ...] = ()


def rotate(
    connection: Connection,
    exchange: Exchange,
    tell: Tell = lambda _text: None,
    *,
    batch: int = BATCH,
    patience: float = PATIENCE,
) -> Outcome:
    """Bring everything in the database under the new key, or go on where an earlier rotation stopped.

    Args:
        connection: of the tables' owner, in autocommit mode; gets the new key.
        exchange: the keys.
        tell: called with how far it is.
        batch: rows in one transaction.
        patience: seconds that transactions get to end in which are older than the rotation.

    Raises:
        UsageError: it cannot begin or go on; the message says why. What was done stays done.
    """
    try:
        with _alone(connection) as claim:
            found = sealed.targets(connection)
            _refuse_hidden_rows(connection, found)
            rotation_id = _resume(connection, exchange) or _begin(connection, exchange, tell, patience, claim)
            if rotation_id is None:
                return Outcome(None, finished_before=True)
            _await_older(connection, rotation_id, tell, patience, claim)
            return _through(connection, rotation_id, found, tell, batch, claim)
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"user {connection.info.user} may not rotate the key ({error.diag.message_primary}): "
            "run this as the owner of the tables"
        )
        raise UsageError(msg) from None
    except psycopg.OperationalError as error:
        msg = f"the server ended the rotation ({type(error).__name__}): run daybreak keys rotate to go on"
        raise UsageError(msg) from None


def _through(  # noqa: PLR0913, PLR0917 - each is a fact of the one rotation
    connection: Connection, rotation_id: int, found: list[Target], tell: Tell, batch: int, claim: str
) -> Outcome:
    """Go through all tables, twice: re-encrypt, then look at every value with the new key alone."""
    outcome = Outcome(rotation_id)
    for target in found:
        outcome.rows[target.relation] = _Step(connection, rotation_id, "re-encrypt", target, tell, claim).run(
            batch
        )
    for target in found:
        if target.sealed:
            _Step(connection, rotation_id, "verify", target, tell, claim).run(batch)
    with connection.transaction():
        connection.execute("UPDATE privacy.key_check SET previous_sealed = NULL")
        connection.execute("UPDATE privacy.rotations SET finished_at = now() WHERE id = %s", [rotation_id])
    rows = connection.execute(
        "SELECT relation, column_name, count(*) FROM privacy.damaged_values WHERE rotation_id = %s GROUP BY 1, 2",
        [rotation_id],
    ).fetchall()
    outcome.damaged = {(relation, column): number for relation, column, number in sorted(rows)}
    return outcome


def status(connection: Connection) -> Status:
    """Return the state of the session's key and of the last rotation. Changes nothing."""
    state = keys.state(connection)
    row = connection.execute(
        "SELECT id, started_at, finished_at FROM privacy.rotations ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if not row:
        return Status(state.fits, state.rotating)
    steps = connection.execute(
        "SELECT phase, relation, rows_done, finished_at IS NOT NULL FROM privacy.rotation_steps "
        "WHERE rotation_id = %s ORDER BY phase, relation",
        row[:1],
    ).fetchall()
    damaged = connection.execute(
        "SELECT relation, column_name, row_key::text FROM privacy.damaged_values WHERE rotation_id = %s ORDER BY 1, 2, 3",
        row[:1],
    ).fetchall()
    rotation_id, started, finished = row
    return Status(
        state.fits, state.rotating, rotation_id, started, finished, steps=tuple(steps), damaged=tuple(damaged)
    )


# --- Beginning ------------------------------------------------------------------------------------------


@contextmanager
def _alone(connection: Connection) -> Iterator[str]:
    """Be the only rotation while the block runs; yields the row that says so, to be renewed with every batch.

    One that was killed, or whose server was, is taken for dead a moment after it last renewed its row.
    """
    deadline = time.monotonic() + _ALONE_SECONDS
    while (claim := _claimed(connection)) is None:
        if time.monotonic() > deadline:
            msg = "another rotation of the key is running: wait for it, daybreak keys status tells how far it is"
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


def _refuse_hidden_rows(connection: Connection, found: list[Target]) -> None:
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
        msg = f"row-level security hides rows of {names} from user {connection.info.user}: rotate the key as the owner"
        raise UsageError(msg)


def _use(connection: Connection, key: str) -> keys.State:
    """Give the session a key and return its state."""
    database.use_key(connection, key)
    return keys.state(connection)


def _resume(connection: Connection, exchange: Exchange) -> int | None:
    """Return the unfinished rotation, the session having its new key."""
    if not keys.state(connection).rotating:
        return None
    for key in (exchange.new, exchange.current):
        if key and _use(connection, key).fits:
            return _number(connection, "SELECT id FROM privacy.rotations WHERE finished_at IS NULL")
    raise UsageError(exchange.missing)


def _begin(connection: Connection, exchange: Exchange, tell: Tell, patience: float, claim: str) -> int | None:
    """Put the new key in force and return the rotation that begins; None where it has come to its end before."""
    if exchange.new and _use(connection, exchange.new).fits:
        return None
    current = exchange.require_current()
    _use(connection, current)
    keys.verify(connection)
    new = exchange.require_new()
    if new == current:
        msg = "NEW_ENCRYPTION_KEY is the key in use: give another"
        raise UsageError(msg)
    # Those of the rotation's own begin are few and short if no long one is open now.
    _await(connection, claim, _open_transactions(connection), tell, patience, "nothing was changed")
    while (rotation_id := _exchanged(connection, current, new)) is None:
        tell("waits for the imports that are running")
        processes.renew(connection, claim)
        time.sleep(_PAUSE)
    _use(connection, new)
    tell("the new key is in force")
    return rotation_id


def _exchanged(connection: Connection, current: str, new: str) -> int | None:
    """Exchange the keys in one transaction; None, and nothing done, while an import runs."""
    with connection.transaction():
        if not database.value(connection, keys.TRY_ALONE):
            return None
        # A SELECT of its own: many servers log changes with their parameters (log_statement = mod), and these are keys.
        state = connection.execute(
            """
            SELECT privacy.sub_key(privacy.root_key(%(new)s), 'check'),
                   privacy.seal(encode(privacy.root_key(%(current)s), 'hex'),
                                privacy.sub_key(privacy.root_key(%(new)s), 'seal'))
            """,
            {"new": new, "current": current},
        ).fetchone()
        connection.execute("UPDATE privacy.key_check SET check_value = %s, previous_sealed = %s", state)
        return _number(connection, "INSERT INTO privacy.rotations DEFAULT VALUES RETURNING id")


def _number(connection: Connection, query: LiteralString) -> int | None:
    found: int | None = database.value(connection, query)
    return found


# --- Transactions that may still write with the old key --------------------------------------------------


def _open_transactions(connection: Connection) -> list[str]:
    """Return the virtual ids of the transactions that other clients have open in this database."""
    rows = connection.execute(
        """
        SELECT l.virtualxid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
          AND a.datname = current_database() AND a.usesysid IS NOT NULL
        """
    ).fetchall()
    return [virtual_id for (virtual_id,) in rows]


def _await_older(connection: Connection, rotation_id: int, tell: Tell, patience: float, claim: str) -> None:
    """Wait until nobody is left who saw the old key in force: what they write would be passed over."""
    awaited = database.value(connection, "SELECT awaited FROM privacy.rotations WHERE id = %s", [rotation_id])
    note = "UPDATE privacy.rotations SET awaited = %s WHERE id = %s"
    if awaited is None:
        awaited = _open_transactions(connection)
        connection.execute(note, [awaited, rotation_id])
    _await(
        connection,
        claim,
        awaited,
        tell,
        patience,
        "then run daybreak keys rotate again, no row was re-encrypted yet",
    )
    connection.execute(note, [[], rotation_id])


def _await(  # noqa: PLR0913, PLR0917 - each is a fact of the one wait
    connection: Connection, claim: str, awaited: list[str], tell: Tell, patience: float, otherwise: str
) -> None:
    deadline = time.monotonic() + patience
    while awaited:
        rows = connection.execute(
            "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'virtualxid' AND granted AND virtualxid = ANY(%s)",
            [awaited],
        ).fetchall()
        others = ", ".join(str(pid) for (pid,) in rows)
        if not rows:
            return
        if time.monotonic() > deadline:
            msg = (
                f"transactions are open that are older than the new key (server process {others}): "
                f"wait for them or end them with pg_terminate_backend; {otherwise}"
            )
            raise UsageError(msg)
        tell(f"waits for older transactions to end: server process {others}")
        processes.renew(connection, claim)
        time.sleep(0.1)


# --- Going through a table ------------------------------------------------------------------------------


@dataclass
class _Step:
    """One phase in one table, from where it stopped to the end."""

    connection: Connection
    rotation_id: int
    phase: Phase
    target: Target
    tell: Tell
    claim: str

    def run(self, batch: int) -> int:
        """Go to the end of the table; returns how many rows were gone through in all runs."""
        with self.connection.transaction():
            self.connection.execute(
                "INSERT INTO privacy.rotation_steps (rotation_id, phase, relation) VALUES (%s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                self._id,
            )
            row = self.connection.execute(
                "SELECT position, rows_done, finished_at IS NOT NULL FROM privacy.rotation_steps "
                "WHERE (rotation_id, phase, relation) = (%s, %s, %s)",
                self._id,
            ).fetchone()
        position, done, finished = row or (None, 0, False)
        while not finished:
            try:
                position, rows = self._batch(position, batch)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                processes.renew(self.connection, self.claim)
                self.tell(f"{self.target.relation}: waits for a row that another session has locked")
                time.sleep(_PAUSE)
                continue
            done += rows
            finished = rows < batch
            of = f" of about {self.target.expected_rows:,}" if self.target.expected_rows > done else ""
            self.tell(f"{self.phase} {self.target.relation}: {done:,} rows{of}")
        return int(done)

    @property
    def _id(self) -> list[object]:
        return [self.rotation_id, self.phase, self.target.relation]

    def _batch(self, position: object, batch: int) -> tuple[object, int]:
        """Do the next rows in one transaction and return the last one's key and their number."""
        with self.connection.transaction():
            processes.renew(self.connection, self.claim)
            self.connection.execute(_BATCH_SETTINGS)
            begun = position is not None
            after = Jsonb(position)
            find = self.target.find(begun=begun)
            row = self.connection.execute(find, {"after": after, "batch": batch}).fetchone()
            rows, last = row or (0, None)
            if rows:
                up_to = {
                    "after": after,
                    "up_to": Jsonb(last),
                    "rotation": self.rotation_id,
                }
                if self.phase == "re-encrypt":
                    self.connection.execute(self.target.rekey(begun=begun), up_to)
                else:
                    self._verify(up_to, begun=begun)
            self.connection.execute(
                "UPDATE privacy.rotation_steps SET position = coalesce(%s, position), rows_done = rows_done + %s, "
                "finished_at = CASE WHEN %s THEN now() END WHERE (rotation_id, phase, relation) = (%s, %s, %s)",
                [Jsonb(last) if rows else None, rows, rows < batch, *self._id],
            )
        return last if rows else position, int(rows)

    def _verify(self, range_: dict[str, object], *, begun: bool) -> None:
        """Look at every value with the new key alone.

        A row whose key changed while it was passed by may have been missed; what no key opens is noted.
        """
        unreadable = self.target.count_unreadable(begun=begun)
        if self.connection.execute(unreadable, range_).fetchone() == (0,):
            return
        self.connection.execute(self.target.rekey_missed(begun=begun), range_)
        self.connection.execute(self.target.note_damaged(begun=begun), range_)
