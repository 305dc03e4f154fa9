"""Keeps what did not load: whole records in quarantine, single values as field issues, both encrypted.

A record that is still bad updates its row; one that loads, or that the export no longer has, resolves it.
Quarantined records can be staged again (``stage_again``), without their file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.importer import order, tombstones
from daybreak_pipeline.importer.expressions import HASH_KEY, RECORD_TAG, SEAL_KEY, compose
from daybreak_pipeline.importer.order import PLACE_COLUMNS
from daybreak_pipeline.importer.stage import MALFORMED, RECORD
from daybreak_pipeline.importer.statements import execute, from_file
from daybreak_pipeline.importer.working_tables import WorkingTables
from daybreak_pipeline.importer.workspace import Workspace

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


REASONS = (
    "malformed_record",
    "missing_key",
    "invalid_value",
    "missing_required",
    "invalid_enum",
    "missing_parent",
    "duplicate_key",
)
"""The codes of all reasons for which a record does not load."""
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
    if not work.statements.count("quarantine: count rejections", work.tables.rejections):
        return
    record = order.prepared(work, "outcome")
    columns = [PLACE_COLUMNS[name] for name in record.times]
    work.statements.run_whole(
        "quarantine: keep records",
        """
        WITH refused AS (
            SELECT stage._record AS record, outcome.id::text AS row_id, {times},
                   CASE WHEN stage._raw IS NOT NULL THEN jsonb_build_object('_raw', stage._raw)
                        WHEN stage._malformed IS NOT NULL THEN {record} || jsonb_build_object({why}, stage._malformed)
                        ELSE {record} END AS content
            FROM {stage} stage JOIN {outcomes} outcome ON outcome._record = stage._record
            WHERE outcome._outcome = 'quarantined'
        ), numbered AS (
            SELECT *, row_number() OVER (PARTITION BY row_id, content ORDER BY record) AS occurrence FROM refused
        ), reasons AS (
            SELECT record, jsonb_agg(jsonb_build_object('code', code, 'column', column_name, 'detail', detail)
                                     ORDER BY column_name, code) AS reasons
            FROM {rejections} GROUP BY record
        )
        INSERT INTO ingest.quarantine AS kept
            (import_id, table_name, record_number, row_id, {columns}, reasons, record_encrypted, record_key)
        SELECT %(import_id)s, %(table)s, numbered.record, row_id, {columns}, reasons,
               privacy.seal(content::text, {seal_key}, {tag}),
               encrypt(sha256(convert_to(coalesce('id ' || row_id, 'content ' || occurrence || ' ' || content),
                                         'UTF8')), {hash_key}, 'aes-ecb/pad:none')
        FROM numbered JOIN reasons ON reasons.record = numbered.record
        ORDER BY numbered.record -- when they are tried again, that is their order: the first of two with one key wins
        ON CONFLICT (table_name, record_key) WHERE resolved_at IS NULL DO UPDATE
        SET import_id = CASE WHEN %(again)s THEN kept.import_id ELSE excluded.import_id END,
            record_number = CASE WHEN %(again)s THEN kept.record_number ELSE excluded.record_number END,
            reasons = excluded.reasons, record_encrypted = excluded.record_encrypted, last_seen_at = now(), {places}
        WHERE {excluded} >= {place} -- one that is newer waits on
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
        place=order.place([sql.Identifier("kept", name) for name in columns]),
        why=sql.Literal(_WHY_MALFORMED),
        seal_key=SEAL_KEY,
        tag=RECORD_TAG,
        hash_key=HASH_KEY,
    )


