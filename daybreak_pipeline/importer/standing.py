"""How each table stands, by the ledger alone: the one place that says what has failed, is absent, or is over.

Report, status, checks and monitoring ask here, so that none of them remembers what another has forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.importer.ledger import Status

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_STATEMENT = (Path(__file__).parent / "sql" / "standing.sql").read_bytes()
_ENOUGH_GAPS, _MOST_GAPS = 3, 10
_EARLIEST = 0.75
"""After this share of the usual time a new file is due: it may come a little early."""


@dataclass(frozen=True)
class Standing:
    """How one table stands. Times are UTC.

    Attributes:
        name: the table.
        last: the last import of its file, or a replay that failed; None before the first.
        status: of that import.
        loaded: the last import that loaded a file.
        loaded_at: when that ended.
        records: how many that file had.
        good_at: when the file was last looked at with success, be it unchanged.
        failing_since: since when imports fail; None where nothing fails now.
        failing_times: how often they have failed since.
        error: why the last of them failed.
        outside: whether the reason of that lay outside the data; None where nobody noted it.
        absent_since: since when the file is missing; None where it is not, or where imports fail.
        missed_at: when it was missed last.
        expected: whether it was to be there, the last times it was missed.
        attempted_at: when the table was last tried, whatever came of it.
        usual: how far apart new files usually are; None as long as there were too few.
    """

    name: str
    last: int | None
    status: Status | None
    loaded: int | None
    loaded_at: datetime | None
    records: int | None
    good_at: datetime | None
    failing_since: datetime | None
    failing_times: int
    error: str | None
    outside: bool | None
    absent_since: datetime | None
    missed_at: datetime | None
    expected: bool
    attempted_at: datetime | None
    usual: timedelta | None


def read(connection: Connection, tables: Iterable[str]) -> dict[str, Standing]:
    """Return how tables stand, by name."""
    parameters = {"tables": list(tables), "gaps": _ENOUGH_GAPS, "most": _MOST_GAPS}
    return {found.name: found for found in database.every(connection, Standing, _STATEMENT, parameters)}


def is_due(loaded_at: datetime | None, usual: timedelta | None, now: datetime) -> bool:
    """Return whether a new file may be expected of a table by now; always where nobody knows what is usual."""
    return loaded_at is None or usual is None or now - loaded_at >= usual * _EARLIEST
