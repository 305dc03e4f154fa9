"""Copies segments of CSV into the staging table: a large file by several connections at once.

The text comes in order from one reader; chunks of it go to whichever connection is free. The import's own connection fills
the staging table itself. Each other one fills a table of its own, which is committed and then inherits from the staging
table, so that whoever reads that sees all of it.

Such a table must never be left behind, whatever dies. Until the commit it is its transaction's; from then on its own server
session watches the import's transaction, and drops the table when that has ended: no client is needed for it. After a
crash of the server the table is empty, as it is unlogged, and the next large import of the same table drops it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Queue
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer.reader import Segment
from daybreak_pipeline.importer.stage import RECORD, SEPARATOR, Stage, create_table
from daybreak_pipeline.importer.statements import composed, execute, value
from daybreak_pipeline.importer.working_tables import SCHEMA, in_their_tablespace

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

LARGE = 32 << 20
"""So many bytes are copied before another connection is opened: for less it does not pay."""
CHUNK = 4 << 20
"""About how many bytes a connection copies at a time."""
_SEEN_SECONDS = 60
_POLL_SECONDS = 0.005
_CANCEL_SECONDS = 5

_OUTLIVE = """
COMMIT;
BEGIN;
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'client_connection_check_interval');
DO $$ BEGIN
    WHILE pg_xact_status({transaction}::text::xid8) = 'in progress' LOOP PERFORM pg_sleep(0.05); END LOOP;
    DROP TABLE IF EXISTS {table};
END $$;
COMMIT
"""
"""Sent as one: the server carries it out to the end, also when nobody is there any more to hear of it."""


@dataclass
class Copies:
    """Copies the segments of a source into its staging table.

    Args:
        connection: in the import's transaction.
        stage: the staging table, empty.
        alone: no other connection may help: those that did have left their tables with it.
    """

    connection: Connection
    stage: Stage
    alone: bool = False
    _copied: int = 0
    _others: list[_Other] = field(default_factory=list)
    _asked: bool = False

    def take(
        self, columns: list[sql.Identifier], segments: Iterable[Segment], delimiter: bytes = b","
    ) -> Iterator[int]:
        """Copy segments of one form, which all have ``columns``, and yield the size of each, known records included.

        Numbered ones are copied by one connection: they are few, and a record may be in several of them.
        """
        waiting = iter(segments)
        if RECORD not in columns:
            first = self._until_large(waiting)
            yield from self._one(columns, first, delimiter)
            if self._copied >= LARGE:
                yield from self._several(columns, waiting, delimiter)
        yield from self._one(columns, waiting, delimiter)

    def finish(self) -> None:
        """Let the staging table have what the other connections have copied."""
        others, self._others = self._others, []
        for other in others:
            other.hand_over(self.connection)
            execute(
                self.connection,
                "stage: add what was copied beside",
                "ALTER TABLE {other} INHERIT {stage}",
                other=other.table,
                stage=self.stage.table,
            )
            self.stage.beside += (other.table,)

    def _until_large(self, segments: Iterator[Segment]) -> Iterator[Segment]:
        while self._copied < LARGE and (segment := next(segments, None)):
            yield segment

    def _one(
        self, columns: list[sql.Identifier], segments: Iterator[Segment], delimiter: bytes
    ) -> Iterator[int]:
        """Copy segments by the import's own connection."""
        first = next(segments, None)
        if first is None:
            return
        if RECORD not in columns and self.stage.read:
            number_from(self.connection, self.stage.table, self.stage.read + 1)
        command = _command(self.connection, self.stage.table, columns, delimiter)
        with self.connection.cursor() as cursor:
            with cursor.copy(command) as copy:
                segment: Segment | None = first
                while segment:
                    self._note(segment)
                    copy.write(segment.data)
                    yield len(segment.data) + segment.left_out
                    segment = next(segments, None)
            self.stage.records += cursor.rowcount

    def _several(
        self, columns: list[sql.Identifier], segments: Iterator[Segment], delimiter: bytes
    ) -> Iterator[int]:
        """Copy segments by every connection there is; none if there is but one."""
        if not self._asked:
            self._asked = True
            self._others = [] if self.alone else _open(self.connection, self.stage)
        if not self._others:
            return
        lanes = [(self.connection, self.stage.table)]
        lanes += [(other.connection, other.table) for other in self._others]
        work = _Work([_Lane(*lane, columns, delimiter) for lane in lanes])
        try:
            for chunk in self._chunks(segments):
                work.hand_out(chunk)
                yield len(chunk.data)
        except BaseException:
            work.stop()
            raise
        self.stage.records += work.done()

    def _chunks(self, segments: Iterator[Segment]) -> Iterator[_Chunk]:
        """Join segments, which hold whole records, into chunks of some size."""
        parts: list[bytes] = []
        size, number = 0, self.stage.read + 1
        for segment in segments:
            self._note(segment)
            parts.append(segment.data)
            size += len(segment.data)
            if size >= CHUNK:
                yield _Chunk(number, b"".join(parts))
                parts, size, number = [], 0, self.stage.read + 1
        if parts:
            yield _Chunk(number, b"".join(parts))

    def _note(self, segment: Segment) -> None:
        self.stage.may_hold_separator |= SEPARATOR.encode() in segment.data
        self.stage.read += segment.records + segment.passed
        self.stage.passed += segment.passed
        self._copied += len(segment.data)


