"""The Dagster web server and daemon as child processes, from start to a clean stop.

What they and the runs they launch print goes into a log file: the terminal is for people.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import PROJECT_ROOT

HOST = "127.0.0.1"
DEFAULT_PORT = 3000
_PORTS_TRIED = 20
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


def log_file() -> Path:
    """Return where web server, daemon and the runs they launch write; each start empties it."""
    return settings.home() / "web.log"


def url(port: int) -> str:
    """Return where the web UI is."""
    return f"http://{HOST}:{port}"


@contextmanager
def serving(installation: Installation, port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run web server and daemon until the block ends; both are stopped, with all that they started.

    What they load knows the installation by its environment, and by that alone.

    Raises:
        UsageError: the web server does not answer in time.
    """
    environment = settings.child_environment(
        **installation.environment(),
        DAYBREAK_WEB_URL=settings.web_url(url(port)),
        DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS=str(settings.sensor_seconds()),
        PYTHONUNBUFFERED="1",
    )
    location = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    commands = [
        ["dagster-webserver", "-h", HOST, "-p", str(port), "--dagster-log-level", "warning", *location],
        ["dagster-daemon", "run", "--log-level", "warning", *location],
    ]
    children: list[subprocess.Popen[bytes]] = []
    log = _new_log()
    try:
        for command in commands:
            children.append(_start(command, environment, log))  # noqa: PERF401 - each must be stoppable at once
        _wait_until_up(children[0], port)
        yield children
    finally:
        log.close()
        _stop(children)


def cancel(port: int, run_ids: Sequence[str]) -> None:
    """Mark runs as canceled whose process is gone, as the button in the UI does.

    One that has ended meanwhile stays as it ended.

    Raises:
        UsageError: the web server does not do it.
    """
    if not run_ids:
        return
    query = {"query": _CANCEL, "variables": {"runs": list(run_ids)}}
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{url(port)}/graphql", data=json.dumps(query).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_CANCEL_SECONDS) as answer:  # noqa: S310 - as above
            done = json.load(answer)["data"]["terminateRuns"]["__typename"] == "TerminateRunsResult"
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


def _start(command: list[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    program, *arguments = command
    return subprocess.Popen(
        [
            str(Path(sysconfig.get_path("scripts")) / program),
            *arguments,
            "--code-server-log-level",
            "warning",
        ],
        cwd=PROJECT_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
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
            msg = f"the web server ended with code {server.returncode}; see {log_file()}"
            raise UsageError(msg)
        try:
            with urllib.request.urlopen(f"{url(port)}/server_info", timeout=2):  # noqa: S310 - our own server
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
