# ruff: noqa: S608 - what is put into statements here are this file's own names
"""When clinicians have time: ``app.free_slots``, by hand around both changes of the clock, and against plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daybreak_pipeline.database import Connection
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.schema.free_time import Availability, free_stretches

NEW_YORK, BERLIN, LORD_HOWE = "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"
"""The clocks change on different days; in the last one, by half an hour."""
SCHOOL, DISTRICT, PATIENT = uuid("school"), uuid("district"), uuid("patient")
MONDAY = datetime(2025, 6, 2, 13, 0, tzinfo=UTC)
"""Nine o'clock in New York."""
HOUR = timedelta(hours=1)
YEAR = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def scheduling(connection: Connection) -> Connection:
    """A school in a district, a patient, and clinicians whose Healthie numbers are 1, 2 and 3."""
    connection.execute(
        "INSERT INTO organizations (id, kind, name, parent_organization_id, tzdb)"
        " VALUES (%(d)s, 1, 'Any District', NULL, 'America/Chicago'), (%(s)s, 2, 'Any School', %(d)s, 'America/New_York')",
        {"d": DISTRICT, "s": SCHOOL},
    )
    for number in (1, 2, 3):
        connection.execute(
            "INSERT INTO clinicians (id, healthie_id) VALUES (%s, %s)", [clinician(number), str(number)]
        )
    connection.execute("INSERT INTO patients_and_guardians (id, role) VALUES (%s, 1)", [PATIENT])
    return connection


def clinician(number: int) -> str:
    return uuid(f"clinician {number}")


def offer(connection: Connection, *rows: Availability) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO clinician_availabilities (id, user_id, range_start, range_end, timezone, is_repeating, end_on,"
            " deleted_at, created_at, updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now(), now())",
            [
                (
                    *(number, row.clinician, row.range_start, row.range_end, row.zone, row.repeats),
                    *(row.end_on, YEAR[0] if row.deleted else None),
                )
                for number, row in enumerate(rows)
            ],
        )


def slots(
    connection: Connection, begins: datetime, ends: datetime, **narrowed: Any
) -> set[tuple[int, datetime, datetime]]:
    """Return the slots; the names of ``narrowed`` are those of the function."""
    named = "".join(f", {name} => %({name})s" for name in narrowed if name != "organization")
    numbers = {clinician(number): number for number in (1, 2, 3)}
    parameters = {"organization": None, "from": begins, "to": ends} | narrowed
    asked = f"SELECT * FROM app.free_slots(%(organization)s, %(from)s, %(to)s{named})"
    return {
        (numbers[str(who)], start, end)
        for who, start, end in connection.execute(asked.encode(), parameters).fetchall()
    }


def window(*text: str) -> tuple[datetime, datetime]:
    first, last = map(at, text)
    return first, last


# --- Around the changes of the clock -----------------------------------------------------------------------


def test_a_weekly_hour_stays_where_it_is_on_the_clinicians_wall(scheduling: Connection) -> None:
    offer(scheduling, Availability(1, at("2025-10-27T13:00"), at("2025-10-27T14:00"), NEW_YORK, repeats=True))
    assert slots(scheduling, *window("2025-10-27", "2025-11-11")) == {
        (1, at("2025-10-27T13:00"), at("2025-10-27T14:00")),
        (1, at("2025-11-03T14:00"), at("2025-11-03T15:00")),
        (1, at("2025-11-10T14:00"), at("2025-11-10T15:00")),
    }


def test_a_time_that_does_not_exist_is_as_much_later(scheduling: Connection) -> None:
    """02:30 on 9 March is skipped in New York: 03:30, for as long as always."""
    offer(scheduling, Availability(1, at("2025-03-02T07:30"), at("2025-03-02T08:15"), NEW_YORK, repeats=True))
    assert slots(scheduling, *window("2025-03-09", "2025-03-17")) == {
        (1, at("2025-03-09T07:30"), at("2025-03-09T08:15")),
        (1, at("2025-03-16T06:30"), at("2025-03-16T07:15")),
    }


def test_of_a_time_that_exists_twice_the_first_counts(scheduling: Connection) -> None:
    """01:30 on 2 November is at 05:30 and at 06:30 UTC in New York."""
    offer(scheduling, Availability(1, at("2025-10-26T05:30"), at("2025-10-26T06:00"), NEW_YORK, repeats=True))
    assert slots(scheduling, *window("2025-11-02", "2025-11-10")) == {
        (1, at("2025-11-02T05:30"), at("2025-11-02T06:00")),
        (1, at("2025-11-09T06:30"), at("2025-11-09T07:00")),
    }