def keep_issues(work: Workspace) -> None:
    """Write the repaired values of the records that were loaded."""
    if not work.statements.count("quarantine: count field issues", work.tables.issues):
        return
    work.statements.run_whole(
        "quarantine: no field issues of records that did not load",
        """
        DELETE FROM {issues} issue USING {outcomes} outcome
        WHERE outcome._record = issue.record AND outcome._outcome NOT IN ('insert', 'update')
        """,
    )
    work.statements.run_whole(
        "quarantine: keep field issues",
        """
        INSERT INTO ingest.field_issues (import_id, table_name, row_id, column_name, code, value_encrypted)
        SELECT %(import_id)s, %(table)s, outcome.id::text, issue.column_name, issue.code,
               privacy.seal(issue.value, {key}, privacy.tag('ingest.field_issues', 'value_encrypted'))
        FROM {issues} issue JOIN {outcomes} outcome ON outcome._record = issue.record
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
    row = execute(
        work.connection, "quarantine: is anything open", from_file("open_quarantine"), parameters
    ).fetchone()
    records, issues = row or (True, True)
    if records:
        _resolve_records(work, parameters)
    if issues:
        _resolve_issues(work, parameters)


def _resolve_records(work: Workspace, parameters: dict[str, object]) -> None:
    record = order.waiting(work)
    run = work.statements.run_whole if work.known else work.statements.run
    run(
        "quarantine: resolve records whose id came again",
        """
        UPDATE ingest.quarantine waiting SET resolved_at = now(),
               resolution = CASE outcome._outcome WHEN 'stale' THEN 'superseded' WHEN 'skipped_deleted' THEN 'absent'
                                                  ELSE 'loaded' END
        FROM {every_outcome} outcome LEFT JOIN {target} target ON target.id = outcome.id
            LEFT JOIN ingest.tombstones tombstone
                ON tombstone.table_name = %(table)s AND tombstone.row_id = outcome.id::text
        WHERE waiting.table_name = %(table)s AND waiting.resolved_at IS NULL AND waiting.row_id = outcome.id::text
          AND outcome._outcome IN ('insert', 'update', 'unchanged', 'stale', 'skipped_deleted')
          -- One that is newer than what is here waits on, whatever older record came meanwhile.
          AND NOT coalesce(CASE WHEN target.id IS NULL THEN {waiting} > {buried} ELSE {newer} END, false)
        """,
        parameters,
        every_outcome=work.every_outcome,
        waiting=record.place,
        buried=tombstones.buried(record),
        newer=order.newer(record),
    )
    execute(
        work.connection,
        "quarantine: resolve records without an id that are gone",
        from_file("resolve_records_without_id"),
        parameters,
    )


def _resolve_issues(work: Workspace, parameters: dict[str, object]) -> None:
    """Close the issues of rows that were written again without them, in columns that the file has."""
    work.statements.run(
        "quarantine: resolve field issues",
        """
        UPDATE ingest.field_issues issue SET resolved_at = now()
        FROM {outcomes} outcome
        WHERE issue.table_name = %(table)s AND issue.resolved_at IS NULL AND issue.import_id <> %(import_id)s
          AND issue.row_id = outcome.id::text AND outcome._outcome IN ('insert', 'update')
          AND issue.column_name = ANY (%(columns)s)
        """,
        parameters | {"columns": sorted(work.expressions.names_in_file)},
    )


def unseal(connection: Connection, table: str, *, met_by: int | None) -> tuple[str, ...]:
    """Write out the open quarantine's records, but for those that the import ``met_by`` has just refused.

    Each is decrypted once: that is what costs time here.

    Returns:
        The names of all columns that they have.
    """
    unsealed = WorkingTables(table).unsealed
    execute(
        connection,
        "replay: unseal",
        """
        CREATE UNLOGGED TABLE {unsealed} AS
        SELECT id, privacy.as_object(privacy.unseal(record_encrypted, {key}, {tag})) AS record FROM ingest.quarantine
        WHERE table_name = {table} AND resolved_at IS NULL AND row_id IS NOT NULL
          AND import_id IS DISTINCT FROM {met_by}
        """,
        unsealed=unsealed,
        key=SEAL_KEY,
        tag=RECORD_TAG,
        table=sql.Literal(table),
        met_by=sql.Literal(met_by),
    )
    names = execute(
        connection,
        "replay: columns",
        "SELECT DISTINCT name FROM {unsealed}, jsonb_object_keys(record) AS name WHERE name <> {why} ORDER BY name",
        unsealed=unsealed,
        why=sql.Literal(_WHY_MALFORMED),
    ).fetchall()
    return tuple({"id": None} | {name: None for (name,) in names})


def stage_again(work: Workspace) -> None:
    """Stage the records that are written out."""
    unsealed = work.tables.unsealed
    work.stage.records = work.statements.run(
        "replay: stage",
        "INSERT INTO {stage} ({columns}) SELECT id, record ->> {why}, {values} FROM {unsealed}",
        columns=sql.SQL(", ").join([RECORD, MALFORMED, *work.stage.columns]),
        why=sql.Literal(_WHY_MALFORMED),
        values=sql.SQL(", ").join(compose("record ->> {}", sql.Literal(name)) for name in work.stage.header),
        unsealed=unsealed,
    )
    work.statements.run("replay: end", "DROP TABLE {unsealed}", unsealed=unsealed)
