"""The tables with personal columns, as the database has them on record (``privacy.protected_tables``).

The plan's are among them, and those that a team has added by a migration (``privacy.protect``). What goes over every
protected table asks here. A test holds the plan's tables to ``tables.py``, which has to know them without a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.tables import TABLES, Reference, Table

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

APPLICATION_GROUP = "application"
_TABLES = """
    SELECT table_name AS name, sealed, searched, kept_plain, is_imported,
           to_regclass(format('public.%I', table_name)) IS NOT NULL AS is_there
    FROM privacy.protected_tables ORDER BY NOT is_imported, table_name
"""
_FOREIGN_KEYS = """
    SELECT a.attname::text AS column, f.relname::text AS parent, t.attname::text AS target_column
    FROM pg_constraint c JOIN pg_class f ON f.oid = c.confrelid
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        JOIN pg_attribute t ON t.attrelid = c.confrelid AND t.attnum = c.confkey[1]
    WHERE c.conrelid = to_regclass(format('public.%%I', %s::text)) AND c.contype = 'f' AND cardinality(c.conkey) = 1
      AND f.relnamespace = 'public'::regnamespace
    ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Protected:
    """A table with personal columns: which are ``sealed``, which of them ``searched``, and which stored in plain as well.

    ``is_imported`` tells the plan's tables from an application's. ``is_there`` is false for one that was dropped or renamed.
    """

    name: str
    sealed: Sequence[str]
    searched: Sequence[str]
    kept_plain: Sequence[str]
    is_imported: bool
    is_there: bool

    @property
    def never_plain(self) -> list[str]:
        """The columns that are NULL in every row."""
        return [name for name in self.sealed if name not in self.kept_plain]


@dataclass(frozen=True)
class _ForeignKey:
    column: str
    parent: str
    target_column: str


def tables(connection: Connection) -> list[Protected]:
    """Return every protected table, the plan's first; none where the schema is older than the record of them."""
    if not database.value(connection, "SELECT to_regclass('privacy.protected_tables') IS NOT NULL"):
        return []
    return database.every(connection, Protected, _TABLES)


def of_applications(connection: Connection) -> list[str]:
    """Return the names of the protected tables that are an application's, and that are there."""
    return [one.name for one in tables(connection) if one.is_there and one.name not in TABLES]


def table(connection: Connection, name: str) -> Table:
    """Return one of the plan's tables, or a protected one of an application as if it was declared as they are.

    Raises:
        UsageError: it is neither.
    """
    if name in TABLES:
        return TABLES[name]
    found = {one.name: one for one in tables(connection) if one.is_there}
    if name not in found:
        known = ", ".join([*TABLES, *(one for one in found if one not in TABLES)])
        msg = f"{name} is no table of the plan, and none that is protected (privacy.protect): choose one of {known}"
        raise UsageError(msg)
    one = found[name]
    return Table(
        name,
        "A table of an application.",
        group=APPLICATION_GROUP,
        owner="",
        file_stems=(),
        references=tuple(
            Reference(key.column, (key.parent,), enforced=True, target_column=key.target_column)
            for key in database.every(connection, _ForeignKey, _FOREIGN_KEYS, [name])
        ),
        sealed_columns=tuple(one.sealed),
        kept_plain=tuple(one.kept_plain),
        searchable_columns=tuple(one.searched),
    )
