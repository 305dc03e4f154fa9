"""``daybreak metrics``: the server's numbers for Prometheus, and the files for Prometheus and Grafana."""

from __future__ import annotations

from pathlib import Path

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli.common import Command, say, say_lines
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.monitoring import exposition, rules, survey


@click.command(cls=Command)
@click.option(
    "--files",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the alert rules for Prometheus and the dashboard for Grafana into this directory, and nothing else.",
)
def metrics(directory: Path | None) -> None:
    """Print what is measured of the server in Prometheus' text format, or write alert rules and a dashboard."""
    if directory is not None:
        _write(directory.expanduser().absolute())
        return
    with database.serving() as db:
        say_lines(exposition.text(survey.look(db)).rstrip("\n"))


def _write(directory: Path) -> None:
    for name in rules.files():
        path = directory / name
        try:
            with settings.files_for(path):
                directory.mkdir(parents=True, exist_ok=True)
                path.write_text((rules.DIRECTORY / name).read_text(encoding="utf-8"), encoding="utf-8")
        except OSError as error:
            msg = f"cannot write {path}: {error.strerror}"
            raise UsageError(msg) from None
        say(path)
