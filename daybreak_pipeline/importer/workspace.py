"""What the phases of one import share: its tables, its statements, and what is known so far of its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer.expressions import Expressions
from daybreak_pipeline.importer.known import Known
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

    ``known`` tells of the records that were passed over while staging, if any was, and ``lists_passed`` whether
    ``listed_digests`` are those of their rows, or those of the others. ``keeps_digests`` tells that staged records have digests,
    ``counted`` which of them must be seen each time, ``stage_again`` stages all without passing over any (``digests``).
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
    known: Known | None = None
    lists_passed: bool = False
    keeps_digests: bool = False
    counted: list[sql.Composable] = field(default_factory=list)
    stage_again: Callable[[], None] = lambda: None
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
            "(SELECT id, _outcome FROM {} UNION ALL SELECT id, _outcome FROM {} WHERE _outcome <> ALL ({}){})"
        ).format(
            self.tables.outcomes, self.tables.key_matches, sql.Literal(list(UNSETTLED)), self._passed_over()
        )

    def _passed_over(self) -> sql.Composable:
        """Return the outcomes of records that were passed over, of those whose id waits in quarantine."""
        if not self.known:
            return sql.SQL("")
        return sql.SQL(
            " UNION ALL SELECT id, CASE WHEN _edited_at IS NULL THEN 'unchanged' ELSE 'stale' END FROM {} known WHERE {} "
            "AND id::text IN (SELECT row_id FROM ingest.quarantine WHERE table_name = {} AND resolved_at IS NULL)"
        ).format(self.target, self.in_file("known"), sql.Literal(self.catalog.table.name))

    def in_file(self, row: str) -> sql.Composable:
        """Return the condition that a row of the table, under an alias, is there because its record was passed over."""
        if not self.known:
            return sql.SQL("false")
        return sql.SQL("({digest} IS NOT NULL AND {digest} {among} (SELECT digest FROM {listed}))").format(
            digest=sql.Identifier(row, "_record_digest"),
            among=sql.SQL("IN" if self.lists_passed else "NOT IN"),
            listed=self.tables.listed_digests,
        )

    def summarize(self) -> None:
        """Count the outcomes, and note whether any record lacks a value, has one that is too long, or breaks a CHECK."""
        rows = self.statements.query(
            "classify: count outcomes",
            "SELECT _outcome, count(*), bool_or(_lacks), bool_or(_long), bool_or(_breaks) FROM {outcomes} GROUP BY 1",
        ).fetchall()
        self.summary = self.settled | {
            outcome: self.settled.get(outcome, 0) + number for outcome, number, *_ in rows
        }
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
        others = [] if self.into_empty else [self.tables.key_matches]
        others += [self.tables.digests] if self.keeps_digests else []
        others += [self.tables.listed_digests] if self.known else []
        self.statements.run(
            "end: drop working tables",
            "DROP TABLE {stage_tables}, {prepared_rows}, {outcomes}, {cast_errors}, {rejections}, {issues}{others}",
            others=sql.SQL("").join(sql.SQL(", {}").format(table) for table in others),
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
            "digests": self.tables.digests,
            "listed_digests": self.tables.listed_digests,
        }
