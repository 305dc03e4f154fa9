"""Who may read the files that this process makes: only the account that runs it, unless a person has named the place.

Everything below ``DAYBREAK_HOME`` is our own state, and holds or opens personal data: keys, the server's files, logs,
Dagster's events, reports. Nobody else gets any permission on it, whatever the mode of the home and whichever code
writes it. That includes libraries and child processes, so the umask of the process is set and not the mode of each
file. A file that a person asks for by its path is theirs: it is made as any other program of theirs would make it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings.values import home

_CLOSED = 0o077
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass
class _Umask:
    users: int | None = None
    """The umask that this process was started with, None as long as it holds."""


_UMASK = _Umask()


def close_files() -> None:
    """Let nobody else read what this process makes from now on."""
    if _UMASK.users is None:
        _UMASK.users = os.umask(_CLOSED)


def refuse_open_home() -> None:
    """Keep nothing where others could put a key or a configuration of their own in the place of ours.

    Raises:
        UsageError: other users can write to the home.
    """
    place = home()
    try:
        mode = place.stat().st_mode
    except OSError:  # it is made when it is first needed, and closed then
        return
    if mode & _WRITABLE_BY_OTHERS:
        msg = (
            f"other users can write to {place}, and could replace the keys and files in it: "
            f"set DAYBREAK_HOME to a directory of your own, or take the right from them (chmod go-w {place})"
        )
        raise UsageError(msg)


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
