"""The working tables of one import, and what each record's outcome can be.

All of them are unlogged, live in the import's transaction and are dropped at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.importer.expressions import Expressions
from daybreak_pipeline.importer.staging import Stage
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

    def summarize(self) -> None:
        """Count the outcomes, and note whether any record lacks a value, has one that is too long, or breaks a CHECK."""
        query = sql.SQL(
            "SELECT _outcome, count(*), bool_or(_lacks), bool_or(_long), bool_or(_breaks) FROM {} GROUP BY 1"
        ).format(self.outcomes)
        rows = self.connection.execute(query).fetchall()
        self.summary = self.settled | {outcome: number for outcome, number, *_ in rows}
        self.lacking, self.too_long, self.breaking = (any(row[at] for row in rows) for at in (2, 3, 4))

    @property
    def target(self) -> sql.Identifier:
        """The table that is imported into."""
        return sql.Identifier("public", self.catalog.table.name)

    @property
    def outcomes(self) -> sql.Identifier:
        """One row for each record that is not settled: ``_record``, ``_outcome``, and typed columns that rules look at.

        ``_outcome`` is insert or update for what is to be loaded, and else a name of the ledger's.
        """
        return self._table("outcomes")

    @property
    def key_matches(self) -> sql.Identifier:
        """One row for each record, where the table has rows: ``_record``, ``id``, and ``_outcome`` as the key tells it.

        ``_newer`` tells of a record without a row that it is newer than its tombstone, or has none. Most
        records of an export that comes again are settled by that: unchanged, stale, duplicate.
        """
        return self._table("key_matches")

    @property
    def thinned(self) -> sql.Identifier:
        """The stage without the records that are settled."""
        return self._table("thinned")

    @property
    def every_fate(self) -> sql.Composable:
        """Every record's ``id`` and ``_outcome``, settled or not."""
        if self.into_empty:
            return self.outcomes
        return sql.SQL(
            "(SELECT id, _outcome FROM {} UNION ALL SELECT id, _outcome FROM {} WHERE _outcome <> ALL ({}))"
        ).format(self.outcomes, self.key_matches, sql.Literal(list(UNSETTLED)))

    @property
    def rejections(self) -> sql.Identifier:
        """(record, code, column_name, detail): why records are refused."""
        return self._table("rejections")

    @property
    def issues(self) -> sql.Identifier:
        """(record, column_name, code, value): values that were repaired."""
        return self._table("issues")

    @property
    def missing(self) -> sql.Identifier:
        """The records with references that lead nowhere, while these are noted: the value of each column that has one."""
        return self._table("missing")

    @property
    def prepared_rows(self) -> sql.Identifier:
        """The rows of the records that are not settled, before defaults, with what ``outcomes`` needs to know of them."""
        return self._table("prepared_rows")

    @property
    def cast_errors(self) -> sql.Identifier:
        """(record, column_name, fault): the values that do not cast, of the columns that are lenient."""
        return self._table("cast_errors")

    @property
    def unlike(self) -> sql.Identifier:
        """The values that are to be tried one by one, while cast errors are looked for: ``_record``, ``name`` and ``value``."""
        return self._table("unlike")

    @property
    def records(self) -> sql.Composable:
        """The staged records, with the names of the columns whose values do not cast in ``_cast_errors``, if any does not."""
        if not self.expressions.lenient:
            return self.stage.table
        return sql.SQL(
            """
            (SELECT s.*, m.columns AS _cast_errors FROM {} s LEFT JOIN (
                SELECT record, array_agg(column_name) AS columns FROM {} GROUP BY record) m ON m.record = s._record)
            """
        ).format(self.stage.table, self.cast_errors)

    def run(
        self, template: str, parameters: Mapping[str, Any] | None = None, /, **parts: sql.Composable
    ) -> int:
        """Run one statement; the working tables are at hand by name. Returns how many rows it touched."""
        query = self._composed(template, parts, parameters=parameters is not None)
        return self.connection.execute(query, parameters).rowcount

    def run_whole(
        self, template: str, parameters: Mapping[str, Any] | None = None, /, **parts: sql.Composable
    ) -> int:
        """Run one statement that joins working tables, and join them whole.

        Most have no index, and the planner's guess how few records are refused may be old: a nested loop would then
        take records times records.
        """
        with database.local_settings(self.connection, enable_nestloop=False):
            return self.run(template, parameters, **parts)

    def attempt(self, template: str, **parts: sql.Composable) -> int | None:
        """Run one statement of casts; None, and nothing done, where a value does not fit its type."""
        query = self._composed(template, parts).as_string(self.connection)
        row = self.connection.execute("SELECT ingest.attempt(%s)", [query]).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def analyze(self, table: sql.Identifier) -> None:
        """Let the planner know a working table: roughly, which takes a tenth of the time and is all that it needs."""
        with database.local_settings(self.connection, default_statistics_target=10):
            self.run("ANALYZE {table}", table=table)

    def count(self, table: sql.Composable) -> int:
        """Count the rows of a table."""
        return database.count_rows(self.connection, table)

    def create(self) -> None:
        """Create the tables for cast errors, rejections and issues."""
        self.run(
            "CREATE UNLOGGED TABLE {cast_errors} (record bigint, column_name text, fault text);"
            "CREATE UNLOGGED TABLE {rejections} (record bigint, code text, column_name text, detail text);"
            "CREATE UNLOGGED TABLE {issues} (record bigint, column_name text, code text, value text)"
        )

    def drop(self) -> None:
        """Drop every working table."""
        self.run("DROP TABLE {stage}, {prepared_rows}, {outcomes}, {cast_errors}, {rejections}, {issues}")
        if not self.into_empty:
            self.run("DROP TABLE {key_matches}")

    def _composed(
        self, template: str, parts: Mapping[str, sql.Composable], *, parameters: bool = False
    ) -> sql.Composed:
        names: dict[str, sql.Composable] = {
            "target": self.target,
            "stage": self.stage.table,
            "outcomes": self.outcomes,
            "key_matches": self.key_matches,
            "prepared_rows": self.prepared_rows,
            "rejections": self.rejections,
            "issues": self.issues,
            "cast_errors": self.cast_errors,
            "records": self.records,
        }
        names |= parts
        if parameters:
            names = {name: database.verbatim(self.connection, part) for name, part in names.items()}
        return sql.SQL(template).format(**names)

    def _table(self, kind: str) -> sql.Identifier:
        return sql.Identifier("ingest", f"{kind}_{self.catalog.table.name}")
