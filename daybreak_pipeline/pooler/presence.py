"""Where the PgBouncer is that ``daybreak up --pgbouncer`` runs, for whoever watches it.

A file in the home names its configuration. Not the file says that it runs, but the lock on it, which no killed process leaves.
"""

from __future__ import annotations

import configparser
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.pooler import console

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings

FILE = "pgbouncer.running"


@contextmanager
def noted(home: Path, file: Path) -> Iterator[None]:
    """Say that one runs with this pgbouncer.ini, for as long as the block does."""
    descriptor = os.open(home / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        data_directory.own_as(home, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, os.fsencode(file), 0)
        yield
    finally:
        os.close(descriptor)


def watched(db: DatabaseSettings) -> DatabaseSettings | None:
    """Return the console to watch: of the PgBouncer that the settings name, or of the one that runs here; None without any.

    Args:
        db: the database of the tables, by the login of their owner.

    Raises:
        UsageError: a setting cannot be used.
    """
    return settings.watched_pooler(db) or _here(db)


def _here(db: DatabaseSettings) -> DatabaseSettings | None:
    try:
        descriptor = os.open(settings.home() / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _console(db, Path(os.fsdecode(os.pread(descriptor, 4096, 0))))
    finally:
        os.close(descriptor)
    return None


def _console(db: DatabaseSettings, file: Path) -> DatabaseSettings | None:
    try:
        return console.address(db, file)
    except (OSError, KeyError, ValueError, configparser.Error):  # it is just being written
        return None
