"""That nothing personal is stored in plain: what holds it, and whether it does.

Triggers seal what clients write; a CHECK of each protected table refuses what is not sealed, whoever writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import protected
from daybreak_pipeline.schema.catalog import SEALED_CONSTRAINT
from daybreak_pipeline.schema.protected import Protected
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# A CHECK of that name which leaves a column out is none.
_HELD = """
    SELECT EXISTS (
               SELECT FROM pg_constraint
               WHERE conrelid = to_regclass(%(table)s) AND conname = %(check)s AND convalidated
                 AND conkey @> ARRAY(SELECT attnum FROM pg_attribute
                                     WHERE attrelid = conrelid AND attname = ANY (%(plain)s))),
           (SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(%(table)s) AND tgenabled IN ('O', 'A')
            AND tgname IN ('seal_personal_data_on_insert', 'seal_personal_data_on_update')) = 2
"""
_LOST = "SELECT array_to_string(privacy.lost_columns(%s::regclass), ', ')"


def require_none(connection: Connection) -> None:
    """Make sure that no personal value is stored in plain, and that none can be, in any protected table.

    Raises:
        UsageError: one is, what refuses and seals them is gone, or the record of the tables does not fit them.
    """
    found = protected.tables(connection)
    lost = {name for name, table in TABLES.items() if table.sealed_columns} - {one.name for one in found}
    if lost:
        msg = (
            f"privacy.protected_tables does not name {', '.join(sorted(lost))} any more: find out who did that; "
            "daybreak migrate down and then daybreak migrate up, past the migration protected_tables, writes it again"
        )
        raise UsageError(msg)
    for table in found:
        _require_none(connection, table)


def _require_none(connection: Connection, table: Protected) -> None:
    if not table.is_there:
        msg = (
            f"the protected table {table.name} is gone: give it its name again, or, if it was dropped, delete its row of "
            "privacy.protected_tables as the owner of the tables"
        )
        raise UsageError(msg)
    relation = sql.Identifier("public", table.name).as_string(connection)
    lost = database.value(connection, _LOST, [relation])
    if lost:
        msg = (
            f"the protected table {table.name} has no column {lost} any more: give it that name again, or, if it was dropped, "
            f"add it again; as the owner of the tables, privacy.release before it is renamed or dropped"
        )
        raise UsageError(msg)
    row = connection.execute(
        _HELD, {"table": relation, "check": SEALED_CONSTRAINT, "plain": table.never_plain}
    ).fetchone()
    refused, sealing = row or (False, False)
    found = 0 if refused else _rows_with_plain_values(connection, table)
    again = f"find out who did that; as the owner of the tables, with the key, SELECT privacy.protect('{relation}')"
    if found:
        msg = (
            f"{found:,} rows of {table.name} have personal values in plain, and its constraint {SEALED_CONSTRAINT} is gone: "
            f"{again} seals them"
        )
        raise UsageError(msg)
    if not refused or not sealing:
        gone = f"constraint {SEALED_CONSTRAINT}" if not refused else "triggers seal_personal_data_on_…"
        msg = f"the {gone} of {table.name} is missing or disabled: {again} makes it again"
        raise UsageError(msg)


def _rows_with_plain_values(connection: Connection, table: Protected) -> int:
    query = sql.SQL("SELECT count(*) FROM public.{} WHERE num_nonnulls({}) > 0").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.never_plain))
    )
    return int(database.value(connection, query))