@dataclass(frozen=True)
class _Chunk:
    """Whole records as CSV, and the number of the first."""

    number: int
    data: bytes


@dataclass(frozen=True)
class _Lane:
    """A connection, the table that it fills, and how."""

    connection: Connection
    table: sql.Identifier
    columns: list[sql.Identifier]
    delimiter: bytes

    def copy(self, chunk: _Chunk) -> int:
        number_from(self.connection, self.table, chunk.number)
        command = _command(self.connection, self.table, self.columns, self.delimiter)
        with self.connection.cursor() as cursor:
            with cursor.copy(command) as copy:
                copy.write(chunk.data)
            return cursor.rowcount


class _Work:
    """Threads that copy chunks, each by a connection of its own."""

    def __init__(self, lanes: list[_Lane]) -> None:
        self._lanes = lanes
        self._chunks: Queue[_Chunk | None] = Queue(1)
        self._errors: list[BaseException] = []
        self._records: list[int] = []
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[lane], name="copy", daemon=True) for lane in lanes
        ]
        for thread in self._threads:
            thread.start()

    def hand_out(self, chunk: _Chunk) -> None:
        """Let the next connection that is free copy a chunk."""
        if self._stopped.is_set():
            self.done()
        self._chunks.put(chunk)

    def done(self) -> int:
        """Wait until all is copied. Returns how many records the server has taken.

        What a connection has raised is raised here.
        """
        self._end()
        if self._errors:
            raise self._errors[0]
        return sum(self._records)

    def stop(self) -> None:
        """End at once."""
        self._stopped.set()
        for lane in self._lanes:
            with suppress(psycopg.Error):
                lane.connection.cancel_safe(timeout=_CANCEL_SECONDS)
        self._end()

    def _end(self) -> None:
        for _ in self._threads:
            self._chunks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self, lane: _Lane) -> None:
        while chunk := self._chunks.get():
            if self._stopped.is_set():
                continue
            try:
                self._records.append(lane.copy(chunk))
            except BaseException as error:  # noqa: BLE001 - it is raised again where the chunks are handed out
                self._errors.append(error)
                self._stopped.set()


@dataclass(frozen=True)
class _Other:
    """A connection beside the import's own, in a transaction that has made the table that it fills."""

    connection: Connection
    name: str

    @property
    def table(self) -> sql.Identifier:
        """The table with its schema."""
        return sql.Identifier(SCHEMA, self.name)

    def hand_over(self, importing: Connection) -> None:
        """Commit the table, and have its session drop it when the import's transaction has ended."""
        transaction = value(importing, "stage: which transaction", "SELECT pg_current_xact_id()::text")
        errors: list[psycopg.Error] = []

        def outlive() -> None:
            try:
                execute(
                    self.connection,
                    "stage: drop what was copied beside once the import has ended",
                    _OUTLIVE,
                    transaction=sql.Literal(transaction),
                    table=self.table,
                )
            except psycopg.Error as error:
                errors.append(error)

        thread = threading.Thread(target=outlive, name="stage", daemon=True)
        thread.start()
        database.when_ended(importing, lambda: thread.join(_SEEN_SECONDS))
        # A lookup of the name would not notice: it is answered from a cache as long as no lock is taken.
        there = "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = %(schema)s::regnamespace AND relname = %(name)s)"
        called = {"schema": SCHEMA, "name": self.name}
        deadline = time.monotonic() + _SEEN_SECONDS
        while not value(importing, "stage: is it there", there, called):
            if errors:
                raise errors[0]
            if time.monotonic() > deadline:
                msg = "what a second connection had staged did not appear; nothing was changed. Import the table again"
                raise SourceError(msg)
            time.sleep(_POLL_SECONDS)


def _open(importing: Connection, stage: Stage) -> list[_Other]:
    """Open as many connections as ``DAYBREAK_STAGING_CONNECTIONS`` allows, and as the server takes."""
    isolation = value(importing, "stage: isolation", "SELECT current_setting('transaction_isolation')")
    if isolation != "read committed":  # what others commit would not be seen
        return []
    others = []
    for number, connection in enumerate(
        database.others(importing, most=settings.staging_connections() - 1), 2
    ):
        other = _Other(connection, f"{stage.name}_{number}")
        others.append(other)
        execute(connection, "stage: begin beside", "BEGIN")
        execute(
            connection,
            "stage: drop a table left by a crash",
            "DROP TABLE IF EXISTS {table}",
            table=other.table,
        )
        with in_their_tablespace(connection):
            create_table(connection, other.table, stage.columns)
    return others


def number_from(connection: Connection, table: sql.Identifier, number: int) -> None:
    """Let a staging table go on counting from a number."""
    execute(
        connection,
        "stage: number from here on",
        "ALTER TABLE {stage} ALTER COLUMN {record} RESTART WITH {number}",
        stage=table,
        record=RECORD,
        number=sql.Literal(number),
    )


def _command(
    connection: Connection, table: sql.Identifier, columns: list[sql.Identifier], delimiter: bytes
) -> sql.SQL | sql.Composed:
    # FORCE_NULL: an empty cell is NULL, quoted or not.
    return composed(
        connection,
        "stage: copy",
        "COPY {stage} ({columns}) FROM STDIN (FORMAT csv, DELIMITER {delimiter}, ENCODING 'UTF8', FORCE_NULL ({columns}))",
        stage=table,
        columns=sql.SQL(", ").join(columns),
        delimiter=sql.Literal(delimiter.decode("latin-1")),
    )
