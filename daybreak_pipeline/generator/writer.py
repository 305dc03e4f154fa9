"""Writing records to the files of an export, and which directories may be written to.

Knows formats, not contents. Nothing here holds more than one chunk.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.generator.source_columns import FILE_NAMES, SOURCES, Source
from daybreak_pipeline.tables import MARK_FILE

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_MARKED_FILE = SOURCES[0].file
_MARKS = (_MARKED_FILE, MARK_FILE)
_MARK = {b"daybreak.origin": b"synthetic"}
_NO_HEADER = pa_csv.WriteOptions(include_header=False)


class CsvFile:
    """A CSV file: comma, every text quoted, LF, UTF-8, an empty field for an empty cell."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        header = pa.schema([(name, pa.string()) for name in columns]).empty_table()
        pa_csv.write_csv(header, self._sink)

    def write(self, records: Any) -> None:
        """Append a table; it may be ragged, with fewer or more columns than the header."""
        pa_csv.write_csv(records, self._sink, _NO_HEADER)

    def break_off(self, record: Any) -> None:
        """Append a record whose last field opens a quote that is never closed. Nothing may follow."""
        buffer = io.BytesIO()
        pa_csv.write_csv(record, buffer, _NO_HEADER)
        self._sink.write(buffer.getvalue().rstrip(b"\n") + b',"She said that she would\n')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()


class ParquetFile:
    """A parquet file, marked as synthetic in its metadata."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._schema = schema.with_metadata(_MARK)
        self._writer = pq.ParquetWriter(str(path), self._schema, compression="snappy")

    def write(self, records: Any) -> None:
        """Append a table as a row group."""
        self._writer.write_table(records.cast(self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def prepare_directory(out: Path) -> None:
    """Create the directory, or empty it when it holds an earlier synthetic export.

    A real export has files of the same names. So files are replaced only where a mark says that all of
    this was generated: in the parquet file, or, where that is not among them, a file of its own.

    Raises:
        UsageError: the directory holds anything else, or cannot be made. Nothing was changed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = sorted(out.iterdir())
    except OSError as error:
        msg = f"cannot write to the directory {out}: {error.strerror}; name another one"
        raise UsageError(msg) from error
    foreign = next((p for p in present if p.name not in FILE_NAMES or not p.is_file()), None)
    if foreign is not None:
        msg = f"{out} holds {foreign.name}, which is no generated file; name an empty or a new directory"
        raise UsageError(msg)
    if present and not _is_marked(out):
        msg = f"{out} holds files that may be a real export; name an empty or a new directory"
        raise UsageError(msg)
    # The mark goes last: when this is interrupted, the next try still finds it.
    for path in sorted(present, key=lambda path: path.name in _MARKS):
        path.unlink()


def mark_directory(out: Path, sources: Collection[Source]) -> None:
    """Say in a file of its own that the directory is synthetic, where no parquet file is to say so."""
    if not any(source.file == _MARKED_FILE for source in sources):
        (out / MARK_FILE).write_text("daybreak generate wrote these files: nobody in them exists.\n")


def _is_marked(out: Path) -> bool:
    if (out / MARK_FILE).exists():
        return True
    try:
        metadata = pq.read_schema(str(out / _MARKED_FILE)).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return _MARK.items() <= metadata.items()
