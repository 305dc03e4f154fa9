"""What a file's name means: which table it may hold, and for which day. Nothing here opens a file.

Case does not count, spaces and hyphens are underscores, and neither a date at the end of the name nor the mark of a
copy belongs to the table's name: ``Patients and Guardians_2025-11-08 (1).csv`` is ``patients_and_guardians``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from daybreak_pipeline.importer.formats import suffix_of
from daybreak_pipeline.locations import Location
from daybreak_pipeline.tables import TABLES

_SHOWN = 100
_SEPARATORS = re.compile(r"[\s_-]+")
# What browsers and file managers add to the name of a copy: `x (1)`, `x(1)`, `x - Copy`, `x - Copy (2)`, `x copy 2`.
_COPY = re.compile(r"(_?\(\d{1,3}\)|_copy(_\d{1,3})?)$")
_COPY_OF = re.compile(r"^copy_of_")
_DATE = re.compile(
    r"[_.]?(?<!\d)(?P<day>\d{4}[_.]?\d\d[_.]?\d\d)"
    # Four digits behind a day (_0002) may as well be the number of a part: they tell no time.
    r"(_\d{4}|(?P<time>[_.]?t?_?\d\d[_.:]?\d\d([_.:]?\d\d)?([_.]\d{3,9})?z?))?$"
)
_SIMILAR = 0.75
_COMMON_WORDS = frozenset({"and", "anonymized", "export"})


@dataclass(frozen=True)
class FileName:
    """A file's name, parsed. ``day`` and ``time`` are digits, empty where the name has none."""

    stem: str
    day: str = ""
    time: str = ""


def parse(path: Location) -> FileName:
    """Take a file's (or a directory's) name apart."""
    return _parsed(path.name)


# The sensor looks at every name for every table, every few seconds.
@lru_cache(maxsize=10_000)
def _parsed(file: str) -> FileName:
    name = file.strip()
    while suffix := suffix_of(Path(name)):
        name = name[: -len(suffix)]
    stem = _SEPARATORS.sub("_", name.strip().lower())
    day, time = "", ""
    while True:
        before = stem
        stem = _COPY_OF.sub("", _COPY.sub("", stem)).rstrip("_")
        if not day and (found := _DATE.search(stem)) and (dated := _moment(found)):
            stem, (day, time) = stem[: found.start()].rstrip("_"), dated
        if stem == before:
            return FileName(stem, day, time)


def _moment(found: re.Match[str]) -> tuple[str, str] | None:
    """Return the day and the time of a name's date as digits, None where the calendar has no such day."""
    day = re.sub(r"\D", "", found["day"])
    # A fraction of a second decides nothing between exports.
    time = re.sub(r"\D", "", found["time"] or "")[:6]
    try:
        datetime.strptime(day + time.ljust(6, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - only whether there is such a time
    except ValueError:
        return None
    return day, time and time.ljust(6, "0")


def resembles(path: Location) -> str | None:
    """Return the table that a file's name comes closest to, None where it comes close to none."""
    return _resembling(parse(path).stem)


@lru_cache(maxsize=10_000)
def _resembling(name: str) -> str | None:
    stems: dict[str, str] = {}
    for table in TABLES.values():
        for stem in (*table.file_stems, table.name):
            stems.setdefault(stem, table.name)
    for piece in (name, *name.split(".")):  # orgs.xlsx, public.orgs
        if close := get_close_matches(piece, stems, n=1, cutoff=_SIMILAR):
            return stems[close[0]]
    words = set(re.split(r"[_.]", name)) - _COMMON_WORDS
    shared = {stem: len(words & set(stem.split("_"))) / len(stem.split("_")) for stem in stems}
    best = max(shared, key=lambda stem: shared[stem])
    return stems[best] if shared[best] else None


def shown(name: str) -> str:
    """Return a file's name for people: without control characters, and not endless."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    half = _SHOWN // 2
    return text if len(text) <= _SHOWN else f"{text[: half - 1]}…{text[-half:]}"
