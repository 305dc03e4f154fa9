"""The formats of an export's files: which one a name tells, and a file's bytes, decompressed."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import zstandard

from daybreak_pipeline.errors import SourceError

CSV_SUFFIXES = (
    *(kind + packed for kind in (".csv", ".tsv", ".txt") for packed in ("", ".gz", ".zst")),
    ".zip",
)
SUFFIXES = (*CSV_SUFFIXES, ".parquet")
BLOCK = 1 << 20
_LARGE = 1 << 30
"""A file of so many bytes is not left in the system's cache once it was read."""
DAMAGE = (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile)
"""What reading a file raises that is not what its name says, or is cut off."""


def suffix_of(path: Path) -> str | None:
    """Return which kind of file a path is, None for files that are no source."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


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
    elif path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            (name,) = archive.namelist()
            with archive.open(name) as file:
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
