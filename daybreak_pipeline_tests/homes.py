"""Homes of the servers that tests start and throw away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in there has a random name
_ROOM = 8 << 30
"""Bytes that must be free in memory: as much as the servers of a whole run of the tests take, twice."""


@contextmanager
def server_home() -> Iterator[Path]:
    """Yield a directory for a server, removed afterwards.

    It is in memory where there is room: on many disks making a database takes ten times as long, and tests make a
    thousand. As root the server runs as another user, who may pass.
    """
    home = Path(tempfile.mkdtemp(prefix="daybreak-tests-", dir=_memory())).resolve()
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def _memory() -> Path | None:
    if not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)):
        return None
    status = os.statvfs(_MEMORY)
    return _MEMORY if status.f_bavail * status.f_frsize >= _ROOM else None
