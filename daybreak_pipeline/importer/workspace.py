"""What the phases of one import share: its tables, its statements, and what is known so far of its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer.expressions import Expressions
from daybreak_pipeline.importer.stage import Stage
from daybreak_pipeline.importer.statements import Statements
from daybreak_pipeline.importer.working_tables import WorkingTables
from daybreak_pipeline.schema.catalog import TableCatalog

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

BAD_KEYS = ("malformed", "missing_key", "invalid_key")
UNSETTLED = ("insert", "update", *BAD_KEYS)
"""What a record's key leaves open: to be loaded or refused."""


@dataclass
class Workspace:
    """One import in progress.

    ``into_empty`` tells that the table has no row, and no tombstone: then nothing has to be compared with it. ``again``
    that the records come from quarantine. ``earlier_imports`` returns the imports of the same content into this table,
    once its fingerprint is known. ``settled`` counts the records that have no row in ``outcomes``, and
    ``summary`` all of them by their outcome.
    """

    connection: Connection
    catalog: TableCatalog
    stage: Stage
    expressions: Expressions
    import_id: int
    into_empty: bool
    has_tombstones: bool = False
    again: bool = False
    earlier_imports: Callable[[], Sequence[int]] = tuple
    settled: dict[str, int] = field(default_factory=dict)
    summary: dict[str, int] = field(default_factory=dict)
    lacking: bool = False
    too_long: bool = False
    breaking: bool = False
    tables: WorkingTables = field(init=False)
    statements: Statements = field(init=False)

    def __post_init__(self) -> None:
        self.tables = WorkingTables(self.catalog.table.name)
        self.statements = Statements(self.connection, self._names)

    @property
    def target(self) -> sql.Identifier:
        """The table that is imported into."""
        return sql.Identifier("public", self.catalog.table.name)

    @property
    def records(self) -> sql.Composable:
        """The staged records, with the names of the columns whose values do not cast in ``_cast_errors``, if any does not."""
        if not self.expressions.lenient:
            return self.stage.table
        return sql.SQL(
            "(SELECT stage.*, cast_error.columns AS _cast_errors FROM {} stage LEFT JOIN ("
            "SELECT record, array_agg(column_name) AS columns FROM {} GROUP BY record) cast_error "
            "ON cast_error.record = stage._record)"
        ).format(self.stage.table, self.tables.cast_errors)

    @property
    def every_outcome(self) -> sql.Composable:
        """Every record's ``id`` and ``_outcome``, settled or not."""
        if self.into_empty:
            return self.tables.outcomes
        return sql.SQL(
            "(SELECT id, _outcome FROM {} UNION ALL SELECT id, _outcome FROM {} WHERE _outcome <> ALL ({}))"
        ).format(self.tables.outcomes, self.tables.key_matches, sql.Literal(list(UNSETTLED)))

    def summarize(self) -> None:
        """Count the outcomes, and note whether any record lacks a value, has one that is too long, or breaks a CHECK."""
        rows = self.statements.query(
            "classify: count outcomes",
            "SELECT _outcome, count(*), bool_or(_lacks), bool_or(_long), bool_or(_breaks) FROM {outcomes} GROUP BY 1",
        ).fetchall()
        self.summary = self.settled | {outcome: number for outcome, number, *_ in rows}
        self.lacking, self.too_long, self.breaking = (any(row[at] for row in rows) for at in (2, 3, 4))

    def create(self) -> None:
        """Create the tables for cast errors, rejections and issues."""
        self.statements.run(
            "begin: create working tables",
            """
            CREATE UNLOGGED TABLE {cast_errors} (record bigint, column_name text, fault text);
            CREATE UNLOGGED TABLE {rejections} (record bigint, code text, column_name text, detail text);
            CREATE UNLOGGED TABLE {issues} (record bigint, column_name text, code text, value text)
            """,
        )

    def drop(self) -> None:
        """Drop every working table."""
        self.statements.run(
            "end: drop working tables",
            "DROP TABLE {stage_tables}, {prepared_rows}, {outcomes}, {cast_errors}, {rejections}, {issues}{key_matches}",
            key_matches=sql.SQL("") if self.into_empty else sql.SQL(", {}").format(self.tables.key_matches),
        )

    def _names(self) -> Mapping[str, sql.Composable]:
        """Return what a statement may name without saying what it is."""
        return {
            "target": self.target,
            "stage": self.stage.table,
            "stage_tables": self.stage.tables,
            "records": self.records,
            "outcomes": self.tables.outcomes,
            "key_matches": self.tables.key_matches,
            "prepared_rows": self.tables.prepared_rows,
            "rejections": self.tables.rejections,
            "issues": self.tables.issues,
            "cast_errors": self.tables.cast_errors,
        }
