"""The embedded server's log: where it is, what goes into it, and for how long it is kept.

It is outside the data directory: a restore over that must not take the log of the incident along.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from daybreak_pipeline import settings

if TYPE_CHECKING:
    from pathlib import Path

    from daybreak_pipeline.embedded_postgres.programs import Account

FILE_MEGABYTES = 16
MOST_FILES = 64
"""Older files go, however young they are: with the size of each, this bounds what a noisy server may fill."""
SLOW_STATEMENTS = "daybreak.slow_statements"
"""The server's name for how long a statement of the pipeline may take before the log names it; see ``database``."""
_DAY = 86_400


def directory(data: Path) -> Path:
    """Return where the log of a data directory's server is: beside it."""
    return data.with_name(f"{data.name}-log")


def provide(data: Path, account: Account) -> None:
    """Make the log's directory, bring the log of an older home there, and drop what is too old."""
    place = directory(data)
    with contextlib.suppress(FileExistsError):
        place.mkdir(0o700)
        if os.geteuid() == 0:
            os.chown(place, account.uid, account.gid, follow_symlinks=False)
    for path in _in(data / "log"):
        with contextlib.suppress(OSError):  # on another disk: it stays where it is
            path.rename(place / path.name)
    prune(data)


def lines(data: Path) -> list[str]:
    """Return the server's settings for the log.

    Statements, parameters and errors hold personal values. An error's main text may quote one (invalid input syntax for
    type date: "..."), and its client gets it anyway. In the log's own order, `log` is above `warning` and `error`: what
    the server says about itself, and why it or a login failed (LOG, FATAL, PANIC), is kept.

    A slow statement comes with its text, and people write values into that. So only those of imports and
    checks are logged: their values are parameters. All others are in pg_stat_statements, without values.
    """
    return [
        "log_timezone = 'UTC'",
        "lc_messages = 'C'",
        "logging_collector = on",
        f"log_directory = '../{directory(data).name}'",
        "log_filename = 'postgres-%Y-%m-%d_%H%M%S.log'",
        "log_file_mode = 0600",
        "log_rotation_age = 1d",
        f"log_rotation_size = {FILE_MEGABYTES}MB",
        "log_line_prefix = '%m [%p] %q%u@%d '",
        "log_min_messages = log",
        "log_min_error_statement = panic",
        "log_error_verbosity = terse",
        "log_parameter_max_length = 0",
        "log_parameter_max_length_on_error = 0",
        "log_min_duration_statement = -1",
        f"{SLOW_STATEMENTS} = '{settings.slow_seconds()}s'",
        "log_lock_waits = on",
        "log_temp_files = 64MB",
        "log_checkpoints = on",
        "log_autovacuum_min_duration = 1s",
    ]


def files(data: Path) -> list[Path]:
    """Return the log's files, the oldest first."""
    return sorted(_in(directory(data)), key=lambda path: (path.stat().st_mtime, path.name))


def old_files(data: Path) -> list[Path]:
    """Return the files that are older than must be kept, or too many. The newest is in use: it stays."""
    found = files(data)[:-1]
    oldest = time.time() - settings.log_days() * _DAY
    surplus = len(found) + 1 - MOST_FILES
    return [path for place, path in enumerate(found) if place < surplus or path.stat().st_mtime < oldest]


def prune(data: Path) -> tuple[int, int]:
    """Remove old files, and return how many there were and their bytes."""
    found = bytes_freed = 0
    for path in old_files(data):
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            size = path.stat().st_size
            path.unlink()
            found, bytes_freed = found + 1, bytes_freed + size
    return found, bytes_freed


def _in(place: Path) -> list[Path]:
    if place.is_symlink():
        return []
    return [path for path in place.glob("postgres-*.log") if not path.is_symlink()]
