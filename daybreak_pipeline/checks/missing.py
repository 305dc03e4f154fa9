"""The check of rows that the newest full file of their table no longer has. The import notes them (``importer.missing``)."""

from __future__ import annotations

from dataclasses import replace

from psycopg import sql

from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import SHOWN_ROWS, Finding, Tally, Wording, conclude
from daybreak_pipeline.checks.scan import Fault
from daybreak_pipeline.importer.missing import live_rows

_OF = "rows of exports"
_WORDING = Wording(
    "row is not in the newest file",
    "rows are not in the newest file",
    "the newest file has every row that came from an export",
    of=_OF,
)


def rows_of_exports(evidence: Evidence) -> list[Fault]:
    """Return what the scan counts: rows that came from exports and are not deleted, and those that are."""
    live = live_rows(evidence.catalog)
    return [
        Fault("live", live, shown=False),
        Fault("deleted", sql.SQL("_import_id IS NOT NULL AND NOT ({})").format(live), shown=False),
    ]


def missing_rows(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Judge how many rows the newest full file no longer has; a file without any record is never in order."""
    live, deleted = (tally.count for tally in tallies)
    threshold = evidence.threshold("missing_rows")
    last = evidence.last_file
    if evidence.catalog.table.change_data or last is None:
        what = "no file was imported yet" if last is None else "its files bring changes and are never full"
        return Finding(what, 0, live, "WARN", passed=True)
    query = _query(evidence)
    row = evidence.connection.execute(
        sql.SQL("SELECT count(*), (array_agg(id ORDER BY id))[:{}] FROM ({}) m").format(SHOWN_ROWS, query)
    ).fetchone()
    number, first = row or (0, None)
    tally = Tally("missing", number, tuple(first or ()), query.as_string(evidence.connection))
    if not last.accounting.records and live + deleted:
        summary = f"the newest file has no record, and the table {live + deleted:,} {_OF}"
        # Not the same as some rows missing, which somebody may have accepted.
        empty = replace(tally, key="every row: the newest file has no record")
        return Finding.of([empty], summary, number, live, "ERROR", passed=False)
    return conclude(_WORDING, threshold, [tally], live)


def _query(evidence: Evidence) -> sql.Composed:
    """Return a query of the missing rows that are still here and not deleted."""
    return sql.SQL(
        "SELECT m.row_id AS id, m.since, m.import_id FROM (SELECT id FROM {} WHERE {}) t "
        "JOIN (SELECT row_id, row_id::{} AS id, since, import_id FROM ingest.missing_rows WHERE table_name = {}) m "
        "ON m.id = t.id"
    ).format(
        sql.Identifier("public", evidence.table),
        live_rows(evidence.catalog),
        sql.SQL(evidence.catalog.id_type),
        sql.Literal(evidence.table),
    )
