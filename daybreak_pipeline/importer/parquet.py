"""Reads parquet as CSV, so that it can be staged like any other file; what a value's text is, ``arrow_text`` says.

Says truly why a file cannot be read: cut off, damaged, encrypted, no parquet at all, or of a type that is not supported.
Only what is raised while reading is taken for that; what converting raises is a fault of ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from daybreak_pipeline import settings
from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import arrow_text, limits, names
from daybreak_pipeline.importer.arrow_text import Text
from daybreak_pipeline.importer.formats import unreadable
from daybreak_pipeline.locations import Location, ObjectPath

_RECORDS_AT_ONCE = 20_000
_BYTES_AT_ONCE = 16 << 20
"""Records are converted together until there are so many, or they have so many bytes."""
_RECORDS_PER_READ = 1000
"""Few, because a small page may unpack to a long text for each of its records."""
_INT96_SECONDS = (1 << 63) // 1_000_000
"""Beyond so many seconds around 1970 a 96-bit time does not fit microseconds, and Arrow wraps it."""
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_SMALLEST = 12
_T = TypeVar("_T")


def column_names(part: Location, raw: IO[bytes]) -> tuple[str, ...]:
    """Return the names of a file's columns as they are in it: data, never to be shown.

    Args:
        part: where it is.
        raw: the file, open.

    Raises:
        SourceError: the file cannot be read.
    """
    with _file(part, raw) as file:
        return tuple(file.schema_arrow.names)


def csv_blocks(part: Location) -> Iterator[tuple[bytes, int]]:
    """Yield a parquet file as CSV without a header, with each block how many records it has.

    The first column says why a record is malformed, and is empty where it is not; the file's columns follow. A malformed
    record keeps all its values.

    Raises:
        SourceError: the file cannot be read.
    """
    options = pa.csv.WriteOptions(include_header=False)
    records = 0
    with _attempt(part, partial(_source, part)) as raw, _file(part, raw) as file:
        called = names.of_columns(file.schema_arrow.names, ())
        for texts in _columns(part, raw, file) if called else ():
            columns, too_large = _cut(called, texts)
            malformed = _malformed(called, columns, too_large)
            cells = [malformed, *(column.cells for column in columns)]
            table = pa.table(cells, names=[str(i) for i in range(len(cells))])
            sink = io.BytesIO()
            pa.csv.write_csv(table, sink, options)
            records += len(malformed)
            yield sink.getvalue(), len(malformed)
        if called and records != file.metadata.num_rows:
            raise _unreadable(part, "it is damaged: it does not have as many records as it says")


def _source(part: Location) -> Any:
    return pa.PythonFile(part.open("rb")) if isinstance(part, ObjectPath) else pa.OSFile(str(part))


def _columns(part: Location, raw: Any, file: Any) -> Iterator[list[Text]]:
    """Yield a file's records, a number of them at a time, as columns of text."""
    if not _int96(file):
        for batch in _batches(part, file):
            yield [arrow_text.text(column) for column in batch.columns]
        return
    # In seconds no 96-bit time is wrapped: that is how one is known that is wrapped in microseconds.
    with _file(part, raw, int96_unit="s") as in_seconds:
        for batch, coarse in zip(_batches(part, file), _batches(part, in_seconds), strict=True):
            yield [
                _unwrapped(part, position, *pair)
                for position, pair in enumerate(zip(batch.columns, coarse.columns, strict=True), 1)
            ]


def _int96(file: Any) -> bool:
    """Whether a file has times of parquet's old type of 96 bits."""
    leaves = range(len(file.schema))
    return any(file.schema.column(leaf).physical_type == "INT96" for leaf in leaves)


def _unwrapped(part: Location, position: int, column: Any, in_seconds: Any) -> Text:
    """Return a column that may have 96-bit times as text, taking those that microseconds cannot hold in seconds."""
    far = [_far(times) for times in _times(in_seconds)]
    if not any(pc.any(wrapped).as_py() for wrapped in far):
        return arrow_text.text(column)
    if not pa.types.is_timestamp(column.type):
        raise _unreadable(part, f"column {position} has a time inside it that is out of range")
    cells = pc.if_else(far[0], arrow_text.text(in_seconds).cells, arrow_text.text(column).cells)
    return Text(cells)


