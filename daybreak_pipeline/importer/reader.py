r"""Reads a CSV file strictly before COPY sees it: counts its records, and lets through only what COPY cannot misread.

COPY is lenient: it drops quotes inside cells, joins records between stray quotes, and takes a line ``\.`` for the end. So
every block of text is looked at first (``_plain``), whole, with NumPy: where each quote is, whether the record ends that
are outside quotes come after as many delimiters as the header has, whether its bytes are valid. What passes goes to COPY as
it is, but for line ends, which become LF outside quotes. What does not pass is taken apart record by record
(``records``), numbered, and malformed records are marked with their line, reason and text.

Both ways read the same records: a property test compares them with each other and with a reader of twenty lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import records
from daybreak_pipeline.importer.encoding import UTF_8, Text
from daybreak_pipeline.importer.forms import Columns

LARGEST_CELL = 64 << 20
"""A quoted cell of more bytes counts as not closed: looking for its end must not take all memory."""
_KEPT_MEMORY = 16 << 20
_LF, _CR, _QUOTE, _BACKSLASH, _POINT = b'\n\r"\\.'
_FIRST_NOT_ASCII = 0x80
_Codes = NDArray[np.uint8]
_Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Segment:
    """Whole records as CSV for COPY, with the file's delimiter and LF behind each record.

    Those that are ``numbered`` have three more columns before the file's own: the record's number, why it is malformed,
    and the text of one that is.
    """

    data: bytes
    records: int
    numbered: bool


@dataclass
class Reader:
    """Reads the records of one file. ``width`` is how many cells its header has.

    ``number`` is the next record's, ``line`` the one that it begins in; ``text`` tells the encoding for messages.
    ``looking`` is False where each record is to be taken apart, as tests do. ``columns`` tells what is true of all records
    read so far.
    """

    name: str
    delimiter: bytes
    width: int
    number: int = 1
    line: int = 1
    text: Text | None = None
    looking: bool = True
    columns: Columns = field(init=False, repr=False)
    _ends_quote: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Note the bytes that may be before an opening quote and behind a closing one."""
        self.columns = Columns(self.width)
        # Once so much was freed at a time, the C library keeps what is freed: to get new memory for each block takes longer
        # than to look at it.
        np.empty(_KEPT_MEMORY, np.uint8)
        self._ends_quote = np.zeros(256, np.bool_)
        self._ends_quote[[ord(self.delimiter), _LF, _CR, _QUOTE]] = True

    def segments(self, blocks: Iterable[bytes]) -> Iterator[Segment]:
        """Yield the records of a text that follows its header.

        Raises:
            SourceError: a record is too long to be one.
        """
        ready = iter(blocks)
        rest, complete = b"", False
        while not complete:
            # A record that goes on gets as much again: a long one is not looked at block by block.
            data, complete = _longer(rest, ready)
            hopeless = len(data) > LARGEST_CELL
            plain = self._plain(data, complete=complete) if self.looking else None
            if plain is None or (hopeless and plain[0] is None):
                segment, end = self._taken_apart(data, complete=complete, hopeless=hopeless)
            else:
                segment, end = plain
            if segment:
                yield segment
                self.number += segment.records
                self.line += records.lines_in(data, 0, end)
            elif hopeless and not complete:
                msg = f"{self.name}: the record in line {self.line} has more than {LARGEST_CELL >> 20} MB: is this CSV?"
                raise SourceError(msg)
            rest = data[end:]

    def _plain(self, data: bytes, *, complete: bool) -> tuple[Segment | None, int] | None:
        """Return the whole records of a text that begins with one, and where they end; None if any is not plain."""
        codes = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(codes == _QUOTE)
        if not self._quotes_fit(codes, quotes, complete=complete):
            return None
        has_returns = b"\r" in data
        stops, ends, pairs = self._stops(codes, quotes, has_returns=has_returns, complete=complete)
        end = int(stops[ends][-1]) + 1 if ends.any() else 0
        if complete and end < len(data):
            end = len(data)
            stops, ends = np.append(stops, end), np.append(ends, np.True_)
        elif end:
            ends = ends[: int(np.flatnonzero(ends)[-1]) + 1]
        else:
            return None, 0
        number = int(ends.sum())
        if ends.size != number * self.width or not ends[self.width - 1 :: self.width].all():
            return None
        whole = data[:end]
        if b"\0" in whole or (b"\\" in whole and _may_end_data(codes[:end])):
            return None
        if not whole.isascii() and not _are_utf_8(codes[:end]):
            return None
        if has_returns:
            whole = _with_line_feeds(codes[:end], stops, pairs)
        self.columns.look(codes, stops[: ends.size])
        return Segment(whole if whole.endswith(b"\n") else whole + b"\n", number, numbered=False), end

    def _quotes_fit(self, codes: _Codes, quotes: _Positions, *, complete: bool) -> bool:
        """Whether each quote that opens a cell is at its beginning, and each that closes one at its end."""
        if not quotes.size:
            return True
        if complete and quotes.size % 2:
            return False
        opening, closing = quotes[::2], quotes[1::2]
        if opening[0] == 0:
            opening = opening[1:]
        if closing.size and closing[-1] == codes.size - 1:
            closing = closing[:-1]  # what follows is not here yet, or nothing
        fits = self._ends_quote
        return bool(fits[codes[opening - 1]].all() and fits[codes[closing + 1]].all())

    def _stops(
        self, codes: _Codes, quotes: _Positions, *, has_returns: bool, complete: bool
    ) -> tuple[_Positions, NDArray[np.bool_], _Positions]:
        """Return where cells end that no quote holds, which of these are line ends, and the CRs that an LF follows."""
        stops = codes == ord(self.delimiter)
        stops |= codes == _LF
        if has_returns:
            stops |= codes == _CR
        found = np.flatnonzero(stops)
        if quotes.size:
            found = found[np.searchsorted(quotes, found) & 1 == 0]
        kinds = codes[found]
        if not has_returns:
            return found, kinds == _LF, found[:0]
        returns = kinds == _CR
        followed = np.zeros(found.size, np.bool_)
        followed[:-1] = returns[:-1] & (kinds[1:] == _LF) & (np.diff(found) == 1)
        if not complete and found.size and found[-1] == codes.size - 1:
            followed[-1] |= returns[-1]  # an LF may follow
        pairs = found[followed]
        return found[~followed], (kinds != ord(self.delimiter))[~followed], pairs

    def _taken_apart(self, data: bytes, *, complete: bool, hopeless: bool) -> tuple[Segment | None, int]:
        rows: list[bytes] = []
        end = 0
        for record in records.split(data, self.delimiter, complete=complete or hopeless):
            if record.end == len(data) and hopeless and not complete:
                break  # where it ends is not known yet
            rows.append(self._row(record, data[record.start : record.end], self.number + len(rows)))
            end = record.end
        return (Segment(b"".join(rows), len(rows), numbered=True) if rows else None), end

    def _row(self, record: records.Record, raw: bytes, number: int) -> bytes:
        """Return a record as a numbered row."""
        cells = record.cells if any(record.cells) else [b""] * self.width
        fault = record.fault or self._fault(cells, raw)
        if not fault:
            self.columns.look_at_record(cells)
        raw = records.without_line_end(raw)
        if fault:
            kept = raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00").encode()
            why = f"line {self.line + record.line}: {fault}".encode()
            cells = [b"%d" % number, records.quoted(why), records.quoted(kept), *[b""] * self.width]
            return self.delimiter.join(cells) + b"\n"
        if b'"' in raw or cells is not record.cells:
            raw = self.delimiter.join(records.quoted(cell) if cell else cell for cell in cells)
        return self.delimiter.join([b"%d" % number, b"", b"", raw]) + b"\n"

    def _fault(self, cells: list[bytes], raw: bytes) -> str:
        if b"\0" in raw:
            return "a NUL character"
        if not raw.isascii() and not _is_utf_8(raw):
            encoding = self.text.encoding if self.text else UTF_8
            return f"bytes that are no character in {encoding}"
        if len(cells) != self.width:
            return f"{len(cells)} fields instead of {self.width}"
        return ""


