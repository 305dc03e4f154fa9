"""Puts other data in the place of the server's. What was there is kept aside, and comes back if that does not succeed.

It comes back also when the command was killed: a note in the home says what was moved where, until all is done. Without it the
next command would find no data and make an empty server, or half of the data and none.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline.embedded_postgres import data_directory, process

if TYPE_CHECKING:
    from daybreak_pipeline.embedded_postgres.programs import Account

LOG = logging.getLogger(__name__)
_NOTE = "postgres.replacing"


@contextmanager
def replacing(home: Path, data: Path, account: Account) -> Iterator[Path | None]:
    """Move the data aside while the block makes others; yield where they are, None where there were none.

    The caller holds the home's lock, and the server is stopped.
    """
    aside = data.with_name(f"{data.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    there = data.exists()
    data_directory.write_file(home / _NOTE, f"{aside if there else ''}\n", like=home)
    try:
        if there:
            data.rename(aside)
            data_directory.flush_directory(data.parent)
        yield aside if there else None
    except BaseException:
        _put_back(home, data, account)
        raise
    (home / _NOTE).unlink()
    data_directory.flush_directory(home)


def put_back_unfinished(home: Path, data: Path, account: Account) -> None:
    """Put back what a command moved aside that was killed. The caller holds the home's lock: no such command runs."""
    if (home / _NOTE).exists():
        LOG.warning("a restore was cut off: the server is as it was before")
        _put_back(home, data, account)


def _put_back(home: Path, data: Path, account: Account) -> None:
    # A program that fills the new data may have outlived its command, and would write into the old ones.
    process.end_all(filling(data), account)
    noted = (home / _NOTE).read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    aside = Path(noted) if noted else None
    if aside is None or aside.exists():  # else they had not been moved yet
        if data.exists():
            process.stop(data)
            shutil.rmtree(data)
        if aside:
            aside.rename(data)
            data_directory.flush_directory(data.parent)
    (home / _NOTE).unlink()


def filling(data: Path) -> str:
    """Return the argument of pgBackRest by which a process is known that fills a data directory."""
    return f"--pg1-path={data}"
