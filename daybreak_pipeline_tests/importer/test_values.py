"""What a text may look like to be a number, a date or a time: one reading or none, whatever the server is set to."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.cast_errors import PLAIN
from daybreak_pipeline.importer.expressions import Expressions
from daybreak_pipeline.importer.stage import Stage
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import NOON, Export, record

COLUMNS = {
    "timestamp with time zone": ("organizations", "created_at"),
    "date": ("contracts", "effective_date"),
    "integer": ("documents", "version"),
    "text[]": ("clinicians", "licenses"),
}
REFUSED = "refused"


def fault(connection: Connection, text: str, kind: str) -> str | None:
    query = sql.SQL("SELECT ingest.cast_fault(%s, NULL::{})").format(sql.SQL(kind))
    row = connection.execute(query, [text]).fetchone()
    return row[0] if row else None


def strict(connection: Connection, text: str, kind: str) -> str | None:
    """Return what a text means, as the server writes it."""
    if fault(connection, text, kind) is not None:
        return REFUSED
    query = sql.SQL("SELECT ingest.strict_cast(%s, NULL::{})::text").format(sql.SQL(kind))
    row = connection.execute(query, [text]).fetchone()
    return row[0] if row else None


def in_place(connection: Connection, text: str, kind: str) -> str | None:
    """Return what the import's own expression makes of a staged text."""
    table, name = COLUMNS[kind]
    catalog = catalogs.read(connection, table)
    typed = Expressions(catalog, Stage(table, (name,), frozenset({name}))).typed(catalog.by_name[name])
    query = sql.SQL("SELECT ({})::text FROM (SELECT {}::text AS {}) stage").format(
        typed, sql.Literal(text), sql.Identifier(name)
    )
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
            return row[0] if row else None
    except psycopg.DataError:
        return REFUSED


@pytest.fixture
def utc(connection: Connection) -> Connection:
    connection.execute("SET LOCAL timezone = 'UTC'")
    connection.execute("SET LOCAL datestyle = 'ISO, MDY'")
    return connection


DAYS = {
    "2025-06-13": "2025-06-13", "20250613": "2025-06-13", "2025/6/13": "2025-06-13", "2025.06.13": "2025-06-13",
    "13.06.2025": "2025-06-13", "13/06/2025": "2025-06-13", "6/13/2025": "2025-06-13", "13-06-2025": "2025-06-13",
    "5/5/2025": "2025-05-05", "June 13 2025": "2025-06-13", "Jun 13, 2025": "2025-06-13", "13 june 2025": "2025-06-13",
    "13-Jun-2025": "2025-06-13", "Fri, 13 Jun 2025": "2025-06-13", "13th June 2025": "2025-06-13", "2025 Jun 13": "2025-06-13",
    " 2025-06-13 ": "2025-06-13", "\u00a02025-06-13": "2025-06-13", "0001-01-01": "0001-01-01", "9999-12-31": "9999-12-31",
    "2024-02-29": "2024-02-29", "2025-164": "2025-06-13", "2024-366": "2024-12-31", "2025-W24-5": "2025-06-13",
    "2020W537": "2021-01-03", "2025-06-13T00:00:00": "2025-06-13", "2025-06-13 00:00:00.000 UTC": "2025-06-13",
    "2025-06-13T00:00:00-05:00": "2025-06-13", "2025-06-13 00:00": "2025-06-13",
}  # fmt: skip


