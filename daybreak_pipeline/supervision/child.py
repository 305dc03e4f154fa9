"""A child process that can be started again: its session, its end, and what it leaves behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import PROJECT_ROOT

STOP_SECONDS = 15
_PR_SET_PDEATHSIG = 1
_NOT_WRITABLE_BY_OTHERS = 0o022


@dataclass
class Child:
    """One program and its process, as often as it is started.

    Args:
        name: what people call it, e.g. "the web server".
        command: the program and its arguments.
        environment: the whole environment of the process.
        log: takes what it prints; None for where this process prints to.
        listener: a listening socket that it inherits. It stays open here, so that nobody can take its port.
        secret: what it reads from standard input.
        ready: whether it does its work. It is asked again and again.
        settles: for how many seconds it must have run before it counts as ready, where nothing else shows it.
        prepare: is called before each start.
        falls_with_server: whether it is started again when the embedded server was.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: IO[bytes] | None = None
    listener: socket.socket | None = None
    secret: str = field(default="", repr=False)
    ready: Callable[[], bool] = lambda: True
    settles: float = 0.0
    prepare: Callable[[], object] = lambda: None
    falls_with_server: bool = False
    is_server: bool = field(default=False, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _swept: bool = field(default=False, init=False)
    _started: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start it. What an earlier process left in its session is ended first.

        Raises:
            UsageError: the program cannot be run.
        """
        self.kill()
        self.prepare()
        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=PROJECT_ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=self.log or sys.stderr.fileno(),
                stderr=self.log or sys.stderr.fileno(),
                pass_fds=[self.listener.fileno()] if self.listener else [],
                start_new_session=True,  # Ctrl-C is ours to pass on, once
                preexec_fn=_begin,  # noqa: PLW1509 - two system calls
            )
        except OSError as error:
            msg = f"cannot run {self.command[0]}: {error.strerror}; {Runbook.SERVER_GONE.see}"
            raise UsageError(msg) from None
        self._swept, self._started = False, time.monotonic()
        assert self.process.stdin  # noqa: S101 - a pipe
        with (
            suppress(BrokenPipeError),
            self.process.stdin as pipe,
        ):  # one that is gone already is noticed soon
            pipe.write(self.secret.encode())

    def ending(self) -> str | None:
        """Return how it ended, None while it runs."""
        how = ending(self.process) if self.process else None
        if how:
            self._sweep()
        return how

    def is_ready(self) -> bool:
        """Return whether it does its work."""
        return time.monotonic() - self._started >= self.settles and self.ready()

    def ask_to_end(self) -> None:
        """Ask it to end, with its own children."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def end(self, deadline: float) -> None:
        """Wait until it has ended, at most until a time on the monotonic clock; then kill it and what it left."""
        if self.process:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.1, deadline - time.monotonic()))
            self.kill()

    def kill(self) -> None:
        """Kill it and all that it started."""
        if self.process:
            self._sweep()
            self.process.wait()

    def _sweep(self) -> None:
        """Kill its session, once: the number may be another one's later."""
        if self.process and not self._swept:
            self._swept = True
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def ending(process: subprocess.Popen[bytes]) -> str | None:
    """Return how a process ended, None while it runs."""
    code = process.poll()
    if code is None:
        return None
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        return f"was killed ({signal.Signals(-code).name})"
    return f"was killed (signal {-code})"


def stop(children: Sequence[Child]) -> None:
    """Ask every child to end, with its own children, and kill those that do not."""
    for child in children:
        child.ask_to_end()
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        child.end(deadline)


def _begin() -> None:
    """Keep others from the child's sockets in the file system; on Linux, let no child outlive its parent."""
    os.umask(os.umask(_NOT_WRITABLE_BY_OTHERS) | _NOT_WRITABLE_BY_OTHERS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
