"""Finds sealed values that do not open with the key in force, were sealed for another column or do not fit, and notes them.

Opening one takes 10 to 20 microseconds, and all of ten million rows half an hour: too long for a daily check. The importer
seals in its own statements, which tests hold to be right; what may be wrong is what clients write, and of that the
audit trail has a line. So a look follows the trail from where the last one ended, and looks again at what is noted.
A rotation of the key opens every value.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.schema.catalog import TableCatalog

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

EXPORT_COLUMNS = "_export_columns"
_BATCH = 20_000

# A line has the time of its statement and is seen when its transaction ends: a day later at the latest, we suppose.
_BEGIN = """
    SELECT clock_timestamp(), coalesce((SELECT looked_up_to - interval '1 day' FROM privacy.sealed_looks
                                        WHERE table_name = %s), '0001-01-01 00:00:00+00'::timestamptz)
"""
_NOTED = sql.SQL("SELECT DISTINCT row_id FROM privacy.sealed_faults WHERE table_name = %(table)s")
_CHANGED = sql.SQL("""
    SELECT DISTINCT row_id FROM audit.changes
    WHERE table_name = %(table)s AND action IN ('INSERT', 'UPDATE')
      AND changed_at >= %(time)s AND changed_at <= %(last_time)s
      AND (changed_at, id) > (%(time)s, %(id)s) AND (changed_at, id) <= (%(last_time)s, %(last_id)s)
      AND (changed_columns IS NULL OR changed_columns && %(columns)s)
""")
_LAST = """
    SELECT changed_at AS time, id FROM (
        SELECT changed_at, id FROM audit.changes
        WHERE table_name = %(table)s AND action IN ('INSERT', 'UPDATE')
          AND changed_at >= %(time)s AND (changed_at, id) > (%(time)s, %(id)s)
          AND (changed_columns IS NULL OR changed_columns && %(columns)s)
        ORDER BY changed_at, id LIMIT %(batch)s
    ) next ORDER BY changed_at DESC, id DESC LIMIT 1
"""
_LOOKED = """
    INSERT INTO privacy.sealed_looks (table_name, looked_up_to) VALUES (%s, %s)
    ON CONFLICT (table_name) DO UPDATE SET looked_up_to = greatest(sealed_looks.looked_up_to, EXCLUDED.looked_up_to)
"""


@dataclass(frozen=True)
class _Line:
    """A place in the audit trail."""

    time: datetime
    id: int


def look(connection: Connection, catalog: TableCatalog, batch: int = _BATCH) -> None:
    """Look at the rows that clients changed since the last look, and at those that are noted.

    A look that is stopped goes on where it was.

    Args:
        connection: of the tables' owner, with the key and no transaction open.
        catalog: of the table; nothing is done where it has no sealed column.
        batch: how many lines of the trail are followed in one transaction.
    """
    if not catalog.sealed:
        return
    table = catalog.table.name
    with connection.transaction():
        begun, since = connection.execute(_BEGIN, [table]).fetchone() or (datetime.now(UTC), None)
        _note(connection, catalog, _NOTED, {"table": table})
    parameters: dict[str, object] = {
        "table": table,
        "columns": [
            f"{name}{end}" for name in (*catalog.sealed, EXPORT_COLUMNS) for end in ("", "_encrypted")
        ],
        "batch": batch,
        "time": since,
        "id": 0,
    }
    while last := _next(connection, catalog, parameters):
        parameters |= {"time": last.time, "id": last.id}
    with connection.transaction():
        connection.execute(_LOOKED, [table, begun])


def _next(connection: Connection, catalog: TableCatalog, parameters: dict[str, object]) -> _Line | None:
    """Follow the next lines of the trail; returns the last of them, None where there is none."""
    with connection.transaction():
        last = database.one(connection, _Line, _LAST, parameters)
        if last:
            _note(connection, catalog, _CHANGED, parameters | {"last_time": last.time, "last_id": last.id})
            connection.execute(_LOOKED, [catalog.table.name, last.time])
    return last


def _note(
    connection: Connection, catalog: TableCatalog, rows: sql.SQL, parameters: dict[str, object]
) -> None:
    """Note what is wrong with the sealed values of rows, and forget what is not any more."""
    connection.execute(
        sql.SQL("""
            WITH suspects AS MATERIALIZED ({rows}),
            held AS MATERIALIZED (SELECT privacy.required_key('seal') AS key),
            faults AS MATERIALIZED (
                SELECT t.id::text AS row_id, v.name, v.code
                FROM held, suspects s JOIN {table} t ON t.id = s.row_id::{id_type}, LATERAL (VALUES {values})
                     AS v (name, sealed, code)
                WHERE v.sealed IS NOT NULL
            ), forgotten AS (
                DELETE FROM privacy.sealed_faults f USING suspects s
                WHERE f.table_name = %(table)s AND f.row_id = s.row_id AND NOT EXISTS (
                    SELECT FROM faults WHERE faults.row_id = f.row_id AND faults.name = f.column_name
                                         AND faults.code IS NOT NULL)
            )
            INSERT INTO privacy.sealed_faults AS f (table_name, row_id, column_name, code)
            SELECT %(table)s, row_id, name, code FROM faults WHERE code IS NOT NULL
            ON CONFLICT (table_name, row_id, column_name) DO UPDATE SET code = EXCLUDED.code, found_at = now()
            WHERE f.code <> EXCLUDED.code
        """).format(
            rows=rows,
            table=database.verbatim(connection, sql.Identifier("public", catalog.table.name)),
            id_type=sql.SQL(catalog.id_type),
            values=database.verbatim(connection, sql.SQL(", ").join(_values(catalog))),
        ),
        parameters,
    )


def _values(catalog: TableCatalog) -> list[sql.Composed]:
    """Return name, ciphertext and fault of every sealed column."""
    return [
        sql.SQL("({}, {}, {})").format(sql.Literal(name), sealed, fault(catalog, name, sealed))
        for name in (
            *(column.name for column in catalog.columns if column.name in catalog.sealed),
            *([EXPORT_COLUMNS] if f"{EXPORT_COLUMNS}_encrypted" in catalog.technical else []),
        )
        for sealed in [sql.Identifier("t", f"{name}_encrypted")]
    ]


def fault(catalog: TableCatalog, name: str, sealed: sql.Composable) -> sql.Composed:
    """Return what is wrong with a sealed value of a column (NULL for nothing), as SQL in which ``held.key`` is the key.

    Args:
        catalog: of the column's table.
        name: the column's plain name.
        sealed: the value.
    """
    column = catalog.by_name.get(name)
    kind, longest = (column.type, column.max_length) if column else ("object", None)
    return sql.SQL("privacy.sealed_fault({}, {}, {}::integer, held.key, privacy.tag({}, {}))").format(
        sealed,
        sql.Literal(kind),
        sql.Literal(longest),
        sql.Literal(f"public.{catalog.table.name}"),
        sql.Literal(f"{name}_encrypted"),
    )
