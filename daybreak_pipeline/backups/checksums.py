"""Row counts and checksums of every table, to compare a restored database with the one that was backed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# Unlogged tables are an import's working tables: a restore leaves them empty. An extension's own tables come with it.
_TABLES = """
    SELECT n.nspname::text AS schema, c.relname::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'p'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'recovered')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""
_AS_TEXT: dict[str, str | int] = {
    "bytea_output": "hex",
    "extra_float_digits": 1,
    "intervalstyle": "postgres",
    "search_path": "pg_catalog",
}


@dataclass(frozen=True)
class _Table:
    schema: str
    name: str


@dataclass(frozen=True)
class Checksum:
    """How many rows a table has, and the sum of their hashes: the same in whatever order they are read."""

    rows: int
    checksum: int


def tables(connection: Connection) -> list[tuple[str, str]]:
    """Return schema and name of every table whose rows a restore brings back."""
    return [(one.schema, one.name) for one in database.every(connection, _Table, _TABLES)]


def of_every_table(connection: Connection) -> dict[str, Checksum]:
    """Return the checksum of every table by its full name, as of the transaction's snapshot, which must be open."""
    # A row is hashed as text, which must not depend on a server's own settings.
    with database.local_settings(connection, **_AS_TEXT):
        return {
            f"{schema}.{name}": _of(connection, sql.Identifier(schema, name))
            for schema, name in tables(connection)
        }


def _of(connection: Connection, table: sql.Identifier) -> Checksum:
    query = sql.SQL(
        "SELECT count(*) AS rows, coalesce(sum(hashtextextended(one::text, 0)), 0)::numeric AS checksum FROM {} AS one"
    )
    found = database.one(connection, Checksum, query.format(table))
    assert found is not None  # noqa: S101 - an aggregate returns one row
    return Checksum(found.rows, int(found.checksum))


def differences(source: dict[str, Checksum], restored: dict[str, Checksum]) -> list[str]:
    """Return what differs, in words that have names and numbers only."""
    found = []
    for name in sorted(source.keys() | restored.keys()):
        there, here = source.get(name), restored.get(name)
        if there is None or here is None:
            found.append(f"{name} is {'missing' if here is None else 'not in the source'}")
        elif there.rows != here.rows:
            found.append(f"{name} has {here.rows:,} rows, not {there.rows:,}")
        elif there != here:
            found.append(f"{name} has other contents")
    return found