def _times(column: Any) -> Iterator[Any]:
    """Yield the times in seconds that an array has, also inside others."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.unit == "s":
            yield column
    elif pa.types.is_map(kind):
        yield from _times(column.keys)
        yield from _times(column.items)
    elif pa.types.is_struct(kind):
        for inner in column.flatten():
            yield from _times(inner)
    elif pa.types.is_nested(kind):
        yield from _times(column.flatten())


def _far(times: Any) -> Any:
    return pc.fill_null(pc.greater_equal(pc.abs(times.cast(pa.int64())), _INT96_SECONDS), False)


def _cut(called: tuple[str, ...], columns: list[Text]) -> tuple[list[Text], list[str]]:
    """Return columns with large cells cut where a cell or a record is too large, and for each record why it is.

    Where all are small, as the total size shows, nothing is cut.
    """
    limit = settings.max_cell()
    if all(column.cells.nbytes <= limit for column in columns):
        return columns, []
    sizes = [_sizes(column.cells) for column in columns]
    reasons = [""] * len(sizes[0])
    for record in np.flatnonzero(sum(sizes) > limits.RECORD):
        reasons[record] = limits.record_too_large(int(sum(size[record] for size in sizes)), limits.RECORD)
    for name, size in zip(called, sizes, strict=True):
        for record in np.flatnonzero(size > limit):
            reasons[record] = limits.cell_too_large(name, int(size[record]), limit)
    refused = np.array([bool(reason) for reason in reasons])
    cut = [
        Text(_with_cut(column.cells, refused & (size > limits.KEPT)), column.faults)
        for column, size in zip(columns, sizes, strict=True)
    ]
    return cut, reasons


def _sizes(cells: Any) -> Any:
    """Return how many bytes each text of an array has."""
    return np.asarray(pc.fill_null(pc.binary_length(cells), 0), np.int64)


def _with_cut(cells: Any, which: Any) -> Any:
    """Return texts, some of them cut."""
    places = np.flatnonzero(which)
    if not places.size:
        return cells
    # Only their beginnings become objects of Python.
    large = cells.filter(pa.array(which)).cast(pa.binary())
    begins = pc.binary_slice(large, 0, limits.BEGINNING).to_pylist()
    sizes = pc.binary_length(large).to_pylist()
    kept = [limits.kept("", text, size, is_whole=False)[1] for text, size in zip(begins, sizes, strict=True)]
    return pc.replace_with_mask(cells, pa.array(which), pa.array(kept, pa.binary()).cast(pa.string()))


def _malformed(called: tuple[str, ...], columns: list[Text], too_large: list[str]) -> Any:
    """Return for each record why PostgreSQL could not hold it, an empty text if it can."""
    reasons = [
        pc.if_else(pa.array(where), f"{why} in {name}; ", "")
        for name, column in zip(called, columns, strict=True)
        for why, where in column.faults.items()
    ]
    if any(too_large):
        reasons.append(pa.array(too_large, pa.string()))
    if not reasons:
        return pa.array([""] * len(columns[0].cells), pa.string())
    return pc.ascii_rtrim(pc.binary_join_element_wise(*reasons, ""), "; ")


def _batches(part: Location, file: Any) -> Iterator[Any]:
    """Yield a file's records, as many at a time as are converted well and take little memory."""
    waiting: list[Any] = []
    records = size = 0
    for batch in _read(part, file):
        waiting.append(batch)
        records += batch.num_rows
        size += batch.nbytes + int(_in_dictionaries(batch).sum())
        if records >= _RECORDS_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield pa.concat_batches(waiting)
            waiting, records, size = [], 0, 0
    if waiting:
        yield pa.concat_batches(waiting)


def _read(part: Location, file: Any) -> Iterator[Any]:
    """Yield a file's records as they are read: by row groups, over which Arrow cannot read some nested types."""
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        width = max(1, group.total_byte_size // max(1, group.num_rows))
        each = max(1, min(_RECORDS_PER_READ, _BYTES_AT_ONCE // width))
        read = _attempt(part, partial(file.iter_batches, each, row_groups=[number]))
        while (batch := _attempt(part, partial(next, read, None))) is not None:
            yield from _apart(batch)


def _apart(batch: Any) -> Iterator[Any]:
    """Yield records together whose texts take little memory once dictionaries are resolved, or else a single one."""
    ends = np.cumsum(_in_dictionaries(batch))
    begin = 0
    while begin < batch.num_rows:
        before = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _BYTES_AT_ONCE, side="right")))
        yield batch.slice(begin, end - begin)
        begin = end


