"""Reads a table once for all the conditions that checks look for in its rows.

With ten million wide rows, one aggregate with a FILTER for each condition costs hardly more than counting
the rows, and PostgreSQL splits the work among the cores. Ids are fetched afterwards, for conditions that
at least one row meets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.checks.findings import SHOWN_ROWS, Tally

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# Only counts and single ids leave the server, so every core may take part. The same for one query as for all.
LOCAL_SETTINGS = """
    SET LOCAL work_mem = '256MB';
    SET LOCAL parallel_setup_cost = 0;
    SET LOCAL parallel_tuple_cost = 0;
    SET LOCAL jit = off
"""


@dataclass(frozen=True)
class Fault:
    """A condition that rows of a table should not meet. ``columns`` are those it is about, and what its query shows.

    ``hidden`` are columns that it is about, too, and that its query leaves out. ``shown`` is False for one that is no fault
    and is only counted.
    """

    label: str
    condition: sql.Composable
    columns: tuple[str, ...] = ()
    shown: bool = True
    hidden: tuple[str, ...] = ()


def scan(
    connection: Connection, table: str, faults: Sequence[Fault], *, imported: bool = True
) -> tuple[int, list[Tally]]:
    """Return how many rows a table has, and a tally for each fault.

    Args:
        connection: to the database.
        table: the table's name.
        faults: what is counted.
        imported: whether rows say which record they come from; those of an application's table do not.
    """
    source = sql.Identifier("public", table)
    counts = [sql.SQL("count(*)")] + [
        sql.SQL("count(*) FILTER (WHERE {})").format(fault.condition) for fault in faults
    ]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(counts), source)
    rows, *found = connection.execute(query).fetchone() or [0] * len(counts)
    queries = {
        position: _matching(source, fault, imported=imported)
        for position, (fault, number) in enumerate(zip(faults, found, strict=True))
        if number and fault.shown
    }
    first = first_rows(connection, queries, imported=imported)
    return rows, [
        Tally(
            fault.label,
            number,
            first.get(position, ()),
            queries[position].as_string(connection) if position in queries else "",
            columns=(*fault.columns, *fault.hidden),
        )
        for position, (fault, number) in enumerate(zip(faults, found, strict=True))
    ]


def first_rows(
    connection: Connection, queries: dict[int, sql.Composed], *, imported: bool = True
) -> dict[int, tuple[str, ...]]:
    """Return the first ids of each query, by their place in the file; by id alone where they come from none."""
    if not queries:
        return {}
    each = sql.SQL(" UNION ALL ").join(
        # No index has this order, so none tempts the server to look for few rows one by one.
        sql.SQL(
            "(SELECT {} AS number, f.id::text, {} AS _record_number FROM ({}) f ORDER BY 3, 2 LIMIT {})"
        ).format(
            sql.Literal(number),
            sql.SQL("f._record_number" if imported else "NULL::bigint"),
            query,
            sql.Literal(SHOWN_ROWS),
        )
        for number, query in queries.items()
    )
    found = connection.execute(
        sql.SQL(
            "SELECT number, array_agg(id ORDER BY _record_number, id) FROM ({}) r GROUP BY number"
        ).format(each)
    ).fetchall()
    return {number: tuple(ids) for number, ids in found}


def _matching(source: sql.Identifier, fault: Fault, *, imported: bool) -> sql.Composed:
    origin = ["_import_id", "_record_number"] if imported else []
    names = dict.fromkeys(["id", *fault.columns, *origin])
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        sql.SQL(", ").join(sql.Identifier(name) for name in names), source, fault.condition
    )
