"""Which records of a file are known: byte for byte the ones that rows were last loaded from (ADR 21).

Each such row keeps a digest of its record's bytes. Whoever reads a file compares its records with these, a block at a time,
and need not pass on those that are known: what becomes of them is settled. The server's side of it is in ``digests``.

Nothing here decides about a record that is not known, and any record may be taken for unknown: that costs time, and changes
nothing.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, repeat
from typing import TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

SMALLEST = 4 << 20
"""Of a source with fewer bytes no digests are made: to look at all of its records costs less than to ask for them."""
MOSTLY = 0.5
"""Known records are passed over only where they are at least this share of a block; else all of it goes on as it is."""
_NEARLY = 0.9
"""With fewer known lines than this share, it is looked whether lines end inside quoted cells."""
SIZE = 16
"""The bytes of a digest."""

Digests: TypeAlias = NDArray[np.uint64]
"""Digests, one a line, as two numbers each."""
Places: TypeAlias = NDArray[np.intp]
Numbers: TypeAlias = NDArray[np.int64]
NONE: Digests = np.empty((0, 2), np.uint64)


def from_bytes(content: bytes | None) -> Digests:
    """Return the digests that follow each other in some bytes."""
    return np.frombuffer(content or b"", "<u8").reshape(-1, 2)


class Known:
    """The digests that a table's rows have, and which of them a file has turned out to hold.

    ``passed`` counts the records that were passed over.
    """

    def __init__(self, digests: Digests, edited: Digests = NONE, *, are_all: bool = True) -> None:
        """Take the digests of rows, and of those that an application has changed since; ``are_all`` if no row has another."""
        order = np.argsort(digests[:, 0])
        first = digests[order, 0]
        is_new = np.append(True, first[1:] != first[:-1])[: order.size]
        if not is_new.all():
            order, first, are_all = order[is_new], first[is_new], False
        self._first, self._second = first, digests[order, 1]
        self._seen = np.zeros(order.size, np.bool_)
        # Digests are spread evenly, so their first bits lead to about where they are.
        bits = max(1, order.size.bit_length())
        self._shift = np.uint64(64 - bits)
        limits = np.arange(1 << bits, dtype=np.uint64) << self._shift
        self._starts = np.searchsorted(self._first, limits).astype(np.int32)
        self._edited = self.find(edited)
        self._are_all = are_all
        self.passed = 0

    def find(self, digests: Digests) -> Places:
        """Return where each digest is among those of the rows, -1 where it is not."""
        places = np.full(len(digests), -1, np.intp)
        if not self._first.size:
            return places
        first = digests[:, 0]
        left = np.arange(len(digests))
        at = self._starts[first >> self._shift].astype(np.intp)
        while left.size:
            there = self._first[np.minimum(at, self._first.size - 1)]
            hit = there == first
            places[left[hit]] = at[hit]
            goes_on = (there < first) & (at < self._first.size)
            left, first, at = left[goes_on], first[goes_on], at[goes_on] + 1
        places[self._second[places] != digests[:, 1]] = -1
        return places

    def take(self, places: Places) -> None:
        """Note that records with these digests are in the file, and are passed over."""
        self._seen[places] = True
        self.passed += places.size

    @property
    def outcomes(self) -> dict[str, int]:
        """What becomes of the records that were passed over, as ``classify`` would have it.

        Of a row that an application has changed the record is stale; of equal records one counts.
        """
        rows, stale = int(self._seen.sum()), int(self._seen[self._edited].sum())
        found = {"unchanged": rows - stale, "stale": stale, "duplicate": self.passed - rows}
        return {outcome: number for outcome, number in found.items() if number}

    def fewer(self) -> tuple[bytes, bool]:
        """Return the digests of the rows whose record was passed over, or of the others, whichever are fewer; and which."""
        passed = not self._are_all or int(self._seen.sum()) * 2 <= self._seen.size
        which = self._seen if passed else ~self._seen
        return np.column_stack((self._first[which], self._second[which])).astype("<u8").tobytes(), passed


class Notes:
    """The digests of staged records by their numbers, until the server has them. A thread writes and another takes."""

    def __init__(self) -> None:
        self._notes: deque[tuple[Numbers, Digests]] = deque()

    def note(self, numbers: Numbers, digests: Digests) -> None:
        """Keep digests; numbers only ever grow."""
        if numbers.size:
            self._notes.append((numbers, digests))

    def take(self, chunk: int, *, final: bool) -> tuple[Numbers, bytes]:
        """Return digests by chunks of so many numbers, and which chunks; where a number has none there are zeros.

        The last chunk is held back, as more may belong to it, until the ``final`` call.
        """
        taken = [self._notes.popleft() for _ in range(len(self._notes))]
        if not taken:
            return np.empty(0, np.int64), b""
        numbers, digests = (np.concatenate(parts) for parts in zip(*taken, strict=True))
        chunks = numbers // chunk
        if not final:
            held = chunks == chunks[-1]
            self._notes.appendleft((numbers[held], digests[held]))
            numbers, digests, chunks = numbers[~held], digests[~held], chunks[~held]
        which, places = np.unique(chunks, return_inverse=True)
        packed = np.zeros((which.size, chunk, 2), "<u8")
        packed[places, numbers % chunk] = digests
        return which, packed.tobytes()


@dataclass
class Sieve:
    """Looks at the records of one file: takes their digests, and finds those that are known.

    ``known`` is None where the table has no rows. The ``seed`` makes digests of one form of file meet no others'. ``in_quotes``:
    lines have turned out to end inside quoted cells, too.
    """

    seed: int
    notes: Notes
    known: Known | None = None
    in_quotes: bool = field(default=False, init=False)
    _paid: bool = field(default=True, init=False)

    def digests(self, records: Iterable[bytes]) -> Digests:
        """Return the digests of records."""
        # It is C that goes over the records here.
        return from_bytes(b"".join(map(xxhash.xxh3_128_digest, records, repeat(self.seed))))

    def find(self, digests: Digests) -> Places:
        """Return which row each record is known to have made, -1 where none is."""
        return self.known.find(digests) if self.known else np.full(len(digests), -1, np.intp)

    def take(self, places: Places) -> int:
        """Note that records are passed over. Returns how many."""
        if self.known:
            self.known.take(places)
        return places.size

    def is_worth_it(self) -> bool:
        """Whether the next block is likely to have known records, as the last one had."""
        return self.known is not None and self._paid

    def pays(self, known: NDArray[np.bool_]) -> bool:
        """Whether so many of a block's records are known that it pays to pass over them."""
        self._paid = self.known is not None and known.size > 0 and bool(known.mean() >= MOSTLY)
        return self._paid