@pytest.mark.parametrize("text", DAYS)
def test_a_day_that_can_only_be_one_is_read(utc: Connection, text: str) -> None:
    assert (strict(utc, text, "date"), in_place(utc, text, "date")) == (DAYS[text], DAYS[text])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("03/04/2025", "day or month first?"), ("02-01-2025", "day or month first?"), ("5.6.2025", "day or month first?"),
        ("01/02/25", "day or month first? the year has two digits"),
        ("25-01-02", "day or month first? the year has two digits"),
        ("13-Jun-25", "day or month first? the year has two digits"),
        ("May 20, 18", "day or month first? the year has two digits"),
        ("2025-02-30", "out of range for date"), ("0000-00-00", "out of range for date"), ("31/06/2025", "out of range for date"),
        ("10000-01-01", "the year is outside 0001 to 9999"), ("infinity", "the year is outside 0001 to 9999"),
        ("-infinity", "the year is outside 0001 to 9999"), ("0044-03-15 BC", "the year is outside 0001 to 9999"),
        ("45292", "not a valid date"), ("45292.5", "not a valid date"), ("1735689600", "not a valid date"),
        ("now", "not a valid date"), ("today", "not a valid date"), ("epoch", "not a valid date"), ("2025", "not a valid date"),
        ("2025-W54-5", "not a valid date"), ("2025-W53-1", "not a valid date"), ("2025-366", "not a valid date"),
        ("2025164", "not a valid date"), ("1/2-2025", "not a valid date"),
        ("2025-06-13T19:00:00-05:00", "has a time of day"), ("2025-06-13T05:00:00Z", "has a time of day"),
        ("2025-06-13T24:00:00", "has a time of day"), ("2025-06-13T00:00:60", "has a time of day"),
        ("2025-06-13T00:00:00.001", "has a time of day"),
    ],
)  # fmt: skip
def test_a_day_that_is_none_or_could_be_another_is_refused(utc: Connection, text: str, why: str) -> None:
    assert fault(utc, text, "date") == why
    assert in_place(utc, text, "date") == REFUSED


TIMES = {
    "2025-06-25T15:23:38.564555": "2025-06-25 15:23:38.564555+00",
    "2025-06-25T15:23:38": "2025-06-25 15:23:38+00",
    "2025-11-07 02:35:33.559 UTC": "2025-11-07 02:35:33.559+00",
    "2025-08-18 16:00:19.075334 UTC": "2025-08-18 16:00:19.075334+00",
    "2025-08-18T16:00:19,5Z": "2025-08-18 16:00:19.5+00",
    "20250818T160019Z": "2025-08-18 16:00:19+00",
    "20250818T1600": "2025-08-18 16:00:00+00",
    "2025-08-18 16:00": "2025-08-18 16:00:00+00",
    "2025-08-18": "2025-08-18 00:00:00+00",
    "2025-08-18T16:00:00z": "2025-08-18 16:00:00+00",
    "2025-08-18T16:00:00gmt": "2025-08-18 16:00:00+00",
    "2025-08-18T16:00:00+05:30": "2025-08-18 10:30:00+00",
    "2025-08-18T16:00:00+0530": "2025-08-18 10:30:00+00",
    "2025-08-18 16:00:00 -05": "2025-08-18 21:00:00+00",
    "2025-08-18T16:00:00.123-05": "2025-08-18 21:00:00.123+00",
    "2025-08-18 16:00:00 America/New_York": "2025-08-18 20:00:00+00",
    "2025-08-18 16:00:00 Etc/GMT+5": "2025-08-18 21:00:00+00",
    "2025-08-18 16:00:00 Japan": "2025-08-18 07:00:00+00",
    "Mon Aug 18 16:00:01 2025": "2025-08-18 16:00:01+00",
    "Mon Aug 18 16:00:01 UTC 2025": "2025-08-18 16:00:01+00",
    "2025-08-18 16:00:00 America/Port-au-Prince": "2025-08-18 20:00:00+00",
    "18/08/2025 4:05 PM": "2025-08-18 16:05:00+00",
    "Aug 18 2025 12:05:06 am": "2025-08-18 00:05:06+00",
    "8/18/2025, 4:05:06 PM": "2025-08-18 16:05:06+00",
    "2025-08-18T24:00:00.000000": "2025-08-19 00:00:00+00",
    "2025-08-18 23:59:60": "2025-08-19 00:00:00+00",
    "0001-01-01T00:00:00": "0001-01-01 00:00:00+00",
    "9999-12-31T23:59:59.999999": "9999-12-31 23:59:59.999999+00",
}


@pytest.mark.parametrize("text", TIMES)
def test_a_time_that_can_only_be_one_is_read(utc: Connection, text: str) -> None:
    kind = "timestamp with time zone"
    assert (strict(utc, text, kind), in_place(utc, text, kind)) == (TIMES[text], TIMES[text])


