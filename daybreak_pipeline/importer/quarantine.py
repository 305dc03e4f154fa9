"""Keeps what did not load: whole records in quarantine, single values as field issues, both encrypted.

A record that is still bad updates its row; one that loads, or that the export no longer has, resolves it.
Quarantined records can be staged again (``stage_again``), without their file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer import order, tombstones
from daybreak_pipeline.importer.expressions import HASH_KEY, SEAL_KEY, compose
from daybreak_pipeline.importer.order import PLACE_COLUMNS
from daybreak_pipeline.importer.staging import MALFORMED, RECORD
from daybreak_pipeline.importer.workspace import Workspace

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


_WHY_MALFORMED = "_MALFORMED"
"""Where a kept record says why its reader called it malformed; names of columns have no capitals.

Its values then are not all as the file has them (``arrow_text``), so that it must not load when it is tried again.
"""


def keep_records(work: Workspace) -> None:
    """Write the refused records and why they are, once the stage is validated.

    The same record is known again by its id, or else by its content and how often that occurred. One that was tried
    again keeps saying which file it came from. Empty cells are kept too: the record's hash, by which a later import
    sees that nothing changed, must come out the same.
    """
    if not work.count(work.rejections):
        return
    record = order.prepared(work, "f")
    columns = [PLACE_COLUMNS[name] for name in record.times]
    work.run_whole(
        """
        WITH refused AS (
            SELECT s._record AS record, f.id::text AS row_id, {times},
                   CASE WHEN s._raw IS NOT NULL THEN jsonb_build_object('_raw', s._raw)
                        WHEN s._malformed IS NOT NULL THEN {record} || jsonb_build_object({why}, s._malformed)
                        ELSE {record} END AS content
            FROM {stage} s JOIN {outcomes} f ON f._record = s._record WHERE f._outcome = 'quarantined'
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY row_id, content ORDER BY record) AS occurrence FROM refused
        ), reasons AS (
            SELECT record, jsonb_agg(jsonb_build_object('code', code, 'column', column_name, 'detail', detail)
                                     ORDER BY column_name, code) AS reasons
            FROM {rejections} GROUP BY record
        )
        INSERT INTO ingest.quarantine AS q
            (import_id, table_name, record_number, row_id, {columns}, reasons, record_encrypted, record_key)
        SELECT %(import_id)s, %(table)s, n.record, n.row_id, {columns}, r.reasons, privacy.seal(n.content::text, {seal_key}),
               encrypt(sha256(convert_to(coalesce('id ' || n.row_id, 'content ' || n.occurrence || ' ' || n.content),
                                         'UTF8')), {hash_key}, 'aes-ecb/pad:none')
        FROM numbered n JOIN reasons r ON r.record = n.record
        ORDER BY n.record -- when they are tried again, that is their order: the first of two with one key wins
        ON CONFLICT (table_name, record_key) WHERE resolved_at IS NULL DO UPDATE
        SET import_id = CASE WHEN %(again)s THEN q.import_id ELSE excluded.import_id END,
            record_number = CASE WHEN %(again)s THEN q.record_number ELSE excluded.record_number END,
            reasons = excluded.reasons, record_encrypted = excluded.record_encrypted, last_seen_at = now(), {places}
        WHERE {excluded} >= {kept} -- one that is newer waits on
        """,
        {"import_id": work.import_id, "table": work.catalog.table.name, "again": work.again},
        record=work.expressions.all_columns(),
        times=sql.SQL(", ").join(
            compose("{} AS {}", time, sql.Identifier(PLACE_COLUMNS[name]))
            for name, time in record.times.items()
        ),
        columns=sql.SQL(", ").join(sql.Identifier(name) for name in columns),
        places=sql.SQL(", ").join(
            compose("{} = {}", sql.Identifier(name), sql.Identifier("excluded", name)) for name in columns
        ),
        excluded=order.place([sql.Identifier("excluded", name) for name in columns]),
        kept=order.place([sql.Identifier("q", name) for name in columns]),
        why=sql.Literal(_WHY_MALFORMED),
        seal_key=SEAL_KEY,
        hash_key=HASH_KEY,
    )


def keep_issues(work: Workspace) -> None:
    """Write the repaired values of the records that were loaded."""
    if not work.count(work.issues):
        return
    work.run_whole(
        """
        DELETE FROM {issues} i USING {outcomes} f
        WHERE f._record = i.record AND f._outcome NOT IN ('insert', 'update')
        """
    )
    work.run_whole(
        """
        INSERT INTO ingest.field_issues (import_id, table_name, row_id, column_name, code, value_encrypted)
        SELECT %(import_id)s, %(table)s, f.id::text, i.column_name, i.code, privacy.seal(i.value, {key})
        FROM {issues} i JOIN {outcomes} f ON f._record = i.record
        ON CONFLICT (table_name, row_id, column_name, code) WHERE resolved_at IS NULL DO UPDATE
        SET import_id = excluded.import_id, value_encrypted = excluded.value_encrypted
        """,
        {"import_id": work.import_id, "table": work.catalog.table.name},
        key=SEAL_KEY,
    )


def resolve(work: Workspace, *, whole_file: bool) -> None:
    """Close what earlier imports kept and is no more.

    Args:
        work: the import, merged.
        whole_file: it was a file, which would have had the records without an id again.
    """
    parameters = {"import_id": work.import_id, "table": work.catalog.table.name, "whole_file": whole_file}
    row = work.connection.execute(
        """
        SELECT EXISTS (SELECT FROM ingest.quarantine q WHERE q.table_name = %(table)s AND q.resolved_at IS NULL),
               EXISTS (SELECT FROM ingest.field_issues i WHERE i.table_name = %(table)s AND i.resolved_at IS NULL
                       AND i.import_id <> %(import_id)s)
        """,
        parameters,
    ).fetchone()
    records, issues = row or (True, True)
    if records:
        _resolve_records(work, parameters)
    if issues:
        _resolve_issues(work, parameters)


def _resolve_records(work: Workspace, parameters: dict[str, object]) -> None:
    record = order.waiting(work)
    work.run(
        """
        UPDATE ingest.quarantine q SET resolved_at = now(),
               resolution = CASE f._outcome WHEN 'stale' THEN 'superseded' WHEN 'skipped_deleted' THEN 'absent'
                                            ELSE 'loaded' END
        FROM {every_fate} f LEFT JOIN {target} t ON t.id = f.id
            LEFT JOIN ingest.tombstones d ON d.table_name = %(table)s AND d.row_id = f.id::text
        WHERE q.table_name = %(table)s AND q.resolved_at IS NULL AND q.row_id = f.id::text
          AND f._outcome IN ('insert', 'update', 'unchanged', 'stale', 'skipped_deleted')
          -- One that is newer than what is here waits on, whatever older record came meanwhile.
          AND NOT coalesce(CASE WHEN t.id IS NULL THEN {waiting} > {buried} ELSE {newer} END, false)
        """,
        parameters,
        every_fate=work.every_fate,
        waiting=record.place,
        buried=tombstones.buried(record),
        newer=order.newer(record),
    )
    work.run(
        """
        UPDATE ingest.quarantine q SET resolved_at = now(), resolution = 'absent'
        WHERE q.table_name = %(table)s AND q.resolved_at IS NULL AND q.import_id <> %(import_id)s
          AND q.row_id IS NULL AND %(whole_file)s
        """,
        parameters,
    )


def _resolve_issues(work: Workspace, parameters: dict[str, object]) -> None:
    """Close the issues of rows that were written again without them, in columns that the file has."""
    work.run(
        """
        UPDATE ingest.field_issues i SET resolved_at = now()
        FROM {outcomes} f
        WHERE i.table_name = %(table)s AND i.resolved_at IS NULL AND i.import_id <> %(import_id)s
          AND i.row_id = f.id::text AND f._outcome IN ('insert', 'update') AND i.column_name = ANY (%(columns)s)
        """,
        parameters | {"columns": sorted(work.expressions.names_in_file)},
    )


def unseal(connection: Connection, table: str, *, met_by: int | None) -> tuple[str, ...]:
    """Write out the open quarantine's records, but for those that the import ``met_by`` has just refused.

    Each is decrypted once: that is what costs time here.

    Returns:
        The names of all columns that they have.
    """
    parts = {"unsealed": _unsealed(table), "key": SEAL_KEY}
    connection.execute(
        sql.SQL(
            """
            CREATE UNLOGGED TABLE {unsealed} AS
            SELECT id, privacy.unseal(record_encrypted, {key})::jsonb AS record FROM ingest.quarantine
            WHERE table_name = {table} AND resolved_at IS NULL AND row_id IS NOT NULL
              AND import_id IS DISTINCT FROM {met_by}
            """
        ).format(**parts, table=sql.Literal(table), met_by=sql.Literal(met_by))
    )
    names = connection.execute(
        sql.SQL(
            "SELECT DISTINCT name FROM {unsealed}, jsonb_object_keys(record) AS name WHERE name <> {why} ORDER BY name"
        ).format(**parts, why=sql.Literal(_WHY_MALFORMED))
    ).fetchall()
    return tuple({"id": None} | {name: None for (name,) in names})


def stage_again(work: Workspace) -> None:
    """Stage the records that are written out."""
    unsealed = _unsealed(work.catalog.table.name)
    work.stage.records = work.run(
        "INSERT INTO {stage} ({columns}) SELECT q.id, q.record ->> {why}, {values} FROM {unsealed} q",
        columns=sql.SQL(", ").join([RECORD, MALFORMED, *work.stage.columns]),
        why=sql.Literal(_WHY_MALFORMED),
        values=sql.SQL(", ").join(
            compose("q.record ->> {}", sql.Literal(name)) for name in work.stage.header
        ),
        unsealed=unsealed,
    )
    work.run("DROP TABLE {unsealed}", unsealed=unsealed)


def _unsealed(table: str) -> sql.Identifier:
    return sql.Identifier("ingest", f"unsealed_{table}")
