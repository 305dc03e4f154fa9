"""What checks look at besides the rows: open quarantine and field issues, and the ledger of a table.

Each is queried once, however many checks need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.checks.findings import SHOWN_ROWS, Place, Tally
from daybreak_pipeline.checks.places import file_name
from daybreak_pipeline.importer.ledger import Entry
from daybreak_pipeline.schema.catalog import TableCatalog
from daybreak_pipeline.tables import Threshold

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_REFUSED = """
    WITH reasons AS (
        SELECT r.value ->> 'code' AS code, r.value ->> 'column' AS subject,
               coalesce(q.row_id, 'record ' || q.record_number) AS name, q.record_number, q.import_id
        FROM ingest.quarantine q, jsonb_array_elements(q.reasons) r
        WHERE q.table_name = %(table)s AND q.resolved_at IS NULL
    ), numbered AS (
        SELECT *, row_number() OVER (PARTITION BY code, subject ORDER BY record_number, name) AS place FROM reasons
    )
    SELECT n.code, n.subject AS column, count(*),
           array_agg(n.name ORDER BY n.place) FILTER (WHERE n.place <= %(shown)s) AS rows,
           array_agg(n.record_number ORDER BY n.place) FILTER (WHERE n.place <= %(shown)s) AS records,
           array_agg(i.source_uri ORDER BY n.place) FILTER (WHERE n.place <= %(shown)s) AS sources
    FROM numbered n LEFT JOIN ingest.imports i ON i.id = n.import_id AND n.place <= %(shown)s
    GROUP BY n.code, n.subject ORDER BY n.code, n.subject
"""

_ISSUES = """
    WITH numbered AS (
        SELECT code, column_name, row_id,
               row_number() OVER (PARTITION BY code, column_name ORDER BY row_id) AS place
        FROM ingest.field_issues WHERE table_name = %(table)s AND resolved_at IS NULL
    )
    SELECT code, column_name AS column, count(*),
           array_agg(row_id ORDER BY place) FILTER (WHERE place <= %(shown)s) AS rows,
           '{}'::bigint[] AS records, '{}'::text[] AS sources
    FROM numbered GROUP BY code, column_name ORDER BY code, column_name
"""

_LAST_FILE = "SELECT * FROM ingest.file_imports WHERE table_name = %s AND loaded ORDER BY id DESC LIMIT 1"


@dataclass(frozen=True)
class Noted:
    """What an import kept of one kind of fault in one column: how often, and the first rows that have it.

    ``column`` is None for a fault of the record as a whole. Of records in quarantine there are number and source, too.
    """

    code: str
    column: str | None
    count: int
    rows: Sequence[str]
    records: Sequence[int]
    sources: Sequence[str | None]

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the first rows are in their files."""
        pairs = zip(self.sources, self.records, strict=True)
        return tuple(Place(file_name(source), record) for source, record in pairs if source)


class Evidence:
    """All that is known of a table when its checks are judged. ``rows`` is set by the scan."""

    def __init__(self, connection: Connection, catalog: TableCatalog) -> None:
        self.connection = connection
        self.catalog = catalog
        self.rows = 0

    @property
    def table(self) -> str:
        """The table's name."""
        return self.catalog.table.name

    def threshold(self, check: str) -> Threshold:
        """Return when a check of this table fails."""
        return self.catalog.table.threshold(check)

    @cached_property
    def open_quarantine(self) -> int:
        """How many records wait in quarantine."""
        return int(
            database.value(
                self.connection,
                "SELECT count(*) FROM ingest.quarantine WHERE table_name = %s AND resolved_at IS NULL",
                [self.table],
            )
        )

    @property
    def looked_at(self) -> int:
        """How many rows and quarantined records there are."""
        return self.rows + self.open_quarantine

    @cached_property
    def last_file(self) -> Entry | None:
        """The import of the last file that was loaded; None before the first."""
        return database.one(self.connection, Entry.of_row, _LAST_FILE, [self.table])

    def refused(self, code: str) -> list[Tally]:
        """Return a tally for each column in which quarantined records have a fault."""
        return [
            Tally(
                f"{noted.column or 'record'} (quarantined)",
                noted.count,
                tuple(noted.rows),
                self._refused_sql(code, noted.column),
                lost=True,
                columns=(noted.column,) if noted.column else (),
                places=noted.places,
            )
            for noted in self._refused
            if noted.code == code
        ]

    def issues(self, code: str, told: str = "{}") -> list[Tally]:
        """Return a tally for each column in which values were repaired; ``told`` is its label."""
        return [
            Tally(
                told.format(noted.column),
                noted.count,
                tuple(noted.rows),
                self._issues_sql(code, noted.column),
                columns=(noted.column,),
            )
            for noted in self._issues
            if noted.code == code and noted.column
        ]

    def repaired(self, code: str) -> set[str]:
        """Return the columns in which values were repaired."""
        return {noted.column for noted in self._issues if noted.code == code and noted.column}

    @cached_property
    def _refused(self) -> Sequence[Noted]:
        return self._noted(_REFUSED)

    @cached_property
    def _issues(self) -> Sequence[Noted]:
        return self._noted(_ISSUES)

    def _noted(self, query: str) -> list[Noted]:
        parameters = {"table": self.table, "shown": SHOWN_ROWS}
        return database.every(self.connection, Noted, query.encode(), parameters)

    def _refused_sql(self, code: str, column: str | None) -> str:
        return (
            sql.SQL(
                "SELECT id, record_number, row_id, reasons FROM ingest.quarantine WHERE table_name = {} "
                "AND resolved_at IS NULL "
                "AND reasons @> jsonb_build_array(jsonb_build_object('code', {}::text, 'column', {}::text))"
            )
            .format(sql.Literal(self.table), sql.Literal(code), sql.Literal(column))
            .as_string(self.connection)
        )

    def _issues_sql(self, code: str, column: str) -> str:
        return (
            sql.SQL(
                "SELECT row_id, first_seen_at FROM ingest.field_issues WHERE table_name = {} AND column_name = {} "
                "AND code = {} AND resolved_at IS NULL"
            )
            .format(sql.Literal(self.table), sql.Literal(column), sql.Literal(code))
            .as_string(self.connection)
        )