def test_a_range_that_was_entered_in_the_second_of_two_hours_begins_there(scheduling: Connection) -> None:
    offer(scheduling, Availability(1, at("2025-11-02T06:30"), at("2025-11-02T07:00"), NEW_YORK, repeats=True))
    assert slots(scheduling, *window("2025-11-02", "2025-11-10")) == {
        (1, at("2025-11-02T06:30"), at("2025-11-02T07:00")),
        (1, at("2025-11-09T06:30"), at("2025-11-09T07:00")),
    }


def test_the_sessions_time_zone_does_not_matter(scheduling: Connection) -> None:
    offer(scheduling, Availability(1, MONDAY, MONDAY + HOUR, NEW_YORK, repeats=True, end_on=date(2025, 6, 9)))
    found = []
    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
        scheduling.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        found.append(slots(scheduling, *YEAR))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2


# --- Ends, deletions, overlaps -------------------------------------------------------------------------------


def test_a_repeating_range_ends_with_its_last_day_on_the_clinicians_calendar(scheduling: Connection) -> None:
    evening = at("2025-06-03T01:00")  # still Monday in New York
    offer(
        scheduling, Availability(1, evening, evening + HOUR, NEW_YORK, repeats=True, end_on=date(2025, 6, 9))
    )
    assert {start for _, start, _ in slots(scheduling, *YEAR)} == {evening, evening + timedelta(days=7)}


def test_what_touches_or_overlaps_is_one_stretch_and_the_rest_is_apart(scheduling: Connection) -> None:
    offer(
        scheduling,
        Availability(1, MONDAY, MONDAY + HOUR, NEW_YORK),
        Availability(1, MONDAY + HOUR, MONDAY + 2 * HOUR, BERLIN),
        Availability(
            1, MONDAY + HOUR / 2, MONDAY + 3 * HOUR, NEW_YORK, repeats=True, end_on=date(2025, 6, 2)
        ),
        Availability(1, MONDAY + 4 * HOUR, MONDAY + 5 * HOUR, NEW_YORK),
        Availability(2, MONDAY, MONDAY + HOUR, NEW_YORK),
    )
    assert slots(scheduling, MONDAY, MONDAY + 24 * HOUR) == {
        (1, MONDAY, MONDAY + 3 * HOUR),
        (1, MONDAY + 4 * HOUR, MONDAY + 5 * HOUR),
        (2, MONDAY, MONDAY + HOUR),
    }


def test_a_stretch_is_cut_at_both_ends_of_the_question(scheduling: Connection) -> None:
    offer(scheduling, Availability(1, MONDAY, MONDAY + 5 * HOUR, NEW_YORK))
    asked = (MONDAY + HOUR, MONDAY + 2 * HOUR)
    assert slots(scheduling, *asked) == {(1, *asked)}
    assert slots(scheduling, MONDAY, MONDAY) == set()


def test_slots_begin_with_the_stretch_whatever_minute_it_is(scheduling: Connection) -> None:
    offer(scheduling, Availability(1, MONDAY, MONDAY + 3 * HOUR, NEW_YORK))
    now = MONDAY + timedelta(minutes=7, seconds=23)
    found = slots(scheduling, now, MONDAY + 24 * HOUR, minutes=50)
    begins = [MONDAY + timedelta(minutes=50), MONDAY + timedelta(minutes=100)]
    assert found == {(1, start, start + timedelta(minutes=50)) for start in begins}


