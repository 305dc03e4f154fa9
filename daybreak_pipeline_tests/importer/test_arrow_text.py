"""Every type that parquet can store becomes text: held against one value at a time, written out in plain Python."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daybreak_pipeline.importer import arrow_text, parquet

_PLACES = {"s": 0, "ms": 3, "us": 6, "ns": 9}


@dataclass(frozen=True)
class Kind:
    """A type, its values, and how one of them is written: as a text, or as JSON."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    text: Callable[[Any], str | None]
    quoted: bool = True
    """Whether the text is a string in JSON."""

    def json(self, value: Any) -> str:
        if value is None:
            return "null"
        text = self.text(value)
        if text is None:
            return "null"
        return quote(text) if self.quoted or text.endswith("inf") else text


class Faults:
    """What the reference found in the record that it looks at."""

    found: set[str]


FAULTS = Faults()


def quote(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\"} | {chr(code): f"\\u{code:04x}" for code in range(32)}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


def characters(value: str | bytes) -> str:
    content = value if isinstance(value, bytes) else value.encode()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        FAULTS.found.add("bytes that are no text")
        return "\\x" + content.hex()
    if "\0" in text:
        FAULTS.found.add("a NUL character")
    return text


def shortened(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimal(value: Decimal) -> str:
    return shortened(format(value, "f"))


def seconds(value: int, unit: str) -> str:
    return f"PT{decimal(Decimal(value).scaleb(-_PLACES[unit]))}S"


def moment(value: int, unit: str, zone: str) -> str:
    seconds, rest = divmod(value, 10 ** _PLACES[unit])
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{rest:0{_PLACES[unit]}}".rstrip("0") if rest else ""
    return f"{whole:%Y-%m-%d %H:%M:%S}".rjust(19, "0") + fraction + zone


def clock(value: int, unit: str) -> str:
    return moment(value, unit, "")[11:]


def floating(width: type[np.floating[Any]]) -> Callable[[float], str | None]:
    def write(value: float) -> str | None:
        stored = width(value)
        if np.isnan(stored):
            return None
        if np.isinf(stored):
            return "inf" if stored > 0 else "-inf"
        # Arrow names a float of 16 bits by the digits of the same number with 64.
        named = np.float64(stored) if width is np.float16 else stored
        if stored == int(stored):
            exact = Decimal(int(stored)) == Decimal(str(named))
            return str(int(stored)) if exact else np.format_float_scientific(stored)
        return np.format_float_positional(named, trim="-")

    return write


def floats(width: int) -> st.SearchStrategy[Any]:
    """Floats that are written without an exponent; how small ones are written is the Arrow version's own."""
    middle = st.floats(0.125, 60000, width=width) | st.floats(-60000, -0.125, width=width)  # type: ignore[arg-type] # width is 16, 32 or 64
    whole = {16: 2048.0, 32: 2.0**24, 64: 2.0**53}[width]
    return middle | st.sampled_from([0.0, -0.0, whole, float("nan"), float("inf"), float("-inf")])


def integer(kind: pa.DataType, low: int, high: int) -> Kind:
    return Kind(kind, st.integers(low, high) | st.sampled_from([low, high]), str, quoted=False)


def temporal(unit: str, zone: str | None) -> Kind:
    scale = 10 ** _PLACES[unit]
    first, last = (-62135596800, 253402300799) if unit != "ns" else (-9223372036, 9223372036)
    values = st.integers(first * scale, (last + 1) * scale - 1 if unit != "ns" else last * scale)
    return Kind(
        pa.timestamp(unit, zone),
        values | st.integers(first, last).map(lambda seconds: seconds * scale),
        lambda value: moment(value, unit, "Z" if zone else ""),
    )


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["", "null", "\\.", '"', 'a\r\n"b",', "\0", "\x1f\x7f\u2028", "\\u0000", "é", "🙂"]
)
BYTES = TEXTS.map(str.encode) | st.sampled_from([b"\xff", b"\xed\xa0\x80", b"a\0\xc3", b"\xf4\x90\x80\x80"])
FLAT = [
    Kind(pa.null(), st.none(), lambda _: None),
    Kind(pa.bool_(), st.booleans(), lambda value: "true" if value else "false", quoted=False),
    integer(pa.int8(), -128, 127),
    integer(pa.int64(), -(2**63), 2**63 - 1),
    integer(pa.uint64(), 0, 2**64 - 1),
    Kind(pa.float16(), floats(16).map(np.float16), floating(np.float16), quoted=False),
    Kind(pa.float32(), floats(32), floating(np.float32), quoted=False),
    Kind(pa.float64(), floats(64), floating(np.float64), quoted=False),
    *(
        Kind(make(digits, places), numbers, decimal, quoted=False)
        for make, digits, places in [
            (pa.decimal32, 7, 3),
            (pa.decimal64, 15, 0),
            (pa.decimal128, 38, 9),
            (pa.decimal128, 5, 5),
            (pa.decimal256, 60, 20),
        ]
        for numbers in [
            st.integers(-(10**digits) + 1, 10**digits - 1).map(
                lambda n, places=places: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -places))  # type: ignore[misc] # the default binds the loop's value
            )
        ]
    ),
    *(temporal(unit, zone) for unit in _PLACES for zone in (None, "UTC", "America/New_York", "+05:30")),
    Kind(pa.date32(), st.integers(-719162, 2932896), lambda day: moment(day * 86400, "s", "")[:10]),
    Kind(pa.time32("s"), st.integers(0, 86399), lambda value: clock(value, "s")),
    Kind(pa.time32("ms"), st.integers(0, 86399999), lambda value: clock(value, "ms")),
    Kind(pa.time64("us"), st.integers(0, 86400 * 10**6 - 1), lambda value: clock(value, "us")),
    Kind(pa.time64("ns"), st.integers(0, 86400 * 10**9 - 1), lambda value: clock(value, "ns")),
    *(
        Kind(
            pa.duration(unit),
            st.integers(-(2**63) + 1, 2**63 - 1),
            lambda value, unit=unit: seconds(value, unit),  # type: ignore[misc] # as above
        )
        for unit in _PLACES
    ),
    *(Kind(kind, TEXTS, characters) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    *(Kind(kind, BYTES, characters) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    Kind(pa.binary(3), st.binary(min_size=3, max_size=3), characters),
    Kind(pa.dictionary(pa.int32(), pa.string()), TEXTS, characters),
]


def listed(inner: Kind, make: Callable[[pa.DataType], pa.DataType], size: int | None = None) -> Kind:
    values = st.lists(st.none() | inner.values, min_size=size or 0, max_size=3 if size is None else size)
    return Kind(
        make(inner.type), values, lambda items: f"[{', '.join(map(inner.json, items))}]", quoted=False
    )


def structure(inners: list[Kind]) -> Kind:
    keys = ["a", 'b "c"', "ü", "d"]
    fields = dict(zip(keys, inners, strict=False))

    def write(value: dict[str, Any]) -> str:
        return (
            "{" + ", ".join(f"{quote(key)}: {inner.json(value[key])}" for key, inner in fields.items()) + "}"
        )

    values = st.fixed_dictionaries({key: st.none() | inner.values for key, inner in fields.items()})
    return Kind(pa.struct([(key, inner.type) for key, inner in fields.items()]), values, write, quoted=False)


def mapped(key: Kind, item: Kind) -> Kind:
    def write(pairs: list[tuple[Any, Any]]) -> str:
        return (
            "["
            + ", ".join(f'{{"key": {key.json(name)}, "value": {item.json(value)}}}' for name, value in pairs)
            + "]"
        )

    values = st.lists(st.tuples(key.values, st.none() | item.values), max_size=3)
    return Kind(pa.map_(key.type, item.type), values, write, quoted=False)


def nested(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    keys = st.sampled_from(
        [kind for kind in FLAT if kind.type in {pa.string(), pa.int64(), pa.date32(), pa.bool_()}]
    )
    makes = st.sampled_from([pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
    return (
        st.builds(listed, inner, makes)
        | inner.map(lambda kind: listed(kind, lambda of: pa.list_(of, 2), 2))
        | st.lists(inner, min_size=1, max_size=3).map(structure)
        | st.builds(mapped, keys, inner)
    )


KINDS = st.recursive(st.sampled_from(FLAT), nested, max_leaves=4)


@st.composite
def columns(draw: st.DrawFn) -> tuple[Kind, list[Any]]:
    kind = draw(KINDS)
    return kind, draw(st.lists(st.none() | kind.values, min_size=6, max_size=6))


def expected(held: list[tuple[Kind, list[Any]]], row: int) -> tuple[set[str], list[str]]:
    """Return why a record is malformed, and its cells."""
    why, cells = set(), []
    for position, (kind, values) in enumerate(held):
        FAULTS.found = set()
        cell = None if values[row] is None else kind.text(values[row])
        why |= {f"{fault} in c{position}" for fault in FAULTS.found}
        cells.append((cell or "").replace("\0", "␀"))
    return why, cells


def read(path: Path) -> list[tuple[set[str], list[str]]]:
    blocks = list(parquet.csv_blocks(path))
    rows = list(csv.reader(io.StringIO(b"".join(data for data, _ in blocks).decode(), newline="")))
    assert sum(records for _, records in blocks) == len(rows)
    return [(set(filter(None, why.split("; "))), cells) for why, *cells in rows]


@settings(max_examples=300, deadline=None)
@given(st.lists(columns(), min_size=1, max_size=3), st.sampled_from([1, 2, 6]))
def test_what_is_read_is_what_is_stored(held: list[tuple[Kind, list[Any]]], group: int) -> None:
    table = pa.table({f"c{i}": pa.array(values, kind.type) for i, (kind, values) in enumerate(held)})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "any.parquet")
        try:
            pq.write_table(table, path, row_group_size=group)
        except pa.ArrowNotImplementedError:
            assume(False)  # a combination of types that Arrow cannot write
        rows = read(path)
    assert rows == [expected(held, row) for row in range(6)]
    for position, (kind, _) in enumerate(held):
        for _, cells in rows:
            if cells[position] and pa.types.is_nested(kind.type):
                json.loads(cells[position])


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (1e10, pa.float64(), "10000000000"),
        (1e20, pa.float64(), "100000000000000000000"),
        (-1e15, pa.float64(), "-1000000000000000"),
        (2.0**53, pa.float64(), "9007199254740992"),
        (1e23, pa.float64(), "1e+23"),  # its digits would be 99999999999999991611392
        (1234567890123456789.0, pa.float64(), "1.2345678901234568e+18"),
        (123456789.0, pa.float32(), "1.2345679e+08"),
        (1e10, pa.float32(), "10000000000"),
        (1e300, pa.float64(), "1e+300"),
        (0.1, pa.float32(), "0.1"),
    ],
)
def test_a_whole_float_is_written_in_full_only_where_no_digit_is_made_up(
    number: float, kind: pa.DataType, text: str
) -> None:
    assert arrow_text.text(pa.array([number, None]).cast(kind, safe=False)).cells.to_pylist() == [text, None]


@given(st.lists(st.floats(allow_nan=False), max_size=5))
def test_the_text_of_a_float_names_that_float(numbers: list[float]) -> None:
    cells = arrow_text.text(pa.array(numbers, pa.float64())).cells.to_pylist()
    assert [float(cell) for cell in cells] == numbers


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (253402300800, pa.timestamp("s"), "10000-01-01 00:00:00"),
        (10**15 * 1000 + 500, pa.timestamp("ms", "UTC"), "31690708-07-05 01:46:40.5Z"),
        (-62135596801, pa.timestamp("s"), "0000-12-31 23:59:59"),
        (-62167219201, pa.timestamp("s"), "-0001-12-31 23:59:59"),
        (-(10**15), pa.timestamp("s"), "-31686769-06-29 22:13:20"),
        (2932897, pa.date32(), "10000-01-01"),
        (20_000_000, pa.date32(), "56728-02-22"),
        (-1, pa.timestamp("ns", "Mars/Olympus"), "1969-12-31 23:59:59.999999999Z"),
    ],
)
def test_a_year_that_no_time_may_have_is_written_as_it_is(value: int, kind: pa.DataType, text: str) -> None:
    assert arrow_text.text(pa.array([value, None], kind)).cells.to_pylist() == [text, None]


