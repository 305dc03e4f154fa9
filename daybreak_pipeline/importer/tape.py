"""The text of a file as it is read: block by block, with a way back, and a look ahead that holds nothing.

Whether a quoted cell is ever closed may be known only gigabytes later, and nobody can hold so much. So the same text is
read a second time, ahead of the first. No look ahead goes over what an earlier one has passed, unless that found the
end of a cell: however many there are, the text is read twice at the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Reading = Callable[[], Iterator[bytes]]
"""Reads a text from its beginning, each time that it is called."""


class Tape:
    """A text that is read once from its beginning."""

    def __init__(self, read: Reading) -> None:
        self._read = read
        self._blocks = read()
        self._returned: list[bytes] = []
        self._ahead: Iterator[bytes] | None = None
        self._block = b""
        self._block_end = 0
        self.position = 0
        """How many bytes have been read, less what was returned."""

    def next(self) -> bytes | None:
        """Return the next block, None at the end."""
        block = self._returned.pop() if self._returned else next(self._blocks, None)
        if block is not None:
            self.position += len(block)
        return block

    def give_back(self, block: bytes) -> None:
        """Take back what was read last, to be read again."""
        if block:
            self._returned.append(block)
            self.position -= len(block)

    def ahead(self, position: int) -> Iterator[bytes]:
        """Yield the text from a position on, which is not before the block that the last look ahead ended in."""
        if self._ahead is None:
            self._ahead = self._read()
        while True:
            skipped = position - (self._block_end - len(self._block))
            if skipped < len(self._block):
                yield self._block[skipped:]
                position = self._block_end
            block = next(self._ahead, None)
            if block is None:
                return
            self._block = block
            self._block_end += len(block)