@pytest.mark.parametrize(
    "hidden",
    [
        "UPDATE clinician_availabilities SET deleted_at = now()",
        "UPDATE clinicians SET _fivetran_deleted = true",
        "UPDATE organizations SET _fivetran_deleted = true WHERE kind = 2",
        "DELETE FROM organizations WHERE kind = 2",
        "UPDATE clinician_availabilities SET range_end = range_start",
        "UPDATE clinician_availabilities SET range_end = range_start - interval '1 hour'",
        "UPDATE clinician_availabilities SET range_end = 'infinity'",
        "UPDATE clinician_availabilities SET range_start = '-infinity'",
        "UPDATE clinician_availabilities SET end_on = '-infinity'",
        "UPDATE clinician_availabilities SET end_on = range_start - interval '2 days'",
        *(f"UPDATE clinician_availabilities SET timezone = '{z}'" for z in ("", "Mars/Olympus", "CST", "UTC+2", "../UTC")),
        *(f"UPDATE clinicians SET healthie_id = {n}" for n in ("NULL", "''", "'01'", "'1 '", "'one'", "'99999999999999'")),
    ],
)  # fmt: skip
def test_what_is_deleted_ended_or_makes_no_sense_is_no_time(scheduling: Connection, hidden: str) -> None:
    offer(scheduling, Availability(1, MONDAY, MONDAY + HOUR, NEW_YORK, repeats=True))
    assert slots(scheduling, *YEAR, organization=SCHOOL)
    scheduling.execute(hidden.encode())
    assert slots(scheduling, *YEAR, organization=SCHOOL) == set()


def test_an_end_of_infinity_is_no_end_and_one_bad_row_spoils_no_other(scheduling: Connection) -> None:
    offer(
        scheduling,
        Availability(1, MONDAY, MONDAY + HOUR, NEW_YORK, repeats=True),
        Availability(1, MONDAY, MONDAY + HOUR, "Nowhere/Land", repeats=True),
        Availability(2, MONDAY, MONDAY + HOUR, "nonsense"),
    )
    scheduling.execute("UPDATE clinician_availabilities SET end_on = 'infinity' WHERE id = 0")
    found = slots(scheduling, MONDAY, MONDAY + timedelta(days=15))
    weekly = {(1, MONDAY + timedelta(days=n), MONDAY + timedelta(days=n) + HOUR) for n in (0, 7, 14)}
    assert found == {*weekly, (2, MONDAY, MONDAY + HOUR)}  # a single range is two moments, whatever its zone


def test_ranges_of_ten_thousand_years_spoil_nothing_and_take_no_longer(scheduling: Connection) -> None:
    offer(
        scheduling,
        Availability(1, at("0001-01-01"), at("9999-12-31"), NEW_YORK),
        Availability(2, MONDAY, MONDAY + HOUR, NEW_YORK, repeats=True),
        Availability(3, MONDAY, MONDAY + HOUR, NEW_YORK, repeats=True),
    )
    scheduling.execute("UPDATE clinician_availabilities SET range_end = '294276-12-31' WHERE id = 1")
    scheduling.execute("UPDATE clinician_availabilities SET end_on = '294276-12-31' WHERE id = 2")
    scheduling.execute("SET LOCAL statement_timeout = '5s'")
    asked = (MONDAY + timedelta(days=6), MONDAY + timedelta(days=8))
    assert slots(scheduling, *asked) == {
        (1, *asked),
        (2, *asked),
        (3, MONDAY + timedelta(days=7), MONDAY + timedelta(days=7) + HOUR),
    }
    assert len(slots(scheduling, *asked, minutes=1)) == 2 * 2 * 24 * 60 + 60


def test_leap_days_repeat_like_others(scheduling: Connection) -> None:
    leap = at("2024-02-29T15:00")
    offer(scheduling, Availability(1, leap, leap + HOUR, NEW_YORK, repeats=True))
    assert (1, at("2028-02-24T15:00"), at("2028-02-24T16:00")) in slots(
        scheduling, *window("2028-02-01", "2028-03-10")
    )


