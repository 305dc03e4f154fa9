"""Where reports are kept: the newest under a fixed name, and one for each run; the oldest are deleted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError

KEPT = 30
LATEST = "latest.html"
TRENDS = "trends.html"
"""The page about how it went, day by day, beside the reports."""
SERVER = "server.html"
"""The page about the server, beside the reports."""
FINDING = "finding.html"
"""What reports call the page on which a finding is accepted. It is served only, and never kept."""
NUMBERS = "numbers.html"
"""The page with the numbers for analysts, beside the reports."""
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z-[0-9a-f-]+\.html")


def directory() -> Path:
    """Return where reports are: ``reports`` in ``DAYBREAK_HOME``."""
    return settings.home() / "reports"


def pages() -> tuple[str, ...]:
    """Return the names of the pages that are there, for links: the newest report, the trends, the server, the numbers."""
    return tuple(name for name in (LATEST, TRENDS, SERVER, NUMBERS) if (directory() / name).exists())


def keep(page: str, at: datetime, run_id: str) -> tuple[Path, Path]:
    """Write a run's report, dated and as the latest one, and return both paths; only the last 30 dated ones stay.

    Raises:
        UsageError: the directory cannot be written.
    """
    dated = directory() / f"{at:%Y-%m-%dT%H%M%SZ}-{run_id.split('-', 1)[0]}.html"
    write(dated, page)
    latest = write(directory() / LATEST, page)
    for path in dated_reports()[:-KEPT]:
        path.unlink(missing_ok=True)  # another run may have been quicker
    return latest, dated


def dated_reports() -> list[Path]:
    """Return the reports of single runs, the oldest first; nothing else that somebody keeps there."""
    place = directory()
    found = place.iterdir() if place.is_dir() else ()
    return sorted(path for path in found if _DATED.fullmatch(path.name))  # the names sort by time


@contextmanager
def in_one_step(path: Path) -> Iterator[Path]:
    """Yield where to write what takes the place of a file when the block ends, and goes if it fails.

    Raises:
        OSError: it cannot be put there.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write(path: Path, page: str) -> Path:
    """Write a report in one step, so that nobody ever reads half of one, and return its path.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with in_one_step(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write the report {path}: {error.strerror}"
        raise UsageError(msg) from None
    return path
