"""``daybreak audit``: who changed or read what, and for how long that is kept."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime

import click
from rich.table import Table

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli.audit_reads import reads as reads_in_the_log
from daybreak_pipeline.cli.common import Group, confirmed, json_option, say, say_json
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.reading import put_on_record
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.privacy import audit as trail
from daybreak_pipeline.privacy.audit import Change
from daybreak_pipeline.schema import protected

_NAMED = 3


@click.group(cls=Group)
def audit() -> None:
    """See who changed or read which row, when and from where; drop what is older than must be kept."""


audit.add_command(reads_in_the_log)


@audit.command("show")
@click.option("--table", metavar="TABLE", help="Of this table only.")
@click.option("--id", "row_id", metavar="ID", help="Of this row only, and TRUNCATEs.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]),
    help="From this time on, UTC.",
)
@click.option("--role", help="By this role only.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(min=1), help="How many at the most."
)
@click.option("--values", is_flag=True, help="Unseal the old values, or the searches: personal data.")
@click.option("--reads", is_flag=True, help="Who looked at what, in place of who changed what.")
@json_option
def show(  # noqa: PLR0913, PLR0917 - click passes each option
    table: str | None,
    row_id: str | None,
    since: datetime | None,
    role: str | None,
    limit: int,
    values: bool,  # noqa: FBT001 - click passes flags so
    reads: bool,  # noqa: FBT001 - as above
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """List changes, newest first; without --values no value of any row. To see values is to read: it goes on record."""
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database, key=installation.key if values else None) as connection,
    ):
        if table is not None:
            protected.table(connection, table)
        found = trail.changes(
            connection,
            table=table,
            row_id=row_id,
            since=since,
            role=role,
            limit=limit,
            values=values,
            reads=reads,
        )
        opened = [(change.table_name, change.row_id) for change in found if change.before is not None]
        if opened:
            put_on_record(connection, "audit show --values", opened)
    if as_json:
        hidden = set() if values else {"before"}
        lines = [{k: v for k, v in asdict(change).items() if k not in hidden} for change in found]
        say_json(lines)
    elif not found:
        say(f"no such {'reading' if reads else 'change'} is on record")
    else:
        heading = "searched for" if reads else "before"
        _show(found, values=heading if values else "")
        if len(found) == limit:
            say(f"the newest {limit}: --limit shows more, --table, --id, --since and --role choose")


def _show(found: list[Change], *, values: str = "") -> None:
    """Print a table; ``values`` is the heading of the sealed values, if they are shown."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("when (UTC)", "action", "table", "row", "what", "who", "from"):
        table.add_column(heading, overflow="fold")
    if values:
        table.add_column(values, overflow="fold")
    for change in found:
        cells = [f"{change.changed_at:%Y-%m-%d %H:%M:%S}", change.action, change.table_name]
        cells += [change.row_id or "", change.what, change.who, change.origin]
        table.add_row(*cells, *([_before(change)] if values else []))
    console().print(table)


def _before(change: Change) -> str:
    if change.before is not None:
        return json.dumps(change.before, ensure_ascii=False)
    if change.sealed:
        return "(sealed with another key)"
    return "(not kept: the session had no key)" if change.action in {"UPDATE", "DELETE"} else ""


@audit.command("prune")
@click.option(
    "--months",
    type=click.IntRange(min=1),
    help="Keep so many months (default: DAYBREAK_AUDIT_MONTHS, or 72: six years).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(months: int | None, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Drop the months of the trail that are older than must be kept. The trail says so afterwards."""
    kept = months or settings.audit_months()
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database) as connection,
    ):
        old = trail.older_partitions(connection, kept)
        if not old:
            say(f"nothing is older than {kept} months")
            return
        if not yes:
            _ask_before_loss(old, kept)
        for name, lines in trail.retain(connection, kept):
            say(f"dropped {name}, lines: {lines:,}")


def _ask_before_loss(old: list[str], kept: int) -> None:
    more = f" and {len(old) - _NAMED} more" if len(old) > _NAMED else ""
    question = f"in the audit trail older than {kept} months: {', '.join(old[:_NAMED])}{more}"
    if not sys.stdin.isatty():
        msg = f"{question}: repeat with --yes to drop them for good"
        raise UsageError(msg)
    if not confirmed(f"{question}. Drop them for good?"):
        msg = "nothing was changed"
        raise UsageError(msg)
