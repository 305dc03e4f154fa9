"""Repairs what an earlier import could not load (contract, rule 7): what for, and which references.

When a missing parent has arrived, references are restored and quarantined children tried again; after a
migration everything in quarantine is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer.statements import execute, from_file
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
    row = execute(
        connection,
        "repair: is anything repairable",
        from_file("repairable"),
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
    return execute(
        connection,
        "repair: restore references",
        """
        WITH waiting AS MATERIALIZED (
            SELECT id, row_id,
                   ingest.try_cast(privacy.unseal(value_encrypted, privacy.key('seal'),
                                                  privacy.tag('ingest.field_issues', 'value_encrypted')),
                                   NULL::{kind}) AS parent_id
            FROM ingest.field_issues
            WHERE table_name = {table_name} AND column_name = {column_name}
              AND code = 'dangling_reference' AND resolved_at IS NULL
        ), found AS (
            SELECT waiting.* FROM waiting JOIN {parent} parent ON parent.id = waiting.parent_id
        ), restored AS (
            UPDATE {target} target SET {column} = found.parent_id FROM found
            WHERE target.id = found.row_id::{id_kind} AND target.{column} IS NULL
        )
        UPDATE ingest.field_issues issue SET resolved_at = now() FROM found WHERE issue.id = found.id
        """,
        kind=sql.SQL(catalog.by_name[key.column].type),
        id_kind=sql.SQL(catalog.id_type),
        table_name=sql.Literal(catalog.table.name),
        column_name=sql.Literal(key.column),
        column=sql.Identifier(key.column),
        parent=sql.Identifier("public", key.table),
        target=sql.Identifier("public", catalog.table.name),
    ).rowcount
