"""``daybreak report``: the data-quality report, made from the database as it is now."""

from __future__ import annotations

from pathlib import Path

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli import browser
from daybreak_pipeline.cli.common import Command, say
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.report import pages, store


@click.command(cls=Command)
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write (default: reports/latest.html, trends.html, server.html or numbers.html in DAYBREAK_HOME).",
)
@click.option("--trends", "page", flag_value=store.TRENDS, help="The page about how it went, day by day.")
@click.option(
    "--server",
    "page",
    flag_value=store.SERVER,
    help="The page about the server: is it healthy, how long will it last.",
)
@click.option(
    "--numbers",
    "page",
    flag_value=store.NUMBERS,
    help="The page for analysts: how many reach care and how fast, coverage, capacity.",
)
def report(show: bool, out: Path | None, page: str | None) -> None:  # noqa: FBT001 - click passes flags so
    """Write the data-quality report: can the data be trusted, what broke, since when, what to do."""
    name = page or store.LATEST
    # The report leads to the trends: they are made with it.
    names = [store.TRENDS, name] if name == store.LATEST and not out else [name]
    beside = () if out else {*store.pages(), *names}
    path = (out or store.directory() / name).expanduser().absolute()
    with readiness.looked_at() as db:
        made = {each: pages.make(db, each, beside) for each in names}
    with settings.files_for(path):
        for each, text in made.items():
            store.write(path.with_name(each) if not out else path, text)
    say(path)
    if show and not browser.show(path):
        say("there is no browser here: open the file on a machine that has one", err=True)
