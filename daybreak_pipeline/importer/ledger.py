"""The ledger: what each import did with every record it read (table ``ingest.imports``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from psycopg.types.json import Jsonb

from daybreak_pipeline.importer.statements import execute, value
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.privacy import audit

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Status = Literal["imported", "skipped", "failed"]


@dataclass(frozen=True)
class Accounting:
    """How many records of a source ended where; ``field_issues`` counts values, not records."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0
    duplicate: int = 0
    skipped_deleted: int = 0
    blank: int = 0
    quarantined: int = 0
    field_issues: int = 0

    def __add__(self, other: Accounting) -> Accounting:
        """Return the sum of two loads of one table."""
        return Accounting(*(getattr(self, name) + getattr(other, name) for name in COUNTS))


COUNTS = tuple(field.name for field in fields(Accounting))


@dataclass(frozen=True)
class Entry:
    """One row of the ledger. Times are UTC; ``source_sha256`` is in hex.

    ``placeholder_values`` counts the words for nothing in sealed columns, which no check can see later.
    ``source_columns`` is the header of the file that was read; ``unknown_values`` counts the values of those
    columns that the schema does not know.
    """

    id: int
    table_name: str
    status: Status
    source_uri: str
    source_bytes: int | None
    schema_version: str
    started_at: datetime
    run_id: str | None = None
    source_sha256: str | None = None
    accounting: Accounting = Accounting()
    error: str | None = None
    source_head_sha256: str | None = None
    source_columns: tuple[str, ...] | None = None
    unknown_values: dict[str, int] | None = None
    placeholder_values: dict[str, int] | None = None


def next_id(connection: Connection) -> int:
    """Return the id of the import that begins."""
    return int(
        value(
            connection,
            "ledger: next import",
            "SELECT nextval(pg_get_serial_sequence('ingest.imports', 'id'))",
        )
    )


def count(work: Workspace) -> Accounting:
    """Count the outcomes of the staged records. ``read`` is what the server said it staged."""
    outcomes = work.summary
    return Accounting(
        read=work.stage.records,
        inserted=outcomes.get("insert", 0),
        updated=outcomes.get("update", 0),
        unchanged=outcomes.get("unchanged", 0),
        stale=outcomes.get("stale", 0),
        duplicate=outcomes.get("duplicate", 0),
        skipped_deleted=outcomes.get("skipped_deleted", 0),
        blank=outcomes.get("blank", 0),
        quarantined=outcomes.get("quarantined", 0),
        field_issues=work.statements.count("end: count field issues", work.tables.issues),
    )


def write(connection: Connection, entry: Entry, *, launched_by: str | None = None) -> None:
    """Add a row to the ledger, and one to the audit trail where rows were changed, which names who launched the import.

    The database refuses one whose records are not all accounted for.
    """
    values = {f"rows_{name}": value for name, value in asdict(entry.accounting).items()}
    values["field_issues"] = values.pop("rows_field_issues")
    values |= {
        "id": entry.id,
        "run_id": entry.run_id,
        "table_name": entry.table_name,
        "source_uri": entry.source_uri,
        "source_sha256": entry.source_sha256,
        "source_bytes": entry.source_bytes,
        "source_head_sha256": entry.source_head_sha256,
        "schema_version": entry.schema_version,
        "started_at": entry.started_at,
        "status": entry.status,
        "error": entry.error,
        "source_columns": list(entry.source_columns) if entry.source_columns is not None else None,
        "unknown_values": Jsonb(entry.unknown_values) if entry.unknown_values is not None else None,
        "placeholder_values": Jsonb(entry.placeholder_values)
        if entry.placeholder_values is not None
        else None,
    }
    execute(
        connection,
        "ledger: write",
        """
        INSERT INTO ingest.imports
            (id, run_id, table_name, source_uri, source_sha256, source_bytes, schema_version, started_at,
             finished_at, status, error, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_stale,
             rows_duplicate, rows_skipped_deleted, rows_blank, rows_quarantined, field_issues,
             source_head_sha256, source_columns, unknown_values, placeholder_values)
        VALUES (%(id)s, %(run_id)s, %(table_name)s, %(source_uri)s, %(source_sha256)s, %(source_bytes)s,
                %(schema_version)s, %(started_at)s, clock_timestamp(), %(status)s, %(error)s, %(rows_read)s,
                %(rows_inserted)s, %(rows_updated)s, %(rows_unchanged)s, %(rows_stale)s, %(rows_duplicate)s,
                %(rows_skipped_deleted)s, %(rows_blank)s, %(rows_quarantined)s, %(field_issues)s,
                %(source_head_sha256)s, %(source_columns)s, %(unknown_values)s,
                %(placeholder_values)s)
        """,
        values,
    )
    audit.record_import(
        connection,
        entry.table_name,
        entry.id,
        inserted=entry.accounting.inserted,
        updated=entry.accounting.updated,
        launched_by=launched_by,
    )


