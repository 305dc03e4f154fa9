r"""Text of Arrow arrays, whole columns at a time: what a value is, whichever type it was stored in.

One value has one text. A time is written without the zeros at its end, whatever its unit; so are decimals; a whole number
is a whole number, also as a float. Lists, structs and maps become JSON. What a text means is decided later, as for a CSV
file: a year that no time may have is written as it is, for the rules of its column to refuse.

Some values have no text that PostgreSQL can hold: bytes that are not UTF-8, and the NUL character. They are written
so that a person can read them (bytes as ``\x`` and hexadecimal digits, NUL as ``␀`` and inside JSON as ``\u0000``), and
returned as *faults*, because their record must not load.

Only values at fault are looked at one by one in Python.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daybreak_pipeline.importer import names

Mask: TypeAlias = npt.NDArray[np.bool_]
NO_TEXT = "bytes that are no text"
NUL = "a NUL character"
NO_TIME = "a time of day that no clock shows"

_PLACES = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DECIMALS = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}
_UNFORMATTED = "<value out of range"
"""How Arrow begins the text of a time that it cannot write: a year that does not fit 16 bits, or no time of day."""
_UTF_8 = (
    r"\A(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]|[\xe1-\xec\xee\xef]"
    r"[\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*\z"
)
"""Well-formed UTF-8 (Unicode, table 3-7), for a search through bytes."""


class Text(NamedTuple):
    """A column as text, NULL where the value is NULL, and by kind of fault which of its values have it."""

    cells: Any
    faults: dict[str, Mask] = {}  # noqa: RUF012 - never changed


def text(column: Any) -> Text:
    """Return an Arrow array as text. Lists, structs and maps become JSON."""
    column = _plain(column)
    if _is_nested(column.type):
        written = _json(column)
        return Text(_where(column.is_valid(), written.cells), written.faults)
    written = _leaf(column)
    if NUL in written.faults:
        return Text(pc.replace_substring(written.cells, "\0", "␀"), written.faults)
    return written


def unsupported(kind: Any) -> Any:
    """Return the type in a type that has no text here, None if all have."""
    if isinstance(kind, pa.BaseExtensionType):
        return unsupported(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return unsupported(kind.value_type)
    if pa.types.is_map(kind):
        return unsupported(kind.key_type) or unsupported(kind.item_type)
    if _is_nested(kind):
        found = (unsupported(kind.field(i).type) for i in range(kind.num_fields))
        return next((inner for inner in found if inner is not None), None)
    plain = (
        pa.types.is_null,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_time,
        pa.types.is_timestamp,
        pa.types.is_duration,
        is_bytes,
    )
    return None if any(holds(kind) for holds in plain) else kind


def _plain(column: Any) -> Any:
    """Return an array without what only says how its values are stored: dictionaries, runs, extensions but UUID."""
    while True:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pa.types.is_run_end_encoded(column.type):
            column = pc.run_end_decode(column)
        elif isinstance(column.type, pa.BaseExtensionType) and not _is_uuid(column.type):
            column = column.storage
        else:
            return column


def _is_uuid(kind: Any) -> bool:
    return isinstance(kind, pa.UuidType)


def is_bytes(kind: Any) -> bool:
    """Whether a type holds texts or bytes."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_nested(kind: Any) -> bool:
    return bool(
        pa.types.is_struct(kind)
        or pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
        or pa.types.is_map(kind)
    )


def _where(condition: Any, cells: Any) -> Any:
    """Return cells where a condition holds, NULL elsewhere."""
    return pc.if_else(condition, cells, None)


def _leaf(column: Any) -> Text:  # noqa: PLR0911 - one for each kind
    """Return an array of single values as text; NUL characters stay in it."""
    kind = column.type
    if is_bytes(kind):
        return _characters(column)
    if _is_uuid(kind):
        return Text(_uuids(column.storage))
    if pa.types.is_timestamp(kind):
        moments = _trimmed(_times(column.cast(pa.timestamp(kind.unit)), kind.unit), kind.unit)
        return Text(pc.binary_join_element_wise(moments, "Z", "") if kind.tz else moments)
    if pa.types.is_date(kind):
        return Text(_times(column.cast(pa.date32()), "D"))
    if pa.types.is_time(kind):
        cells = _trimmed(column.cast(pa.string()), kind.unit)
        unformatted = _mask(pc.starts_with(cells, _UNFORMATTED))
        return Text(cells, {NO_TIME: unformatted} if unformatted.any() else {})
    if pa.types.is_duration(kind):
        seconds = _with_point(column.view(pa.int64()).cast(pa.string()), _PLACES[kind.unit])
        return Text(pc.binary_join_element_wise("PT", seconds, "S", ""))
    if pa.types.is_floating(kind):
        return Text(_floats(column))
    if pa.types.is_decimal(kind):
        unscaled = column.view(_DECIMALS[kind.bit_width](kind.precision, 0)).cast(pa.string())
        return Text(_with_point(unscaled, kind.scale))
    return Text(column.cast(pa.string()))


