"""Remembers the deletions of rows that were never here, so that no older version of one comes to life (ADR 10).

A deletion of a row that is here needs no tombstone: the row keeps its mark and its times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer import order
from daybreak_pipeline.importer.expressions import compose
from daybreak_pipeline.importer.workspace import Workspace

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_MANY = 1000
"""From so many new tombstones on the planner must know of them before the next import joins with them."""


def exist(connection: Connection, table: str) -> bool:
    """Whether any deletion of a table's rows is remembered."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM ingest.tombstones WHERE table_name = %s)", [table]
    ).fetchone()
    return row == (True,)


def joined(work: Workspace, row_id: sql.Composable) -> sql.Composable:
    """Return what joins records with their tombstones ``d``; nothing where the table has none."""
    if not work.has_tombstones:
        return sql.SQL("")
    return compose(
        "LEFT JOIN ingest.tombstones d ON d.table_name = {} AND d.row_id = {}::text",
        sql.Literal(work.catalog.table.name),
        row_id,
    )


def newer(work: Workspace, record: order.Record) -> sql.Composable:
    """Return the condition that a record is newer than its tombstone ``d``, or has none."""
    if not work.has_tombstones:
        return sql.SQL("true")
    return compose("(d.row_id IS NULL OR {} > {})", record.place, buried(record))


def buried(record: order.Record) -> sql.Composable:
    """Return the place of a tombstone ``d``, in the times that a record of its table has."""
    return order.place([sql.Identifier("d", order.PLACE_COLUMNS[name]) for name in record.times])


def bury(work: Workspace) -> None:
    """Remember the deletions among the records; an older one of the same row gives way."""
    if work.has_tombstones:
        work.run_whole(
            """
            DELETE FROM ingest.tombstones d USING {key_matches} c
            WHERE d.table_name = {table} AND d.row_id = c.id::text AND c._outcome = 'skipped_deleted' AND c._newer
            """,
            table=sql.Literal(work.catalog.table.name),
        )
    record = order.prepared(work, "c") if work.into_empty else order.tried(work)
    written = work.run_whole(
        """
        INSERT INTO ingest.tombstones (table_name, row_id, {columns}, import_id)
        SELECT {table}, c.id::text, {times}, {import_id} FROM {source}
        WHERE c._outcome = 'skipped_deleted' AND c._newer
        """,
        columns=sql.SQL(", ").join(sql.Identifier(order.PLACE_COLUMNS[name]) for name in record.times),
        table=sql.Literal(work.catalog.table.name),
        times=sql.SQL(", ").join(record.times.values()),
        import_id=sql.Literal(work.import_id),
        source=compose("(SELECT *, true AS _newer FROM {}) c", work.outcomes)
        if work.into_empty
        else compose("{} c JOIN {} s ON s._record = c._record", work.key_matches, work.stage.table),
    )
    if written > _MANY:
        work.analyze(_partition(work))


def _partition(work: Workspace) -> sql.Identifier:
    """Return the partition of the table: other imports write their own meanwhile."""
    row = work.connection.execute(
        "SELECT tableoid::regclass::text FROM ingest.tombstones WHERE table_name = %s LIMIT 1",
        [work.catalog.table.name],
    ).fetchone()
    return sql.Identifier(*str(row[0] if row else "ingest.tombstones_of_others").split("."))


def lift(work: Workspace) -> None:
    """Forget the deletions of rows that are here now, by a newer record."""
    if work.has_tombstones:
        work.run_whole(
            """
            DELETE FROM ingest.tombstones d USING {outcomes} f
            WHERE d.table_name = {table} AND d.row_id = f.id::text AND f._outcome = 'insert'
            """,
            table=sql.Literal(work.catalog.table.name),
        )
