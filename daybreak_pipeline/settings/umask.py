"""Who may read the files that this process makes: only who runs it, unless a person has named the place.

What is below ``DAYBREAK_HOME`` is state of ours, and holds or opens personal data: keys, the server's files, logs, Dagster's
events, reports. It is made without a bit for anybody else, whatever the mode of the home and whoever writes it: libraries and
child processes too, which is why this is the umask of the process and not the mode of each file. A file that a person
asks for by its path is theirs: it is made as every other program of theirs would make it.
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
    """Make files as whoever runs this process makes theirs, while the block runs; not so where a path is below the home."""
    if _UMASK.users is None or path.resolve().is_relative_to(home().resolve()):
        yield
        return
    before = os.umask(_UMASK.users)
    try:
        yield
    finally:
        os.umask(before)