def _mask(condition: Any) -> Mask:
    return np.asarray(pc.fill_null(condition, False).to_numpy(zero_copy_only=False), np.bool_)


def _characters(column: Any) -> Text:
    """Return texts or bytes as text, with the values at fault: those that are no UTF-8, and those that hold NUL."""
    faults: dict[str, Mask] = {}
    content = column.cast(pa.binary())
    try:
        cells = content.cast(pa.string())  # this looks at every byte: a file may hold anything as a text
    except pa.ArrowInvalid:
        valid = pc.match_substring_regex(content, _UTF_8)
        faults[NO_TEXT] = ~_mask(pc.fill_null(valid, True))
        invalid = pa.array(faults[NO_TEXT])
        shown = [f"\\x{value.hex()}".encode() for value in content.filter(invalid).to_pylist()]
        cells = pc.replace_with_mask(content, invalid, pa.array(shown, pa.binary())).cast(pa.string())
    if not _bytes_of(cells).all() and (found := _mask(pc.match_substring(cells, "\0"))).any():
        faults[NUL] = found
    return Text(cells, faults)


def _bytes_of(strings: Any) -> npt.NDArray[np.uint8]:
    """Return the bytes of an array of type string, without copying them."""
    _, offsets, data = strings.buffers()
    if data is None or not len(strings):
        return np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[[strings.offset, strings.offset + len(strings)]]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[1]]


def _uuids(column: Any) -> Any:
    """Return sixteen bytes each in the usual form of a UUID."""
    count = len(column)
    if not count:
        return pa.array([], pa.string())
    start = column.offset * 16
    content = np.frombuffer(column.buffers()[1], np.uint8)[start : start + count * 16].reshape(count, 16)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    written = np.full((count, 36), ord("-"), np.uint8)
    places = [place for place in range(36) if place not in {8, 13, 18, 23}]
    written[:, places[::2]] = digits[content >> 4]
    written[:, places[1::2]] = digits[content & 15]
    offsets = np.arange(count + 1, dtype=np.int32) * 36
    cells = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(written))
    return _where(column.is_valid(), cells)


def _times(column: Any, unit: str) -> Any:
    """Return timestamps without a zone, or days, as text; NumPy writes years that Arrow does not."""
    cells = column.cast(pa.string())
    far = pc.starts_with(cells, _UNFORMATTED)
    if not pc.any(far).as_py():
        return cells
    numbers = column.view(pa.int32() if unit == "D" else pa.int64()).filter(far).cast(pa.int64())
    written = numbers.to_numpy().astype(f"datetime64[{unit}]").astype(str)
    return pc.replace_with_mask(cells, far, pc.replace_substring(pa.array(written, pa.string()), "T", " "))


def _trimmed(cells: Any, unit: str) -> Any:
    """Return times without trailing zeros in their fraction; each text has a fraction."""
    return pc.ascii_rtrim(pc.ascii_rtrim(cells, "0"), ".") if _PLACES[unit] else cells


def _with_point(digits: Any, places: int) -> Any:
    """Return whole numbers divided by ten to the power of ``places``, without zeros at the end of a fraction."""
    if places == 0:
        return digits
    if places < 0:
        return pc.if_else(
            pc.equal(digits, "0"), digits, pc.binary_join_element_wise(digits, "0" * -places, "")
        )
    sign = pc.if_else(pc.starts_with(digits, "-"), "-", "")
    padded = pc.ascii_lpad(pc.ascii_ltrim(digits, "-"), places + 1, "0")
    whole = pc.utf8_slice_codeunits(padded, 0, -places)
    fraction = pc.ascii_rtrim(pc.utf8_slice_codeunits(padded, -places), "0")
    point = pc.if_else(pc.equal(fraction, ""), "", ".")
    return pc.binary_join_element_wise(sign, whole, point, fraction, "")


