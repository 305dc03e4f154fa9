"""``daybreak up``: everything that is needed, until Ctrl-C."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, nullcontext

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli import browser
from daybreak_pipeline.cli.common import Command, data_dir_option, say, say_lines, verbose_option
from daybreak_pipeline.cli.output import report
from daybreak_pipeline.cli.pgbouncer import tell_how_to_connect
from daybreak_pipeline.cli.runs import export_directory, keep_report, refresh_summaries, run_import
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.locations import Location
from daybreak_pipeline.operations import alert_log
from daybreak_pipeline.orchestration import instance, process_locks, readiness, runs, webserver
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.webserver import WebUi
from daybreak_pipeline.pooler import process as pooler
from daybreak_pipeline.supervision import alone, systemd
from daybreak_pipeline.supervision.alone import Place
from daybreak_pipeline.supervision.embedded import EmbeddedServer
from daybreak_pipeline.supervision.supervisor import Supervisor

_ALERT_SECONDS = 30
_IMPORTS = 3
"""How often the import at the start is tried while the embedded server dies under it."""
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
@click.option(
    "--pgbouncer", "pooled", is_flag=True, help="Run PgBouncer too, for the clients of applications."
)
@verbose_option
def up(data_dir: Location | None, port: int | None, show: bool | None, pooled: bool, verbose: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Start everything: server, schema, import, scorecard, and the web UI until Ctrl-C."""
    export = export_directory(data_dir)
    login = settings.web()
    with alone.held(settings.home()) as place:
        _listen(port).close()  # before anything is written
        if pooled:
            pooler.require_possible()
        with readiness.ready(export_dir=export) as installation:
            db = installation.database
            instance.claim(db)
            systemd.notify("READY=1", "STATUS=importing")
            say(f"database {db.name} at {db.host}:{db.port}, export {export}")
            supervisor = Supervisor(
                _servers(installation),
                lambda text: say(f"daybreak: {text}", err=True),
                # Said here already.
                lambda text: alert_log.send(text, settings.notifier(), lambda: nullcontext(db)),
            )
            try:
                with supervisor.in_background():
                    _import(installation, supervisor, verbose=verbose)
                listener = _listen(port)
                _serve(
                    installation,
                    supervisor,
                    WebUi(listener.getsockname()[1], login),
                    listener,
                    place,
                    pooled=pooled,
                    show=show,
                )
            finally:
                systemd.notify("STOPPING=1")
                supervisor.finish(_ALERT_SECONDS)


def _servers(installation: Installation) -> list[EmbeddedServer]:
    """Return the server to watch: the embedded one. A given server is somebody else's to start."""
    given = settings.given_database()
    return [] if given else [EmbeddedServer(settings.home(), installation.database.port)]


def _import(installation: Installation, supervisor: Supervisor, *, verbose: bool) -> None:
    """Import the export, again if the embedded server died meanwhile, and show the scorecard."""
    for attempt in range(1, _IMPORTS + 1):
        last, deaths = attempt == _IMPORTS, supervisor.deaths
        try:
            outcome = run_import(installation)
        except ServerUnavailableError as error:
            if last or not supervisor.components:
                raise
            say(f"daybreak: {error}", err=True)
            supervisor.wait_until_up()
            continue
        supervisor.wait_until_up()
        if last or supervisor.deaths == deaths or all(one.loaded for one in outcome.tables.values()):
            break
        say("daybreak: imports again what failed meanwhile", err=True)
    report(outcome, export=installation.export_dir, verbose=verbose)
    refresh_summaries(installation, outcome)
    keep_report(installation)


def _serve(  # noqa: PLR0913 - each is a part of what is served
    installation: Installation,
    supervisor: Supervisor,
    ui: WebUi,
    listener: socket.socket,
    place: Place,
    *,
    pooled: bool,
    show: bool | None,
) -> None:
    """Run the web UI and the daemon until Ctrl-C.

    Raises:
        UsageError: they do not start, or something does not stay up.
    """
    say_lines("\nstarting the web UI …")
    with (
        process_locks.held(installation.database, "web") as row,
        webserver.serving(
            installation, ui, listener, before_daemon=lambda: runs.settle_lost(installation, besides=row)
        ) as children,
        ExitStack() as beside,
    ):
        supervisor.add(children)
        if pooled:
            watched = beside.enter_context(pooler.serving(installation.database))
            supervisor.add([watched])
            tell_how_to_connect(watched.pooler.written)
        place.say(ui.url)
        systemd.notify(f"STATUS=web UI at {ui.url}")
        _until_it_ends(ui, supervisor, show=show)


def _until_it_ends(ui: WebUi, supervisor: Supervisor, *, show: bool | None) -> None:
    """Say where the web UI is, and keep everything running until Ctrl-C.

    Raises:
        UsageError: something does not stay up.
    """
    if ui.settings.auth == "none":
        say(f"daybreak: warning: {_OPEN_TO_ALL}", err=True)
    with ExitStack() as stack:
        if systemd.logs_to_journal() and ui.settings.auth == "token":
            # Others may read the journal: the link with the token is in a page that they may not.
            page = stack.enter_context(browser.page_that_leads_to(ui.link()))
            say(f"the web UI is at {ui.url}: open the page {page}, which logs you in")
        else:
            say(f"the report is at {ui.link('/report')}")
            say(f"the tables as a graph are at {ui.link(webserver.GRAPH, expanded=webserver.OPEN_GROUPS)}")
            say(f"the web UI is at {ui.link()} — Ctrl-C stops everything")
            if show or (show is None and sys.stdout.isatty() and browser.is_there()):
                browser.show(stack.enter_context(browser.page_that_leads_to(ui.link())))
        try:
            supervisor.watch()
        except KeyboardInterrupt:
            say("stopping …")


def _listen(wanted: int | None) -> socket.socket:
    """Return a socket on a free port: the wanted one, or the first from the default on."""
    listener = webserver.listen(wanted or webserver.DEFAULT_PORT)
    if wanted and listener.getsockname()[1] != wanted:
        listener.close()
        msg = f"port {wanted} is in use: stop what uses it, or leave out --port"
        raise UsageError(msg)
    return listener
