"""The web UI's server and Dagster's daemon as child processes, from start to a clean stop.

What they and the runs they launch print goes into a log file: the terminal is for people.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import PROJECT_ROOT, WebSettings

HOST = "127.0.0.1"
DEFAULT_PORT = 3000
_PORTS_TRIED = 20
_BACKLOG = 2048
_START_SECONDS = 90
_STOP_SECONDS = 15
_CANCEL_SECONDS = 60
_CANCEL = """
mutation ($runs: [String!]!) {
  terminateRuns(runIds: $runs, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {
    __typename
  }
}
"""
_PR_SET_PDEATHSIG = 1
_NOT_WRITABLE_BY_OTHERS = 0o022
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

    def link(self, path: str = "/") -> str:
        """Return what a person opens: with the token where that is the login, and through the proxy where there is one."""
        if self.settings.auth == "token":
            return f"{self.url}{path}?{urlencode({'token': self.token})}"
        return f"{settings.web_url(self.url) if self.settings.auth == 'proxy' else self.url}{path}"

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


@contextmanager
def serving(
    installation: Installation, ui: WebUi, listener: socket.socket
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run web server and daemon until the block ends; both are stopped, with all that they started.

    The code that they load finds the installation only in its environment. The listener is closed here.

    Raises:
        UsageError: the web server does not answer in time.
    """
    environment = settings.child_environment(
        **installation.environment(),
        DAYBREAK_WEB_URL=settings.web_url(ui.url),
        DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS=str(settings.sensor_seconds()),
        PYTHONUNBUFFERED="1",
    )
    children: list[subprocess.Popen[bytes]] = []
    log = _new_log()
    try:
        with listener:
            children.append(
                _start(_web_server(listener), environment, log, listener=listener, token=ui.token)
            )
        children.append(_start(_daemon(), environment, log))
        _wait_until_up(children[0], ui)
        yield children
    finally:
        log.close()
        _stop(children)


def cancel(ui: WebUi, run_ids: Sequence[str]) -> None:
    """Mark runs whose process is gone as canceled, as the button in the UI does.

    A run that has ended meanwhile keeps its status.

    Raises:
        UsageError: the web server does not do it.
    """
    if not run_ids:
        return
    query = {"query": _CANCEL, "variables": {"runs": list(run_ids)}}
    try:
        answer = ui.ask("/graphql", body=json.dumps(query).encode(), seconds=_CANCEL_SECONDS)
        done = answer["data"]["terminateRuns"]["__typename"] == "TerminateRunsResult"
    except (OSError, ValueError, KeyError, TypeError):
        done = False
    if not done:
        msg = (
            f"the web server does not mark lost runs as canceled (see {log_file()}); "
            f"do it in the UI: {', '.join(run[:8] for run in run_ids)}"
        )
        raise UsageError(msg)


def _new_log() -> IO[bytes]:
    try:
        log_file().parent.mkdir(parents=True, exist_ok=True)
        return log_file().open("wb")
    except OSError as error:
        msg = f"cannot write {log_file()}: {error.strerror}"
        raise UsageError(msg) from None


def _web_server(listener: socket.socket) -> list[str]:
    return [sys.executable, "-m", "daybreak_pipeline.orchestration.web", str(listener.fileno())]


def _daemon() -> list[str]:
    program = Path(sysconfig.get_path("scripts")) / "dagster-daemon"
    location = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    return [str(program), "run", "--log-level", "warning", *location, "--code-server-log-level", "warning"]


def _start(
    command: list[str],
    environment: dict[str, str],
    log: IO[bytes],
    *,
    listener: socket.socket | None = None,
    token: str = "",
) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        pass_fds=[listener.fileno()] if listener else [],
        start_new_session=True,  # Ctrl-C is ours to pass on, once
        preexec_fn=_begin_child,  # noqa: PLW1509 - two system calls
    )
    assert child.stdin  # noqa: S101 - a pipe
    with suppress(BrokenPipeError), child.stdin as pipe:  # a child that is gone already is noticed soon
        pipe.write(token.encode())
    return child


def _begin_child() -> None:
    """Keep others from the child's sockets in the file system; on Linux, let no child outlive its parent."""
    os.umask(os.umask(_NOT_WRITABLE_BY_OTHERS) | _NOT_WRITABLE_BY_OTHERS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_up(server: subprocess.Popen[bytes], ui: WebUi) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            msg = f"the web server ended with code {server.returncode}; see {log_file()}"
            raise UsageError(msg)
        try:
            ui.ask("/server_info", seconds=2)
        except (OSError, ValueError):
            time.sleep(0.2)
        else:
            return
    msg = f"the web server did not answer within {_START_SECONDS} s"
    raise UsageError(msg)


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask every child to end, with its own children, and kill those that do not."""
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what the child left behind in its session
