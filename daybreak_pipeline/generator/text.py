"""Vectorised text: joining, emptying, and writing times and dates the way the exports do.

Everything works on whole Arrow arrays. What the texts say is decided by the modules of the tables.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daybreak_pipeline.generator.ids import Draws, Index, Mask, fixed_width_strings

if TYPE_CHECKING:
    from collections.abc import Iterable

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
"""One day in microseconds."""

FIRST_DAY = dt.date(2022, 8, 1)
EXPORTED_ON = dt.date(2025, 9, 27)
"""The exports pretend to be made on this day: nothing in them is later. (No clock: same bytes.)"""

_EPOCH = dt.date(1970, 1, 1)
_TWO_DIGITS = np.frombuffer("".join(f"{n:02d}" for n in range(100)).encode(), np.uint8).reshape(100, 2)
_DATE_LENGTH = 10
_SECONDS_LENGTH = 19
_TIMESTAMP_LENGTH = 26
_SYNC_BATCHES = 997


def pool(values: Iterable[str | None]) -> Any:
    """Return an Arrow string array to draw from."""
    return pa.array(list(values), pa.string())


def json_pool(values: Iterable[object]) -> Any:
    """Return a pool of compact JSON texts; None is an empty cell."""
    return pool(None if value is None else to_json(value) for value in values)


def to_json(value: object) -> str:
    """Return compact JSON, letters of any script as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def join(*parts: Any) -> Any:
    """Concatenate arrays and constants element by element; an empty (null) part empties the whole."""
    return pc.binary_join_element_wise(*(_as_text(part) for part in parts), "")


def _as_text(part: Any) -> Any:
    if isinstance(part, str):
        return part
    if isinstance(part, np.ndarray):
        return pa.array(part).cast(pa.string())
    return part


def constant(value: str, count: int) -> Any:
    """Return the same text ``count`` times."""
    return pa.repeat(pa.scalar(value, pa.string()), count)


def empty(count: int) -> Any:
    """Return ``count`` empty cells."""
    return pa.nulls(count, pa.string())


def integers(values: Index) -> Any:
    """Return an Arrow integer column."""
    return pa.array(values)


def when(mask: Mask, values: Any, otherwise: Any = None) -> Any:
    """Return ``values`` where the mask holds, else ``otherwise`` (by default: empty)."""
    return pc.if_else(pa.array(mask), values, otherwise)


def days_since_epoch(day: dt.date) -> int:
    """Return the day's number, counted from 1970-01-01."""
    return (day - _EPOCH).days


_FIRST_TABLE_DAY = days_since_epoch(dt.date(1930, 1, 1))
_DATE_TEXTS = np.frombuffer(
    "".join(
        (_EPOCH + dt.timedelta(days=day)).isoformat()
        for day in range(_FIRST_TABLE_DAY, days_since_epoch(dt.date(2031, 1, 1)))
    ).encode(),
    np.uint8,
).reshape(-1, _DATE_LENGTH)


def dates(days: Index) -> Any:
    """Return ISO dates; ``days`` count from 1970-01-01 and lie between the years 1930 and 2030."""
    return fixed_width_strings(_DATE_TEXTS[days - _FIRST_TABLE_DAY])


def timestamps(microseconds: Index, *, whole_seconds: Mask | None = None) -> Any:
    """Return naive ISO timestamps (``2025-06-25T15:23:38.564555``).

    ``microseconds`` count from 1970-01-01; where ``whole_seconds`` holds the fraction is left out.
    """
    days, rest = np.divmod(microseconds, DAY)
    seconds, fraction = np.divmod(rest, MICROSECONDS)
    text = np.empty((len(microseconds), _TIMESTAMP_LENGTH), np.uint8)
    text[:, :_DATE_LENGTH] = _DATE_TEXTS[days - _FIRST_TABLE_DAY]
    for position, separator in ((10, "T"), (13, ":"), (16, ":"), (19, ".")):
        text[:, position] = ord(separator)
    fields = (seconds // 3600, seconds // 60 % 60, seconds % 60)
    fractions = (fraction // 10_000, fraction // 100 % 100, fraction % 100)
    for position, field in zip((11, 14, 17, 20, 22, 24), (*fields, *fractions), strict=True):
        text[:, position : position + 2] = _TWO_DIGITS[field]
    full = fixed_width_strings(text)
    if whole_seconds is None:
        return full
    return when(~whole_seconds, full, fixed_width_strings(text[:, :_SECONDS_LENGTH]))


def _sync_pool(seed: int) -> Any:
    """Return the times of the syncs that moved the records: records share a few."""
    at = Draws(seed, "sync", np.arange(_SYNC_BATCHES))
    moments = days_since_epoch(EXPORTED_ON) * DAY - at.below("moment", 40 * DAY // 1000) * 1000
    milliseconds = pc.utf8_replace_slice(timestamps(moments), 10, 11, " ")
    milliseconds = pc.utf8_slice_codeunits(milliseconds, 0, 23)
    # One to three decimals: trailing zeros go, the first decimal stays.
    trimmed = pc.replace_substring_regex(milliseconds, r"(\.\d)(\d*?)0+$", r"\1\2")
    return join(trimmed, " UTC")


def created_and_updated(draws: Draws, *, latest: int = 0) -> tuple[Index, Index]:
    """Return creation and last change, in microseconds since 1970, both before the export.

    ``latest`` is the number of days before the export that nothing is created in.
    """
    first, last = days_since_epoch(FIRST_DAY) * DAY, (days_since_epoch(EXPORTED_ON) - 1 - latest) * DAY
    # In two steps, because one draw has 32 bits and three years have more microseconds than that.
    created = (
        first + (draws.below("created", (last - first) >> 16) << 16) + draws.below("created-us", 1 << 16)
    )
    left = last + latest * DAY - created
    # Most records change soon after they are made: the product of two draws leans towards zero.
    soon = (draws.below("updated", 1 << 16) * draws.below("updated-again", 1 << 16)) >> 16
    changed = (left >> 16) * soon + draws.below("updated-us", 4096)
    return created, created + np.where(draws.chance("never-changed", 0.1), 0, changed)


def bookkeeping(draws: Draws, *, synced: bool = True, latest: int = 0) -> dict[str, Any]:
    """Return the columns that nearly every file has: times of change, soft delete and sync."""
    created, updated = created_and_updated(draws, latest=latest)
    whole = draws.chance("whole-seconds", 0.04)
    columns = {
        "created_at": timestamps(created, whole_seconds=whole),
        "updated_at": timestamps(updated, whole_seconds=whole),
    }
    if synced:
        columns["_fivetran_deleted"] = pa.repeat(pa.scalar(value=False), len(draws))
        columns["_fivetran_synced"] = draws.choice("synced", _sync_pool(draws.seed))
    return columns
