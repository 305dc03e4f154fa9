"""``daybreak references``: references without a foreign key, enforced for applications. ``schema.references`` does it."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.table import Table

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import Group, json_option, say, say_json
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.screen import styled
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.schema import references as known
from daybreak_pipeline.schema.references import State
from daybreak_pipeline.tables import TABLES

_tables = click.argument("tables", nargs=-1, required=True, type=click.Choice(list(TABLES)), metavar="TABLE…")


@click.group(cls=Group)
def references() -> None:
    """Have references without a foreign key enforced for applications, or not; see what leads nowhere."""


@references.command("enforce")
@_tables
@json_option
def enforce(tables: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Refuse at its commit what an application writes into these tables and leads nowhere, and deleting what they refer to.

    Imports go on as before. Rows that lead nowhere already stay, and are counted.
    """
    _change(known.enforce, tables, as_json=as_json)


@references.command("release")
@_tables
@json_option
def release(tables: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Let applications write into these tables, and delete what they refer to, without a look at references."""
    _change(known.release, tables, as_json=as_json)


@references.command("status")
@click.argument("tables", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]…")
@json_option
def status(tables: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show which references are enforced, and how many rows lead nowhere; of all tables if none is named."""
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database, autocommit=True) as connection,
    ):
        found = known.states(connection, tables)
    _report(found, as_json=as_json)


def _change(change: Callable[..., list[State]], tables: tuple[str, ...], *, as_json: bool) -> None:
    with readiness.ready(migrate=False) as installation:
        roles.require_importer(installation.database)
        with database.connect(installation.database, autocommit=True) as connection:
            found = change(connection, tables, tell=lambda text: say(text, err=True))
    _report(found, as_json=as_json)


def _report(found: list[State], *, as_json: bool) -> None:
    if as_json:
        say_json({"references": [one.as_json() for one in found]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("reference", "leads to", "enforced", "deletion", "ask first"):
        table.add_column(heading, overflow="fold")
    table.add_column("lead nowhere", justify="right")
    colors = {"yes": "green", "partly": "yellow", "no": "dim"}
    for one in found:
        target = "" if one.target_column == "id" else f" ({one.target_column})"
        table.add_row(
            f"{one.table}.{one.column}",
            " or ".join(one.leads_to) + target,
            styled(one.enforced, colors[one.enforced]),
            one.deletion,
            one.ask,
            f"{one.orphans:,}",
        )
    console().print(table)
    for one in found:
        if one.enforced != "no" and one.orphans:
            say(f"{one.table}.{one.column}: rows that led nowhere before stay as they are: {one.orphans:,}")
        if one.enforced == "partly":
            say(
                f"{one.table}.{one.column}: triggers are missing, off or of another version: run daybreak references "
                f"enforce {one.table}"
            )
        for column in one.unindexed:
            say(f"{one.table}.{one.column}: no index on {column}, so each look at it reads the whole table")
