"""``daybreak quarantine``: look at the records that did not load, and try them again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from rich.table import Table

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import LazyGroup, json_option, say, say_json, say_lines
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.reading import put_on_record
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.quarantine import REASONS
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.tables import TABLES

_LIST = """
    SELECT q.id, q.table_name, q.record_number, q.row_id, q.reasons, i.source_uri, q.first_seen_at, q.last_seen_at,
           count(*) OVER () AS total
    FROM ingest.quarantine q LEFT JOIN ingest.imports i ON i.id = q.import_id
    WHERE q.resolved_at IS NULL AND (%(table)s::text IS NULL OR q.table_name = %(table)s)
      AND (%(reason)s::text IS NULL OR q.reasons @> jsonb_build_array(jsonb_build_object('code', %(reason)s::text)))
    ORDER BY q.table_name, q.record_number LIMIT %(limit)s
"""


@click.group(
    cls=LazyGroup,
    lazy={
        "export": (
            "daybreak_pipeline.cli.quarantine_export:export",
            "Write what to send back to the sender: file, record number, column and reason, without personal values.",
        ),
        "replay": (
            "daybreak_pipeline.cli.quarantine_replay:replay",
            "Try everything in quarantine again, without any file: after a migration, say.",
        ),
    },
)
def quarantine() -> None:
    """Look at the records that did not load, and try them again."""


@quarantine.command("list")
@click.option("--table", type=click.Choice(list(TABLES)), metavar="TABLE", help="Of this table only.")
@click.option(
    "--reason",
    type=click.Choice(REASONS),
    metavar="REASON",
    help=f"With this reason only: {', '.join(REASONS)}.",
)
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(min=1), help="How many at the most."
)
@json_option
def list_(table: str | None, reason: str | None, limit: int, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """List what is in quarantine, with all reasons, without any personal value."""
    rows = _query(_LIST, {"table": table, "reason": reason, "limit": limit})
    if as_json:
        names = (
            "id",
            "table",
            "record_number",
            "row_id",
            "reasons",
            "source_uri",
            "first_seen_at",
            "last_seen_at",
        )
        say_json([dict(zip(names, row, strict=False)) for row in rows])
        return
    _show(rows)


@quarantine.command("show")
@click.argument("number", type=int)
def show(number: int) -> None:
    """Show one record as it came, decrypted: personal data."""
    rows = _query(
        """
        SELECT q.table_name, q.row_id, q.record_number, i.source_uri, q.reasons,
               jsonb_strip_nulls(privacy.as_object(privacy.unseal(q.record_encrypted, privacy.key('seal'),
                   privacy.tag('ingest.quarantine', 'record_encrypted')))), q.resolution
        FROM ingest.quarantine q LEFT JOIN ingest.imports i ON i.id = q.import_id WHERE q.id = %(id)s
        """,
        {"id": number},
        read=lambda found: (f"quarantine show {number}", [(table, row_id) for table, row_id, *_ in found]),
    )
    if not rows:
        msg = f"there is no quarantine row {number}: see daybreak quarantine list"
        raise UsageError(msg)
    table, _row_id, record_number, uri, reasons, record, resolution = rows[0]
    say(f"{table}, record {record_number} of {uri}, {resolution or 'open'}")
    for reason in reasons:
        say(f"  {_reason(reason)}: {reason['detail']}")
    say_lines(json.dumps(record, indent=2, ensure_ascii=False))  # still JSON, for programs too


def _show(rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        say("nothing is in quarantine")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("row", "table", "record", "id", "reasons", "since"):
        table.add_column(heading, overflow="fold")
    for number, name, record_number, row_id, reasons, _uri, first, _last, _total in rows:
        listed = ", ".join(_reason(reason) for reason in reasons)
        table.add_row(str(number), name, str(record_number), row_id or "", listed, f"{first:%Y-%m-%d %H:%M}")
    console().print(table)
    total = rows[0][-1]
    if total > len(rows):
        say(f"{total - len(rows)} more: --limit shows them, --table and --reason choose")


def _reason(reason: dict[str, Any]) -> str:
    return f"{reason['code']} {reason['column']}" if reason["column"] else str(reason["code"])


def _query(
    query: str,
    parameters: dict[str, Any],
    read: Callable[[list[tuple[Any, ...]]], tuple[str, list[tuple[str, str | None]]]] | None = None,
) -> list[tuple[Any, ...]]:
    """Return the rows of a query; ``read`` returns how they were read and which rows to record as read."""
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database, key=installation.key) as connection,
    ):
        rows = connection.execute(query.encode(), parameters).fetchall()
        if read and rows:
            put_on_record(connection, *read(rows))
        return rows