PLACES = "its time zone means several places or none: write an offset such as +02:00, or a name such as America/New_York"
TWO_WAYS = "its time zone can be read in two ways: write an offset such as +02:00"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((f"2025-03-10 12:00:00 {zone}", PLACES) for zone in ("IST", "CST", "EST", "BST", "PST8PDT", "CET", "<x>-5", "X")),
        ("2025-03-10T12:00:00.12 IST", PLACES), ("2025-03-10T12:00:00.123IST", PLACES),
        ("2025-03-10 12:00:00 Foo/Bar+5", PLACES),
        ("2025-03-10 12:00:00 UTC+2", TWO_WAYS), ("2025-03-10 12:00:00 GMT-3", TWO_WAYS),
        ("2025-03-10 12:00:00 America/Nowhere", "not a valid timestamp with time zone"),
        ("03/04/2025 12:00", "day or month first?"), ("01/02/25 12:00", "day or month first? the year has two digits"),
        ("2025-03-10 24:00:01", "not a valid time of day"), ("2025-03-10T25:00:00.000000", "not a valid time of day"),
        ("2025-03-10T23:59:61.000000", "not a valid time of day"), ("2025-03-10 13:00 PM", "not a valid time of day"),
        ("9999-12-31T23:59:59-05:00", "the year is outside 0001 to 9999"),
        ("0001-01-01T00:00:00+05:00", "the year is outside 0001 to 9999"),
        ("infinity", "the year is outside 0001 to 9999"), ("now", "not a valid date"), ("yesterday 12:00", "not a valid date"),
        ("12:00", "not a valid date"),
    ],
)  # fmt: skip
def test_a_time_that_is_none_or_could_be_another_is_refused(utc: Connection, text: str, why: str) -> None:
    kind = "timestamp with time zone"
    assert fault(utc, text, kind) == why
    assert in_place(utc, text, kind) == REFUSED


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", "7"), ("+7", "7"), (" 7 ", "7"), ("7.0", "7"), ("-3.000", "-3"), ("\u00a07\u00a0", "7"), ("007", "7"), ("-0.0", "0")],
)  # fmt: skip
def test_a_whole_number_may_have_a_fraction_of_zero(utc: Connection, text: str, number: str) -> None:
    assert (strict(utc, text, "integer"), in_place(utc, text, "integer")) == (number, number)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, "not a whole number") for text in ("1.5", "1,000", "1e3", "0x1F", "1_000", "7.", ".0", "--7", "7 7", "x", "٣")),
        ("2147483648", "out of range for integer"), ("2147483648.0", "out of range for integer"),
    ],
)  # fmt: skip
def test_anything_else_is_no_whole_number(utc: Connection, text: str, why: str) -> None:
    assert fault(utc, text, "integer") == why
    assert in_place(utc, text, "integer") == REFUSED


@pytest.mark.parametrize(
    ("text", "array"),
    [("null", None), (" null ", None), ('["a", null]', "{a,NULL}"), ("[]", "{}"), ('["null"]', '{"null"}'), ("a, b", "{a,b}")],
)  # fmt: skip
def test_null_for_an_array_is_no_array(utc: Connection, text: str, array: str | None) -> None:
    assert in_place(utc, text, "text[]") == array


def test_null_for_a_required_array_is_a_missing_value(export: Export) -> None:
    export.load("contracts", record("contracts", services=" null "))
    assert export.refused("contracts") == [(1, [("missing_required", "services")])]


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY", "ISO, YMD"])
def test_no_setting_of_the_server_decides(connection: Connection, style: str) -> None:
    connection.execute(sql.SQL("SET LOCAL datestyle = {}").format(sql.Literal(style)))
    connection.execute("SET LOCAL timezone = 'Asia/Kolkata'")
    for text in (
        "2025-06-13T12:00:00.000000",
        "2025-06-13 12:00:00",
        "6/13/2025 12:00",
        "13 Jun 2025 12:00 UTC",
    ):
        query = "SELECT ingest.strict_time(%s) = timestamptz '2025-06-13 12:00:00+00'"
        assert connection.execute(query, [text]).fetchone() == (True,)
    assert connection.execute("SELECT ingest.strict_date('13.06.2025') = date '2025-06-13'").fetchone() == (
        True,
    )


def test_an_import_takes_times_without_a_zone_for_utc_whatever_the_session_does(export: Export) -> None:
    export.connection.execute("SET timezone = 'Asia/Kolkata'")
    export.connection.execute("SET datestyle = 'SQL, DMY'")
    export.connection.commit()
    export.load("documents", record("documents", created_at="2025-06-13 12:00:00", version_date="2025-06-13"))
    there = export.connection.execute(
        "SELECT updated_at = timestamptz '2025-06-25 12:00:00+00', created_at = timestamptz '2025-06-13 12:00:00+00', "
        "version_date = date '2025-06-13' FROM documents"
    ).fetchall()
    assert there == [(True, True, True)]


