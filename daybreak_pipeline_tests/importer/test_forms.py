"""A column is cast without a second look only if every value is a plain time, and that changes no value."""

from __future__ import annotations

from functools import partial
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer import stage as stages
from daybreak_pipeline.importer.forms import PLAIN_TIME
from daybreak_pipeline.importer.reader import Reader
from daybreak_pipeline_tests.exports import NOON, Export, in_blocks, record

TIMES = (
    "2025-06-25T15:23:38.564555",
    "2025-11-07 02:35:33.559 UTC",
    "1999-12-31T23:59:59",
    "2025-01-01 00:00:00.1Z",
)
OTHERS = (
    "2025-06-25",
    "today",
    "2025-06-25T15:23:38.5645551",
    "3025-06-25T15:23:38",
    "2025-06-25T15:23:38,5",
    "7",
    "☃",
)


@st.composite
def _cells(draw: st.DrawFn) -> str:
    """A time, or one of which a character is another, or anything."""
    text = draw(st.sampled_from((*TIMES, "", *OTHERS)))
    if text and draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from("09aTZ -:.+☃")) + text[at + draw(st.integers(0, 1)) :]
    return text


@settings(deadline=None, max_examples=500)
@given(
    rows=st.lists(st.tuples(_cells(), _cells()), min_size=1, max_size=12),
    quote=st.lists(st.booleans(), min_size=24, max_size=24),
    line_end=st.sampled_from((b"\n", b"\r\n", b"\r")),
    last_line_ends=st.booleans(),
    block=st.integers(1, 200),
)
@example(
    rows=[(TIMES[0], ""), ("", TIMES[1])], quote=[True] * 24, line_end=b"\r\n", last_line_ends=True, block=9
)
def test_both_ways_of_reading_know_which_columns_are_times(
    rows: list[tuple[str, str]], quote: list[bool], line_end: bytes, last_line_ends: bool, block: int
) -> None:
    quoted = iter(quote)
    lines = [
        b",".join(f'"{cell}"'.encode() if next(quoted) or "," in cell else cell.encode() for cell in row)
        for row in rows
    ]
    text = line_end.join(lines) + (line_end if last_line_ends else b"")
    columns = list(zip(*rows, strict=True))
    for looking in (True, False):
        reader = Reader(b",", 2, looking=looking)
        for _ in reader.segments(partial(in_blocks, text, block)):
            pass
        assert list(reader.columns.empty) == [not any(column) for column in columns]
        assert list(reader.columns.times) == [
            all(PLAIN_TIME.fullmatch(cell.encode()) for cell in column if cell) for column in columns
        ]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.from_regex(PLAIN_TIME, fullmatch=True).map(bytes.decode))
@example(text="2025-02-30T00:00:00")
@example(text="2024-12-31T24:00:00")
@example(text="2024-12-31 23:59:60.5 UTC")
def test_a_plain_time_is_what_the_strict_reading_makes_of_it(connection: Connection, text: str) -> None:
    def meant(expression: str) -> object:
        try:
            with connection.transaction():
                row = connection.execute(f"SELECT {expression}", [text]).fetchone()
                return row[0] if row else None
        except psycopg.DataError:
            return "refused"

    connection.execute("SET timezone = 'UTC'")
    assert meant("%s::text::timestamptz::text") == meant("ingest.strict_time(%s)::text")


@pytest.mark.parametrize("odd", ["03/04/2025", "2025-06-25 12:00 IST", "2025-13-01T00:00:00", "infinity"])
@pytest.mark.parametrize("place", [0, 7, 14])
def test_one_odd_time_among_plain_ones_is_refused_wherever_it_is(
    export: Export, odd: str, place: int
) -> None:
    records = [record("documents", f"d{number}", created_at=NOON) for number in range(15)]
    records[place]["created_at"] = odd
    assert export.load("documents", *records) == {
        "status": "imported",
        "read": 15,
        "inserted": 14,
        "quarantined": 1,
    }
    assert export.refused("documents") == [(place + 1, [("invalid_value", "created_at")])]


def test_what_one_part_has_is_not_taken_for_all_parts(export: Export) -> None:
    parts = export.directory / "documents"
    parts.mkdir()
    for name, time in (("a.csv", "03/04/2025"), ("b.csv", NOON)):
        path = export.write("documents", record("documents", name[0], created_at=time))
        path.rename(parts / name)
    assert export.load("documents")["quarantined"] == 1


def test_a_column_that_a_part_lacks_is_still_one_of_times(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[stages.Stage] = []
    really = stages.create

    def create(*known: Any) -> stages.Stage:
        made.append(really(*known))
        return made[-1]

    monkeypatch.setattr(stages, "create", create)
    parts = export.directory / "documents"
    parts.mkdir()
    export.write("documents", record("documents", "a", created_at=NOON)).rename(parts / "a.csv")
    export.write("documents", record("documents", "b", extra="")).rename(parts / "b.csv")
    export.load("documents")
    assert made[0].times == frozenset({"created_at", "updated_at", "extra"})
    assert made[0].empty == frozenset({"extra"})
