"""``daybreak trace``: the story of one row."""

from __future__ import annotations

import click

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import Command, say
from daybreak_pipeline.cli.reading import put_on_record
from daybreak_pipeline.operations import row_history
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.tables import TABLES


@click.command(cls=Command)
@click.argument("table", type=click.Choice(list(TABLES)), metavar="TABLE")
@click.argument("row_id", metavar="ID")
def trace(table: str, row_id: str) -> None:
    """Tell the story of one row: files, hashes, record numbers, what was wrong, repaired and changed by whom."""
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database) as connection,
    ):
        story = list(row_history.trace(connection, table, row_id))
        known = row_id.lower() if row_history.ID.fullmatch(row_id.lower()) else None
        put_on_record(connection, "trace", [(table, known)])
    for line in story:
        say(line)
