"""Files in the home that need not be kept: old reports, traces of errors and server logs, and what a killed process left.

Only files whose names we give are touched; whatever else somebody keeps there stays.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres import data_directory, server_log
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.report import store

_DAY = 86_400
_UNFINISHED = re.compile(r"\..+\.html\.\d+|.+\.new")
"""A report, a password or a configuration that a killed process had not finished."""
_TRACE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}\.\d{6}Z-\d+\.txt")


def prune(home: Path, *, dry_run: bool) -> list[Freed]:
    """Delete old files of the home, and return what that was."""
    return [
        _removed("reports", _old(store.dated_reports()[:-1], settings.reports_days()), dry_run=dry_run),
        _removed("traces of errors", _old(_traces(home), settings.reports_days()), dry_run=dry_run),
        _removed("left-over files", _old(_unfinished(home), 1), dry_run=dry_run),
        _removed("server log", _logs(home), dry_run=dry_run),
    ]


def _logs(home: Path) -> list[Path]:
    """Return the old files of the embedded server's log; a given server's are not ours."""
    data = None if settings.given_database() else data_directory.existing_data(home)
    return [] if data is None else server_log.old_files(data)


def _traces(home: Path) -> list[Path]:
    return [path for path in _in(home / "errors") if _TRACE.fullmatch(path.name)]


def _unfinished(home: Path) -> list[Path]:
    places = (home, store.directory(), home / "dagster")
    return [path for place in places for path in _in(place) if _UNFINISHED.fullmatch(path.name)]


def _in(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_file()] if place.is_dir() else []


def _old(paths: Iterable[Path], days: int) -> list[Path]:
    before = time.time() - days * _DAY
    found = []
    for path in paths:
        with suppress(FileNotFoundError):  # another process was quicker
            if path.lstat().st_mtime < before:
                found.append(path)
    return found


def _removed(step: str, paths: Iterable[Path], *, dry_run: bool) -> Freed:
    count = size = 0
    notes = set()
    for path in paths:
        try:
            length = path.lstat().st_size
            if not dry_run:
                path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            notes.add(f"{path.parent} cannot be changed: {error.strerror}")
            continue
        count, size = count + 1, size + length
    return Freed(step, count, size, note="; ".join(sorted(notes)))
