"""``daybreak backups``: lists the backups and restore points. Imports no Dagster."""

from __future__ import annotations

import click
from rich.table import Table

from daybreak_pipeline.backups import listing, points
from daybreak_pipeline.backups.listing import Backup
from daybreak_pipeline.cli.common import Command, json_option, say, say_json
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.wording import size

_POINTS = 10


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
