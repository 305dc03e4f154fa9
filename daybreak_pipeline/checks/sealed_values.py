"""The check of sealed values that show as NULL: they do not open with the key in force, were sealed for
another column, or do not fit theirs.

``privacy.sealed_faults`` finds and notes them, which takes the key; here they are counted.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import SHOWN_ROWS, Finding, Tally, Wording, conclude

_WORDING = Wording(
    "sealed value that shows as nothing",
    "sealed values that show as nothing",
    "every sealed value that a client wrote opens and fits its column",
    of="rows",
)
_FAULTS = """
    SELECT column_name, code, count(*), (array_agg(row_id ORDER BY row_id))[:%(shown)s]
    FROM privacy.sealed_faults WHERE table_name = %(table)s GROUP BY column_name, code ORDER BY column_name, code
"""
_LOOKED = "SELECT EXISTS (SELECT FROM privacy.sealed_looks WHERE table_name = %s)"
_TOLD = {
    "does_not_open": "does not open",
    "of_another_column": "was sealed for another column",
    "does_not_fit": "does not fit",
}


def sealed_values(evidence: Evidence, _tallies: list[Tally]) -> Finding:
    """Judge the sealed values that were found to show as nothing."""
    if not evidence.catalog.sealed:
        return Finding("the table has no sealed column", 0, evidence.rows, "ERROR", passed=True)
    if not database.value(evidence.connection, _LOOKED, [evidence.table]):
        return Finding("sealed values were not looked at yet", 0, evidence.rows, "ERROR", passed=True)
    found = evidence.connection.execute(_FAULTS, {"table": evidence.table, "shown": SHOWN_ROWS}).fetchall()
    tallies = [
        Tally(
            f"{column} {_TOLD[code]}", number, tuple(first), _query(evidence, column, code), columns=(column,)
        )
        for column, code, number, first in found
    ]
    return conclude(_WORDING, evidence.threshold("sealed_values"), tallies, evidence.rows)


def _query(evidence: Evidence, column: str, code: str) -> str:
    """Return a query for the rows; it shows only their ids."""
    return (
        sql.SQL(
            "SELECT row_id AS id, found_at FROM privacy.sealed_faults "
            "WHERE table_name = {} AND column_name = {} AND code = {}"
        )
        .format(sql.Literal(evidence.table), sql.Literal(column), sql.Literal(code))
        .as_string(evidence.connection)
    )