def test_a_time_of_day_that_no_clock_shows_is_at_fault() -> None:
    found = arrow_text.text(pa.array([86_400, 86_399, None], pa.int32()).view(pa.time32("s")))
    assert {why: where.tolist() for why, where in found.faults.items()} == {
        "a time of day that no clock shows": [True, False, False]
    }
    assert found.cells.to_pylist()[1:] == ["23:59:59", None]


def test_invalid_bytes_in_a_text_column_are_at_fault_like_those_in_a_column_of_bytes() -> None:
    content = pa.array([b"fine", b"\xe9t\xe9", b"\xed\xa0\x80", None])
    for column in (
        content,
        content.view(pa.string()),
        content.cast(pa.large_binary()).view(pa.large_string()),
    ):
        found = arrow_text.text(column)
        assert found.cells.to_pylist() == ["fine", "\\xe974e9", "\\xeda080", None]
        assert found.faults["bytes that are no text"].tolist() == [False, True, True, False]


def test_what_lies_under_a_null_is_no_fault() -> None:
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 2], pa.int32()), pa.array([b"\xff", b"a\0"]), mask=pa.array([True, True])
    )
    assert arrow_text.text(hidden) == (pa.nulls(2, pa.string()), {})


def test_a_null_list_keeps_the_rows_behind_it_in_place() -> None:
    # The elements of a NULL list may be there all the same, and a slice begins in the middle.
    lists = pa.ListArray.from_arrays(
        pa.array([0, 1, 3, 4, 4, 6], pa.int32()),
        pa.array([1, 2, 3, 4, 5, 6]),
        mask=pa.array([False, True, False, False, False]),
    )
    assert arrow_text.text(lists).cells.to_pylist() == ["[1]", None, "[4]", "[]", "[5, 6]"]
    assert arrow_text.text(lists[1:]).cells.to_pylist() == [None, "[4]", "[]", "[5, 6]"]


