"""Checks of rows against other rows: dangling references and duplicates.

Whole-set joins and groupings, which the one scan of a table cannot answer.
"""

from __future__ import annotations

from dataclasses import replace

from psycopg import sql

from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import SHOWN_ROWS, Finding, Tally, Wording, conclude, listed
from daybreak_pipeline.schema import reference_triggers
from daybreak_pipeline.tables import DELETED_FLAG, Reference

_FIRST_AND_NUMBER = """
    SELECT f.id::text, count(*) OVER () FROM ({query}) f ORDER BY f._record_number, f.id::text LIMIT {shown}
"""

_SECOND_AND_NUMBER = """
    SELECT f.id, (sum(f.more) OVER ())::bigint FROM ({query}) f ORDER BY f.id LIMIT {shown}
"""


def orphans(evidence: Evidence, _: list[Tally]) -> Finding:
    """Judge references that lead nowhere (the plan, 2.3; a kinship is an orphan when either user is missing).

    A record that had to stay out because its parent is missing is lost; a row that is there and points
    nowhere is not: exports are often samples.
    """
    nowhere = [
        _unresolved(evidence, reference)
        for reference in evidence.catalog.table.references
        if not reference.enforced
    ]
    return conclude(
        Wording(
            "reference that leads nowhere", "references that lead nowhere", "every reference leads to a row"
        ),
        evidence.threshold("orphans"),
        [
            *nowhere,
            *evidence.issues("dangling_reference", "{} (loaded as NULL)"),
            *evidence.refused("missing_parent"),
        ],
        evidence.looked_at,
    )


def duplicates(evidence: Evidence, _: list[Tally]) -> Finding:
    """Judge duplicates: records with one id in the last file, with one natural key, and rows that look the same.

    Where records were refused they alone are counted, and the others only mentioned: of these, nothing is lost.
    """
    last = evidence.last_file
    older = last.accounting.duplicate if last and not evidence.catalog.table.change_data else 0
    kept = [Tally("older records of the same id in the last file", older), *_likely_same(evidence)]
    refused = evidence.refused("duplicate_key")
    threshold = evidence.threshold("duplicates")
    if not refused:
        wording = Wording("duplicate", "duplicates", "no duplicates")
        return conclude(wording, threshold, kept, evidence.looked_at + older)
    wording = Wording("record refused as a duplicate", "records refused as duplicates", "no duplicates")
    lost = conclude(wording, threshold, refused, evidence.looked_at)
    besides = listed([(tally.label, tally.count) for tally in kept])
    summary = f"{lost.summary}; without loss: {besides}" if besides else lost.summary
    return Finding.of([*kept, *refused], summary, lost.count, lost.total, lost.severity, passed=lost.passed)


def _unresolved(evidence: Evidence, reference: Reference) -> Tally:
    """Count rows whose reference is in none of the tables that it may point at."""
    column = sql.Identifier("t", reference.column)
    rest = sql.SQL("FROM {} t WHERE {}").format(
        sql.Identifier("public", evidence.table), reference_triggers.nowhere(reference)
    )
    query = sql.SQL("SELECT t.id, {}, t._import_id, t._record_number {}").format(column, rest)
    return replace(
        _tally(evidence, reference.column, _FIRST_AND_NUMBER, query, query), columns=(reference.column,)
    )


def _likely_same(evidence: Evidence) -> list[Tally]:
    """Count rows that have the same natural key as an earlier row; deleted rows do not count."""
    table = evidence.catalog.table
    if not table.likely_same:
        return []
    keys = [sql.SQL(key) for key in table.likely_same]
    deleted = f"{DELETED_FLAG} IS NOT TRUE" if DELETED_FLAG in evidence.catalog.by_name else None
    deleted = deleted or ("deleted_at IS NULL" if "deleted_at" in evidence.catalog.by_name else "true")
    present = sql.SQL(" AND ").join(
        [sql.SQL(deleted), *(sql.SQL("{} IS NOT NULL").format(key) for key in keys)]
    )
    # Grouping by one number is several times faster than by all of the key, which decides among the few that are left.
    query = sql.SQL(
        """
        WITH rows AS NOT MATERIALIZED (
            SELECT t.*, hash_record_extended(ROW({keys}), 0) AS hash FROM {table} t WHERE {present}
        ), suspected AS (SELECT hash FROM rows GROUP BY hash HAVING count(*) > 1)
        SELECT (array_agg(id::text ORDER BY _record_number, id))[2] AS id, count(*) - 1 AS more
        FROM rows JOIN suspected USING (hash) GROUP BY {keys} HAVING count(*) > 1
        """
    )
    shown = sql.SQL(
        "SELECT array_agg(id ORDER BY _record_number, id) AS ids FROM {table} WHERE {present} GROUP BY {keys} HAVING count(*) > 1"
    )
    parts = {
        "keys": sql.SQL(", ").join(keys),
        "table": sql.Identifier("public", table.name),
        "present": present,
    }
    label = f"rows with the same {', '.join(table.likely_same)}"
    return [_tally(evidence, label, _SECOND_AND_NUMBER, query.format(**parts), shown.format(**parts))]


def _tally(evidence: Evidence, label: str, first: str, query: sql.Composed, shown: sql.Composed) -> Tally:
    """Return a tally by one query, which costs the same whether there are faults or not; ``shown`` is for people."""
    rows = evidence.connection.execute(
        sql.SQL(first).format(query=query, shown=sql.Literal(SHOWN_ROWS))
    ).fetchall()
    if not rows:
        return Tally(label, 0)
    return Tally(label, rows[0][1], tuple(name for name, _ in rows), shown.as_string(evidence.connection))
