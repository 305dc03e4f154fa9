"""Which file of an export holds which table, what its header says, and its fingerprint.

Files are only looked at here; their records are read by ``staging``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from daybreak_pipeline.errors import SourceError, UsageError
from daybreak_pipeline.tables import TABLES, Table

CSV_SUFFIXES = (".csv", ".csv.gz", ".csv.zst")
SUFFIXES = (*CSV_SUFFIXES, ".parquet")
BLOCK = 1 << 20
_LARGE = 1 << 30
"""A file of so many bytes is not left in the system's cache once it was read."""
DAMAGE = (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError)
"""What reading a file raises that is not what its name says, or is cut off."""
UNNAMED = "unnamed"
"""What a column is called whose name is empty, such as after a trailing comma."""
_HEADER_BYTES = 1 << 20
_REPEAT = re.compile(r"(.+) \(\d+\)")


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
        header = read_header(path)
        if set(table.signature) <= set(header):
            found.append(Source(path, header))
    if not found:
        wanted = " or ".join(f"{stem}.csv" for stem in table.file_stems)
        having = f" with a column {', '.join(table.signature)}" if table.signature else ""
        msg = f"{table.name}: no file {wanted}{having} in {directory}"
        raise SourceError(msg)
    if len(found) > 1 and len({source.sha256() for source in found}) > 1:
        names = ", ".join(source.path.name for source in found)
        msg = f"{table.name}: {names} all hold this table and differ: leave only one in {directory}"
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


def suffix_of(path: Path) -> str | None:
    """Return which kind of file a path is, None for files that are no source."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def read_header(path: Path) -> tuple[str, ...]:
    """Return the column names of a source, trimmed, in lower case; of a directory, those of all its parts.

    No name stands twice: the second column ``label`` is called ``label (2)``, as spreadsheets do.

    Raises:
        SourceError: the file cannot be read.
    """
    if path.is_dir():
        headers = [read_header(part) for part in Source(path, ()).parts]
        return tuple(dict.fromkeys(name for header in headers for name in header))
    return _file_header(path)


def named_like(name: str) -> str:
    """Return the name that a column has in the file, if it is (or is called like) the repeat of another."""
    repeat = _REPEAT.fullmatch(name)
    return repeat[1] if repeat else name


def repeats(header: Iterable[str]) -> dict[str, str]:
    """Return, for each column that repeats another of the header, the name of that one."""
    names = set(header)
    return {name: first for name in header if (first := named_like(name)) != name and first in names}


def _file_header(part: Path) -> tuple[str, ...]:
    try:
        if suffix_of(part) == ".parquet":
            import pyarrow.parquet as pq

            names = list(pq.read_schema(part).names)
        else:
            names = _csv_header(part)
    except DAMAGE as error:
        raise unreadable(part, error) from None
    return tuple(_each_once([name.strip().lower() or UNNAMED for name in names]))


def _each_once(names: list[str]) -> Iterator[str]:
    """Yield the names, those that have come before with a number that makes them another name."""
    taken: set[str] = set()
    for name in names:
        numbered, number = name, 1
        while numbered in taken or (number > 1 and numbered in names):
            number += 1
            numbered = f"{name} ({number})"
        taken.add(numbered)
        yield numbered


def unreadable(part: Path, error: Exception) -> SourceError:
    """Return the error that says of a file why it cannot be read (``DAMAGE``)."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged"
    return SourceError(f"cannot read {part.name}: {reason}")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a CSV file's content, decompressed."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path, "rb") as file:
            yield file  # type: ignore[misc]  # GzipFile is a readable IO[bytes] in all but name
    elif path.name.lower().endswith(".zst"):
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as file:
            yield file
    else:
        with path.open("rb") as file:
            yield file


def let_go(path: Path) -> None:
    """Let a large file, which was read, go from the system's cache: a server on this machine needs the room.

    It writes four times as much, and every page of it would have to wait for one of the file to be given up.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError), path.open("rb") as file:  # a courtesy: what was to be read of the file was read
        if os.fstat(file.fileno()).st_size >= _LARGE:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _csv_header(path: Path) -> list[str]:
    with opened(path) as file:
        start = file.read(_HEADER_BYTES)
    text = start.decode(encoding_of(start), errors="replace").removeprefix("\ufeff")
    if not text.strip():
        return []
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text)))


def encoding_of(start: bytes) -> str:
    """Return the encoding that a file's first bytes announce; UTF-8 unless a UTF-16 mark stands there."""
    return "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"


def delimiter_of(text: str) -> str:
    """Return the delimiter of a CSV text: the one that occurs most in its first line."""
    line = text.split("\n", 1)[0].split("\r", 1)[0]
    return max(",;\t|", key=line.count)


def _stem(path: Path) -> str:
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix else path.name
