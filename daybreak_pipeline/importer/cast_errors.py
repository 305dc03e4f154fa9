"""Finds the values that do not fit their column, so that all others can be cast plainly and on every core.

Only PostgreSQL knows what fits a type, and before version 16 it tells by an error, which costs a subtransaction for each
value, on one core. So the values of a column that has such are looked at first, on every core: what is like nearly all
that fit (``PLAIN``) does. Only the others are tried one by one.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer.expressions import PLAIN_ARRAY, TEXT_TYPES, compose, listed
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.schema.catalog import Column

# No 29 February: whether there was one is for PostgreSQL to say.
_DAY = "[12][0-9]{3}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
PLAIN = {
    "uuid": "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
    "smallint": "^-?[0-9]{1,4}$",
    "integer": "^-?[0-9]{1,9}$",
    "bigint": "^-?[0-9]{1,18}$",
    "boolean": "^(true|false|t|f|1|0)$",
    "date": f"^{_DAY}$",
    "timestamp with time zone": (
        rf"^{_DAY}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?"
        "(Z| UTC|[+-](0[0-9]|1[0-2])(:?[0-5][0-9])?)?$"
    ),
    "text[]": rf"^\[\]$|{PLAIN_ARRAY}",
}
"""Patterns by type: a value like this fits, whatever else may."""


def find(work: Workspace, columns: list[Column]) -> None:
    """Note every staged value of some columns that does not cast in ``cast_errors``, and make these columns lenient."""
    lenient = work.expressions.lenient
    misfitting = [
        c for c in columns if c.type not in TEXT_TYPES and c.name not in lenient and not _fit(work, c)
    ]
    _try_unlike(work, [column for column in misfitting if column.type in PLAIN])
    for column in misfitting:
        if column.type not in PLAIN:
            _try_each(work, column)
    work.statements.analyze(work.tables.cast_errors)
    found = work.statements.query(
        "cast errors: columns that have any", "SELECT DISTINCT column_name FROM {cast_errors}"
    )
    lenient.update(name for (name,) in found)


def _fit(work: Workspace, column: Column) -> bool:
    """Whether all values of a column cast. Fails on the first that does not, and else costs one look at each."""
    typed = work.expressions.typed(column)
    return (
        work.statements.attempt(
            "cast errors: try a column", "SELECT count({typed}) FROM {stage} stage", typed=typed
        )
        is not None
    )


def _try_unlike(work: Workspace, columns: list[Column]) -> None:
    """Try the values that are not like those that fit."""
    if not columns:
        return
    work.statements.run(
        "cast errors: values unlike those that fit",
        """
        CREATE UNLOGGED TABLE {unlike} AS SELECT stage._record, cell.name, cell.value
        FROM {stage} stage CROSS JOIN LATERAL (VALUES {columns}) cell(name, value, plain)
        WHERE cell.value COLLATE "C" !~ cell.plain
        """,
        unlike=work.tables.unlike,
        columns=listed(
            compose(
                "({}, {}, {})", sql.Literal(c.name), work.expressions.text(c.name), sql.Literal(PLAIN[c.type])
            )
            for c in columns
        ),
    )
    for kind in sorted({column.type for column in columns}):
        work.statements.run(
            "cast errors: try them one by one",
            """
            INSERT INTO {cast_errors} SELECT tried._record, tried.name, tried.fault
            FROM (SELECT _record, name, ingest.cast_fault(value, NULL::{kind}) AS fault FROM {unlike}
                  WHERE name = ANY ({names})) tried
            WHERE tried.fault IS NOT NULL
            """,
            unlike=work.tables.unlike,
            kind=sql.SQL(kind),
            names=sql.Literal([column.name for column in columns if column.type == kind]),
        )
    work.statements.run("cast errors: end", "DROP TABLE {unlike}", unlike=work.tables.unlike)


def _try_each(work: Workspace, column: Column) -> None:
    """Try every value."""
    work.statements.run(
        "cast errors: try every value",
        """
        INSERT INTO {cast_errors} SELECT tried._record, {name}, tried.fault
        FROM (SELECT stage._record, {fault} AS fault FROM {stage} stage WHERE {text} IS NOT NULL) tried
        WHERE tried.fault IS NOT NULL
        """,
        name=sql.Literal(column.name),
        text=work.expressions.text(column.name),
        fault=work.expressions.fault(column),
    )
