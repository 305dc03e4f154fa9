"""``daybreak report``: the data-quality report, made from the database as it is now."""

from __future__ import annotations

from pathlib import Path

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli import browser
from daybreak_pipeline.cli.common import Command, say
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.report import queries, render, store


@click.command(cls=Command)
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write (default: reports/latest.html in DAYBREAK_HOME).",
)
def report(show: bool, out: Path | None) -> None:  # noqa: FBT001 - click passes flags so
    """Write the data-quality report: can the data be trusted, what broke, since when, what to do."""
    with (
        readiness.ready(migrate=False) as installation,
        database.connect(installation.database) as connection,
    ):
        page = render.html(queries.read(connection))
    wanted = (out or store.directory() / store.LATEST).expanduser().absolute()
    with settings.files_for(wanted):
        path = store.write(wanted, page)
    say(path)
    if show and not browser.show(path):
        say("there is no browser here: open the file on a machine that has one", err=True)