@dataclass(frozen=True)
class Lines:
    """The lines of a text that begins with a record, and which of them are known records.

    Where quoted cells have LFs, a line ends with one that has an even number of quotes before it. A record begins where a known
    one ends, so only the other lines need a look. These must be whole records, each run of them by itself: then no quoted
    cell reaches from one of them into what comes after a known line. ``end`` is where the last line ends.
    """

    lines: list[bytes]
    places: Places
    end: int

    @classmethod
    def of(cls, sieve: Sieve, text: bytes, *, complete: bool) -> Lines:
        """Look at the lines of a text; at the last one only if it is ``complete``."""
        lines = cls._of(sieve, text, _lines(text, in_quotes=sieve.in_quotes), complete=complete)
        if not sieve.in_quotes and b'"' in text and lines.known.size and lines.known.mean() < _NEARLY:
            sieve.in_quotes = True
            lines = cls._of(sieve, text, _lines(text, in_quotes=True), complete=complete)
        return lines

    @classmethod
    def _of(cls, sieve: Sieve, text: bytes, lines: list[bytes], *, complete: bool) -> Lines:
        rest = lines.pop()
        if rest and complete:
            lines.append(rest.removesuffix(b"\r"))
            rest = b""
        return cls(lines, sieve.find(sieve.digests(lines)), len(text) - len(rest))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which lines are known records."""
        return self.places >= 0

    @cached_property
    def _left(self) -> Places:
        return np.flatnonzero(~self.known)

    def left(self) -> bytes:
        """Return the other lines, as a text."""
        return b"\n".join(compress(self.lines, ~self.known)) + b"\n"

    @cached_property
    def _ends(self) -> Places:
        """Where each of the other lines ends in their text, behind its LF."""
        sizes = np.fromiter(map(len, compress(self.lines, ~self.known)), np.intp, self._left.size)
        return np.cumsum(sizes + 1)

    def are_whole_records(self, record_ends: Places) -> bool:
        """Whether each run of the other lines ends with a record, given where records end in their text.

        One at the end of all lines may go on.
        """
        is_last = np.append(np.diff(self._left) > 1, self._left[-1] < len(self.lines) - 1)
        return bool(record_ends.size and np.isin(self._ends[is_last] - 1, record_ends).all())

    def numbers(self, begins: Places) -> Numbers:
        """Return the numbers, from 0, of records that begin there in the text of the other lines."""
        line = np.searchsorted(self._ends, begins, side="right")
        return self._left[line] - line + np.arange(begins.size)

    def take(self, sieve: Sieve) -> int:
        """Pass over the known records. Returns how many they are."""
        return sieve.take(self.places[self.known])


def _lines(text: bytes, *, in_quotes: bool) -> list[bytes]:
    """Return the lines of a text without their LF, and what is behind the last; with LFs that are in quotes, if told so."""
    if not in_quotes:
        return text.split(b"\n")
    codes = np.frombuffer(text, np.uint8)
    quotes, feeds = np.flatnonzero(codes == ord('"')), np.flatnonzero(codes == ord("\n"))
    ends = feeds[np.searchsorted(quotes, feeds) & 1 == 0].tolist()
    return list(map(text.__getitem__, map(slice, [0, *(end + 1 for end in ends)], [*ends, len(text)])))


@dataclass(frozen=True)
class Sifting:
    """What one import compares its file with.

    ``form`` is what, besides the bytes of a record, decides what its content is: two records of one form with the same bytes
    have the same content.
    """

    form: bytes
    known: Known | None
    notes: Notes = field(default_factory=Notes)

    def sieve(self, names: Sequence[str], delimiter: bytes) -> Sieve:
        """Return what looks at the records of a file with these columns."""
        form = hashlib.sha256(self.form)
        form.update(delimiter + b"\n" + "\n".join(names).encode())
        return Sieve(int.from_bytes(form.digest()[:8], "little"), self.notes, self.known)
