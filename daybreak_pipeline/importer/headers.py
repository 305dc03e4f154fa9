"""The header of a file: its columns' names, its encoding and its delimiter."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from daybreak_pipeline.importer.formats import DAMAGE, opened, suffix_of, unreadable

UNNAMED = "unnamed"
"""What a column is called whose name is empty, such as after a trailing comma."""
_HEADER_BYTES = 1 << 20
_REPEAT = re.compile(r"(.+) \(\d+\)")


def read_header(part: Path) -> tuple[str, ...]:
    """Return the column names of a file, trimmed, in lower case.

    No name stands twice: the second column ``label`` is called ``label (2)``, as spreadsheets do.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        if suffix_of(part) == ".parquet":
            import pyarrow.parquet as pq

            names = list(pq.read_schema(part).names)
        else:
            names = _csv_header(part)
    except DAMAGE as error:
        raise unreadable(part, error) from None
    return tuple(_each_once([name.strip().lower() or UNNAMED for name in names]))


def _each_once(names: list[str]) -> Iterator[str]:
    """Yield the names, those that have come before with a number that makes them another name."""
    taken: set[str] = set()
    for name in names:
        numbered, number = name, 1
        while numbered in taken or (number > 1 and numbered in names):
            number += 1
            numbered = f"{name} ({number})"
        taken.add(numbered)
        yield numbered


def named_like(name: str) -> str:
    """Return the name that a column has in the file, if it is (or is called like) the repeat of another."""
    repeat = _REPEAT.fullmatch(name)
    return repeat[1] if repeat else name


def repeats(header: Iterable[str]) -> dict[str, str]:
    """Return, for each column that repeats another of the header, the name of that one."""
    names = set(header)
    return {name: first for name in header if (first := named_like(name)) != name and first in names}


def _csv_header(path: Path) -> list[str]:
    with opened(path) as file:
        start = file.read(_HEADER_BYTES)
    text = start.decode(encoding_of(start), errors="replace").removeprefix("\ufeff")
    if not text.strip():
        return []
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text)))


def encoding_of(start: bytes) -> str:
    """Return the encoding that a file's first bytes announce; UTF-8 unless a UTF-16 mark stands there."""
    return "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"


def delimiter_of(text: str) -> str:
    """Return the delimiter of a CSV text: the one that occurs most in its first line."""
    line = text.split("\n", 1)[0].split("\r", 1)[0]
    return max(",;\t|", key=line.count)
