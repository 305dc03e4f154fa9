"""The formats of an export's files: which one a name says, and a file's bytes, decompressed.

A compressed stream that ends too early is an error and never the end of the data. What the bytes mean is decided
elsewhere (``headers``, ``records``, ``parquet``).
"""

from __future__ import annotations

import gzip
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from daybreak_pipeline.errors import SourceAwayError, SourceError, SourceReplacedError
from daybreak_pipeline.locations import Location, ObjectPath, ReplacedError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN_TEXTS = (".csv", ".tsv", ".txt")
CSV_SUFFIXES = tuple(f"{text}{packed}" for text in PLAIN_TEXTS for packed in ("", ".gz", ".zst", ".zip"))
SUFFIXES = (*CSV_SUFFIXES, ".zip", ".parquet")
"""Suffixes of the files that can be read, a longer one before one that it ends with."""
BLOCK = 1 << 20
_LARGE = 1 << 30
"""A file of so many bytes is dropped from the system's cache once it was read."""
DAMAGE = (OSError, EOFError, zlib.error, zstd.ZstdError, zipfile.BadZipFile)
"""What reading a file raises that is cut off, is damaged, or is not what its name says."""
_MAGIC = (
    (b"PK\x03\x04", "a workbook or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "a workbook"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a parquet file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"SQLite format 3", "an SQLite database"),
)


def suffix_of(path: Location) -> str | None:
    """Return which kind of file a path is, None for files that are no source."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def unreadable(part: Location, error: Exception) -> SourceError:
    """Return the error that says of a file why it cannot be read (``DAMAGE``)."""
    if isinstance(error, EOFError):
        reason = "it is cut off: have it sent again"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = f"it is damaged, or not what its suffix {suffix_of(part)} says: have it sent again"
    kind = SourceError
    if isinstance(part, ObjectPath) and isinstance(error, OSError):
        kind = SourceReplacedError if isinstance(error, ReplacedError) else SourceAwayError
    return kind(f"cannot read {part.name}: {reason}")


def other_format(start: bytes) -> str | None:
    """Return what a file really is whose first bytes are no text, as far as they tell."""
    return next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)


@contextmanager
def opened(path: Location) -> Iterator[IO[bytes]]:
    """Open a CSV file's content, decompressed.

    Raises:
        SourceError: an archive does not hold exactly one file.
    """
    with path.open("rb") as raw, unpacked(path, raw) as file:
        yield file


@contextmanager
def unpacked(path: Location, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """Return the content of a CSV file that is open, decompressed as its name says.

    Raises:
        SourceError: an archive does not hold exactly one file.
    """
    name = path.name.lower()
    if name.endswith(".gz"):
        with gzip.open(raw, "rb") as file:
            yield file  # type: ignore[misc]  # GzipFile is a readable IO[bytes] in all but name
    elif name.endswith(".zst"):
        with zstd.open(raw, "rb") as file:
            yield file  # type: ignore[misc]  # as GzipFile
    elif name.endswith(".zip"):
        with zipfile.ZipFile(raw) as archive, archive.open(_only_member(path, archive)) as file:
            yield file
    else:
        yield raw


def _only_member(path: Location, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file of an archive; what macOS and editors add is none."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not any(part.startswith((".", "__MACOSX")) for part in member.filename.split("/"))
    ]
    if len(members) != 1:
        msg = f"{path.name} holds {len(members)} files: an archive must hold exactly one"
        raise SourceError(msg)
    if members[0].flag_bits & 1:
        msg = f"{path.name} is protected with a password: send it without one"
        raise SourceError(msg)
    if not members[0].filename.lower().endswith(PLAIN_TEXTS):
        msg = f"{path.name} holds no .csv, .tsv or .txt file: an archive must hold exactly one"
        raise SourceError(msg)
    return members[0]


def let_go(file: IO[bytes]) -> None:
    """Let a large file, which was read, go from the system's cache: a server on this machine needs the room.

    It writes four times as much, and every page of it would have to wait for one of the file to be given up.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):  # a courtesy: what was to be read of the file was read
        if os.fstat(file.fileno()).st_size >= _LARGE:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
