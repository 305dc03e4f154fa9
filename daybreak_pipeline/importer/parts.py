"""One file of a source, and what its beginning says: sniffed once, and handed on from phase to phase."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial

from daybreak_pipeline.importer import headers
from daybreak_pipeline.importer.encoding import Text
from daybreak_pipeline.importer.formats import BLOCK, DAMAGE, PLAIN_TEXTS, other_format, suffix_of, unreadable
from daybreak_pipeline.importer.headers import Header
from daybreak_pipeline.locations import Location


@dataclass(frozen=True)
class Sniffed:
    """What the beginning of a file says.

    ``suffix`` is the format as its name has it, ``really`` what its bytes are where they are no text. ``encoding`` is that of
    the first block; a later one may still settle it (``encoding.Text``). ``head_sha256`` is the hash, in hex, of the first
    block of its bytes.
    """

    suffix: str | None
    really: str | None
    encoding: str
    header: Header
    head_sha256: str


class Part:
    """One file of a source. ``text`` is its content as UTF-8, where it is a text."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self.name = path.name
        self.text = Text(path)
        self.sniff = cache(self._sniff)

    @property
    def is_parquet(self) -> bool:
        """Whether it is a parquet file, as its name says."""
        return suffix_of(self.path) == ".parquet"

    @property
    def size(self) -> int:
        """Its size in bytes now."""
        return self.path.stat().st_size

    def header(self, known: Collection[str] = ()) -> tuple[str, ...]:
        """Return what its columns are called, those that are ``known`` by that name (``names.of_columns``)."""
        return self.sniff().header.named(known)

    def is_empty(self) -> bool:
        """Whether it has no value at all, not even in a header."""
        if self.is_parquet:
            return not self.size
        try:
            return all(not block.strip() for block in self.text.blocks())
        except DAMAGE as error:
            raise unreadable(self.path, error) from None

    def _sniff(self) -> Sniffed:
        """Read its beginning; only the first call of ``sniff`` does.

        Raises:
            SourceError: it cannot be read.
        """
        suffix = suffix_of(self.path)
        try:
            with self.path.open("rb") as file:
                head = file.read(BLOCK)
                file.seek(0)
                if not self.is_parquet:
                    with closing(self.text.blocks(file)) as blocks:
                        header = headers.of_text(next(blocks, b""), follows=partial(next, blocks, None))
                elif head:
                    # Arrow takes 100 MB, which CSV does not need.
                    from daybreak_pipeline.importer import parquet

                    header = Header(parquet.column_names(self.path, file))
                else:
                    header = Header()
        except DAMAGE as error:
            raise unreadable(self.path, error) from None
        return Sniffed(
            suffix,
            other_format(head) if suffix in PLAIN_TEXTS else None,
            self.text.encoding,
            header,
            hashlib.sha256(head).hexdigest(),
        )
