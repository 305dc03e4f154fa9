"""Rotates the encryption key: re-encrypts everything that is sealed, in batches, resumable at any moment.

The state is in the database (migration 013) and moves in the transaction that rewrites the rows. Where the
keys come from belongs to ``keys``, what depends on them and the SQL for it to ``sealed``. See ADR 0007.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import binding, keys, sealed, walk
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.privacy.sealed import Target
from daybreak_pipeline.privacy.walk import BATCH, Place, Tell, Walk
from daybreak_pipeline.schema import processes

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Phase = Literal["re-encrypt", "verify"]

PATIENCE = 60.0
"""Seconds that older transactions get to end in."""
_PAUSE = 0.5


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
        with walk.alone(connection) as claim:
            found = sealed.targets(connection)
            walk.refuse_hidden_rows(connection, found)
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
    through = Walk(connection, tell, claim, batch).through
    for target in found:
        re_encrypt = _Phase(connection, rotation_id, "re-encrypt", target)
        outcome.rows[target.relation] = through(target, re_encrypt)
    for target in found:
        if target.sealed:
            through(target, _Phase(connection, rotation_id, "verify", target))
    with connection.transaction():
        connection.execute("UPDATE privacy.key_check SET previous_sealed = NULL")
        connection.execute("UPDATE privacy.rotations SET finished_at = now() WHERE id = %s", [rotation_id])
        connection.execute(binding.ALL_BOUND)  # what is sealed again has its tag
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


# --- What is done with a batch --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Phase:
    """One phase of a rotation in one table, as the walk through it asks for."""

    connection: Connection
    rotation_id: int
    name: Phase
    target: Target

    def begin(self) -> Place:
        """Return how far it came before."""
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
        return Place(*(row or (None, 0, False)))

    def move(self, position: object, rows: int, *, finished: bool) -> None:
        """Note how far it is."""
        self.connection.execute(
            "UPDATE privacy.rotation_steps SET position = coalesce(%s, position), rows_done = rows_done + %s, "
            "finished_at = CASE WHEN %s THEN now() END WHERE (rotation_id, phase, relation) = (%s, %s, %s)",
            [Jsonb(position) if rows else None, rows, finished, *self._id],
        )

    def change(self, bounds: dict[str, object], *, begun: bool) -> None:
        """Re-encrypt the rows, or look at every value with the new key alone.

        A row whose key changed while it was passed by may have been missed; what no key opens is noted.
        """
        range_ = bounds | {"rotation": self.rotation_id}
        if self.name == "re-encrypt":
            self.connection.execute(self.target.rekey(begun=begun), range_)
            return
        unreadable = self.target.count_unreadable(begun=begun)
        if self.connection.execute(unreadable, range_).fetchone() == (0,):
            return
        self.connection.execute(self.target.rekey_missed(begun=begun), range_)
        self.connection.execute(self.target.note_damaged(begun=begun), range_)

    @property
    def _id(self) -> list[object]:
        return [self.rotation_id, self.name, self.target.relation]
