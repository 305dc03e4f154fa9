"""That nothing personal is stored in plain: what holds it, and whether it does.

Triggers seal what clients write; a CHECK of each table with personal columns refuses what is not sealed, whoever writes it
(migration 023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema.catalog import SEALED_CONSTRAINT
from daybreak_pipeline.tables import TABLES, Table

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_HELD = """
    SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = %(table)s::regclass AND conname = %(check)s AND convalidated),
           (SELECT count(*) FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND tgenabled IN ('O', 'A')
            AND tgname IN ('seal_personal_data_on_insert', 'seal_personal_data_on_update')) = 2
"""


def require_none(connection: Connection) -> None:
    """Make sure that no personal value is stored in plain, and that none can be.

    Raises:
        UsageError: one is, or what refuses and seals them is gone.
    """
    for table in TABLES.values():
        if not table.sealed_columns:
            continue
        row = connection.execute(
            _HELD, {"table": f"public.{table.name}", "check": SEALED_CONSTRAINT}
        ).fetchone()
        refused, sealing = row or (False, False)
        found = 0 if refused else _rows_with_plain_values(connection, table)
        if found:
            msg = (
                f"{found:,} rows of {table.name} have personal values in plain, and its constraint {SEALED_CONSTRAINT} is gone: "
                "find out who did that; daybreak migrate down --to 22 and then daybreak migrate up seals them"
            )
            raise UsageError(msg)
        if not refused or not sealing:
            gone = f"constraint {SEALED_CONSTRAINT}" if not refused else "triggers seal_personal_data_on_…"
            msg = (
                f"the {gone} of {table.name} is missing or disabled: find out who did that; "
                "daybreak migrate down --to 22 and then daybreak migrate up makes it again"
            )
            raise UsageError(msg)


def _rows_with_plain_values(connection: Connection, table: Table) -> int:
    plain = [sql.Identifier(name) for name in table.sealed_columns if name not in table.kept_plain]
    query = sql.SQL("SELECT count(*) FROM public.{} WHERE num_nonnulls({}) > 0").format(
        sql.Identifier(table.name), sql.SQL(", ").join(plain)
    )
    return int(database.value(connection, query))
