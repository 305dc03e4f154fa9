"""Brings one table back, from a restored copy of the server into the schema ``recovered``, and leaves the table as it is.

What to do with its rows is for a person to decide: there is SQL that compares them and puts them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

SCHEMA = "recovered"
_NONE = f"there is no table {{}}.{{}} {{}}; {Runbook.ONE_TABLE_BACK.see}"
_COLUMNS = """
    SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
           coalesce(a.attnum = ANY (key.indkey::int2[]), false) AS is_key, a.attgenerated <> '' AS is_generated
    FROM pg_attribute a LEFT JOIN pg_index key ON key.indrelid = a.attrelid AND key.indisprimary
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""


@dataclass(frozen=True)
class Column:
    """One column of a table, with its type as SQL writes it."""

    name: str
    type: str
    is_key: bool
    is_generated: bool


@dataclass(frozen=True)
class Statements:
    """The SQL that compares the recovered rows with those of now by their key, and puts them back."""

    missing: str
    different: str
    put_back_missing: str
    put_back_different: str
    drop: str

    def __str__(self) -> str:
        """Return all of it, each with what it does."""
        return f"""\
-- Rows that are missing now:
{self.missing};
-- Rows that are different now:
{self.different};
-- Put back the missing ones. Where the table has personal columns, writing takes the encryption key:
{self.put_back_missing};
-- Put back the different ones:
{self.put_back_different};
-- When nobody needs it any more; erasing a person does not reach it:
{self.drop};"""


@dataclass(frozen=True)
class Recovered:
    """A table that was brought back: its name, how many rows it has, and the SQL to work with them.

    There is none where the table is gone or has no key.
    """

    table: str
    rows: int
    sql: Statements | None


def put_back(connection: Connection, found: Recovered, *, different: bool) -> int:
    """Put the missing rows back, and with ``different`` the others as they were; return how many.

    Args:
        connection: with the encryption key.
        found: as ``bring_back`` returned it.
        different: whether rows that were changed since are overwritten.

    Raises:
        UsageError: the table is gone, or has no key.
    """
    if found.sql is None:
        msg = (
            f"{found.table} is not there any more, or has no key: do it by hand, with {SCHEMA}.{found.table}; "
            f"{Runbook.ONE_TABLE_BACK.see}"
        )
        raise UsageError(msg)
    with connection.transaction():
        rows = connection.execute(found.sql.put_back_different.encode()).rowcount if different else 0
        return rows + connection.execute(found.sql.put_back_missing.encode()).rowcount


def bring_back(copy: DatabaseSettings, db: DatabaseSettings, table: str) -> Recovered:
    """Copy a table of a restored server into ``recovered`` of the running one. What was recovered before is replaced.

    Args:
        copy: the restored server.
        db: the running one.
        table: its name, with its schema where that is not ``public``.

    Raises:
        UsageError: there was no such table then.
    """
    schema, _, name = table.rpartition(".")
    schema = schema or "public"
    with database.connect(copy) as source, database.connect(db) as target:
        then = _columns(source, schema, name)
        if not then:
            raise UsageError(_NONE.format(schema, name, "at that time"))
        now = _columns(target, schema, name)
        _make(target, name, then)
        rows = _copy(source, target, (schema, name), then)
        keys = [sql.Identifier(column.name) for column in then if column.is_key]
        if keys:
            add = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})")
            target.execute(add.format(sql.Identifier(SCHEMA, name), sql.SQL(", ").join(keys)))
        target.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(SCHEMA, name)))
        return Recovered(name, rows, _statements(target, (schema, name), then, now))


def _columns(connection: Connection, schema: str, name: str) -> list[Column]:
    qualified = sql.Identifier(schema, name).as_string(connection)
    return database.every(connection, Column, _COLUMNS, [qualified])


def _make(connection: Connection, name: str, columns: list[Column]) -> None:
    """Make the table without any constraint: its rows are as they were, whatever they refer to is not."""
    table = sql.Identifier(SCHEMA, name)
    described = [sql.SQL("{} {}").format(sql.Identifier(one.name), sql.SQL(one.type)) for one in columns]
    for statement in (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)),
        sql.SQL("DROP TABLE IF EXISTS {}").format(table),
        sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(described)),
    ):
        connection.execute(statement)


def _copy(source: Connection, target: Connection, of: tuple[str, str], columns: list[Column]) -> int:
    """Copy the rows as bytes from one server to the other, and return how many there are."""
    names = sql.SQL(", ").join(sql.Identifier(one.name) for one in columns)
    out = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(names, sql.Identifier(*of))
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(SCHEMA, of[1]), names)
    with source.cursor().copy(out) as reading, target.cursor() as cursor:
        with cursor.copy(into) as writing:
            for block in reading:
                writing.write(block)
        return cursor.rowcount


def _statements(
    connection: Connection, table: tuple[str, str], then: list[Column], now: list[Column]
) -> Statements | None:
    keys = [one for one in then if one.is_key]
    here = {one.name for one in now}
    if not keys or not all(one.name in here for one in keys):
        return None
    before = {one.name for one in then}
    written = [one for one in now if not one.is_generated and one.name in before]
    # Every write has a time of its own, and seals again what is stored in plain too.
    known = TABLES[table[1]].kept_plain if table[1] in TABLES else ()
    again = {"updated_at", *(f"{name}_encrypted" for name in known)}
    compared = [one for one in written if not one.name.startswith("_") and one.name not in again]
    parts = {
        "table": sql.Identifier(*table),
        "old": sql.Identifier(SCHEMA, table[1]),
        "key": _listed("old.{}", keys),
        "columns": _listed("{}", written),
        "olds": _listed("old.{}", written),
        "old_values": _listed("old.{}", compared),
        "values": _listed("here.{}", compared),
        "same": sql.SQL(" AND ").join(
            sql.SQL("here.{0} = old.{0}").format(sql.Identifier(one.name)) for one in keys
        ),
    }
    parts["absent"] = sql.SQL("NOT EXISTS (SELECT FROM {table} AS here WHERE {same})").format(**parts)
    parts["differs"] = sql.SQL("ROW({old_values}) IS DISTINCT FROM ROW({values})").format(**parts)
    return Statements(*(sql.SQL(one).format(**parts).as_string(connection) for one in _STATEMENTS))


def _listed(form: LiteralString, columns: list[Column]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(form).format(sql.Identifier(one.name)) for one in columns)


_STATEMENTS: tuple[LiteralString, ...] = (
    "SELECT {key} FROM {old} AS old WHERE {absent}",
    "SELECT {key} FROM {old} AS old JOIN {table} AS here ON {same} WHERE {differs}",
    "INSERT INTO {table} ({columns}) SELECT {olds} FROM {old} AS old WHERE {absent}",
    "UPDATE {table} AS here SET ({columns}) = ROW({olds}) FROM {old} AS old WHERE {same} AND {differs}",
    "DROP TABLE {old}",
)