class Content(NamedTuple):
    """What a table was imported from, and the schema's version then.

    SHA-256 in hex, of the whole and of its beginning (None where an older version imported it); size in bytes.
    """

    sha256: str
    source_bytes: int
    schema_version: str
    head_sha256: str | None

    def may_be(self, entry: Entry) -> bool:
        """Whether the source of an import that begins can have this content, by all that a glance tells."""
        return (self.source_bytes, self.schema_version) == (entry.source_bytes, entry.schema_version) and (
            self.head_sha256 in {None, entry.source_head_sha256}
        )


def last_content(connection: Connection, table_name: str) -> Content | None:
    """Return the content that a table was last imported from."""
    row = execute(
        connection,
        "ledger: last content",
        """
        SELECT source_sha256, source_bytes, schema_version, source_head_sha256 FROM ingest.file_imports
        WHERE table_name = %(table)s AND loaded ORDER BY id DESC LIMIT 1
        """,
        {"table": table_name},
    ).fetchone()
    return Content(*row) if row else None


def imports_of(connection: Connection, table_name: str, sha256: str) -> list[int]:
    """Return the imports that brought a content into a table, oldest first."""
    rows = execute(
        connection,
        "ledger: imports of this content",
        "SELECT id FROM ingest.file_imports "
        "WHERE table_name = %(table)s AND loaded AND source_sha256 = %(sha256)s ORDER BY id",
        {"table": table_name, "sha256": sha256},
    ).fetchall()
    return [int(number) for (number,) in rows]


class Look(NamedTuple):
    """One look at a file that did not fail: the import, when it ended, and the content, which is the table's."""

    import_id: int
    at: datetime
    source_uri: str
    sha256: str


def last_look(connection: Connection, table_name: str) -> Look | None:
    """Return the last look at a table's file that did not fail; None where it was never imported from one."""
    row = execute(
        connection,
        "ledger: last look at the file",
        """
        SELECT id, finished_at, source_uri, source_sha256 FROM ingest.file_imports
        WHERE table_name = %(table)s ORDER BY id DESC LIMIT 1
        """,
        {"table": table_name},
    ).fetchone()
    return Look(*row) if row else None


class Newest(NamedTuple):
    """The newest attempt at a table, and the content that the table is known to be of.

    ``sha256`` is None where the newest attempt failed, or found no file: the same content must be looked at again.
    """

    attempt: int
    sha256: str | None


def newest(connection: Connection) -> dict[str, Newest]:
    """Return the newest attempt at every table of which there is one."""
    rows = execute(
        connection,
        "ledger: newest attempts",
        """
        SELECT DISTINCT ON (i.table_name) i.table_name, i.id, CASE WHEN i.status <> 'failed' AND a.table_name IS NULL THEN (
            SELECT f.source_sha256 FROM ingest.file_imports f
            WHERE f.table_name = i.table_name AND f.loaded ORDER BY f.id DESC LIMIT 1) END
        FROM ingest.imports i LEFT JOIN ingest.absent_files a USING (table_name)
        ORDER BY i.table_name, i.id DESC
        """,
    ).fetchall()
    return {name: Newest(number, sha256) for name, number, sha256 in rows}
