"""The web UI's server and Dagster's daemon as child processes, from start to a clean stop.

What they and the runs they launch print goes into a log file: the terminal is for people.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import PROJECT_ROOT, WebSettings
from daybreak_pipeline.supervision import child, systemd
from daybreak_pipeline.supervision.child import Child
from daybreak_pipeline.tables import TABLES

HOST = "127.0.0.1"
DEFAULT_PORT = 3000
GRAPH = "/asset-groups"
"""The page with the graph of all assets, whose groups are closed unless its parameter ``expanded`` names them."""
OPEN_GROUPS = ",".join(f"global@global:{group}" for group in dict.fromkeys(t.group for t in TABLES.values()))
"""The groups with tables, as Dagster's page names them."""
_PORTS_TRIED = 20
_BACKLOG = 2048
_START_SECONDS = 90
_DAEMON_SECONDS = 5
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Bypasses any proxy that ``http_proxy`` names, which would see the token."""


@dataclass(frozen=True)
class WebUi:
    """The web UI of one ``daybreak up``: its address, and the token that people and this process log in with."""

    port: int
    settings: WebSettings
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://{HOST}:{self.port}"

    def link(self, path: str = "/", **parameters: str) -> str:
        """Return what a person opens: with the token where that is the login, and through the proxy where there is one."""
        given = parameters | ({"token": self.token} if self.settings.auth == "token" else {})
        query = f"?{urlencode(given, safe=':,@')}" if given else ""
        return f"{settings.web_url(self.url) if self.settings.auth == 'proxy' else self.url}{path}{query}"

    def ask(self, path: str, *, body: bytes | None = None, seconds: float) -> Any:
        """Send a request with the token, a POST if it has a body, and return the web server's JSON response.

        Raises:
            OSError: it does not answer, or refuses.
            ValueError: it answers something else.
        """
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.url}{path}", data=body, headers=headers
        )
        with _DIRECTLY.open(request, timeout=seconds) as answer:
            return json.load(answer)


def listen(wanted: int = DEFAULT_PORT) -> socket.socket:
    """Return a socket that listens on the first free port from the wanted one on.

    The web server gets the socket: until it answers, nobody else can take the port and receive the token.

    Raises:
        UsageError: none of the next twenty is free.
    """
    for port in range(wanted, wanted + _PORTS_TRIED):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            continue
        return listener
    msg = f"the ports {wanted} to {wanted + _PORTS_TRIED - 1} are all in use: give another with --port"
    raise UsageError(msg)


def free_port(wanted: int = DEFAULT_PORT) -> int:
    """Return the first free port from the wanted one on, which may not be free for long.

    Raises:
        UsageError: none of the next twenty is free.
    """
    with listen(wanted) as listener:
        return int(listener.getsockname()[1])


def log_file() -> Path:
    """Return where web server, daemon and the runs they launch write; each start empties it."""
    return settings.home() / "web.log"


def where_logged() -> str:
    """Return where to look for what they said: the file, or the journal where a service writes to that."""
    return "the journal (journalctl)" if systemd.logs_to_journal() else str(log_file())


@contextmanager
def serving(
    installation: Installation,
    ui: WebUi,
    listener: socket.socket,
    *,
    before_daemon: Callable[[], object] = lambda: None,
) -> Iterator[list[Child]]:
    """Run web server and daemon until the block ends; both are stopped, with all that they started.

    The code that they load finds the installation only in its environment. The listener is closed at the end: until
    then the port is ours, and a web server that is started again gets it.

    Args:
        installation: as ``ready`` yields it.
        ui: the web UI.
        listener: as ``listen`` returns it.
        before_daemon: is called before each start of the daemon, while no run of it can be alive.

    Raises:
        UsageError: the web server does not answer in time.
    """
    environment = settings.child_environment(
        **installation.environment(),
        DAYBREAK_WEB_URL=settings.web_url(ui.url),
        DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS=str(settings.sensor_seconds()),
        PYTHONUNBUFFERED="1",
        GRPC_VERBOSITY="ERROR",  # else a line for every process that is forked
    )
    log = _new_log()
    web = web_server(ui, listener, environment, log)
    # Its runs lose their connections with the server, and its threads may not survive that: it starts afresh.
    daemon = Child(
        "the daemon",
        _daemon(),
        environment,
        log,
        prepare=before_daemon,
        settles=_DAEMON_SECONDS,
        falls_with_server=True,
    )
    children = [web, daemon]
    try:
        for one in children:
            one.start()
        wait_until_up(web)
        yield children
    finally:
        child.stop(children)
        listener.close()
        if log:
            log.close()


def _new_log() -> IO[bytes] | None:
    if systemd.logs_to_journal():
        return None
    try:
        log_file().parent.mkdir(parents=True, exist_ok=True)
        log_file().write_bytes(b"")
        return log_file().open("ab")
    except OSError as error:
        msg = f"cannot write {log_file()}: {error.strerror}"
        raise UsageError(msg) from None


def web_server(
    ui: WebUi, listener: socket.socket, environment: dict[str, str], log: IO[bytes] | None
) -> Child:
    """Return the web UI's server, to be started."""
    return Child(
        "the web server",
        [sys.executable, "-m", "daybreak_pipeline.orchestration.web", str(listener.fileno())],
        environment,
        log,
        listener=listener,
        secret=ui.token,
        ready=lambda: _answers(ui),
    )


def _daemon() -> list[str]:
    program = Path(sysconfig.get_path("scripts")) / "dagster-daemon"
    location = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    return [str(program), "run", "--log-level", "warning", *location, "--code-server-log-level", "error"]


def _answers(ui: WebUi) -> bool:
    try:
        ui.ask("/server_info", seconds=2)
    except (OSError, ValueError):
        return False
    return True


def wait_until_up(server: Child) -> None:
    """Wait until the web UI's server answers.

    Raises:
        UsageError: it does not.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        how = server.ending()
        if how:
            msg = f"{server.name} {how}; see {where_logged()}"
            raise UsageError(msg)
        if server.is_ready():
            return
        time.sleep(0.2)
    msg = f"the web server did not answer within {_START_SECONDS} s"
    raise UsageError(msg)