@pytest.mark.parametrize(
    ("order", "day"), [("day_first", dt.date(2025, 4, 3)), ("month_first", dt.date(2025, 3, 4))]
)
def test_a_declared_order_decides_what_the_day_is(
    export: Export, monkeypatch: pytest.MonkeyPatch, order: str, day: dt.date
) -> None:
    columns = ("effective_date",)
    declared = replace(
        TABLES["contracts"],
        day_first=columns if order == "day_first" else (),
        month_first=columns if order == "month_first" else (),
    )
    monkeypatch.setitem(TABLES, "contracts", declared)
    counts = export.load(
        "contracts",
        record("contracts", "a", effective_date="03/04/2025", end_date="2026-01-01"),
        record("contracts", "b", effective_date="2025-01-01", end_date="03/04/2025"),
        record("contracts", "c", effective_date="01/02/25"),
    )
    assert counts == {"status": "imported", "read": 3, "inserted": 1, "quarantined": 2}
    assert export.rows("contracts", "effective_date") == [(day,)]


def test_each_value_that_is_refused_says_why(export: Export) -> None:
    export.load(
        "contracts",
        record("contracts", effective_date="03/04/2025", end_date="infinity", created_at=f"{NOON} CST"),
    )
    ((reasons,),) = export.connection.execute("SELECT reasons FROM ingest.quarantine").fetchall()
    assert {reason["column"]: reason["detail"] for reason in reasons} == {
        "effective_date": "day or month first?",
        "end_date": "the year is outside 0001 to 9999",
        "created_at": PLACES,
    }


NEAR = [
    "2025-06-25T15:23:38.564555",
    "2025-11-07 02:35:33.559 UTC",
    "2025-06-25",
    "9999-12-31 23:59:59",
    "0001-01-01T00:00:00",
]


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """Draw a common form with some characters replaced, dropped or added."""
    text = list(draw(st.sampled_from(NEAR)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text) - 1))
        new = draw(st.sampled_from([*"0123456789-/.: +TZaPM", "", " UTC", " IST", "AM", "00"]))
        text[at : at + draw(st.integers(0, 1))] = [new]
    return "".join(text)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=near_misses(), kind=st.sampled_from(["timestamp with time zone", "date"]))
@example(text="2025-06-25T15:23:38.123IST", kind="timestamp with time zone")
@example(text="2025-06-25T15:23:38.12-05", kind="timestamp with time zone")
@example(text="2025-06--5", kind="date")
@example(text="2025-06--5T15:23:38.564555", kind="timestamp with time zone")
@example(text="2025-06--5 15:23:38", kind="timestamp with time zone")
@example(text="2025-06-5T015:23:38", kind="timestamp with time zone")
@example(text="2025-06-25T15:-3:38.564555", kind="timestamp with time zone")
@example(text="2025-06-25T15:23:.8.564555", kind="timestamp with time zone")
def test_the_fast_cast_reads_what_the_careful_one_does(utc: Connection, text: str, kind: str) -> None:
    assert in_place(utc, text, kind) == strict(utc, text, kind)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("0123456789+-. ,_xe\u00a0"), min_size=1, max_size=12))
def test_the_fast_number_is_what_the_careful_one_is(utc: Connection, text: str) -> None:
    assert in_place(utc, text, "integer") == strict(utc, text, "integer")


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(set(PLAIN) & set(COLUMNS))))
def test_what_is_taken_for_plain_fits(utc: Connection, data: Any, kind: str) -> None:
    text = data.draw(st.from_regex(PLAIN[kind].replace("$", r"\Z"), fullmatch=True).filter(str.isprintable))
    assert strict(utc, text, kind) != REFUSED
    assert in_place(utc, text, kind) == strict(utc, text, kind)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=st.datetimes(), separator=st.sampled_from("T "), zone=st.sampled_from(["", "Z", " UTC", "+00:00"])
)
def test_iso_times_are_what_python_reads(
    utc: Connection, moment: dt.datetime, separator: str, zone: str
) -> None:
    text = moment.isoformat(separator) + zone
    expected = in_place(utc, text, "timestamp with time zone")
    assert expected is not None
    assert dt.datetime.fromisoformat(expected) == moment.replace(tzinfo=dt.UTC)
