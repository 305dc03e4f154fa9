"""The history of checks (table ``ingest.check_results``), which does not depend on how long Dagster keeps its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.checks.findings import Finding, Place, Tally

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# A step that Dagster retries does not record the same result twice.
_APPEND = """
    INSERT INTO ingest.check_results
        (run_id, table_name, check_name, passed, severity, failed, total, description, details)
    SELECT %(run_id)s, %(table)s, r.check_name, r.passed, r.severity, r.failed, r.total, r.description, r.details
    FROM ROWS FROM (jsonb_to_recordset(%(results)s) AS (check_name text, passed boolean, severity text,
                    failed bigint, total bigint, description text, details jsonb)) WITH ORDINALITY
         AS r(check_name, passed, severity, failed, total, description, details, place)
    WHERE NOT EXISTS (SELECT FROM ingest.check_results c
                      WHERE c.run_id = %(run_id)s AND c.table_name = %(table)s AND c.check_name = r.check_name)
    ORDER BY r.place
"""


_FAILED = """
    SELECT count(*) FILTER (WHERE severity = 'ERROR') AS errors, count(*) FILTER (WHERE severity <> 'ERROR') AS warnings
    FROM ingest.check_results WHERE run_id = %s AND NOT passed
"""


class Failed(NamedTuple):
    """How many checks failed in one run, so far."""

    errors: int
    warnings: int


def append(
    connection: Connection, table: str, findings: Mapping[str, Finding], *, run_id: str | None
) -> None:
    """Add one row for each finding of a run, in one statement: as it was found, whatever of it was accepted.

    Args:
        connection: to the migrated database.
        table: the table that was checked.
        findings: by check.
        run_id: the Dagster run that checked.
    """
    results = [
        {
            "check_name": check,
            "passed": finding.passed,
            "severity": finding.severity,
            "failed": finding.count,
            "total": finding.total,
            "description": finding.summary,
            "details": _details(finding),
        }
        for check, finding in findings.items()
    ]
    connection.execute(_APPEND, {"run_id": run_id, "table": table, "results": Jsonb(results)})


def failed_of_run(connection: Connection, run_id: str) -> Failed:
    """Return how many checks have failed in a run so far."""
    return database.one(connection, Failed, _FAILED, [run_id]) or Failed(0, 0)


def _details(finding: Finding) -> dict[str, Any]:
    return {
        "counts": finding.counts,
        "rows": list(finding.rows),
        "sql": finding.sql,
        "percent": finding.percent,
        "file": finding.file,
        "tallies": [_written(tally) for tally in finding.faults],
    }


def _written(tally: Tally) -> dict[str, Any]:
    """Return what is kept of a tally: all that differs from nothing."""
    return {name: value for name, value in vars(tally).items() if value}


def read(found: Mapping[str, Any], details: Mapping[str, Any]) -> Finding:
    """Return a finding as it was kept.

    Args:
        found: summary, count, total, severity, passed.
        details: what ``append`` has written; older versions wrote less.
    """
    kept = details.get("tallies")
    if kept is None:
        kept = [{"label": label, "count": count} for label, count in (details.get("counts") or {}).items()]
    return Finding(
        **found,
        tallies=tuple(_tally(**tally) for tally in kept),
        rows=tuple(str(row) for row in details.get("rows") or ()),
        sql=str(details.get("sql") or ""),
        file=str(details.get("file") or ""),
    )


def _tally(
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    places: Sequence[tuple[str, int]] = (),
    **facts: Any,
) -> Tally:
    return Tally(
        rows=tuple(rows), columns=tuple(columns), places=tuple(Place(*place) for place in places), **facts
    )
