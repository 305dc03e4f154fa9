"""Who may read the files that this process makes: only the account that runs it, unless a person has named the place.

Everything below ``DAYBREAK_HOME`` is our own state, and holds or opens personal data: keys, the server's files, logs,
Dagster's events, reports. Nobody else gets any permission on it, whatever the mode of the home and whichever code
writes it. That includes libraries and child processes, so the umask of the process is set and not the mode of each
file. A file that a person asks for by its path is theirs: it is made as any other program of theirs would make it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daybreak_pipeline.settings.values import home

_CLOSED = 0o077


@dataclass
class _Umask:
    users: int | None = None
    """The umask that this process was started with, None as long as it holds."""


_UMASK = _Umask()


def close_files() -> None:
    """Let nobody else read what this process makes from now on."""
    if _UMASK.users is None:
        _UMASK.users = os.umask(_CLOSED)


def users_umask() -> int:
    """Return the umask that this process was started with, -1 if it still holds, as ``subprocess`` takes it."""
    return -1 if _UMASK.users is None else _UMASK.users


@contextmanager
def files_for(path: Path) -> Iterator[None]:
    """Make files with the user's own umask while the block runs, unless a path is below the home."""
    if _UMASK.users is None or path.resolve().is_relative_to(home().resolve()):
        yield
        return
    before = os.umask(_UMASK.users)
    try:
        yield
    finally:
        os.umask(before)
