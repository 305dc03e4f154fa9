"""When clinicians have time, reckoned the slow and obvious way: what ``app.free_slots`` is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Availability:
    """A row of ``clinician_availabilities``."""

    clinician: int
    range_start: datetime
    range_end: datetime
    zone: str
    repeats: bool = False
    end_on: date | None = None
    deleted: bool = False


def occurrences(row: Availability, ends: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the times of one row that begin before a moment."""
    length = row.range_end - row.range_start
    if row.deleted or length <= timedelta(0):
        return
    yield row.range_start, row.range_end
    first = row.range_start.astimezone(ZoneInfo(row.zone)).replace(tzinfo=None, fold=0)
    local = first + WEEK
    while row.repeats and (row.end_on is None or local.date() <= row.end_on):
        begins = local.replace(tzinfo=ZoneInfo(row.zone)).astimezone(UTC)
        if begins >= ends:
            return
        yield begins, begins + length
        local += WEEK


def counts(row: Availability) -> bool:
    """Whether even the first time of a row is one: a repeating range may have ended before it began."""
    if not row.repeats or row.end_on is None:
        return True
    return row.range_start.astimezone(ZoneInfo(row.zone)).date() <= row.end_on


def free_stretches(
    rows: Iterable[Availability], begins: datetime, ends: datetime
) -> set[tuple[int, datetime, datetime]]:
    """Return what is free between two moments: overlapping and adjacent times in one, cut at both ends."""
    found: dict[int, list[tuple[datetime, datetime]]] = {}
    for row in rows:
        if counts(row):
            found.setdefault(row.clinician, []).extend(
                (max(start, begins), min(end, ends))
                for start, end in occurrences(row, ends)
                if start < ends and end > begins and begins < ends  # nothing is free in no time at all
            )
    return {(who, start, end) for who, times in found.items() for start, end in merged(times)}


def merged(times: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Return times in their order, those that touch each other as one."""
    result: list[tuple[datetime, datetime]] = []
    for start, end in sorted(times):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result
