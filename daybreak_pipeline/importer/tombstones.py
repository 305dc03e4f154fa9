"""Remembers the deletions of rows that were never here, so that no older version of one comes to life (ADR 10).

A deletion of a row that is here needs no tombstone: the row keeps its mark and its times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer import order
from daybreak_pipeline.importer.expressions import compose
from daybreak_pipeline.importer.statements import value
from daybreak_pipeline.importer.workspace import Workspace

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_MANY = 1000
"""From so many new tombstones on the planner must know of them before the next import joins with them."""


def exist(connection: Connection, table: str) -> bool:
    """Whether any deletion of a table's rows is remembered."""
    found = value(
        connection,
        "begin: are deletions remembered",
        "SELECT EXISTS (SELECT FROM ingest.tombstones WHERE table_name = %(table)s)",
        {"table": table},
    )
    return bool(found)


def joined(work: Workspace, row_id: sql.Composable) -> sql.Composable:
    """Return what joins records with their tombstones ``tombstone``; nothing where the table has none."""
    if not work.has_tombstones:
        return sql.SQL("")
    return compose(
        "LEFT JOIN ingest.tombstones tombstone ON tombstone.table_name = {} AND tombstone.row_id = {}::text",
        sql.Literal(work.catalog.table.name),
        row_id,
    )


def newer(work: Workspace, record: order.Record) -> sql.Composable:
    """Return the condition that a record is newer than its tombstone ``tombstone``, or has none."""
    if not work.has_tombstones:
        return sql.SQL("true")
    return compose("(tombstone.row_id IS NULL OR {} > {})", record.place, buried(record))


def buried(record: order.Record) -> sql.Composable:
    """Return the place of a tombstone ``tombstone``, in the times that a record of its table has."""
    return order.place([sql.Identifier("tombstone", order.PLACE_COLUMNS[name]) for name in record.times])


def bury(work: Workspace) -> None:
    """Remember the deletions among the records; an older one of the same row gives way."""
    if work.has_tombstones:
        work.statements.run_whole(
            "classify: forget older deletions",
            """
            DELETE FROM ingest.tombstones tombstone USING {key_matches} deletion
            WHERE tombstone.table_name = {table} AND tombstone.row_id = deletion.id::text
              AND deletion._outcome = 'skipped_deleted' AND deletion._newer
            """,
            table=sql.Literal(work.catalog.table.name),
        )
    record = order.prepared(work, "deletion") if work.into_empty else order.tried(work)
    written = work.statements.run_whole(
        "classify: remember deletions",
        """
        INSERT INTO ingest.tombstones (table_name, row_id, {columns}, import_id)
        SELECT {table}, deletion.id::text, {times}, {import_id} FROM {source}
        WHERE deletion._outcome = 'skipped_deleted' AND deletion._newer
        """,
        columns=sql.SQL(", ").join(sql.Identifier(order.PLACE_COLUMNS[name]) for name in record.times),
        table=sql.Literal(work.catalog.table.name),
        times=sql.SQL(", ").join(record.times.values()),
        import_id=sql.Literal(work.import_id),
        source=compose("(SELECT *, true AS _newer FROM {}) deletion", work.tables.outcomes)
        if work.into_empty
        else compose(
            "{} deletion JOIN {} stage ON stage._record = deletion._record",
            work.tables.key_matches,
            work.stage.table,
        ),
    )
    if written > _MANY:
        work.statements.analyze(_partition(work))


def _partition(work: Workspace) -> sql.Identifier:
    """Return the partition of the table: other imports write their own meanwhile."""
    name = value(
        work.connection,
        "classify: partition of the tombstones",
        "SELECT tableoid::regclass::text FROM ingest.tombstones WHERE table_name = %(table)s LIMIT 1",
        {"table": work.catalog.table.name},
    )
    return sql.Identifier(*str(name or "ingest.tombstones_of_others").split("."))


def lift(work: Workspace) -> None:
    """Forget the deletions of rows that are here now, by a newer record."""
    if work.has_tombstones:
        work.statements.run_whole(
            "merge: forget deletions of rows that are here",
            """
            DELETE FROM ingest.tombstones tombstone USING {outcomes} outcome
            WHERE tombstone.table_name = {table} AND tombstone.row_id = outcome.id::text AND outcome._outcome = 'insert'
            """,
            table=sql.Literal(work.catalog.table.name),
        )
