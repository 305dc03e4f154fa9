"""The header of a file: what its columns are called, and how its records are written.

The first line that is not blank is the header. Whether it is one, the table's required columns tell (``require``): a
part without a header is never loaded by position, and no word of what is in its place is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import names, records

if TYPE_CHECKING:
    from daybreak_pipeline.importer.parts import Part

DELIMITERS = (b",", b";", b"\t", b"|")
MOST_COLUMNS = 1600
"""How many a table of PostgreSQL may have, and so a staging table. What is done for each column of a file stays small."""
_BLANK = re.compile(rb"[\s,;|]*")
"""A line without any value, also as a spreadsheet writes one."""
_SEPARATOR = re.compile(rb'\s*"?sep=(.)"?\s*', re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Header:
    """A file's header. ``cells`` are its names as they are in the file: data, never to be shown.

    ``size`` is how many bytes of the file's text (as UTF-8) come before the first record, ``lines`` how many lines.
    ``goes_on`` is how much of a line was read that may be a header, and did not end: it is none, and has no cells.
    """

    cells: tuple[str, ...] = ()
    delimiter: bytes = DELIMITERS[0]
    size: int = 0
    lines: int = 0
    goes_on: int = 0

    def named(self, known: Collection[str] = ()) -> tuple[str, ...]:
        """Return what the columns are called, those that are ``known`` by that name."""
        return names.of_columns(self.cells, known)


def require(
    table: str, parts: Sequence[Part], required: Iterable[str], known: Collection[str]
) -> tuple[str, ...]:
    """Return the columns of all parts, once each part is known to have a header or to be empty.

    Raises:
        SourceError: one has no header, all are empty, or there are more columns than a table may have.
    """
    found: dict[str, None] = {}
    wanted = tuple(required)
    for part in parts:
        header = part.header(known)
        missing = [name for name in wanted if name not in header]
        if missing and not part.is_empty():
            msg = f"{table}: {_no_header(part, wanted, missing)}"
            raise SourceError(msg)
        found |= dict.fromkeys(header)
    if not found:
        which = f"{parts[0].name} is" if len(parts) == 1 else "every part is"
        msg = (
            f"{table}: {which} empty, without even a header"
            if parts
            else f"{table}: no file is recognised as a part"
        )
        raise SourceError(msg)
    if len(found) > MOST_COLUMNS:
        msg = (
            f"{table}: more columns than a table or a query of PostgreSQL can have ({MOST_COLUMNS:,}); "
            f"the file has {len(found):,} columns; nothing was changed. Leave out of the file what nobody needs"
        )
        raise SourceError(msg)
    return tuple(found)


def _no_header(part: Part, required: Sequence[str], missing: Sequence[str]) -> str:
    if part.is_parquet:
        return f"{part.name} lacks the required columns {', '.join(missing)}"
    really = part.sniff().really
    if really:
        return f"{part.name} has no header: it is {really}, not CSV"
    goes_on = part.sniff().header.goes_on
    if goes_on:
        return f"{part.name} has no header: its first line that is not blank has more than {goes_on:,} bytes"
    lacking = "" if len(missing) == len(required) else f"; there is no {', '.join(missing)}"
    return (
        f"{part.name} has no header: its first line that is not blank must name the required columns "
        f"{', '.join(required)}{lacking}"
    )


def of_text(text: bytes, follows: Callable[[], object] = lambda: None) -> Header:
    """Return the header that the beginning of a text has; one without cells where no line could be one.

    Args:
        text: the beginning.
        follows: whether there is more; it is only asked where that matters.
    """
    start, delimiter = 0, None
    for line in text.splitlines(keepends=True):
        separator = _SEPARATOR.fullmatch(line)
        if separator and delimiter is None and separator[1] not in b'"\r\n':
            delimiter = separator[1]
        elif not _BLANK.fullmatch(line):
            break
        start += len(line)
    rest = text[start:]
    readings = [
        (found, with_delimiter)
        for with_delimiter in ([delimiter] if delimiter else DELIMITERS)
        if (found := next(records.split(rest, with_delimiter, complete=True), None)) and not found.fault
    ]
    if not rest or not readings:
        return Header()
    first, chosen = max(readings, key=lambda reading: _likely(rest, *reading))
    cells = tuple(cell.decode("utf-8", "replace") for cell in first.cells)
    size = start + first.end
    if size == len(text) and not text.endswith((b"\r", b"\n")) and follows():
        return Header(goes_on=first.end)
    return Header(cells, chosen, size, records.lines_in(text, 0, size))


def _likely(text: bytes, record: records.Record, delimiter: bytes) -> tuple[bool, int]:
    """Return how likely a delimiter is the file's: whether the header then has an id, and how often it is outside quotes."""
    outside = b"".join(text[: record.end].split(b'"')[::2])
    has_id = any(names.tidy(cell.decode("utf-8", "replace")) == "id" for cell in record.cells)
    return has_id, outside.count(delimiter)
