"""Turns parquet into text, column by column, so that it can be staged like CSV.

Values are converted whole columns at a time by Arrow: timestamps to ISO with their zone, lists and
structs to JSON. What the text means is decided later, as for any file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_RECORDS_PER_BATCH = 20_000


def csv_blocks(part: Path) -> Iterator[tuple[bytes, int]]:
    """Yield a parquet file as CSV without a header: why a record is malformed, then the file's columns;
    with each block how many records it has.

    Raises:
        ValueError: the file is damaged.
    """
    options = pa.csv.WriteOptions(include_header=False)
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(_RECORDS_PER_BATCH):
            columns = [text(column) for column in batch.columns]
            malformed = _nul_characters(columns, batch.num_rows)
            columns = [pc.if_else(pc.is_null(malformed), column, None) for column in columns]
            table = pa.table([malformed, *columns], names=[str(i) for i in range(len(columns) + 1)])
            sink = io.BytesIO()
            pa.csv.write_csv(table, sink, options)
            yield sink.getvalue(), batch.num_rows


def text(column: Any) -> Any:
    """Return an Arrow array as text, NULL staying NULL. Lists and structs become JSON."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return text(column.dictionary_decode())
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if _is_nested(kind):
        return pc.if_else(column.is_valid(), json_text(column), None)
    if pa.types.is_timestamp(kind):
        plain = column.cast(pa.timestamp(kind.unit)).cast(pa.string())
        return pc.binary_join_element_wise(plain, "+00", "") if kind.tz else plain
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_nan(column), None, column).cast(pa.string())
    return column.cast(pa.string())


def json_text(column: Any) -> Any:
    """Return an Arrow array as JSON text, NULL becoming ``null``."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return json_text(column.dictionary_decode())
    if pa.types.is_struct(kind):
        written = _json_object(column)
    elif _is_nested(kind):
        written = _json_array(column)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        written = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        written = pc.if_else(pc.is_finite(column), column, None).cast(pa.string())
    else:
        written = _json_string(text(column))
    return pc.fill_null(pc.if_else(column.is_valid(), written, None), "null")


def _is_nested(kind: Any) -> bool:
    return bool(
        pa.types.is_struct(kind)
        or pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_map(kind)
    )


def _json_string(strings: Any) -> Any:
    r"""Quote and escape, in the order that keeps a backslash from being escaped twice."""
    escapes = [("\\", "\\\\"), ('"', '\\"')] + [(chr(code), f"\\u{code:04x}") for code in range(32)]
    strings = reduce(lambda done, pair: pc.replace_substring(done, *pair), escapes, strings)
    return pc.binary_join_element_wise('"', strings, '"', "")


def _json_object(column: Any) -> Any:
    names = [column.type.field(i).name for i in range(column.type.num_fields)]
    if not names:
        return pa.array(["{}"] * len(column))
    keys = [json_text(pa.array([name]))[0].as_py() for name in names]
    fields = [
        pc.binary_join_element_wise(f"{key}: ", json_text(values), "")
        for key, values in zip(keys, column.flatten(), strict=True)
    ]
    return pc.binary_join_element_wise("{", pc.binary_join_element_wise(*fields, ", "), "}", "")


def _json_array(column: Any) -> Any:
    """Join each list's elements, themselves turned into JSON first. A map is a list of key and value."""
    if pa.types.is_map(column.type):
        key = pa.field("key", column.type.key_type, nullable=False)
        entry = pa.struct([key, pa.field("value", column.type.item_type)])
    else:
        entry = column.type.value_type
    column = column.cast(pa.large_list(entry))
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends.cast(pa.int64())])
    elements = json_text(column.flatten()).cast(pa.large_string())
    lists = pa.LargeListArray.from_arrays(offsets, elements)
    joined = pc.binary_join(lists, pa.scalar(", ", pa.large_string())).cast(pa.string())
    return pc.binary_join_element_wise("[", joined, "]", "")


def _nul_characters(columns: list[Any], length: int) -> Any:
    """Return, for each record, why PostgreSQL could not hold it: text with a NUL character. NULL if it can."""
    masks = [pc.fill_null(pc.match_substring(column, "\0"), False) for column in columns]
    found = reduce(pc.or_, masks) if masks else pa.array([False] * length)
    return pc.if_else(found, "a NUL character", pa.scalar(None, pa.string()))
