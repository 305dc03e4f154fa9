"""Takes CSV text apart into records, one by one: by the contract's rules for quotes.

A cell is quoted if its first byte is a quote; then two quotes are one, and the closing one is before a delimiter, a line
end or the end of the file. In any other cell a quote is text. A quoted cell that goes on after its closing quote, or has
none, makes the line malformed in which it begins, and reading goes on with the next line.

The reader (``reader``) needs this only for records that are not plain, and for a file's header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_OPEN = re.compile(rb'"(?:[^"]++|"")*+')
"""A quoted cell without its closing quote. It never gives back what it has taken, so no text makes it slow."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LINE_FEED, _RETURN = 10, 13
NOT_CLOSED = "a quoted cell is not closed"
GOES_ON = "text follows the closing quote of a cell"
QUOTE_FAULTS = (NOT_CLOSED, GOES_ON)
_QUOTE = b'"'


@dataclass(frozen=True)
class Record:
    """One record: its cells as UTF-8, unquoted, or why it is malformed; ``start`` and ``end`` of it in the text.

    ``line`` counts from 0 within the text. ``end`` is behind the line end.
    """

    cells: list[bytes]
    start: int
    end: int
    line: int
    fault: str = ""


@lru_cache
def _cell(delimiter: bytes) -> re.Pattern[bytes]:
    stop = re.escape(delimiter) + rb"\r\n"
    return re.compile(rb'"((?:[^"]++|"")*+)"(?=[' + stop + rb']|\Z)|(?!")([^' + stop + rb"]*+)")


def split(text: bytes, delimiter: bytes, *, complete: bool) -> Iterator[Record]:
    """Yield the records of a text that begins with one.

    Args:
        text: UTF-8, which need not be valid.
        delimiter: one byte.
        complete: whether the text ends where the file does. Otherwise a last record that may go on is not yielded.
    """
    cell = _cell(delimiter)
    position, line, size = 0, 0, len(text)
    while position < size:
        start, cells, fault = position, [], ""
        while True:
            found = cell.match(text, position)
            if found is None:
                fault = _fault(text, position, complete=complete)
                if not fault:
                    return
                position = _end_of_line(text, position)
                if position == size and not complete and not text.endswith(b"\n"):
                    return
                break
            end = found.end()
            quoted = found[1]
            cells.append(found[2] if quoted is None else quoted.replace(b'""', _QUOTE))
            if text[end : end + 1] == delimiter:
                position = end + 1
                continue
            # A carriage return at the end of an unfinished text may be half of a line end.
            if not complete and (end == size or text[end:] == b"\r"):
                return
            position = _end_of_line(text, end)
            break
        yield Record([] if fault else cells, start, position, line, fault)
        line += lines_in(text, start, position)


def lines_in(text: bytes, start: int = 0, end: int | None = None) -> int:
    """Return how many line ends a text has."""
    codes = np.frombuffer(text, np.uint8)[start:end]
    feeds = codes == _LINE_FEED
    if text.find(b"\r", start, end) < 0:
        return int(np.count_nonzero(feeds))
    returns = codes == _RETURN
    return int(
        np.count_nonzero(feeds) + np.count_nonzero(returns) - np.count_nonzero(returns[:-1] & feeds[1:])
    )


def without_line_end(text: bytes) -> bytes:
    """Return a record's text without the line end behind it."""
    return text.removesuffix(b"\n").removesuffix(b"\r") if text.endswith(b"\n") else text.removesuffix(b"\r")


def quoted(cell: bytes) -> bytes:
    """Return a cell as it is written in CSV, whatever is in it."""
    return _QUOTE + cell.replace(_QUOTE, b'""') + _QUOTE


def _fault(text: bytes, position: int, *, complete: bool) -> str:
    """Return what is wrong with the quoted cell at a position; '' if the text is too short to tell."""
    end = _OPEN.match(text, position).end()  # type: ignore[union-attr]  # a quote is there
    if end == len(text):
        return NOT_CLOSED if complete else ""
    if end + 1 == len(text) and not complete:
        return ""
    return GOES_ON


def _end_of_line(text: bytes, position: int) -> int:
    """Return where the line ends in which a position is, behind its line end."""
    found = _LINE_END.search(text, position)
    return found.end() if found else len(text)
