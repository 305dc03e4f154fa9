"""The story of one row: which file and record it came from, what was wrong with it, what was repaired, who changed it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.ledger import Entry
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{1,20}")
"""What an id looks like. Any other text finds nothing, and may be a name typed in place of an id."""
_LARGEST = 2**63 - 1
_QUARANTINE = "quarantine:"
_TABLES_BY_KIND_OF_ID = """
    SELECT t.name FROM unnest(%s::text[]) WITH ORDINALITY AS t(name, place)
    JOIN pg_attribute a ON a.attrelid = to_regclass('public.' || t.name) AND a.attname = 'id'
    WHERE a.atttypid = %s::regtype ORDER BY t.place
"""


def trace(connection: Connection, table: str, row_id: str) -> Iterator[str]:
    """Yield the lines of a row's story, without any personal value.

    Args:
        connection: to the database.
        table: one of the plan's tables.
        row_id: the row's id, as text.

    Raises:
        UsageError: nothing is known of such a row. The message does not repeat the text, which may be a name.
    """
    row = list(_row(connection, table, row_id))
    besides = [
        *_gone(connection, table, row_id),
        *_quarantined(connection, table, row_id),
        *_issues(connection, table, row_id),
    ]
    changes = audit.changes(connection, table=table, row_id=row_id)
    if not row and not besides and not (changes and ID.fullmatch(row_id.lower())):
        raise UsageError(_unknown(connection, table, row_id))
    yield from row or [f"{table} has no row {row_id}"]
    yield from besides
    yield from (f"audit: {change.describe()}" for change in reversed(changes))


def _row(connection: Connection, table: str, row_id: str) -> Iterator[str]:
    row = connection.execute(
        sql.SQL(
            "SELECT _import_id, _record_number, encode(_source_hash, 'hex'), {}, {} FROM {} WHERE id::text = lower(%s)"
        ).format(_time("created_at"), _time("updated_at"), sql.Identifier("public", table)),
        [row_id],
    ).fetchone()
    if not row:
        return
    import_id, record_number, content, created, updated = row
    yield f"{table} {row_id}: created {created}, updated {updated}"
    if import_id is None:
        yield "written by an application, never by an import"
        return
    yield from _origin(connection, import_id, record_number)
    yield f"content hash {content[:16]}…" if content else "content hash erased"


def _unknown(connection: Connection, table: str, row_id: str) -> str:
    if not ID.fullmatch(row_id.lower()):
        return f"that is no id of {table}: an id is a UUID, or the number that stands for one in some tables"
    kind = "uuid" if "-" in row_id else "bigint"
    candidates = connection.execute(_TABLES_BY_KIND_OF_ID, [list(TABLES), kind]).fetchall()
    if kind == "bigint" and int(row_id) > _LARGEST:
        candidates = []
    for (other,) in candidates:
        found = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE id = {})").format(
            sql.Identifier("public", other), sql.Literal(row_id)
        )
        if database.value(connection, found):
            return f"{table} has no such row, {other} has: daybreak trace {other} ID"
    return f"nothing is known of a row of {table} with that id: it is in no table, not in quarantine, not in the audit trail"


def _time(column: str) -> sql.Composed:
    """Return a time in words: an application may write times that Python lacks: infinity, or one before Christ."""
    return sql.SQL("regexp_replace(date_trunc('second', {})::text, '\\+00', ' UTC')").format(
        sql.Identifier(column)
    )


def _origin(connection: Connection, import_id: int, record_number: int) -> Iterator[str]:
    entry = database.one(connection, Entry.of_row, "SELECT * FROM ingest.imports WHERE id = %s", [import_id])
    if not entry:
        yield f"last written by import {import_id}, which the ledger no longer has"
        return
    run = f", run {entry.run_id}" if entry.run_id else ""
    when = f"{entry.finished_at:%Y-%m-%d %H:%M:%S} UTC"
    yield f"last written by import {import_id}, {when}, schema {entry.schema_version}{run}"
    if not entry.source_uri.startswith(_QUARANTINE):
        yield f"from record {record_number} of {entry.source_uri} (SHA-256 {entry.source_sha256})"
        return
    kept = connection.execute(
        "SELECT import_id, record_number FROM ingest.quarantine WHERE id = %s", [record_number]
    ).fetchone()
    yield f"from quarantine row {record_number}, tried again"
    if kept:
        yield from _origin(connection, *kept)


def _gone(connection: Connection, table: str, row_id: str) -> Iterator[str]:
    """Say what the source did with the row: deleted before it was ever here, or no longer exported."""
    for import_id, uri, finished in connection.execute(
        "SELECT t.import_id, i.source_uri, i.finished_at FROM ingest.tombstones t "
        "LEFT JOIN ingest.imports i ON i.id = t.import_id WHERE t.table_name = %s AND t.row_id = lower(%s)",
        [table, row_id],
    ):
        if import_id is None:
            yield "erased without ever being loaded: no older record of it loads"
            continue
        origin = f" of {uri}, {finished:%Y-%m-%d %H:%M:%S} UTC" if uri else ""
        yield f"deleted at the source and never loaded: import {import_id}{origin}"
    for import_id, since in connection.execute(
        "SELECT import_id, since FROM ingest.missing_rows WHERE table_name = %s AND row_id = lower(%s)",
        [table, row_id],
    ):
        yield f"not in the newest full file, since import {import_id}, {since:%Y-%m-%d %H:%M:%S} UTC"


def _quarantined(connection: Connection, table: str, row_id: str) -> Iterator[str]:
    rows = connection.execute(
        """
        SELECT q.id, q.first_seen_at, q.last_seen_at, q.resolved_at, q.resolution, q.reasons, q.record_number,
               i.source_uri
        FROM ingest.quarantine q LEFT JOIN ingest.imports i ON i.id = q.import_id
        WHERE q.table_name = %s AND q.row_id = lower(%s) ORDER BY q.id
        """,
        [table, row_id],
    ).fetchall()
    for number, first, last, resolved, resolution, reasons, record_number, uri in rows:
        state = f"{resolution} {resolved:%Y-%m-%d %H:%M:%S} UTC" if resolved else "open"
        seen = f"seen {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        yield f"quarantine row {number}, {state}: record {record_number} of {uri}, {seen}"
        yield from (f"  {_reason(reason)}" for reason in reasons)


def _reason(reason: dict[str, Any]) -> str:
    column = f" {reason['column']}" if reason["column"] else ""
    return f"{reason['code']}{column}: {reason['detail']}"


def _issues(connection: Connection, table: str, row_id: str) -> Iterator[str]:
    rows = connection.execute(
        "SELECT column_name, code, import_id, first_seen_at, resolved_at FROM ingest.field_issues "
        "WHERE table_name = %s AND row_id = lower(%s) ORDER BY id",
        [table, row_id],
    ).fetchall()
    for column, code, import_id, first, resolved in rows:
        state = f"resolved {resolved:%Y-%m-%d %H:%M:%S} UTC" if resolved else "open"
        yield f"field issue, {state}: {code} in {column}, import {import_id}, {first:%Y-%m-%d %H:%M:%S} UTC"
