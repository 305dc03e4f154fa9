"""The ledger: what each import did with every record it read (table ``ingest.imports``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.importer.statements import composed, execute, value
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline.timetable import LATE_AFTER

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

    @property
    def records(self) -> int:
        """How many were read, without blank ones."""
        return self.read - self.blank

    @property
    def written(self) -> int:
        """How many rows the records made or changed."""
        return self.inserted + self.updated

    @property
    def without_a_place(self) -> int:
        """How many records ended nowhere; never any, which the database sees to as well."""
        kept = self.written + self.unchanged + self.stale + self.duplicate + self.skipped_deleted
        return self.records - kept - self.quarantined


COUNTS = tuple(field.name for field in fields(Accounting))
_COLUMNS = {name: "field_issues" if name == "field_issues" else f"rows_{name}" for name in COUNTS}


@dataclass(frozen=True)
class Entry:
    """One row of the ledger: an import that ended, or one that begins and has no ``finished_at``. Times are UTC.

    SHA-256 is in hex, of the whole source and of its beginning (None where an older version imported it).
    ``placeholder_values`` counts the words for nothing in sealed columns, which no check can see later.
    ``source_columns`` is the header of the file that was read; ``unknown_values`` counts the values of those
    columns that the schema does not know. ``outside``: it failed for a reason that does not lie in the data.
    """

    id: int
    table_name: str
    status: Status
    source_uri: str
    source_bytes: int | None
    schema_version: str
    started_at: datetime
    finished_at: datetime | None = None
    run_id: str | None = None
    source_sha256: str | None = None
    accounting: Accounting = Accounting()
    error: str | None = None
    source_head_sha256: str | None = None
    source_columns: Sequence[str] | None = None
    unknown_values: dict[str, int] | None = None
    placeholder_values: dict[str, int] | None = None
    outside: bool = False

    @classmethod
    def of_row(cls, **columns: Any) -> Entry:
        """Return a row of ``ingest.imports`` or of its views: what ``database.one`` and ``every`` make of it."""
        facts = {field.name: columns[field.name] for field in fields(cls) if field.name in columns}
        counts = {name: columns[column] for name, column in _COLUMNS.items()}
        return cls(**facts, accounting=Accounting(**counts))

    @property
    def seconds(self) -> float:
        """How long it took, in wall time."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else 0.0

    @property
    def records_per_second(self) -> float | None:
        """How fast the source was read; None where nothing was read."""
        read = self.accounting.read
        return read / self.seconds if read and self.seconds > 0 else None

    def may_be(self, begun: Entry) -> bool:
        """Whether an import that begins may have the same content as this one, judging by size, schema and first block."""
        return (self.source_bytes, self.schema_version) == (begun.source_bytes, begun.schema_version) and (
            self.source_head_sha256 in {None, begun.source_head_sha256}
        )


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
    """Count the outcomes of the records. ``read`` is what the server said it staged, and what was passed over as known."""
    outcomes = work.summary
    return Accounting(
        read=work.stage.records + work.stage.passed,
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
    values = vars(entry) | {column: getattr(entry.accounting, name) for name, column in _COLUMNS.items()}
    values |= {
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
             source_head_sha256, source_columns, unknown_values, placeholder_values, outside)
        VALUES (%(id)s, %(run_id)s, %(table_name)s, %(source_uri)s, %(source_sha256)s, %(source_bytes)s,
                %(schema_version)s, %(started_at)s, clock_timestamp(), %(status)s, %(error)s, %(rows_read)s,
                %(rows_inserted)s, %(rows_updated)s, %(rows_unchanged)s, %(rows_stale)s, %(rows_duplicate)s,
                %(rows_skipped_deleted)s, %(rows_blank)s, %(rows_quarantined)s, %(field_issues)s,
                %(source_head_sha256)s, %(source_columns)s, %(unknown_values)s,
                %(placeholder_values)s, %(outside)s)
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


def last_content(connection: Connection, table_name: str) -> Entry | None:
    """Return the import that a table has its content from."""
    query = composed(
        connection,
        "ledger: last content",
        """
        SELECT * FROM ingest.file_imports
        WHERE table_name = %(table)s AND loaded ORDER BY id DESC LIMIT 1
        """,
    )
    return database.one(connection, Entry.of_row, query, {"table": table_name})


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


def last_look(connection: Connection, table_name: str) -> Entry | None:
    """Return the last look at a table's file that did not fail; None where it was never imported from one."""
    query = composed(
        connection,
        "ledger: last look at the file",
        "SELECT * FROM ingest.file_imports WHERE table_name = %(table)s ORDER BY id DESC LIMIT 1",
    )
    return database.one(connection, Entry.of_row, query, {"table": table_name})


class Newest(NamedTuple):
    """The newest attempt at a table, and the content that the table is known to be of.

    ``sha256`` is None where the newest attempt failed, or found no file: the same content must be looked at again.
    ``outside``: it failed for a reason that does not lie in the data. ``overdue``: the last good look is too long ago.
    """

    attempt: int
    sha256: str | None
    outside: bool = False
    overdue: bool = False


def newest(connection: Connection) -> dict[str, Newest]:
    """Return the newest attempt at every table that has been attempted."""
    rows = execute(
        connection,
        "ledger: newest attempts",
        """
        SELECT DISTINCT ON (i.table_name) i.table_name, i.id, CASE WHEN i.status <> 'failed' AND a.table_name IS NULL THEN (
            SELECT f.source_sha256 FROM ingest.file_imports f
            WHERE f.table_name = i.table_name AND f.loaded ORDER BY f.id DESC LIMIT 1) END,
            i.status = 'failed' AND i.outside,
            (SELECT max(f.finished_at) < now() - %(late)s FROM ingest.file_imports f WHERE f.table_name = i.table_name)
        FROM ingest.imports i LEFT JOIN ingest.absent_files a USING (table_name)
        ORDER BY i.table_name, i.id DESC
        """,
        {"late": LATE_AFTER},
    ).fetchall()
    return {
        name: Newest(number, sha256, outside, bool(overdue))
        for name, number, sha256, outside, overdue in rows
    }


def contents_of_run(connection: Connection, run_id: str) -> dict[str, str]:
    """Return the contents, as SHA-256 in hex, of the files that a run has imported or found unchanged so far, by table."""
    rows = execute(
        connection,
        "ledger: contents of the run",
        """
        SELECT t.name, file.source_sha256 FROM unnest(%(tables)s::text[]) AS t(name)
        JOIN LATERAL (
            SELECT run_id, source_sha256 FROM ingest.file_imports i
            WHERE i.table_name = t.name ORDER BY i.id DESC LIMIT 1
        ) file ON file.run_id = %(run_id)s
        """,
        {"tables": list(TABLES), "run_id": run_id},
    ).fetchall()
    return dict(rows)
