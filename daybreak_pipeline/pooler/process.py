"""PgBouncer's process beside the embedded server: started with a configuration of its own, watched by its caller, stopped."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.embedded_postgres import programs as server_programs
from daybreak_pipeline.embedded_postgres.programs import Account
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.pooler import configuration, presence, programs
from daybreak_pipeline.pooler.configuration import Written
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DatabaseSettings, PoolerSettings
from daybreak_pipeline.supervision import child

_PORTS_TRIED = 20
_START_SECONDS = 20
_STOP_SECONDS = 5
_PR_SET_PDEATHSIG = 1
_FAULT = re.compile(r" (?:ERROR|FATAL) (.*)")


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer that runs, how it was configured, and as whom: what ``start`` needs to start it again."""

    written: Written
    account: Account
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.written.directory / configuration.LOG


@dataclass
class Watched:
    """PgBouncer as a supervisor watches it: started again on the port that it had. The server's restart does not end it."""

    pooler: Pooler
    account: Account
    name: str = "PgBouncer"
    is_server: bool = False
    falls_with_server: bool = False

    def start(self) -> None:
        """Start it, and wait until it lets the tables' owner in.

        Raises:
            UsageError: it does not within some seconds.
        """
        self.pooler = start(self.pooler.written, self.account)

    def ending(self) -> str | None:
        """Return how it ended, None while it runs."""
        return child.ending(self.pooler.process)

    def is_ready(self) -> bool:
        """Return true: starting it takes until it is."""
        return True

    def kill(self) -> None:
        """End it at once."""
        self.pooler.process.kill()
        self.pooler.process.wait()


def require_possible() -> None:
    """Make sure that PgBouncer can be started beside the embedded server, before anything else is started.

    Raises:
        UsageError: it cannot.
    """
    if settings.given_database():
        msg = (
            "--pgbouncer is for the embedded server, and DB_HOST names another one: run daybreak pgbouncer config, and start "
            f"PgBouncer with what it writes; {Runbook.FIRST_INSTALLATION.see}"
        )
        raise UsageError(msg)
    programs.require()
    settings.pooler()


@contextmanager
def serving(db: DatabaseSettings) -> Iterator[Watched]:
    """Run PgBouncer in front of the embedded server until the block ends.

    Raises:
        UsageError: it cannot be started.
    """
    account = data_directory.account_for(settings.home())
    pooler = settings.pooler()
    pooler = replace(pooler, port=_free_port(pooler))
    written = configuration.write(db, pooler, directory(account), account)
    with presence.noted(settings.home(), written.file):
        watched = Watched(start(written, account), account)
        try:
            yield watched
        finally:
            stop(watched.pooler.process)


def directory(account: Account) -> Path:
    """Return where PgBouncer's files are: in the home, if who runs it can get there.

    The home is opened for the server's account where that is possible; root's private directories are not.
    """
    home = settings.home()
    there = next(part for part in (home, *home.parents) if part.exists())
    if server_programs.can_enter(there, account):
        return home / "pgbouncer"
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return server_programs.ROOT_STATE / "pgbouncer" / name


def start(written: Written, account: Account) -> Pooler:
    """Start PgBouncer and wait until it lets the tables' owner in.

    Raises:
        UsageError: it does not within some seconds.
    """
    running = Pooler(written, account, _run(["--quiet"], written, account))
    try:
        _await(running)
    except BaseException:
        stop(running.process)
        raise
    return running


def _run(
    options: list[str], written: Written, account: Account, output: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [programs.require(), *options, str(written.file)],
        cwd="/",
        env=server_programs.environment(),  # neither keys nor passwords
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=output,
        start_new_session=True,  # Ctrl-C is its parent's to pass on
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call
        umask=0o077,
        **account.popen(),
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let PgBouncer finish the transactions that it is in the middle of, for some seconds."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    process.kill()
    process.wait()


def _end_with_parent() -> None:
    """On Linux, let it not outlive its parent, which would keep the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _await(running: Pooler) -> None:
    deadline = time.monotonic() + _START_SECONDS
    reason = "it does not answer"
    while running.process.poll() is None and time.monotonic() < deadline:
        try:
            database.connect(running.written.through).close()
        except ServerUnavailableError:
            time.sleep(0.05)
        except UsageError as error:
            reason = str(error)
            break
        else:
            return
    if running.process.poll() is not None:
        reason = " | ".join(["it ended by itself", *_faults(running.written, running.account)])
    msg = (
        f"PgBouncer on port {running.written.through.port} cannot be used, {reason}: see {running.log}; "
        f"{Runbook.SERVER_GONE.see}"
    )
    raise UsageError(msg)


def _faults(written: Written, account: Account) -> list[str]:
    """Return why PgBouncer does not start: it says so before it has a log."""
    with tempfile.TemporaryFile() as output:
        again = _run([], written, account, output.fileno())
        with contextlib.suppress(subprocess.TimeoutExpired):
            again.wait(_STOP_SECONDS)
        again.kill()
        again.wait()
        output.seek(0)
        return _FAULT.findall(output.read().decode(errors="replace"))


def _free_port(pooler: PoolerSettings) -> int:
    """Return the port that was asked for, or else the first free one from the default on.

    Raises:
        UsageError: it is in use, or all are.
    """
    tried = 1 if pooler.port_given else _PORTS_TRIED
    for port in range(pooler.port, min(pooler.port + tried, 1 << 16)):
        with contextlib.suppress(OSError), socket.socket(_family(pooler.host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((pooler.host, port))
            return port
    msg = (
        f"port {pooler.port} on {pooler.host} is in use or not ours: set DAYBREAK_PGBOUNCER_PORT to a free one; "
        f"{Runbook.FIRST_INSTALLATION.see}"
    )
    raise UsageError(msg)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
