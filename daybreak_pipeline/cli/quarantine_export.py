"""``daybreak quarantine export``: what to send back to whoever wrote the file, without any value of a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks.places import file_name
from daybreak_pipeline.cli.common import Command, say
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_SOURCES = """
    SELECT DISTINCT i.source_uri FROM ingest.quarantine q JOIN ingest.imports i ON i.id = q.import_id
    WHERE q.resolved_at IS NULL AND q.table_name = %s
"""
# The server writes the lines, one for each reason: there may be millions. ``detail`` never has a value of the record.
_LINES = """
    SELECT {names}::jsonb ->> i.source_uri AS file, q.record_number AS record, r.value ->> 'column' AS "column",
           r.value ->> 'code' AS reason, r.value ->> 'detail' AS detail
    FROM ingest.quarantine q LEFT JOIN ingest.imports i ON i.id = q.import_id, jsonb_array_elements(q.reasons) r
    WHERE q.resolved_at IS NULL AND q.table_name = {table} AND ({reason}::text IS NULL OR r.value ->> 'code' = {reason})
    ORDER BY q.import_id, q.record_number, q.id, 3, 4
"""


@click.command(cls=Command)
@click.option(
    "--table", type=click.Choice(list(TABLES)), metavar="TABLE", required=True, help="Of this table."
)
@click.option("--reason", help="With this reason only, such as invalid_enum.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="CSV file to write."
)
def export(table: str, reason: str | None, out: Path) -> None:
    """Write what to send back to the sender: file, record number, column and reason, without personal values."""
    path = out.expanduser().absolute()
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database) as connection,
        settings.files_for(path),
    ):
        try:
            lines = _write(connection, table, reason, path)
        except OSError as error:
            msg = f"cannot write {path}: {error.strerror}"
            raise UsageError(msg) from None
    say(f"{path}: {lines:,} {'line' if lines == 1 else 'lines'}, one for each reason")


def _write(connection: Connection, table: str, reason: str | None, path: Path) -> int:
    """Write the file, and return how many lines it has besides its header."""
    names = {source: file_name(source) for (source,) in connection.execute(_SOURCES, [table])}
    query = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(
        sql.SQL(_LINES).format(
            names=sql.Literal(json.dumps(names)), table=sql.Literal(table), reason=sql.Literal(reason)
        )
    )
    with path.open("wb") as file, connection.cursor() as cursor:
        with cursor.copy(query) as copy:
            for block in copy:
                file.write(block)
        return cursor.rowcount
