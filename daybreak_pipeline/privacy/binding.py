"""Binds values that were sealed before tags came to their columns (migration 032), in batches, resumable at any moment.

A rotation of the key does so too. Values that a client seals by hand without a tag stay as they are until the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys, sealed, walk
from daybreak_pipeline.privacy.sealed import Target
from daybreak_pipeline.privacy.walk import BATCH, Place, Tell, Walk

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

ALL_BOUND: Final = "UPDATE privacy.binding_steps SET finished_at = now() WHERE finished_at IS NULL"
"""Notes that every value has its tag."""
_UNBOUND = "SELECT relation FROM privacy.binding_steps WHERE finished_at IS NULL ORDER BY relation"


def unbound(connection: Connection) -> list[str]:
    """Return the tables with values that may not be bound to their columns yet. Needs no key and changes nothing."""
    return [relation for (relation,) in connection.execute(_UNBOUND).fetchall()]


def bind(connection: Connection, tell: Tell = lambda _text: None, *, batch: int = BATCH) -> dict[str, int]:
    """Bind what is not bound yet, or go on where that was stopped.

    Args:
        connection: of the tables' owner, with the key and in autocommit mode.
        tell: called with how far it is.
        batch: rows in one transaction.

    Returns:
        How many rows of each table were gone through.

    Raises:
        UsageError: it cannot begin or go on; the message says why. What was done stays done.
    """
    try:
        with walk.alone(connection) as claim:
            state = keys.state(connection)
            if state.rotating:
                msg = "a rotation of the key is unfinished, which binds the values as well: run daybreak keys rotate"
                raise UsageError(msg)
            left = unbound(connection)
            found = [target for target in sealed.targets(connection) if target.relation in left]
            walk.refuse_hidden_rows(connection, found)
            through = Walk(connection, tell, claim, batch).through
            rows = {target.relation: through(target, _Binding(connection, target)) for target in found}
            # A table that was dropped meanwhile has nothing to bind.
            connection.execute(ALL_BOUND)
            return rows
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"user {connection.info.user} may not seal values again ({error.diag.message_primary}): "
            "run this as the owner of the tables"
        )
        raise UsageError(msg) from None
    except psycopg.OperationalError as error:
        msg = f"the server ended this ({type(error).__name__}): run daybreak keys bind to go on"
        raise UsageError(msg) from None


@dataclass(frozen=True)
class _Binding:
    """The binding of one table's values, as the walk through it asks for."""

    connection: Connection
    target: Target
    name: str = "bind"

    def begin(self) -> Place:
        """Return how far it came before."""
        found = database.one(
            self.connection,
            Place,
            "SELECT position, rows_done AS rows, finished_at IS NOT NULL AS finished FROM privacy.binding_steps "
            "WHERE relation = %s",
            [self.target.relation],
        )
        return found or Place(None, 0, finished=True)

    def move(self, position: object, rows: int, *, finished: bool) -> None:
        """Note how far it is."""
        self.connection.execute(
            "UPDATE privacy.binding_steps SET position = coalesce(%s, position), rows_done = rows_done + %s, "
            "finished_at = CASE WHEN %s THEN now() END WHERE relation = %s",
            [Jsonb(position) if rows else None, rows, finished, self.target.relation],
        )

    def change(self, bounds: dict[str, object], *, begun: bool) -> None:
        """Give the values their tags."""
        if self.target.sealed:
            self.connection.execute(self.target.bind(begun=begun), bounds)
