r"""Reads a CSV file strictly before COPY sees it: counts its records, and lets through only what COPY cannot misread.

COPY is lenient: it drops quotes inside cells, joins records between stray quotes, and takes a line ``\.`` for the end. So
every block of text is looked at first (``_plain``), whole, with NumPy: where each quote is, whether the record ends that
are outside quotes come after as many delimiters as the header has, whether its bytes are valid. What passes goes to COPY as
it is, but for line ends, which become LF outside quotes. What does not pass is taken apart record by record
(``records``), numbered, and malformed records are marked with their line, reason and text.

Both ways read the same records: a property test compares them with each other and with a reader of twenty lines.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daybreak_pipeline import settings
from daybreak_pipeline.importer import limits, long_records, records
from daybreak_pipeline.importer.encoding import UTF_8, Text
from daybreak_pipeline.importer.forms import Columns
from daybreak_pipeline.importer.known import Lines, Numbers, Sieve
from daybreak_pipeline.importer.long_records import Form, LongRecord
from daybreak_pipeline.importer.tape import Reading, Tape

LONG = 4 << 20
"""A record whose end has not come after so many bytes is read by itself (``long_records``)."""
_KEPT_MEMORY = 16 << 20
_LF, _CR, _QUOTE, _BACKSLASH, _POINT = b'\n\r"\\.'
_FIRST_NOT_ASCII = 0x80
_NUL = "a NUL character"
_Codes = NDArray[np.uint8]
_Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Segment:
    """Records as CSV for COPY, with the file's delimiter and LF behind each record. A long one comes in several segments,
    and counts with its last.

    Those that are ``numbered`` have three more columns before the file's own: the record's number, why it is malformed,
    and the text of one that is. ``passed`` counts the records among or before them that are known, and not in ``data``;
    ``left_out`` is about how many bytes those have.
    """

    data: bytes
    records: int
    numbered: bool
    passed: int = 0
    left_out: int = field(default=0, compare=False)


class _Plain(NamedTuple):
    """The whole records of a text that begins with one: as a segment, where they end, and where each begins and ends."""

    segment: Segment | None
    end: int
    begins: _Positions
    ends: _Positions


@dataclass
class Reader:
    """Reads the records of one file. ``width`` is how many cells its header has.

    ``number`` is the next record's, ``line`` the one that it begins in; ``text`` tells the encoding for messages.
    ``called`` are the names of its columns, for messages. ``looking`` is False where each record is to be taken apart, as
    tests do. ``columns`` tells what is true of all records read so far. With a ``sieve``, records that it knows are passed
    over.
    """

    delimiter: bytes
    width: int
    number: int = 1
    line: int = 1
    text: Text | None = None
    called: tuple[str, ...] = ()
    largest_cell: int = field(default_factory=settings.max_cell)
    largest_record: int = field(default_factory=lambda: limits.RECORD)
    looking: bool = True
    sieve: Sieve | None = None
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

    def segments(self, read: Reading) -> Iterator[Segment]:
        """Yield the records of a text that follows its header; ``read`` reads it from the beginning."""
        tape = Tape(read)
        rest, complete = b"", False
        while not complete:
            # A record that goes on gets as much again: a long one is not looked at block by block.
            data, complete = _longer(rest, tape)
            segment, end = (
                self._line_by_line(data, complete=complete)
                or (self._as_it_is(data, complete=complete) if self.looking else None)
                or self._taken_apart(data, complete=complete)
            )
            if segment:
                left_out = max(0, end - len(segment.data)) if segment.passed else 0
                yield replace(segment, left_out=left_out) if left_out else segment
                self.number += segment.records + segment.passed
                self.line += records.lines_in(data, 0, end)
                rest = data[end:]
            elif len(data) < LONG or complete:
                rest = data
            else:
                rest = b""
                yield from self._long(data, tape)

    def _line_by_line(self, data: bytes, *, complete: bool) -> tuple[Segment, int] | None:
        """Return the records of a text without those that are known lines; None if that cannot be told."""
        sieve = self.sieve
        fits = len(data) <= min(self.largest_cell, self.largest_record)
        # A CR behind another one ends a record of its own, which lines do not show where no LF follows.
        ends_twice = complete and data.endswith(b"\r\r")
        if sieve is None or not fits or ends_twice or not sieve.is_worth_it():
            return None
        lines = Lines.of(sieve, data, complete=complete)
        if not sieve.pays(lines.known):
            return None
        if lines.known.all():
            return Segment(b"", 0, numbered=True, passed=lines.take(sieve)), lines.end
        text = lines.left()
        plain = self._plain(text, complete=False) if self.looking else None
        goes_on = len(text) - plain.end if plain else 0
        if plain is None or (goes_on and complete) or not lines.are_whole_records(plain.ends):
            return None
        numbers = self.number + lines.numbers(plain.begins)
        passed = lines.take(sieve)
        segment = self._sifted(sieve, text, plain, numbers)
        return replace(segment, passed=segment.passed + passed), lines.end - goes_on

    def _as_it_is(self, data: bytes, *, complete: bool) -> tuple[Segment | None, int] | None:
        """Return the whole records of a text, as they are unless most are known; None if any is not plain."""
        plain = self._plain(data, complete=complete)
        if plain is None or plain.segment is None:
            return plain and (None, plain.end)
        if self.sieve is None:
            return plain.segment, plain.end
        numbers = np.arange(self.number, self.number + plain.segment.records)
        return self._sifted(self.sieve, data, plain, numbers, whole=plain.segment), plain.end

    def _sifted(
        self, sieve: Sieve, text: bytes, plain: _Plain, numbers: Numbers, whole: Segment | None = None
    ) -> Segment:
        """Return the plain records of a text without those that are known; or the ``whole`` of them, if few are."""
        contents = list(map(text.__getitem__, map(slice, plain.begins.tolist(), plain.ends.tolist())))
        digests = sieve.digests(contents)
        places = sieve.find(digests)
        known = places >= 0
        if whole and not sieve.pays(known):
            sieve.notes.note(numbers, digests)
            return whole
        passed = sieve.take(places[known])
        sieve.notes.note(numbers[~known], digests[~known])
        rows = zip(numbers[~known].tolist(), compress(contents, ~known), strict=True)
        data = b"".join(self._numbered(number) + text.removesuffix(b"\r") + b"\n" for number, text in rows)
        return Segment(data, len(contents) - passed, numbered=True, passed=passed)

    def _plain(self, data: bytes, *, complete: bool) -> _Plain | None:
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
            return _Plain(None, 0, stops[:0], stops[:0])
        number = int(ends.sum())
        is_small = end <= self.largest_cell or self._are_small(stops, ends)
        if not is_small or ends.size != number * self.width or not ends[self.width - 1 :: self.width].all():
            return None
        whole = data[:end]
        if b"\0" in whole or (b"\\" in whole and _may_end_data(codes[:end])):
            return None
        if not (whole.isascii() or _are_utf_8(codes[:end])):
            return None
        if has_returns:
            whole = _with_line_feeds(codes[:end], stops, pairs)
        self.columns.look(codes, stops[: ends.size])
        record_ends = stops[: ends.size][ends]
        segment = Segment(whole if whole.endswith(b"\n") else whole + b"\n", number, numbered=False)
        return _Plain(segment, end, np.append(0, record_ends[:-1] + 1), record_ends)

    def _are_small(self, stops: _Positions, ends: NDArray[np.bool_]) -> bool:
        """Whether no cell and no record is larger than it may be, from where they end. Quotes count as text."""
        sizes = np.diff(stops, prepend=-1), np.diff(stops[: ends.size][ends], prepend=-1)
        return bool(sizes[0].max() <= self.largest_cell and sizes[1].max() <= self.largest_record)

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

    def _taken_apart(self, data: bytes, *, complete: bool) -> tuple[Segment | None, int]:
        rows: list[bytes] = []
        contents: list[bytes | None] = []
        end = 0
        for record in records.split(data, self.delimiter, complete=complete):
            raw = data[record.start : record.end]
            row, is_refused = self._row(record, raw, self.number + len(rows))
            rows.append(row)
            contents.append(None if is_refused else raw[:-1] if raw.endswith((b"\n", b"\r")) else raw)
            end = record.end
        if not rows:
            return None, end
        passed = self._sift(self.sieve, rows, contents) if self.sieve else 0
        return Segment(b"".join(rows), len(rows) - passed, numbered=True, passed=passed), end

    def _sift(self, sieve: Sieve, rows: list[bytes], contents: list[bytes | None]) -> int:
        """Empty the rows of records that are known. Returns how many they are."""
        good = [position for position, content in enumerate(contents) if content is not None]
        digests = sieve.digests(content for content in contents if content is not None)
        places = sieve.find(digests)
        known = places >= 0
        for position in compress(good, known):
            rows[position] = b""
        sieve.notes.note(self.number + np.array(good, np.int64)[~known], digests[~known])
        return sieve.take(places[known])

    def _long(self, data: bytes, tape: Tape) -> Iterator[Segment]:
        """Yield one long record, given its beginning, as segments."""
        form = Form(self.delimiter, self._names(), self.largest_cell, self.largest_record)
        found = long_records.take(tape, data, form)
        is_blank = not found.filled and not found.fault
        fault = "" if is_blank else found.fault or self._fault_of_long(found)
        if fault:
            kept = limits.kept(fault, _beginning(found.text), found.size, is_whole=found.is_whole)
            yield Segment(self._refused(self.number, self.line, *kept), 1, numbered=True)
        else:
            self.columns.look_at_record([b""] * self.width if is_blank else found.cells)
            yield Segment(self._numbered(self.number), 0, numbered=True)
            pieces = [self.delimiter * (self.width - 1)] if is_blank else found.as_csv()
            yield from (Segment(piece, 0, numbered=True) for piece in pieces)
            yield Segment(b"\n", 1, numbered=True)
        self.number += 1
        self.line += found.lines

    def _row(self, record: records.Record, raw: bytes, number: int) -> tuple[bytes, bool]:
        """Return a record as a numbered row, and whether it is malformed."""
        cells = record.cells if any(record.cells) else [b""] * self.width
        raw = records.without_line_end(raw)
        too_large = self._too_large(cells, raw)
        fault = record.fault or too_large or self._fault(cells, raw)
        if fault:
            kept = limits.kept(fault, raw, len(raw), is_whole=not too_large)
            return self._refused(number, self.line + record.line, *kept), True
        self.columns.look_at_record(cells)
        if b'"' in raw or cells is not record.cells:
            raw = self.delimiter.join(records.quoted(cell) if cell else cell for cell in cells)
        return self._numbered(number) + raw + b"\n", False

    def _numbered(self, number: int) -> bytes:
        """Return what is before the cells of a record that is not malformed."""
        return self.delimiter.join([b"%d" % number, b"", b"", b""])

    def _refused(self, number: int, line: int, fault: str, text: bytes) -> bytes:
        """Return a malformed record as a numbered row."""
        kept = text.decode("utf-8", "backslashreplace").replace("\0", "\\x00").encode()
        why = f"line {line}: {fault}".encode()
        cells = [b"%d" % number, records.quoted(why), records.quoted(kept), *[b""] * self.width]
        return self.delimiter.join(cells) + b"\n"

    def _names(self) -> tuple[str, ...]:
        return self.called or tuple(f"column {place}" for place in range(1, self.width + 1))

    def _too_large(self, cells: list[bytes], raw: bytes) -> str:
        if len(raw) <= self.largest_cell:
            return ""
        large = [place for place, cell in enumerate(cells) if len(cell) > self.largest_cell]
        if large:
            called = self._names()
            name = called[large[0]] if large[0] < len(called) else f"column {large[0] + 1}"
            return limits.cell_too_large(name, len(cells[large[0]]), self.largest_cell)
        return (
            limits.record_too_large(len(raw), self.largest_record) if len(raw) > self.largest_record else ""
        )

    def _fault(self, cells: list[bytes], raw: bytes) -> str:
        if b"\0" in raw:
            return _NUL
        if not raw.isascii() and not _is_utf_8(raw):
            return self._no_character()
        if len(cells) != self.width:
            return f"{len(cells)} fields instead of {self.width}"
        return ""

    def _fault_of_long(self, record: LongRecord) -> str:
        if any(b"\0" in piece for piece in record.text):
            return _NUL
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for piece in record.text:
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return self._no_character()
        if record.fields != self.width:
            many = f"more than {self.width}" if record.fields > self.width else record.fields
            return f"{many} fields instead of {self.width}"
        return ""

    def _no_character(self) -> str:
        return f"bytes that are no character in {self.text.encoding if self.text else UTF_8}"


def _longer(rest: bytes, tape: Tape) -> tuple[bytes, bool]:
    """Return a text with more behind it, at least as long as itself, and whether that is all there is."""
    parts, size = [rest], 0
    while size <= len(rest):
        block = tape.next()
        if block is None:
            return b"".join(parts), True
        parts.append(block)
        size += len(block)
    return b"".join(parts), False


def _beginning(pieces: list[bytes]) -> bytes:
    """Return so much of a text as may be kept of it."""
    joined = bytearray()
    for piece in pieces:
        if len(joined) > limits.WHOLE:
            break
        joined += piece
    return bytes(joined)


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
    """As ``_is_utf_8``, for a text that is mostly ASCII: only the rest is decoded."""
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