@pytest.mark.parametrize(
    ("begins", "ends", "narrowed"),
    [
        (MONDAY, MONDAY - HOUR, {}),
        (MONDAY, MONDAY + timedelta(days=401), {}),
        (None, MONDAY, {}),
        (MONDAY, None, {}),
        (MONDAY, "infinity", {}),
        ("-infinity", MONDAY, {}),
        (MONDAY, MONDAY + HOUR, {"minutes": 0}),
        (MONDAY, MONDAY + HOUR, {"minutes": 1441}),
        (MONDAY, MONDAY + HOUR, {"patient": PATIENT}),  # whose local times are of no known zone
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    scheduling: Connection, begins: Any, ends: Any, narrowed: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue), scheduling.transaction():
        slots(scheduling, begins, ends, **narrowed)


# --- Narrowing -------------------------------------------------------------------------------------------------


def test_an_organization_with_clinicians_of_its_own_or_its_districts_has_only_these(
    scheduling: Connection,
) -> None:
    offer(scheduling, *(Availability(number, MONDAY, MONDAY + HOUR, NEW_YORK) for number in (1, 2, 3)))

    def served_by() -> set[int]:
        return {number for number, _, _ in slots(scheduling, *YEAR, organization=SCHOOL)}

    assert served_by() == {1, 2, 3}
    add = "INSERT INTO memberships (user_id, organization_id) VALUES (%s, %s)"
    scheduling.execute(add, [PATIENT, SCHOOL])
    assert served_by() == {1, 2, 3}
    scheduling.execute(add, [clinician(1), SCHOOL])
    scheduling.execute(add, [clinician(2), DISTRICT])
    assert served_by() == {1, 2}
    scheduling.execute("UPDATE memberships SET _fivetran_deleted = true WHERE user_id = %s", [clinician(2)])
    assert served_by() == {1}


def test_insurance_state_language_and_a_list_narrow_the_clinicians(scheduling: Connection) -> None:
    offer(scheduling, *(Availability(number, MONDAY, MONDAY + HOUR, NEW_YORK) for number in (1, 2, 3)))
    scheduling.execute(
        "UPDATE clinicians SET states_active = '{NY,NJ}', care_languages = '{eng,spa}' WHERE healthie_id = '1'"
    )
    scheduling.execute(
        "INSERT INTO clinician_credentialed_insurances (id, name, state) VALUES (%s, 'Any Insurance', 'NY')",
        [uuid("insurance")],
    )
    for number in (1, 2):
        scheduling.execute(
            "INSERT INTO clinician_insurance_affiliations (care_provider_profile_id, credentialed_insurance_id) VALUES (%s, %s)",
            [clinician(number), uuid("insurance")],
        )

    def found(**narrowed: Any) -> set[int]:
        return {number for number, _, _ in slots(scheduling, *YEAR, **narrowed)}

    insured = uuid("insurance")
    assert found(insurance=insured) == {1, 2}
    assert found(insurance=insured, state="ny ") == {1}
    assert found(insurance=insured, state="NJ") == set()
    assert found(language="spa") == {1}
    assert found(clinicians=[clinician(2), clinician(3)]) == {2, 3}
    assert found(clinicians=[]) == set()
    scheduling.execute("UPDATE clinician_credentialed_insurances SET _fivetran_deleted = true")
    assert found(insurance=insured) == set()


def availability(day: str, start: Any, duration: Any) -> dict[str, Any]:
    return {"day": day, "time_blocks": [{"start": start, "duration": duration}]}


def test_a_patients_times_are_local_to_the_school(scheduling: Connection) -> None:
    offer(scheduling, Availability(1, MONDAY - 3 * HOUR, MONDAY + 9 * HOUR, BERLIN, repeats=True))
    week = [
        availability("Monday", "09:30:00", 60),
        availability("tuesday", "09:30:00", 60),
        availability("Monday", "23:30", 60),
    ]
    scheduling.execute(
        "INSERT INTO patient_availabilities (user_id, availability) VALUES (%s, %s)",
        [PATIENT, json.dumps(week)],
    )
    half_past = MONDAY + HOUR / 2
    asked: dict[str, Any] = {"organization": SCHOOL, "patient": PATIENT}
    assert slots(scheduling, MONDAY, MONDAY + 24 * HOUR, **asked) == {(1, half_past, half_past + HOUR)}
    found = slots(scheduling, MONDAY, MONDAY + 24 * HOUR, **asked, minutes=30)
    assert found == {(1, half_past, half_past + HOUR / 2), (1, half_past + HOUR / 2, half_past + HOUR)}


@pytest.mark.parametrize(
    "stored",
    [
        [],
        {},
        "all day",
        None,
        [1, "Monday", None, {"day": "Monday"}, {"day": "Monday", "time_blocks": "morning"}],
        [
            availability("Funday", "09:00", 60),
            availability("Monday", "nine", 60),
            availability("Monday", "24:00", 60),
        ],
        [availability("Monday", "09:00", duration) for duration in ("60", -60, 0, 1e300, None)],
    ],
)
def test_a_patient_who_has_said_no_time_has_none(scheduling: Connection, stored: Any) -> None:
    offer(scheduling, Availability(1, MONDAY, MONDAY + 9 * HOUR, NEW_YORK))
    asked: dict[str, Any] = {"organization": SCHOOL, "patient": PATIENT}
    assert slots(scheduling, *YEAR, **asked) == set()
    scheduling.execute(
        "INSERT INTO patient_availabilities (user_id, availability) VALUES (%s, %s)",
        [PATIENT, json.dumps(stored)],
    )
    assert slots(scheduling, *YEAR, **asked) == set()


def test_of_several_availabilities_of_a_patient_the_newest_that_is_not_deleted_counts(
    scheduling: Connection,
) -> None:
    offer(scheduling, Availability(1, MONDAY, MONDAY + 9 * HOUR, NEW_YORK))
    for hour, updated in (("10:00", "2025-01-03"), ("11:00", "2025-01-01"), ("12:00", "2025-01-02")):
        scheduling.execute(
            "INSERT INTO patient_availabilities (id, user_id, availability, updated_at) VALUES (%s, %s, %s, %s)",
            [uuid(hour), PATIENT, json.dumps([availability("Monday", hour, 60)]), updated],
        )

    def begins() -> set[datetime]:
        return {start for _, start, _ in slots(scheduling, *YEAR, organization=SCHOOL, patient=PATIENT)}

    assert begins() == {MONDAY + HOUR}
    scheduling.execute("DELETE FROM patient_availabilities WHERE id = %s", [uuid("10:00")])
    assert begins() == {MONDAY + 3 * HOUR}
    scheduling.execute("UPDATE patients_and_guardians SET _fivetran_deleted = true")
    assert begins() == set()


# --- Against plain Python ----------------------------------------------------------------------------------------

CHANGES = [
    at(day) for day in ("2025-03-09", "2025-03-30", "2025-04-05", "2025-10-04", "2025-10-26", "2025-11-02")
]
"""When the clocks of the three zones change."""
MINUTES = st.integers(-3 * 24 * 4, 3 * 24 * 4).map(lambda quarters: timedelta(minutes=15 * quarters))
MOMENTS = st.one_of(
    st.builds(lambda day, near: day + near, st.sampled_from(CHANGES), MINUTES),
    st.builds(
        lambda change, weeks, near: change - timedelta(weeks=weeks) + near,
        st.sampled_from(CHANGES),
        st.integers(0, 60),
        MINUTES,
    ),
    st.datetimes(datetime(2024, 2, 1), datetime(2026, 2, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),  # noqa: DTZ001
)  # fmt: skip
LENGTHS = st.one_of(
    st.integers(1, 16).map(lambda quarters: timedelta(minutes=15 * quarters)),
    st.sampled_from([timedelta(0), -HOUR, timedelta(hours=30), timedelta(days=8), timedelta(seconds=1)]),
)


@st.composite
def rows(draw: st.DrawFn) -> Availability:
    start, length = draw(MOMENTS), draw(LENGTHS)
    ends = st.one_of(st.none(), st.integers(-1, 50).map(lambda weeks: start.date() + timedelta(weeks=weeks)))
    return Availability(
        clinician=draw(st.integers(1, 3)),
        range_start=start,
        range_end=start + length,
        zone=draw(st.sampled_from([NEW_YORK, BERLIN, LORD_HOWE])),
        repeats=draw(st.booleans()),
        end_on=draw(ends),
        deleted=draw(st.integers(0, 9)) == 0,
    )


WINDOWS = st.one_of(
    st.just(YEAR),
    st.tuples(MOMENTS, st.integers(0, 14 * 24)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1] * HOUR)),
)


def same_as_in_python(
    connection: Connection, offered: Iterable[Availability], asked: tuple[datetime, datetime]
) -> None:
    with connection.transaction(force_rollback=True):
        offer(connection, *offered)
        assert slots(connection, *asked) == free_stretches(offered, *asked)


ALIKE = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=25, **ALIKE)  # type: ignore[arg-type]  # a dict of several types
@given(offered=st.lists(rows(), max_size=8), asked=WINDOWS)
def test_slots_are_what_plain_python_finds(
    scheduling: Connection, offered: list[Availability], asked: tuple[datetime, datetime]
) -> None:
    same_as_in_python(scheduling, offered, asked)


@pytest.mark.slow
@settings(max_examples=1000, **ALIKE)  # type: ignore[arg-type]  # a dict of several types
@given(offered=st.lists(rows(), max_size=12), asked=WINDOWS)
def test_slots_are_what_plain_python_finds_in_many_cases(
    scheduling: Connection, offered: list[Availability], asked: tuple[datetime, datetime]
) -> None:
    same_as_in_python(scheduling, offered, asked)
