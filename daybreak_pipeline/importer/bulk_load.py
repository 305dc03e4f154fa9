"""Loads an empty table in bulk: keys, foreign keys and indexes are dropped, and built again afterwards.

Building an index once is several times cheaper than keeping it up row by row, and validating a foreign key
afterwards ten times cheaper than checking each row. All of it happens in the import's transaction, so nobody
ever sees the table without them. Only for an empty table, since it is locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.importer.statements import execute, from_file

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

FEWEST_RECORDS = 20_000
"""Below that keeping the indexes up is as fast, and the catalog stays as it is."""

_LOCK_TIMEOUT = "5s"
_REFERENCES = 4
"""The place of foreign keys among the parts (``sql/keys_and_indexes.sql``)."""
_SORTED_FROM = 500_000
"""References to so many rows are checked by sorting both sides: a hash table of them is in no processor's cache."""


@dataclass(frozen=True)
class _Part:
    """A constraint, index or audit trigger, as the catalog defines it.

    ``place`` orders building: keys, indexes, references, triggers. ``parent_rows`` is how many rows the planner takes
    the table for that a reference points at.
    """

    kind: str
    owner: str
    name: str
    definition: str
    comment: str | None
    place: int
    parent_rows: float

    def drop(self) -> sql.Composed:
        if self.kind == "index":
            return sql.SQL("DROP INDEX {}").format(sql.SQL(self.owner))
        if self.kind == "trigger":
            return sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(self.name), sql.SQL(self.owner))
        return sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
            sql.SQL(self.owner), sql.Identifier(self.name)
        )

    def build(self) -> sql.SQL | sql.Composed:
        if self.kind in {"index", "trigger"}:
            return sql.SQL(self.definition)
        return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
            sql.SQL(self.owner), sql.Identifier(self.name), sql.SQL(self.definition)
        )

    def planned(self) -> dict[str, bool]:
        """Return the planner's settings for building it.

        A reference is checked by a join of both tables, whole. What the planner knows of the child is of rows that are
        gone, and has made it fetch ten million by an index.
        """
        if self.place != _REFERENCES:
            return {}
        return {"enable_bitmapscan": False, "enable_hashjoin": self.parent_rows < _SORTED_FROM}

    def describe(self) -> sql.Composed:
        comment = sql.Literal(self.comment)
        if self.kind == "index":
            return sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.SQL(self.owner), comment)
        return sql.SQL("COMMENT ON {} {} ON {} IS {}").format(
            sql.SQL(self.kind), sql.Identifier(self.name), sql.SQL(self.owner), comment
        )


@contextmanager
def loaded(connection: Connection, table: sql.Identifier, *, records: int) -> Iterator[None]:
    """Run the block with the empty table without keys and indexes, and build everything again at its end.

    With few records, or where somebody holds a lock on the table, the block runs with the table as it is.

    Args:
        connection: in the import's transaction.
        table: the table, empty.
        records: how many are to be loaded.
    """
    parts = _strip(connection, table) if records >= FEWEST_RECORDS else []
    yield
    for part in sorted(parts, key=lambda part: (part.place, part.owner, part.name)):
        with database.local_settings(connection, **part.planned()):
            execute(connection, f"bulk load: build {part.kind}", "{build}", build=part.build())
        if part.comment:
            execute(connection, f"bulk load: describe {part.kind}", "{describe}", describe=part.describe())


def _strip(connection: Connection, table: sql.Identifier) -> list[_Part]:
    name = table.as_string(connection)
    try:
        with connection.transaction(), database.local_settings(connection, lock_timeout=_LOCK_TIMEOUT):
            execute(
                connection, "bulk load: lock", "LOCK TABLE {target} IN ACCESS EXCLUSIVE MODE", target=table
            )
            with_key = not _rows_point_at(connection, name)
            found = execute(
                connection,
                "bulk load: keys and indexes",
                from_file("keys_and_indexes"),
                {"table": name, "with_key": with_key},
            )
            parts = [_Part(*row) for row in found]
            for part in reversed(parts):
                execute(connection, f"bulk load: drop {part.kind}", "{drop}", drop=part.drop())
            return parts
    except psycopg.errors.LockNotAvailable:
        return []


def _rows_point_at(connection: Connection, name: str) -> bool:
    """Whether any table with a foreign key to this one has rows."""
    children = execute(
        connection,
        "bulk load: tables that refer to it",
        "SELECT DISTINCT conrelid::regclass::text FROM pg_constraint "
        "WHERE contype = 'f' AND confrelid = %(table)s::regclass AND conrelid <> confrelid",
        {"table": name},
    ).fetchall()
    return any(database.has_rows(connection, sql.SQL(child)) for (child,) in children)
