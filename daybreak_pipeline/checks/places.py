"""Where the rows that checks name came from: the file, and the number of the record in it.

Asked once for all checks of a table, and only for the rows that are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from psycopg import sql

from daybreak_pipeline.checks.findings import Finding, Place, Tally

if TYPE_CHECKING:
    from daybreak_pipeline.checks.evidence import Evidence

# A record that loaded from quarantine counts as one of the file that it came in.
_ORIGINS = """
    SELECT t.id::text, coalesce(first.source_uri, i.source_uri), coalesce(q.record_number, t._record_number)
    FROM {table} t JOIN ingest.imports i ON i.id = t._import_id
    LEFT JOIN ingest.quarantine q ON i.source_uri = 'quarantine:' || i.table_name AND q.id = t._record_number
    LEFT JOIN ingest.imports first ON first.id = q.import_id
    WHERE t.id = ANY (%s::{id_type}[])
"""


def file_name(source_uri: str) -> str:
    """Return the name of the file, or of the directory of parts, that an import read."""
    return unquote(source_uri.rstrip("/").rsplit("/", 1)[-1])


def add(evidence: Evidence, findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """Return findings that say where their first rows came from, and which file was the last of the table."""
    wanted = {row for finding in findings.values() for tally in finding.faults for row in _nowhere(tally)}
    origins: dict[str, Place] = {}
    if wanted and "_import_id" in evidence.catalog.technical:
        query = sql.SQL(_ORIGINS).format(
            table=sql.Identifier("public", evidence.table), id_type=sql.SQL(evidence.catalog.id_type)
        )
        origins = {
            row: Place(file_name(source), record)
            for row, source, record in evidence.connection.execute(query, [sorted(wanted)])
        }
    last = evidence.last_file
    file = file_name(last.source_uri) if last else ""
    return {
        check: replace(
            finding, file=file, tallies=tuple(_placed(tally, origins) for tally in finding.tallies)
        )
        for check, finding in findings.items()
    }


def _nowhere(tally: Tally) -> tuple[str, ...]:
    """Return the rows of which nobody knows yet where they came from: ids of rows of the table.

    Of records in quarantine that is known from the start, or never.
    """
    return () if tally.places or tally.lost else tally.rows


def _placed(tally: Tally, origins: Mapping[str, Place]) -> Tally:
    found = tuple(origins[row] for row in _nowhere(tally) if row in origins)
    return replace(tally, places=found) if found else tally
