"""Keeps what did not load: whole records in quarantine, single values as field issues, both encrypted.

A record that is still bad updates its row; one that loads, or that the export no longer has, resolves it.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer.work import Work


def keep(work: Work) -> None:
    """Write the import's faults and issues, and resolve those of earlier imports that are no more."""
    parameters = {"import_id": work.import_id, "table": work.catalog.table.name}
    _keep_records(work, parameters)
    _resolve_records(work, parameters)
    _keep_issues(work, parameters)
    _resolve_issues(work, parameters)


def _keep_records(work: Work, parameters: dict[str, object]) -> None:
    """Know the same record again by its id, or else by its content and how often that occurred."""
    work.run(
        """
        WITH refused AS (
            SELECT s._record AS record, f.id::text AS row_id,
                   coalesce(jsonb_build_object('_raw', s._raw), {record}) AS content,
                   privacy.required_key('source_hash') AS hash_key
            FROM {stage} s JOIN {fates} f ON f._record = s._record
            WHERE f._outcome = 'quarantined' AND s._raw IS NOT NULL
            UNION ALL
            SELECT s._record, f.id::text, {record}, privacy.required_key('source_hash')
            FROM {stage} s JOIN {fates} f ON f._record = s._record
            WHERE f._outcome = 'quarantined' AND s._raw IS NULL
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY row_id, content ORDER BY record) AS occurrence FROM refused
        ), reasons AS (
            SELECT record, jsonb_agg(jsonb_build_object('code', code, 'column', column_name, 'detail', detail)
                                     ORDER BY column_name, code) AS reasons
            FROM {faults} GROUP BY record
        )
        INSERT INTO ingest.quarantine
            (import_id, table_name, record_number, row_id, reasons, record_encrypted, record_key)
        SELECT %(import_id)s, %(table)s, n.record, n.row_id, r.reasons,
               privacy.seal(n.content::text, privacy.required_key('seal')),
               hmac(convert_to(coalesce('id ' || n.row_id, 'content ' || n.occurrence || ' ' || n.content), 'UTF8'),
                    n.hash_key, 'sha256')
        FROM numbered n JOIN reasons r ON r.record = n.record
        ON CONFLICT (table_name, record_key) WHERE resolved_at IS NULL DO UPDATE
        SET import_id = excluded.import_id, record_number = excluded.record_number,
            reasons = excluded.reasons, record_encrypted = excluded.record_encrypted, last_seen_at = now()
        """,
        parameters,
        record=work.expressions.record(list(work.stage.header)),
    )


def _resolve_records(work: Work, parameters: dict[str, object]) -> None:
    work.run(
        """
        UPDATE ingest.quarantine q SET resolved_at = now(), resolution = 'loaded'
        FROM {fates} f
        WHERE q.table_name = %(table)s AND q.resolved_at IS NULL AND q.import_id <> %(import_id)s
          AND q.row_id = f.id::text AND f._outcome IN ('insert', 'update', 'unchanged', 'stale')
        """,
        parameters,
    )
    work.run(
        """
        UPDATE ingest.quarantine q SET resolved_at = now(), resolution = 'absent'
        WHERE q.table_name = %(table)s AND q.resolved_at IS NULL AND q.import_id <> %(import_id)s
          AND (q.row_id IS NULL OR EXISTS (
              SELECT FROM {fates} f WHERE f.id::text = q.row_id AND f._outcome = 'skipped_deleted'))
        """,
        parameters,
    )


def _keep_issues(work: Work, parameters: dict[str, object]) -> None:
    work.run(
        """
        DELETE FROM {issues} i USING {fates} f
        WHERE f._record = i.record AND f._outcome NOT IN ('insert', 'update')
        """
    )
    work.run(
        """
        INSERT INTO ingest.field_issues (import_id, table_name, row_id, column_name, code, value_encrypted)
        SELECT %(import_id)s, %(table)s, f.id::text, i.column_name, i.code,
               privacy.seal(i.value, privacy.required_key('seal'))
        FROM {issues} i JOIN {fates} f ON f._record = i.record
        ON CONFLICT (table_name, row_id, column_name, code) WHERE resolved_at IS NULL DO UPDATE
        SET import_id = excluded.import_id, value_encrypted = excluded.value_encrypted
        """,
        parameters,
    )


def _resolve_issues(work: Work, parameters: dict[str, object]) -> None:
    """Close the issues of rows that were written again without them."""
    work.run(
        """
        UPDATE ingest.field_issues i SET resolved_at = now()
        FROM {fates} f
        WHERE i.table_name = %(table)s AND i.resolved_at IS NULL AND i.import_id <> %(import_id)s
          AND i.row_id = f.id::text AND f._outcome IN {accepted}
        """,
        parameters,
        accepted=sql.SQL("('insert', 'update')"),
    )
