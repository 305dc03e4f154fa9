"""``daybreak status``: the state of every table."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.table import Table
from rich.text import Text

from daybreak_pipeline import database, timetable
from daybreak_pipeline.cli.common import Command, json_option, say_json, say_lines
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.screen import line, styled
from daybreak_pipeline.operations import status as statuses
from daybreak_pipeline.operations.status import TableStatus
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.wording import age


@click.command(cls=Command)
@json_option
def status(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show the state of every table: last import, age, what waits for repair, failed checks; and the next import."""
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database) as connection,
    ):
        found = statuses.read(connection)
    upcoming = timetable.next_daily(timetable.DAILY_IMPORT_AT, datetime.now(UTC))
    if as_json:
        tables = {table.table: table.as_json() for table in found}
        say_json({"next_import_at": upcoming.isoformat(), "tables": tables})
        return
    _show(found)
    say_lines(
        f"\nnext scheduled import: {upcoming:%Y-%m-%d %H:%M} UTC, while daybreak up or a Dagster daemon runs"
    )


def _show(found: list[TableStatus]) -> None:
    screen = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("table", "last import", "status"):
        table.add_column(heading)
    for heading in ("records", "rows", "age", "quarantine", "issues"):
        table.add_column(heading, justify="right")
    table.add_column("failed checks")
    for one in found:
        color = {"failed": "red", "absent": "yellow", None: "yellow"}.get(one.status, "green")
        table.add_row(
            one.table,
            f"{one.imported_at:%Y-%m-%d %H:%M}" if one.imported_at else "never",
            styled(one.status or "never imported", color),
            "-" if one.records is None else f"{one.records:,}",
            f"{one.rows:,}",
            age(one.age_seconds),
            _number(one.quarantined),
            _number(one.field_issues),
            _checks(one),
        )
    screen.print(table)
    for one in found:
        if one.error:
            screen.print(line(styled("failed", "red"), f" {one.error}"), soft_wrap=True)
        elif one.absent_since:
            since = f"{one.absent_since:%Y-%m-%d %H:%M}"
            told = f" {one.table}: no file of it since {since}; its rows stay"
            screen.print(line(styled("absent", "yellow"), told), soft_wrap=True)


def _number(number: int) -> Text:
    return styled(f"{number:,}", "") if number else styled("·", "dim")


def _checks(one: TableStatus) -> Text:
    if one.checked_at is None:
        return styled("not checked", "dim")
    return styled(", ".join(one.failed_checks), "red") if one.failed_checks else styled("none", "green")
