"""Repairs what an earlier import could not load (contract, rule 7): what for, and which references.

When a missing parent has arrived, references are restored and quarantined children tried again; after a
migration everything in quarantine is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.schema.catalog import ForeignKey, TableCatalog

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


@dataclass(frozen=True)
class Repairable:
    """What can be repaired now, perhaps: references loaded as NULL, and quarantined records."""

    references: bool
    records: bool


def repairable(connection: Connection, catalog: TableCatalog, schema_version: str) -> Repairable:
    """Return what waits for a parent whose table has new rows since the last import, or for a migration."""
    row = connection.execute(
        """
        WITH last AS (
            SELECT id, started_at, schema_version FROM ingest.imports
            WHERE table_name = %(table)s AND status = 'imported' ORDER BY id DESC LIMIT 1
        ), changed AS (
            SELECT EXISTS (SELECT FROM ingest.imports i, last
                           WHERE i.table_name = ANY(%(parents)s) AND i.status = 'imported'
                             AND i.rows_inserted > 0 AND (i.id > last.id OR i.finished_at > last.started_at)) AS parents,
                   EXISTS (SELECT FROM last WHERE schema_version <> %(version)s) AS migrated
        )
        SELECT changed.parents AND EXISTS (
                   SELECT FROM ingest.field_issues f WHERE f.table_name = %(table)s
                   AND f.resolved_at IS NULL AND f.code = 'dangling_reference'),
               EXISTS (SELECT FROM ingest.quarantine q WHERE q.table_name = %(table)s
                       AND q.resolved_at IS NULL AND q.row_id IS NOT NULL
                       AND (changed.migrated OR changed.parents AND q.reasons @> '[{"code": "missing_parent"}]'))
        FROM changed
        """,
        {
            "table": catalog.table.name,
            "parents": sorted({key.table for key in catalog.foreign_keys}),
            "version": schema_version,
        },
    ).fetchone()
    return Repairable(*row) if row else Repairable(references=False, records=False)


def restore_references(
    connection: Connection, catalog: TableCatalog, *, to_others: bool, to_itself: bool
) -> int:
    """Put back references that were loaded as NULL and whose parent is there now.

    Args:
        connection: in the import's transaction.
        catalog: of the table that has the references.
        to_others: whether other tables may have new parents.
        to_itself: whether the table itself may.

    Returns:
        How many were restored. A reference that somebody has set since is left as it is.
    """
    return sum(
        _restore(connection, catalog, key)
        for key in catalog.foreign_keys
        if not catalog.by_name[key.column].required
        and (to_itself if key.table == catalog.table.name else to_others)
    )


def _restore(connection: Connection, catalog: TableCatalog, key: ForeignKey) -> int:
    query = sql.SQL(
        """
        WITH waiting AS MATERIALIZED (
            SELECT i.id, i.row_id,
                   ingest.try_cast(privacy.unseal(i.value_encrypted, privacy.key('seal')), NULL::{kind}) AS parent_id
            FROM ingest.field_issues i
            WHERE i.table_name = {table_name} AND i.column_name = {column_name}
              AND i.code = 'dangling_reference' AND i.resolved_at IS NULL
        ), found AS (
            SELECT w.* FROM waiting w JOIN {parent} p ON p.id = w.parent_id
        ), restored AS (
            UPDATE {target} t SET {column} = f.parent_id FROM found f
            WHERE t.id = f.row_id::{id_kind} AND t.{column} IS NULL
        )
        UPDATE ingest.field_issues i SET resolved_at = now() FROM found f WHERE i.id = f.id
        """
    ).format(
        kind=sql.SQL(catalog.by_name[key.column].type),
        id_kind=sql.SQL(catalog.id_type),
        table_name=sql.Literal(catalog.table.name),
        column_name=sql.Literal(key.column),
        column=sql.Identifier(key.column),
        parent=sql.Identifier("public", key.table),
        target=sql.Identifier("public", catalog.table.name),
    )
    return connection.execute(query).rowcount
