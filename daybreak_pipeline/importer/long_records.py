"""Takes one long record from a text, by the same rules as ``records``, and holds no more of it than a record may have.

A record that is too large is passed over: what is left of it is its beginning, and how large it and its first cell were
that was too large. Where it ends, the contract says: at its line end outside quotes; but a quoted cell that is never closed,
or goes on behind its closing quote, ends with the line that it begins in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from daybreak_pipeline.importer import limits, records
from daybreak_pipeline.importer.tape import Tape

_INSIDE = re.compile(rb'(?:[^"]++|"")*+')
"""What is inside a quoted cell. Like all patterns here it never gives back what it has taken."""
_LINE_END = re.compile(rb"[\r\n]")
_SHORT = 30
"""A cell of so many bytes may be a time (``forms``)."""
_HEAD = 2 * _SHORT + 2
"""So many bytes a short cell may take, with its quotes."""


@dataclass
class LongRecord:
    """A long record: its ``text`` without its line end, in pieces; if it is too large, only its beginning.

    ``size`` is without the line end too, ``lines`` is how many lines it ends. ``cells`` are those that the header has: short
    ones as they are, for others any text that is no time. ``bare`` are the places of cells without quotes around, but
    with a quote inside.
    """

    text: list[bytes] = field(default_factory=list)
    size: int = 0
    lines: int = 0
    cells: list[bytes] = field(default_factory=list)
    bare: list[tuple[int, int]] = field(default_factory=list)
    fields: int = 0
    filled: bool = False
    fault: str = ""
    is_whole: bool = True

    def as_csv(self) -> Iterator[bytes]:
        """Yield the text as CSV that COPY reads in the same way: with quotes around cells that have some inside."""
        borders = [place for cell in self.bare for place in cell]
        at = 0
        for piece in self.text:
            start = at
            at += len(piece)
            while start < at:
                inside = len(borders) % 2 == 1
                end = min(borders[0], at) if borders else at
                part = piece[len(piece) - (at - start) : len(piece) - (at - end)]
                yield part.replace(b'"', b'""') if inside else part
                start = end
                if borders and borders[0] == end:
                    borders.pop(0)
                    yield b'"'


@lru_cache
def _run(delimiter: bytes) -> re.Pattern[bytes]:
    """Return the pattern of any number of cells that a delimiter follows."""
    stop = re.escape(delimiter)
    return re.compile(rb'(?:(?:"(?:[^"]++|"")*+"|(?!")[^' + stop + rb"\r\n]*+)" + stop + rb")*+")


@lru_cache
def _run_of_empty(delimiter: bytes) -> re.Pattern[bytes]:
    """Return the pattern of any number of empty cells that a delimiter follows."""
    return re.compile(rb'(?:(?:"")?' + re.escape(delimiter) + rb")*+")


@dataclass(frozen=True)
class Form:
    """How the records of a file are written, by the names of its columns, and how many bytes a cell and a record may have."""

    delimiter: bytes
    called: Sequence[str]
    largest_cell: int
    largest_record: int


def take(tape: Tape, data: bytes, form: Form) -> LongRecord:
    """Take a record from a tape.

    Args:
        tape: what follows ``data`` is read from it, and what is read too far is given back.
        data: the beginning of the record, and what is known of the text behind it.
        form: how it is written.
    """
    return _Scan(tape, data, form).record()


class _Scan:
    """Goes over one record. ``_chunk`` is the text at hand, ``_at`` how far in it; what was before is held or settled."""

    def __init__(self, tape: Tape, data: bytes, form: Form) -> None:
        self._form = form
        self._tape, self._chunk, self._at = tape, data, 0
        self._start = tape.position - len(data)
        self._ends = frozenset({ord(form.delimiter), *b"\r\n"})
        self._stop = re.compile(b"[" + re.escape(form.delimiter) + rb"\r\n]")
        self._held: list[bytes] = []
        self._keeps = True
        """Whether the record may still be of a size to be kept: then all of it is held."""
        self._goes_back = True
        """Whether a cell may turn out to end with its line: then all of the cell is held."""
        self._after_return = False
        self._found = LongRecord()

    def record(self) -> LongRecord:
        """Take the record."""
        found = self._found
        while self._cell():
            self._skip_cells()
        self._hold()
        if self._is_too_large():
            self._give_up()
        if self._keeps:
            found.text = list(self._held)
        self._settle()
        self._line_end()
        self._tape.give_back(self._chunk[self._at :])
        if not found.fault and not found.is_whole:
            found.fault = limits.record_too_large(found.size, self._form.largest_record)
        return found

    # --- Cells ----------------------------------------------------------------------------------------------

    def _skip_cells(self) -> None:
        """Skip whole cells that nothing needs: the header has fewer columns, or the record is too large."""
        found = self._found
        if self._keeps and found.fields <= len(self._form.called):
            return
        end = _run(self._form.delimiter).match(self._chunk, self._at).end()  # type: ignore[union-attr]  # it may be empty
        empty = _run_of_empty(self._form.delimiter).match(self._chunk, self._at).end()  # type: ignore[union-attr]  # as above
        found.filled = found.filled or empty < end
        self._at = end

    def _cell(self) -> bool:
        """Pass over a cell and the delimiter behind it; return whether there was one."""
        found = self._found
        if not self._keeps:
            self._hold()
            self._settle()
        while len(self._chunk) - self._at < _HEAD and self._more():
            pass
        position = found.fields
        begins, head = self._position(), self._chunk[self._at : self._at + _HEAD]
        quoted = head[:1] == b'"'
        self._goes_back = quoted
        size = self._quoted() if quoted else self._plain()
        if size is None:
            self._return_to_line(begins)
            return False
        found.fields += 1
        found.filled = found.filled or size > 0
        if position < len(self._form.called) and self._keeps:
            raw = head[: self._position() - begins]
            short = raw[1:-1].replace(b'""', b'"') if quoted else raw
            found.cells.append(short if size <= _SHORT else b"long")
        if self._chunk[self._at : self._at + 1] == self._form.delimiter:
            self._at += 1
            return True
        return False

    def _plain(self) -> int:
        """Pass over a cell without quotes around, and return its size."""
        begins, size, bare = self._position(), 0, False
        while True:
            stop = self._stop.search(self._chunk, self._at)
            end = stop.start() if stop else len(self._chunk)
            bare = bare or self._chunk.find(b'"', self._at, end) >= 0
            size += end - self._at
            self._at = end
            if size > self._form.largest_cell or self._is_too_large():
                self._give_up()
            if stop or not self._more():
                break
        self._note_size(size)
        if bare and self._keeps:
            self._found.bare.append((begins - self._start, self._position() - self._start))
        return size

    def _quoted(self) -> int | None:
        """Pass over a quoted cell, and return the size of what is in it; None if it does not end as it must."""
        size, known = 0, False
        self._at += 1
        while True:
            end = _INSIDE.match(self._chunk, self._at).end()  # type: ignore[union-attr]  # it may be empty
            size += end - self._at - self._chunk.count(b'""', self._at, end)
            self._at = end
            if not known and (size > self._form.largest_cell or self._is_too_large()):
                self._found.fault = self._fault_ahead() or self._found.fault
                if self._found.fault in records.QUOTE_FAULTS:
                    return None
                known, self._goes_back = True, False
                self._give_up()
            if end + 1 < len(self._chunk):
                if self._chunk[end + 1] in self._ends:
                    break
                self._found.fault = records.GOES_ON
                return None
            if not self._more():
                if end < len(self._chunk):
                    break
                self._found.fault = records.NOT_CLOSED
                return None
        self._at += 1
        self._note_size(size)
        return size

    def _fault_ahead(self) -> str:
        """Look ahead to the end of the quoted cell that we are in; '' if it ends correctly."""
        before = b""
        for block in self._tape.ahead(self._position()):
            text = before + block
            end = _INSIDE.match(text).end()  # type: ignore[union-attr]  # it may be empty
            if end + 1 < len(text):
                return "" if text[end + 1] in self._ends else records.GOES_ON
            before = text[end:]
        return "" if before == b'"' else records.NOT_CLOSED

    def _return_to_line(self, begins: int) -> None:
        """Go back to where a cell begins, and from there to the end of its line."""
        self._hold()
        self._tape.give_back(self._chunk)
        self._chunk = b""
        while (position := self._position()) > begins:
            piece = self._held.pop()
            kept = max(0, begins - (position - len(piece)))
            self._tape.give_back(piece[kept:])
            if kept:
                self._held.append(piece[:kept])
        self._goes_back = False
        while not (found := _LINE_END.search(self._chunk, self._at)):
            self._at = len(self._chunk)
            if self._is_too_large():
                self._give_up()
            if not self._more():
                return
        self._at = found.start()

    def _line_end(self) -> None:
        """Pass over the record's line end."""
        if not self._chunk and not self._more():
            return
        if self._chunk == b"\r":
            self._more()
        self._at = 2 if self._chunk.startswith(b"\r\n") else 1
        self._found.lines += 1

    # --- Sizes ----------------------------------------------------------------------------------------------

    def _position(self) -> int:
        return self._tape.position - len(self._chunk) + self._at

    def _is_too_large(self) -> bool:
        return self._keeps and self._position() - self._start > self._form.largest_record

    def _give_up(self) -> None:
        """Keep no more of the record than its beginning."""
        self._keeps = self._found.is_whole = False

    def _note_size(self, size: int) -> None:
        """Say of the first cell that is too large which it is."""
        found = self._found
        if size > self._form.largest_cell and not found.fault:
            known = found.fields < len(self._form.called)
            name = self._form.called[found.fields] if known else f"column {found.fields + 1}"
            found.fault = limits.cell_too_large(name, size, self._form.largest_cell)

    # --- The text -------------------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Get more text behind what is left of the chunk; return whether there was any."""
        block = self._tape.next()
        if block is None:
            return False
        self._hold()
        self._chunk += block
        if not self._keeps and not self._goes_back:
            self._settle()
        return True

    def _hold(self) -> None:
        if self._at:
            self._held.append(self._chunk[: self._at])
            self._chunk = self._chunk[self._at :]
            self._at = 0

    def _settle(self) -> None:
        """Count what is held and let it go, but for the record's beginning."""
        found = self._found
        for piece in self._held:
            if not self._keeps and found.size < limits.BEGINNING:
                found.text.append(piece[: limits.BEGINNING - found.size])
            found.size += len(piece)
            found.lines += records.lines_in(piece) - (self._after_return and piece.startswith(b"\n"))
            self._after_return = piece.endswith(b"\r")
        self._held.clear()
