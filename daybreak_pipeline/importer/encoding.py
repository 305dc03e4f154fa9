"""The encoding of a CSV file, and its text as UTF-8.

UTF-16 by its mark, or because every other byte of its head is zero; UTF-8 if the file has no byte above 127 or at least
one valid sequence of several bytes; else Windows-1252. One bad byte decides for no other record: bytes that no character
has stay in the text as bytes that are not valid UTF-8, and whoever takes records apart finds them there.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Generator, Iterator
from typing import IO

import numpy as np

from daybreak_pipeline.importer.formats import BLOCK, opened, unpacked
from daybreak_pipeline.locations import Location

UTF_8, WINDOWS_1252 = "UTF-8", "Windows-1252"
_UTF_16 = {"UTF-16 (little-endian)": "utf-16-le", "UTF-16 (big-endian)": "utf-16-be"}
_HEAD = 16
"""So many bytes of a file, or all of a shorter one, tell whether every other one is zero."""
_SEVERAL_BYTES = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_LONGEST_SEQUENCE = 4


class Text:
    """A file's text. ``encoding`` is known once a byte that depends on it has been read; until then it is UTF-8."""

    def __init__(self, part: Location, block: int = BLOCK) -> None:
        self.encoding = UTF_8
        self._part = part
        self._block = block
        self._settled = False

    def blocks(self, raw: IO[bytes] | None = None) -> Generator[bytes]:
        """Yield the text as UTF-8, without marks at its beginning.

        Args:
            raw: the file, if it is open already.
        """
        marked = True
        for block in self._converted(raw):
            while marked and block.startswith(codecs.BOM_UTF8):
                block = block.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 - some writers put two
            marked = False
            if block:
                yield block

    def _converted(self, raw: IO[bytes] | None) -> Iterator[bytes]:
        with unpacked(self._part, raw) if raw else opened(self._part) as file:
            # A mark is never cut in two: the first block has the file's head, however small blocks are.
            block = file.read(max(self._block, _HEAD))
            kind = utf_16(block[:_HEAD])
            if kind:
                self.encoding, self._settled = kind, True
                yield from _from_utf_16(block, file, self._block, _UTF_16[kind])
                return
            while block:
                yield self._utf_8(block)
                block = file.read(self._block)

    def _utf_8(self, block: bytes) -> bytes:
        if not self._settled and not block.isascii():
            self._settled = True
            if not (_has_several(block) or _is_utf_8(self._part)):
                self.encoding = WINDOWS_1252
        if self.encoding == WINDOWS_1252:
            return block.decode("cp1252", "surrogateescape").encode("utf-8", "surrogateescape")
        return block


def utf_16(head: bytes) -> str | None:
    """Return which UTF-16 a file's first bytes are, None for any other encoding."""
    little, big = _UTF_16
    if head.startswith(codecs.BOM_UTF16_LE):
        return little
    if head.startswith(codecs.BOM_UTF16_BE):
        return big
    pairs = head[: len(head) // 2 * 2]
    first, second = pairs[::2], pairs[1::2]
    if len(pairs) > 2 and not any(second) and all(first):  # noqa: PLR2004 - one pair may be anything
        return little
    if len(pairs) > 2 and not any(first) and all(second):  # noqa: PLR2004
        return big
    return None


def _from_utf_16(block: bytes, file: IO[bytes], size: int, codec: str) -> Iterator[bytes]:
    """Yield UTF-16 as UTF-8. Halves of pairs, and half a character at the end, become bytes that UTF-8 does not have."""
    decoder = codecs.getincrementaldecoder(codec)("surrogatepass")
    while block:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
        block = file.read(size)
    left, _ = decoder.getstate()
    if left:
        yield b"\xff"


def _has_several(block: bytes) -> bool:
    """Whether bytes hold a valid UTF-8 sequence of several bytes."""
    codes = np.frombuffer(block, np.uint8)
    # Most files that are not UTF-8 have no two such bytes in a row, which NumPy sees at once.
    if not ((codes[:-1] >= 0xC2) & (codes[1:] >= 0x80) & (codes[1:] < 0xC0)).any():  # noqa: PLR2004 - UTF-8's ranges
        return False
    return _SEVERAL_BYTES.search(block) is not None


def _is_utf_8(part: Location) -> bool:
    """Whether a file has a valid UTF-8 sequence of several bytes anywhere."""
    with opened(part) as file:
        tail = b""
        while block := file.read(BLOCK):
            if _has_several(tail + block):
                return True
            tail = block[1 - _LONGEST_SEQUENCE :]
    return False
