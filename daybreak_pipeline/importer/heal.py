"""Repairs what an earlier import could not load, once the missing parent has arrived (contract, rule 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer.catalog import ForeignKey, TableCatalog

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


def possible(connection: Connection, catalog: TableCatalog) -> bool:
    """Whether something is waiting for a parent, and a parent's table has new rows since the last import."""
    tables = sorted({key.table for key in catalog.foreign_keys})
    row = connection.execute(
        """
        SELECT EXISTS (
            SELECT FROM ingest.imports i
            WHERE i.table_name = ANY(%(parents)s) AND i.status = 'imported' AND i.rows_inserted > 0
              AND i.id > (SELECT max(m.id) FROM ingest.imports m
                          WHERE m.table_name = %(table)s AND m.status = 'imported'))
        AND (EXISTS (SELECT FROM ingest.field_issues f WHERE f.table_name = %(table)s
                     AND f.resolved_at IS NULL AND f.code = 'dangling_reference')
          OR EXISTS (SELECT FROM ingest.quarantine q WHERE q.table_name = %(table)s
                     AND q.resolved_at IS NULL AND q.reasons @> '[{"code": "missing_parent"}]'))
        """,
        {"parents": tables, "table": catalog.table.name},
    ).fetchone()
    return bool(row and row[0])


def restore_references(connection: Connection, catalog: TableCatalog) -> int:
    """Put back references that were loaded as NULL and whose parent is there now.

    Returns:
        How many were restored. A reference that somebody has set since is left as it is.
    """
    return sum(
        _restore(connection, catalog, key)
        for key in catalog.foreign_keys
        if not catalog.by_name[key.column].required
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
