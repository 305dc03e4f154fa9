"""``daybreak report``: the data-quality report, made from the database as it is now."""

from __future__ import annotations

from pathlib import Path

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli import browser
from daybreak_pipeline.cli.common import Command, say
from daybreak_pipeline.monitoring import survey
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.report import render, server_page, store
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.settings import DatabaseSettings


@click.command(cls=Command)
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write (default: reports/latest.html or reports/server.html in DAYBREAK_HOME).",
)
@click.option(
    "--server",
    "about_server",
    is_flag=True,
    help="The page about the server: is it healthy, how long will it last.",
)
def report(show: bool, out: Path | None, about_server: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Write the data-quality report: can the data be trusted, what broke, since when, what to do."""
    with readiness.looked_at() as db:
        page = _about_server(db, out) if about_server else _about_data(db, out)
    name = store.SERVER if about_server else store.LATEST
    wanted = (out or store.directory() / name).expanduser().absolute()
    with settings.files_for(wanted):
        path = store.write(wanted, page)
    say(path)
    if show and not browser.show(path):
        say("there is no browser here: open the file on a machine that has one", err=True)


def _about_data(db: DatabaseSettings, out: Path | None) -> str:
    return render.html(gather(db, for_report=True), server_page="" if out else store.server_page())


def _about_server(db: DatabaseSettings, out: Path | None) -> str:
    return server_page.html(survey.look(db), report_page="" if out else store.report_page())
