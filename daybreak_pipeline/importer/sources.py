"""Which file of an export holds which table, what its header says, and its fingerprint.

Files are only looked at here; their records are read by ``staging``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from daybreak_pipeline.errors import SourceError, UsageError
from daybreak_pipeline.importer import headers
from daybreak_pipeline.importer.formats import BLOCK, SUFFIXES, suffix_of
from daybreak_pipeline.tables import TABLES, Table


@dataclass(frozen=True)
class Source:
    """The file, or directory of parts, that holds one table, and the names in its header."""

    path: Path
    header: tuple[str, ...]

    @property
    def uri(self) -> str:
        """Where the source is, for ledger and metadata."""
        return self.path.as_uri()

    @property
    def parts(self) -> list[Path]:
        """The files to read, in a stable order."""
        if not self.path.is_dir():
            return [self.path]
        return sorted(p for p in self.path.rglob("*") if p.is_file() and suffix_of(p))

    def size(self) -> int:
        """Return the source's size in bytes."""
        return sum(part.stat().st_size for part in self.parts)

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hex; of a directory, of its parts' names and contents."""
        return self._digest(lambda file: iter(lambda: file.read(BLOCK), b""))

    def head_sha256(self) -> str:
        """Return what ``sha256`` would be if each part ended after its first block: a glance at the content."""
        return self._digest(lambda file: [file.read(BLOCK)])

    def _digest(self, blocks: Callable[[IO[bytes]], Iterable[bytes]]) -> str:
        digest = hashlib.sha256()
        for part in self.parts:
            if self.path.is_dir():
                digest.update(f"{part.relative_to(self.path)}\0{part.stat().st_size}\0".encode())
            with part.open("rb") as file:
                for block in blocks(file):
                    digest.update(block)
        return digest.hexdigest()


def check_export(directory: Path) -> None:
    """Make sure that a directory can be an export at all.

    Raises:
        UsageError: it does not exist, cannot be read, or holds not one file of any table.
    """
    try:
        names = {_stem(path) for path in directory.iterdir() if suffix_of(path) or path.is_dir()}
    except FileNotFoundError:
        msg = f"there is no directory {directory}: give the directory that holds the export's files"
        raise UsageError(msg) from None
    except NotADirectoryError:
        msg = f"{directory} is a file: give the directory that holds the export's files"
        raise UsageError(msg) from None
    except OSError as error:
        msg = f"cannot read {directory}: {error.strerror}"
        raise UsageError(msg) from None
    if not names & {stem for table in TABLES.values() for stem in table.file_stems}:
        msg = (
            f"{directory} holds no file of an export: expected such as "
            f"{TABLES['kinships'].file_stems[0]}.csv or {TABLES['referrals'].file_stems[0]}.csv"
        )
        raise UsageError(msg)


def find(directory: Path, table: Table) -> Source:
    """Return the source of one table, by file name and header signature.

    Raises:
        SourceError: there is none, there are several that differ, or it cannot be read.
    """
    found: list[Source] = []
    for path in candidates(directory, table):
        names = read_header(path)
        if set(table.signature) <= set(names):
            found.append(Source(path, names))
    if not found:
        wanted = " or ".join(f"{stem}.csv" for stem in table.file_stems)
        having = f" with a column {', '.join(table.signature)}" if table.signature else ""
        msg = f"{table.name}: no file {wanted}{having} in {directory}"
        raise SourceError(msg)
    if len(found) > 1 and len({source.sha256() for source in found}) > 1:
        differing = ", ".join(source.path.name for source in found)
        msg = f"{table.name}: {differing} all hold this table and differ: leave only one in {directory}"
        raise SourceError(msg)
    return found[0]


def candidates(directory: Path, table: Table) -> list[Path]:
    """Return the paths whose name fits a table, the plan's name first."""
    return [
        path
        for stem in table.file_stems
        for path in [directory / stem, *(directory / f"{stem}{suffix}" for suffix in SUFFIXES)]
        if path.exists()
    ]


def read_header(path: Path) -> tuple[str, ...]:
    """Return the column names of a source, trimmed, in lower case; of a directory, those of all its parts.

    No name stands twice: the second column ``label`` is called ``label (2)``, as spreadsheets do.

    Raises:
        SourceError: the file cannot be read.
    """
    if path.is_dir():
        names = (name for part in Source(path, ()).parts for name in headers.read_header(part))
        return tuple(dict.fromkeys(names))
    return headers.read_header(path)


def _stem(path: Path) -> str:
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix else path.name
