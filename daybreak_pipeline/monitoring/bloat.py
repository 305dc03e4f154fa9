"""How much of big tables and indexes is empty. Of tables pgstattuple measures it, where the server has that and is done in time.

Else it is an estimate from the server's statistics, as it always is for indexes, which one would have to read whole. The label
``by`` says which.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import measure
from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED, Measurement

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

LEAST_BYTES = 10 << 20
"""What is smaller is not worth a thought."""
LEAST_TABLE_BYTES = 100 << 20
"""A table that is smaller is not judged by its share of empty space, which the next import may fill."""
STATISTICS, PGSTATTUPLE = "statistics", "pgstattuple"
_EXTENSION = """
    SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pgstattuple'
      AND has_function_privilege(to_regprocedure(format('%I.pgstattuple_approx(regclass)', n.nspname)), 'EXECUTE')
"""
# Pages that VACUUM knows to be full of live rows are not read.
_MEASURED = """
    SELECT n.nspname || '.' || r.relname AS name, sum(m.table_len)::float8 AS size,
           sum(m.approx_free_space + m.dead_tuple_len)::float8 AS empty, false AS hidden
    FROM pg_class c
    JOIN pg_class r ON r.oid = coalesce(pg_partition_root(c.oid)::oid, c.oid)
    JOIN pg_namespace n ON n.oid = r.relnamespace
    CROSS JOIN LATERAL {}.pgstattuple_approx(c.oid) m
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relpages >= %(least)s / current_setting('block_size')::float8
      AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 200
"""


@dataclass(frozen=True)
class _Table:
    name: str
    size: float
    empty: float | None
    hidden: bool


@dataclass(frozen=True)
class Index:
    """A big B-tree index, and how many of its bytes are empty. ``hidden``: the role may not see the statistics."""

    schema: str
    index: str
    size: int
    empty: int | None
    hidden: bool
    ours: bool


def read(connection: Connection) -> list[Measurement]:
    """Return how much of the big tables and indexes is empty.

    Args:
        connection: not in a transaction.
    """
    try:
        return [*_tables(connection), *_indexes(connection)]
    except psycopg.Error as error:
        return measure.attempt("bloat", error)


def indexes(connection: Connection, least: int) -> list[Index]:
    """Return the B-tree indexes of at least so many bytes, by size, the smallest first."""
    return database.every(connection, Index, measure.statement("index_bloat", 0), {"least": least})


def _tables(connection: Connection) -> list[Measurement]:
    by, found = STATISTICS, _measured(connection)
    if found is not None:
        by = PGSTATTUPLE
    else:
        with connection.transaction(), database.local_settings(connection, **measure.LIMITS):
            query = measure.statement("table_bloat", 0)
            found = database.every(connection, _Table, query, {"least": LEAST_BYTES})
    return [
        measurement
        for one in found
        for measurement in _of("table", one.name, by, one.size, None if one.hidden else one.empty)
        if measurement.metric.endswith("_bytes") or one.size >= LEAST_TABLE_BYTES
    ]


def _measured(connection: Connection) -> list[_Table] | None:
    """Return what pgstattuple says; None where it is not there, not permitted, in somebody's way, or not done in time."""
    in_time = (
        psycopg.errors.QueryCanceled,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.InsufficientPrivilege,
    )
    with (
        suppress(*in_time),
        connection.transaction(),
        database.local_settings(connection, **measure.LIMITS),
    ):
        schema = database.value(connection, _EXTENSION)
        if schema is not None:
            query = sql.SQL(_MEASURED).format(sql.Identifier(schema))
            return database.every(connection, _Table, query, {"least": LEAST_BYTES})
    return None


def _indexes(connection: Connection) -> list[Measurement]:
    with connection.transaction(), database.local_settings(connection, **measure.LIMITS):
        found = indexes(connection, LEAST_BYTES)
    return [
        measurement
        for one in found
        for measurement in _of("index", f"{one.schema}.{one.index}", STATISTICS, one.size, None if one.hidden else one.empty)
    ]  # fmt: skip


def _of(kind: str, name: str, by: str, size: float, empty: float | None) -> list[Measurement]:
    labels = {kind: name, "by": by}
    values = {f"{kind}_bloat_bytes": empty, f"{kind}_bloat_ratio": None if empty is None else empty / size}
    note = NOT_PERMITTED if empty is None else ""
    return [Measurement(metric, value, labels, note) for metric, value in values.items()]
