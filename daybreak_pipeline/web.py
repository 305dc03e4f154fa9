"""The Dagster web server and daemon as child processes, from start to a clean stop."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import PROJECT_ROOT

HOST = "127.0.0.1"
DEFAULT_PORT = 3000
_PORTS_TRIED = 20
_START_SECONDS = 90
_STOP_SECONDS = 15
_PR_SET_PDEATHSIG = 1


def free_port(wanted: int = DEFAULT_PORT) -> int:
    """Return the first free port from the wanted one on.

    Raises:
        UsageError: none of the next twenty is free.
    """
    for port in range(wanted, wanted + _PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    msg = f"the ports {wanted} to {wanted + _PORTS_TRIED - 1} are all in use: give another with --port"
    raise UsageError(msg)


@contextmanager
def serving(environment: Mapping[str, str], port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run web server and daemon until the block ends; both are stopped, with all that they started.

    Raises:
        UsageError: the web server does not answer in time.
    """
    location = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    commands = [
        ["dagster_webserver", "-h", HOST, "-p", str(port), *location],
        ["dagster._daemon", "run", *location],
    ]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            children.append(_start(command, environment))  # noqa: PERF401 - each must be stoppable at once
        _wait_until_up(children[0], port)
        yield children
    finally:
        _stop(children)


def _start(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    module, *arguments = command
    program = (
        [sys.executable, "-m", "dagster", "daemon"]
        if module == "dagster._daemon"
        else [sys.executable, "-m", module]
    )
    log_level = ["--log-level", "warning"]
    return subprocess.Popen(
        [*program, *arguments, *log_level],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is ours to pass on, once
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one prctl call
    )


def _die_with_parent() -> None:
    """Ask Linux to stop this child when its parent is killed, so that no web server is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_up(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            msg = f"the web server ended with code {server.returncode}; its messages stand above"
            raise UsageError(msg)
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/server_info", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    msg = f"the web server did not answer within {_START_SECONDS} s"
    raise UsageError(msg)


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask every child to end, with its own children, and insist where one does not."""
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
