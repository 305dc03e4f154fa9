"""``daybreak backup`` and ``daybreak backups``: makes a backup, lists them. ``backups`` does the work."""

from __future__ import annotations

import sys

import click
from rich.table import Table

from daybreak_pipeline import database
from daybreak_pipeline.backups import drilling, given, listing, make, points
from daybreak_pipeline.backups.listing import Backup
from daybreak_pipeline.cli.common import Command, Group, json_option, say, say_json
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.wording import size

_POINTS = 10


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--full", is_flag=True, help="Of everything, not only of what changed since the last full backup."
)
@click.pass_context
def backup(context: click.Context, full: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Back up the embedded server, encrypted; what has expired is deleted."""
    if context.invoked_subcommand:
        return
    agent = listing.embedded_agent()
    with database.serving() as db, database.connect(db, autocommit=True) as connection:
        made = make.make(agent, connection, "full" if full else "diff")
    say(
        f"backup {made.label}: {made.type}, {size(made.size)} in {made.seconds} s, {size(made.stored)} stored"
    )
    say(f"kept in {agent.where}")


@click.command(cls=Command)
@json_option
def backups(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """List the backups and restore points, oldest first, and where they are. Needs no running server."""
    agent = listing.embedded_agent()
    found = listing.read(agent)
    if as_json:
        say_json(
            {
                "repository": str(agent.repository),
                "same_disk": agent.on_the_same_disk,
                "backups": [one.as_json() for one in found],
                "restore_points": [one.as_json() for one in points.read(agent.home)],
            }
        )
        return
    if found:
        _show(found)
    else:
        say("no backup yet: daybreak backup makes one")
    for point in points.read(agent.home)[-_POINTS:]:
        say(f"restore point {point.name}: {point.at:%Y-%m-%d %H:%M:%S} UTC")
    say(f"kept in {agent.where}")


def _show(found: list[Backup]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("backup", "type", "can be restored from"):
        table.add_column(heading)
    for heading in ("size", "stored", "seconds"):
        table.add_column(heading, justify="right")
    for one in found:
        when = f"{one.stop:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(one.label, one.type, when, size(one.size), size(one.stored), f"{one.seconds}")
    console().print(table)


@backup.command("drill", exits={1: "the newest backup cannot be restored, or differs"})
def drill_() -> None:
    """Restore the newest backup, or a dump, beside the server, compare every table, open sealed values, run the checks.

    DAYBREAK_DRILL_FROM says which: a dump, where the server's provider makes the backups.
    """
    with database.serving() as db:
        found = drilling.run(db, keys.load())
    say(found)
    say(f"the drill took {found.seconds:.0f} s and left nothing behind", err=True)
    sys.exit(0 if found.passed else 1)


@backup.command("config")
def config() -> None:
    """Write what the machine of a given server (DB_HOST) needs to be backed up by pgBackRest, and say what to do there.

    Of a managed server, the provider's own backups count.
    """
    if not listing.is_given():
        msg = "the embedded server is configured by itself at every start: set DB_HOST to the server that is meant"
        raise UsageError(msg)
    with database.serving() as db, database.connect(db) as connection:
        written = given.write(connection)
    say(f"written to {written.directory}, with the key of the backups in it; on the server's machine:")
    for number, step in enumerate(written.steps, start=1):
        say(f"{number}. {step}")
