"""One ``daybreak up`` for each home: a lock that ends with its process, in a file that says where that is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from daybreak_pipeline.embedded_postgres import data_directory, programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

LOCK_FILE = "up.lock"
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Presence:
    """A ``daybreak up`` that runs: its process, and the web UI's address without a login, once it is served."""

    pid: int
    url: str = ""


class Place:
    """The place of the one ``daybreak up`` of a home, held by this process."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor of the locked file."""
        self._descriptor = descriptor

    def say(self, url: str = "") -> None:
        """Write down for others where this one is."""
        text = json.dumps(asdict(Presence(os.getpid(), url))) + "\n"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


@contextmanager
def held(home: Path) -> Iterator[Place]:
    """Be the only ``daybreak up`` of a home while the block runs.

    Raises:
        UsageError: another one runs, and where; or the home cannot be written.
    """
    try:
        programs.make_directories(home.parent)
        home.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        msg = (
            f"cannot write {error.filename or home}: {error.strerror}; set DAYBREAK_HOME to a directory that can be written; "
            f"{Runbook.FIRST_INSTALLATION.see}"
        )
        raise UsageError(msg) from None
    try:
        data_directory.own_as(home, descriptor)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                other = present(home)
                if other:
                    raise UsageError(_elsewhere(home, other)) from None
                time.sleep(_LOOK_SECONDS)  # somebody only looked who is there
        place = Place(descriptor)
        place.say()
        yield place
    finally:
        os.close(descriptor)


def present(home: Path) -> Presence | None:
    """Return the ``daybreak up`` that runs with a home; None if there is none, or it is somebody else's to see."""
    try:
        descriptor = os.open(home / LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> Presence:
    try:
        return Presence(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return Presence(0)  # it is just writing


def _elsewhere(home: Path, other: Presence) -> str:
    process = f" (process {other.pid})" if other.pid else ""
    where = f"the web UI is at {other.url}" if other.url else "its web UI is not there yet"
    return f"daybreak up runs already with {home}{process}: {where}. Stop that one, or set DAYBREAK_HOME to another directory"