def test_types_that_only_say_how_a_value_is_stored_are_looked_through() -> None:
    keys = pa.array([UUID(int=5).bytes, UUID(int=6).bytes], pa.binary(16))
    ids = pa.ExtensionArray.from_storage(pa.uuid(), keys)
    written = [f"00000000-0000-0000-0000-00000000000{n}" for n in (5, 6)]
    for column, cells in [
        (ids, written),
        (ids[1:], written[1:]),
        (pa.ListArray.from_arrays(pa.array([0, 2]), ids), [f'["{written[0]}", "{written[1]}"]']),
        (pa.StructArray.from_arrays([ids], ["id"]), [f'{{"id": "{name}"}}' for name in written]),
        (pc.run_end_encode(pa.array([1, 1, None])), ["1", "1", None]),
        (pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None])), ["a", None, None]),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'])), ['{"a": 1}']),
        (pa.array([Decimal(1200), Decimal(0)], pa.decimal128(5, -2)), ["1200", "0"]),
        (pa.array([{}], pa.struct([])), ["{}"]),
    ]:
        assert arrow_text.text(column).cells.to_pylist() == cells


def test_of_fields_with_one_name_none_is_lost() -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array(["x"])], ["a", "a"])
    assert arrow_text.text(twice).cells.to_pylist() == ['{"a": 1, "a (2)": "x"}']


def test_a_type_without_a_text_is_found_inside_others() -> None:
    interval = pa.month_day_nano_interval()
    fine = pa.struct([("a", pa.map_(pa.uuid(), pa.list_(pa.null())))])
    assert arrow_text.unsupported(fine) is None
    for kind in (
        interval,
        pa.list_(interval),
        pa.struct([("a", pa.int8()), ("b", pa.map_(pa.string(), interval))]),
    ):
        assert arrow_text.unsupported(kind) == interval