def _longer(rest: bytes, blocks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return a text with more behind it, at least as long as itself, and whether that is all there is."""
    parts, size = [rest], 0
    while size <= len(rest):
        block = next(blocks, None)
        if block is None:
            return b"".join(parts), True
        parts.append(block)
        size += len(block)
    return b"".join(parts), False


def _with_line_feeds(codes: _Codes, stops: _Positions, pairs: _Positions) -> bytes:
    """Return text in which LF ends every record."""
    copied = codes.copy()
    within = stops[stops < codes.size]
    copied[within[codes[within] == _CR]] = _LF
    return np.delete(copied, pairs[pairs < codes.size]).tobytes()


def _may_end_data(codes: _Codes) -> bool:
    r"""Whether COPY may take a part of a text for the end of the data: ``\.`` at the beginning of a line."""
    marks = np.flatnonzero(codes[:-1] == _BACKSLASH)
    marks = marks[codes[marks + 1] == _POINT]
    before = codes[marks - 1]
    return bool(((before == _LF) | (before == _CR) | (marks == 0)).any())


def _are_utf_8(codes: _Codes) -> bool:
    """As ``_is_utf_8``, for a text of which most is ASCII: only the rest is decoded."""
    places = np.flatnonzero(codes >= _FIRST_NOT_ASCII)
    rest = codes[places]
    # What is decoded without the ASCII between must have been without it.
    continued = (rest[1:] & 0xC0) == _FIRST_NOT_ASCII
    return bool((np.diff(places)[continued] == 1).all()) and _is_utf_8(rest.tobytes())


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