def _floats(column: Any) -> Any:
    """Return the shortest texts that name the floats, NaN being NULL; whole numbers in full where that is exact.

    Beyond what a float can hold exactly, the digits in full would be a whole number that nobody wrote: such a number
    keeps its exponent, and a column of whole numbers refuses it.
    """
    column = _where(pc.invert(pc.is_nan(column)), column)
    cells = column.cast(pa.string())
    wide = column.cast(pa.float64())
    whole = pc.and_(pc.is_finite(wide), pc.equal(pc.trunc(wide), wide))
    small = pc.and_(whole, pc.less_equal(pc.abs(wide), 2.0**24))
    cells = pc.if_else(small, _where(small, wide).cast(pa.int64()).cast(pa.string()), cells)
    large = pc.and_(pc.and_(whole, pc.invert(small)), pc.less(pc.abs(wide), 1e75))
    if not pc.any(large).as_py():
        return cells
    exact = _where(large, wide).cast(pa.decimal256(76, 0))
    same = pc.equal(exact, _where(large, cells).cast(pa.decimal256(76, 0)))
    cells = pc.if_else(pc.fill_null(same, False), exact.cast(pa.string()), cells)
    # A float of 32 bits or fewer is written in full before it has an exponent.
    rounded = pc.and_(pc.fill_null(pc.invert(same), False), pc.invert(pc.match_substring(cells, "e")))
    if not pc.any(rounded).as_py():
        return cells
    shown = [np.format_float_scientific(value) for value in column.filter(rounded).to_numpy()]
    return pc.replace_with_mask(cells, rounded, pa.array(shown, pa.string()))


def _json(column: Any) -> Text:
    """Return an Arrow array as JSON text, NULL becoming ``null``."""
    column = _plain(column)
    kind = column.type
    if pa.types.is_struct(kind):
        written = _json_object(column)
    elif _is_nested(kind):
        written = _json_array(column)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        written = _leaf(column)
    elif pa.types.is_floating(kind):
        cells = _floats(column)
        # JSON has no infinity: it is a text there.
        written = Text(pc.if_else(pc.is_inf(column), _json_string(cells), cells))
    else:
        leaf = _leaf(column)
        written = Text(_json_string(leaf.cells), leaf.faults)
    return Text(pc.fill_null(_where(column.is_valid(), written.cells), "null"), written.faults)


def _json_string(strings: Any) -> Any:
    r"""Quote and escape, in the order that keeps a backslash from being escaped twice."""
    escapes = [("\\", "\\\\"), ('"', '\\"')]
    held = _bytes_of(strings)
    escapes += [(chr(code), f"\\u{code:04x}") for code in np.unique(held[held < ord(" ")])]
    strings = reduce(lambda done, pair: pc.replace_substring(done, *pair), escapes, strings)
    return pc.binary_join_element_wise('"', strings, '"', "")


def _json_object(column: Any) -> Text:
    """Return structs as JSON objects. A second field ``a`` is called ``a (2)``: of equal keys JSONB keeps only one."""
    fields = names.each_once([column.type.field(i).name for i in range(column.type.num_fields)])
    keys = _json_string(pa.array(list(fields), pa.string())).to_pylist()
    if not keys:
        return Text(pa.array(["{}"] * len(column), pa.string()))
    values = [_json(values) for values in column.flatten()]
    written = [
        pc.binary_join_element_wise(f"{key}: ", value.cells, "")
        for key, value in zip(keys, values, strict=True)
    ]
    faults: dict[str, Mask] = {}
    for value in values:
        for why, where in value.faults.items():
            faults[why] = faults[why] | where if why in faults else where
    joined = pc.binary_join_element_wise(*written, ", ")
    return Text(pc.binary_join_element_wise("{", joined, "}", ""), faults)


def _json_array(column: Any) -> Text:
    """Join each list's elements, themselves turned into JSON first. A map is a list of key and value."""
    if pa.types.is_map(column.type):
        entries = pa.StructArray.from_arrays([column.keys, column.items], ["key", "value"])
        column = pa.ListArray.from_arrays(column.offsets, entries)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    elements = _json(column.flatten())
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), elements.cells.cast(pa.large_string()))
    joined = pc.binary_join(lists, pa.scalar(", ", pa.large_string())).cast(pa.string())
    rows = np.repeat(np.arange(len(column)), lengths)
    faults = {why: np.isin(np.arange(len(column)), rows[where]) for why, where in elements.faults.items()}
    return Text(pc.binary_join_element_wise("[", joined, "]", ""), faults)
