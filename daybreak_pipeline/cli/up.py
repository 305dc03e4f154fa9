"""``daybreak up``: everything that is needed, until Ctrl-C."""

from __future__ import annotations

import time
from pathlib import Path

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import Command, data_dir_option, say
from daybreak_pipeline.cli.output import report
from daybreak_pipeline.cli.runs import export_directory, keep_report, run_import
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import process_locks, readiness, runs, webserver


@click.command(cls=Command)
@data_dir_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the web UI (default: 3000, or the next free one)."
)
def up(data_dir: Path | None, port: int | None) -> None:
    """Start everything: server, schema, import, scorecard, and the web UI until Ctrl-C."""
    export = export_directory(data_dir)
    for setting in (
        settings.notifier,
        settings.settle_seconds,
        settings.executor,
        settings.sensor_seconds,
    ):
        setting()  # what is needed at night is right from the start
    _port(port)  # before anything is written
    with readiness.ready(export_dir=export) as installation:
        db = installation.database
        say(f"database {db.name} at {db.host}:{db.port}, export {export}")
        report(run_import(installation), export=export)
        keep_report(installation)
        chosen = _port(port)
        click.echo("\nstarting the web UI …")
        lost = runs.lost_runs(installation)
        with process_locks.held(db, "web"), webserver.serving(installation, chosen) as children:
            try:
                webserver.cancel(chosen, lost)
            except (
                UsageError
            ) as error:  # what is imported from now on is worth more than how old runs are shown
                say(f"daybreak: {error}", err=True)
            click.echo(f"the web UI is at {webserver.url(chosen)} — Ctrl-C stops everything")
            try:
                while all(child.poll() is None for child in children):
                    time.sleep(0.5)
            except KeyboardInterrupt:
                click.echo("stopping …")
                return
            msg = f"the web server or the daemon ended by itself: see {webserver.log_file()}"
            raise UsageError(msg)


def _port(wanted: int | None) -> int:
    """Return a free port: the wanted one, or the first from the default on."""
    chosen = webserver.free_port(wanted or webserver.DEFAULT_PORT)
    if wanted and chosen != wanted:
        msg = f"port {wanted} is in use: stop what uses it, or leave out --port"
        raise UsageError(msg)
    return chosen