def _in_dictionaries(batch: Any) -> Any:
    """Return for each record how many bytes its texts have that are stored once for many records."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and arrow_text.is_bytes(column.type.value_type):
            lengths = pc.binary_length(column.dictionary).cast(pa.int64())
            sizes += np.asarray(pc.fill_null(lengths.take(column.indices), 0), np.int64)
    return sizes


def _file(part: Location, raw: Any, int96_unit: str = "us") -> Any:
    """Return an open file as parquet.

    Raises:
        SourceError: it is none, it is not whole, or it has a type that is not supported.
    """
    _look_at_ends(part, raw)
    file = _attempt(
        part,
        partial(
            pq.ParquetFile,
            raw,
            pre_buffer=False,
            coerce_int96_timestamp_unit=int96_unit,
            page_checksum_verification=True,
            arrow_extensions_enabled=True,
        ),
    )
    for position, kind in enumerate(file.schema_arrow.types, 1):
        if (found := arrow_text.unsupported(kind)) is not None:
            raise _unreadable(part, f"it has a type that is not supported (column {position}: {found})")
    for leaf, position in enumerate(_columns_of_leaves(file.schema_arrow)):
        # Arrow reads parquet's own intervals as mere bytes.
        if file.schema.column(leaf).converted_type == "INTERVAL":
            raise _unreadable(part, f"it has a type that is not supported (column {position}: interval)")
    return file


def _columns_of_leaves(schema: Any) -> list[int]:
    """Return of each column as parquet counts them, inside structs and lists too, in which of ours it is."""

    def leaves(kind: Any) -> int:
        if isinstance(kind, pa.BaseExtensionType):
            return leaves(kind.storage_type)
        return (
            sum(leaves(kind.field(i).type) for i in range(kind.num_fields)) if pa.types.is_nested(kind) else 1
        )

    return [position for position, kind in enumerate(schema.types, 1) for _ in range(leaves(kind))]


def _look_at_ends(part: Location, raw: IO[bytes]) -> None:
    """Refuse what its first and last bytes tell to be no whole parquet file."""
    try:
        raw.seek(0)
        begin = raw.read(4)
        size = raw.seek(0, io.SEEK_END)
        raw.seek(max(0, size - 8))
        end = raw.read()
    except OSError as error:
        raise unreadable(part, error) from None
    if not size:
        raise _unreadable(part, "it is empty: not even a parquet file without records is")
    if begin == _ENCRYPTED or end.endswith(_ENCRYPTED):
        raise _unreadable(part, "it is encrypted: send it without")
    if begin != _MAGIC:
        raise _unreadable(
            part, "it is damaged: have it sent again" if end.endswith(_MAGIC) else "it is not a parquet file"
        )
    if size < _SMALLEST or not end.endswith(_MAGIC):
        raise unreadable(part, EOFError())
    if int.from_bytes(end[:4], "little") + _SMALLEST > size:
        raise _unreadable(part, "it is damaged: have it sent again")


def _attempt(part: Location, read: Callable[[], _T]) -> _T:
    """Read something of a file.

    Raises:
        SourceError: that is not possible, with the reason. Arrow's own words may quote the file, and are not repeated.
    """
    try:
        return read()
    except MemoryError:
        raise
    except UnicodeDecodeError:
        raise _unreadable(part, "the name of a column is not UTF-8") from None
    except NotImplementedError:
        raise _unreadable(part, "it uses a feature of parquet that is not supported") from None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.strerror:
            raise unreadable(part, error) from None
        crypt = "crypt" in str(error).lower()
        reason = "it is encrypted: send it without" if crypt else "it is damaged: have it sent again"
        raise _unreadable(part, reason) from None


def _unreadable(part: Location, reason: str) -> SourceError:
    return SourceError(f"cannot read {part.name}: {reason}")
