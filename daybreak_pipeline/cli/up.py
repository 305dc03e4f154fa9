"""``daybreak up``: everything that is needed, until Ctrl-C."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli import browser
from daybreak_pipeline.cli.common import Command, data_dir_option, say, say_lines
from daybreak_pipeline.cli.output import report
from daybreak_pipeline.cli.runs import export_directory, keep_report, run_import
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import process_locks, readiness, runs, webserver
from daybreak_pipeline.orchestration.webserver import WebUi

_OPEN_TO_ALL = (
    "DAYBREAK_WEB_AUTH is none: every account and every program on this machine can import what it likes and stop runs, and "
    "nobody will know who did"
)


@click.command(cls=Command)
@data_dir_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the web UI (default: 3000, or the next free one)."
)
@click.option(
    "--open/--no-open",
    "show",
    default=None,
    help="Show the web UI in the browser (default: on a terminal with a display).",
)
def up(data_dir: Path | None, port: int | None, show: bool | None) -> None:  # noqa: FBT001 - click passes flags so
    """Start everything: server, schema, import, scorecard, and the web UI until Ctrl-C."""
    export = export_directory(data_dir)
    for setting in (
        settings.notifier,
        settings.settle_seconds,
        settings.executor,
        settings.sensor_seconds,
        settings.export_roots,
        settings.backups,
    ):
        setting()  # reports at once a bad setting that is only used later
    login = settings.web()
    _listen(port).close()  # before anything is written
    with readiness.ready(export_dir=export) as installation:
        db = installation.database
        say(f"database {db.name} at {db.host}:{db.port}, export {export}")
        report(run_import(installation), export=export)
        keep_report(installation)
        listener = _listen(port)
        ui = WebUi(listener.getsockname()[1], login)
        say_lines("\nstarting the web UI …")
        lost = runs.lost_runs(installation)
        with process_locks.held(db, "web"), webserver.serving(installation, ui, listener) as children:
            try:
                webserver.cancel(ui, lost)
            except UsageError as error:  # future imports matter more than the status of old runs
                say(f"daybreak: {error}", err=True)
            _until_it_ends(ui, children, show=show)


def _until_it_ends(ui: WebUi, children: list[subprocess.Popen[bytes]], *, show: bool | None) -> None:
    """Say where the web UI is, and wait for Ctrl-C.

    Raises:
        UsageError: a child has ended by itself.
    """
    if ui.settings.auth == "none":
        say(f"daybreak: warning: {_OPEN_TO_ALL}", err=True)
    say(f"the report is at {ui.link('/report')}")
    say(f"the web UI is at {ui.link()} — Ctrl-C stops everything")
    with ExitStack() as stack:
        if show or (show is None and sys.stdout.isatty() and browser.is_there()):
            browser.show(stack.enter_context(browser.page_that_leads_to(ui.link())))
        try:
            while all(child.poll() is None for child in children):
                time.sleep(0.5)
        except KeyboardInterrupt:
            say("stopping …")
            return
    msg = f"the web server or the daemon ended by itself: see {webserver.log_file()}"
    raise UsageError(msg)


def _listen(wanted: int | None) -> socket.socket:
    """Return a socket on a free port: the wanted one, or the first from the default on."""
    listener = webserver.listen(wanted or webserver.DEFAULT_PORT)
    if wanted and listener.getsockname()[1] != wanted:
        listener.close()
        msg = f"port {wanted} is in use: stop what uses it, or leave out --port"
        raise UsageError(msg)
    return listener
