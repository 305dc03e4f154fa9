"""Loads an empty table bare: keys, foreign keys and indexes are dropped and built again afterwards.

Building an index once is several times cheaper than keeping it up row by row, and validating a foreign key
afterwards ten times cheaper than checking each row. All of it happens in the import's transaction, so nobody
ever sees the table without them. Only for an empty table: it is locked meanwhile, and nobody misses its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

FEWEST_RECORDS = 20_000
"""Below that keeping the indexes up is as fast, and the catalog stays as it is."""

_LOCK_TIMEOUT = "5s"
_REFERENCES = 4
"""The place in ``_PARTS`` of foreign keys."""
_SORTED_FROM = 500_000
"""References to so many rows are checked by sorting both sides: a hash table of them is in no processor's cache."""

# Foreign keys that point at the table can only be dropped, and its primary key with them, where the tables that
# have them are empty too: otherwise all their rows would be validated again.
_PARTS = """
    WITH incoming AS (
        SELECT c.oid, c.conrelid FROM pg_constraint c
        WHERE c.contype = 'f' AND c.confrelid = %(table)s::regclass AND c.conrelid <> c.confrelid
    ), own AS (
        SELECT c.oid, c.contype, c.conindid FROM pg_constraint c
        WHERE c.conrelid = %(table)s::regclass AND c.contype IN ('f', 'u', 'p')
    )
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(c.oid),
           obj_description(c.oid, 'pg_constraint'), CASE c.contype WHEN 'p' THEN 1 WHEN 'u' THEN 2 ELSE 4 END AS place,
           coalesce((SELECT p.reltuples FROM pg_class p WHERE p.oid = c.confrelid), 0) AS parent_rows
    FROM pg_constraint c
    WHERE c.oid IN (SELECT oid FROM own WHERE contype IN ('f', 'u') OR %(with_key)s)
       OR (%(with_key)s AND c.oid IN (SELECT oid FROM incoming))
    UNION ALL
    SELECT 'index', i.indexrelid::regclass::text, x.relname, pg_get_indexdef(i.indexrelid),
           obj_description(i.indexrelid, 'pg_class'), 3, 0
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = %(table)s::regclass AND NOT EXISTS (SELECT FROM own WHERE own.conindid = i.indexrelid)
    UNION ALL
    -- The audit trail's trigger would have every row copied for it, even while it is disabled; an import is recorded
    -- as a whole.
    SELECT 'trigger', t.tgrelid::regclass::text, t.tgname,
           pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'A'
               THEN format('; ALTER TABLE %%s ENABLE ALWAYS TRIGGER %%I', t.tgrelid::regclass, t.tgname) ELSE '' END,
           obj_description(t.oid, 'pg_trigger'), 5, 0
    FROM pg_trigger t
    WHERE t.tgrelid = %(table)s::regclass AND t.tgenabled IN ('A', 'O') AND t.tgnewtable IS NOT NULL
      AND t.tgoldtable IS NULL AND t.tgfoid = to_regproc('audit.record_change')
    ORDER BY place, 3
"""


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
    """Run the block with the empty table bare, and build everything again at its end.

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
            connection.execute(part.build())
        if part.comment:
            connection.execute(part.describe())


def _strip(connection: Connection, table: sql.Identifier) -> list[_Part]:
    name = table.as_string(connection)
    try:
        with connection.transaction(), database.local_settings(connection, lock_timeout=_LOCK_TIMEOUT):
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
            with_key = not _rows_point_at(connection, name)
            parts = [_Part(*row) for row in connection.execute(_PARTS, {"table": name, "with_key": with_key})]
            for part in reversed(parts):
                connection.execute(part.drop())
            return parts
    except psycopg.errors.LockNotAvailable:
        return []


def _rows_point_at(connection: Connection, name: str) -> bool:
    """Whether any table with a foreign key to this one has rows."""
    children = connection.execute(
        "SELECT DISTINCT conrelid::regclass::text FROM pg_constraint "
        "WHERE contype = 'f' AND confrelid = %s::regclass AND conrelid <> confrelid",
        [name],
    ).fetchall()
    return any(database.has_rows(connection, sql.SQL(child)) for (child,) in children)
