# ruff: noqa: S608 - what is put into statements here are names of the project
"""The numbers for analysts are those that somebody would count by hand, row by row, with a calendar."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.maintenance import summaries
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline_tests.exports import uuid

CONTRACT = uuid("contract")
ZONES = {"west": "America/Los_Angeles", "far": "Pacific/Auckland", "none": "CST"}
"""Districts, of one school each. The last one's zone means several: there it is UTC."""
VIEWS = ("funnel_by_week", "coverage_by_week", "capacity_by_week")


def rows(connection: Connection, view: str) -> list[dict[str, object]]:
    summaries.refresh(connection, SUMMARIES[view])
    return database.every(
        connection, dict[str, object], f"SELECT * FROM reporting.{view} ORDER BY id".encode()
    )


@pytest.fixture
def districts(session: Connection) -> Connection:
    session.execute(
        "INSERT INTO contracts (id, effective_date, services, terms) VALUES (%s, '2025-01-01', '{}', '[]')",
        [CONTRACT],
    )
    for name, zone in ZONES.items():
        session.execute(
            "INSERT INTO organizations (id, kind, name, tzdb, parent_organization_id)"
            " VALUES (%(d)s, 1, %(name)s, %(zone)s, NULL), (%(s)s, 2, 'Any School', NULL, %(d)s)",
            {"d": uuid(name), "s": uuid(f"school of {name}"), "name": name, "zone": zone},
        )
    session.commit()
    session.autocommit = True
    return session


def monday(moment: datetime, district: str) -> date:
    local = moment.astimezone(ZoneInfo("UTC" if district == "none" else ZONES[district])).date()
    return local - timedelta(days=local.weekday())


# --- Funnel and time to care ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Referral:
    district: str
    at: datetime
    steps: tuple[datetime | None, ...]
    """Onboarding completed, ready, scheduled, enrolled."""
    family: str

    @property
    def furthest(self) -> int:
        return max((place for place, at in enumerate(self.steps, start=1) if at), default=0)


def some_referrals(chance: random.Random, number: int) -> list[Referral]:
    """Return referrals of three weeks around a change of the clock, many within hours of a Monday's midnight."""
    found = []
    for which in range(number):
        at = datetime(2025, 3, 3, tzinfo=UTC) + timedelta(
            days=7 * chance.randrange(4), minutes=chance.randrange(-16 * 60, 16 * 60)
        )
        furthest, moment, steps = chance.choice((0, 1, 1, 3, 4, 4)), at, []
        for step in range(4):
            moment += timedelta(hours=chance.randrange(300))
            steps.append(moment if step < furthest else None)
        found.append(
            Referral(chance.choice(("west", "west", "far", "none")), at, tuple(steps), f"family {which}")
        )
    return found


def put(connection: Connection, referrals: list[Referral]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO referrals (submitter_id, organization_id, service_kind, contract_id, referred_at,"
            " onboarding_completed_at, ready_for_scheduling_at, scheduled_at, enrolled_at)"
            " VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s)",
            [
                (uuid(one.family), uuid(f"school of {one.district}"), CONTRACT, one.at, *one.steps)
                for one in referrals
            ],
        )


def counted(row: dict[str, object], referrals: list[Referral], named: set[str]) -> list[Referral]:
    """Return the referrals that a row is about."""
    first, weeks = row["week"], row["weeks"]
    assert isinstance(first, date)
    assert isinstance(weeks, int)
    of: Callable[[str], bool] = {
        "all": lambda _: True,
        "district": lambda district: district == row["district"],
        "other districts": lambda district: district not in named,
    }[str(row["scope"])]
    return [
        one
        for one in referrals
        if first <= monday(one.at, one.district) < first + timedelta(days=7 * weeks) and of(one.district)
    ]


STEPS = ("referred", "onboarding_completed", "ready_for_scheduling", "scheduled", "enrolled")
TIMES = {
    "days_to_onboarding": (None, 0),
    "days_to_ready": (0, 1),
    "days_to_scheduled": (1, 2),
    "days_to_enrolled": (2, 3),
    "days_to_care": (None, 3),
}


def days(one: Referral, begin: int | None, end: int) -> float | None:
    earlier, later = one.at if begin is None else one.steps[begin], one.steps[end]
    return (later - earlier).total_seconds() / 86400 if earlier and later else None


@pytest.mark.parametrize("seed", [1, 2])
def test_every_number_of_the_funnel_is_what_somebody_would_count(districts: Connection, seed: int) -> None:
    referrals = some_referrals(random.Random(seed), 900)  # noqa: S311 - numbers for a test
    put(districts, referrals)
    districts.execute("SET TIME ZONE 'Asia/Tokyo'")  # a session's own has no part in it
    found = rows(districts, "funnel_by_week")
    for row in found:
        named = {str(one["district"]) for one in found if one["week"] == row["week"] and one["district"]}
        of = counted(row, referrals, named)
        for step, column in enumerate(STEPS):
            assert row[column] in {sum(one.furthest >= step for one in of), None}
        for column, (begin, end) in TIMES.items():
            known = [value for one in of if (value := days(one, begin, end)) is not None]
            assert (row[column] is not None) <= (len(known) >= 11)
            if row[column] is not None:
                assert abs(median(known) - float(str(row[column]))) <= 0.5
    whole = [row for row in found if row["scope"] == "all"]
    assert sum(int(str(row["referred"])) for row in whole) == 900
    assert len({monday(one.at, one.district) for one in referrals}) == sum(
        int(str(row["weeks"])) for row in whole
    )
    # Much is shown: this is no empty page.
    assert sum(row["enrolled"] is not None for row in found) >= 8
    assert {row["district"] for row in found} == {"west", "far", "none", None}
    assert sum(row["days_to_care"] is not None for row in found) >= 8


def test_the_week_is_that_of_the_school(districts: Connection) -> None:
    """Monday at 02:00 UTC: still Sunday in the west, long Monday in New Zealand; where no zone is known, Monday."""
    moment = datetime(2025, 3, 10, 2, tzinfo=UTC)
    put(
        districts,
        [
            Referral(district, moment, (None,) * 4, f"{district} {number}")
            for district in ZONES
            for number in range(12)
        ],
    )
    found = {
        (str(row["week"]), row["district"]): (row["referred"], row["enrolled"])
        for row in rows(districts, "funnel_by_week")
        if row["scope"] == "district"
    }
    assert found == {
        ("2025-03-03", "west"): (12, 0),
        ("2025-03-10", "far"): (12, 0),
        ("2025-03-10", "none"): (12, 0),
    }


def test_what_is_deleted_or_has_no_time_is_not_counted_and_a_family_counts_once(
    districts: Connection,
) -> None:
    at = datetime(2025, 3, 5, tzinfo=UTC)
    put(districts, [Referral("west", at, (None,) * 4, f"family {number}") for number in range(11)])
    put(districts, [Referral("far", at, (None,) * 4, "one family") for _ in range(30)])
    (row,) = (row for row in rows(districts, "funnel_by_week") if row["scope"] == "all")
    assert row["referred"] == 41
    # Eleven, and thirty referrals of one family, who are not eleven.
    assert [row["scope"] for row in rows(districts, "funnel_by_week")] == ["all"]
    districts.execute(
        "UPDATE referrals SET _fivetran_deleted = true WHERE submitter_id = %s", [uuid("one family")]
    )
    assert [row["referred"] for row in rows(districts, "funnel_by_week")] == [11, 11]
    districts.execute(
        "UPDATE referrals SET referred_at = 'infinity' WHERE submitter_id = %s", [uuid("family 1")]
    )
    assert rows(districts, "funnel_by_week") == []
    districts.execute(
        "UPDATE referrals SET referred_at = NULL, created_at = '2025-03-06' WHERE submitter_id = %s",
        [uuid("family 1")],
    )
    assert [row["referred"] for row in rows(districts, "funnel_by_week")] == [11, 11]
    districts.execute("UPDATE organizations SET _fivetran_deleted = true")
    assert [(row["scope"], row["referred"]) for row in rows(districts, "funnel_by_week")] == [("all", 11)]


def test_a_median_is_of_eleven_families_whose_times_are_known(districts: Connection) -> None:
    at = datetime(2025, 3, 5, tzinfo=UTC)

    def enrolled(after: int) -> tuple[datetime | None, ...]:
        return (None, None, None, at + timedelta(days=after))

    put(districts, [Referral("west", at, enrolled(number), f"family {number}") for number in range(11)])
    assert [row["days_to_care"] for row in rows(districts, "funnel_by_week")] == [5, 5]
    # One is enrolled by a label alone: eleven are, and ten have a time.
    districts.execute(
        "UPDATE referrals SET enrolled_at = NULL, system_labels = '{enrolled}' WHERE submitter_id = %s",
        [uuid("family 0")],
    )
    assert [(row["enrolled"], row["days_to_care"]) for row in rows(districts, "funnel_by_week")] == [
        (11, None)
    ] * 2


@pytest.mark.parametrize("view", VIEWS)
def test_there_is_nothing_of_an_empty_database_and_of_one_row(districts: Connection, view: str) -> None:
    assert rows(districts, view) == []
    put(districts, [Referral("west", datetime(2025, 3, 5, tzinfo=UTC), (None,) * 4, "family")])
    districts.execute("INSERT INTO insurance_coverages (kind, user_id) VALUES (2, %s)", [uuid("patient")])
    _add_clinicians(districts, 1, "west")
    assert rows(districts, view) == []


# --- Coverage ------------------------------------------------------------------------------------------------


def test_each_patient_counts_once_with_the_best_coverage(districts: Connection) -> None:
    states = {
        "eligible": "2, 4, NULL, NULL",
        "submitted": "2, 2, NULL, NULL",
        "expired": "2, 6, NULL, NULL",
        "expired by label": "2, 4, '{expired}', NULL",
        "expired by date": """2, 4, NULL, '{"expires_on": "2020-01-31"}'""",
        "unknown": "2, 0, NULL, NULL",
        "not insured": "0, 4, NULL, NULL",
    }
    for state, values in states.items():
        for number in range(11):
            patient = f"{state} {number}"
            _cover(districts, patient, values, "2025-03-05")
            # Another one that is no better, recorded later, does not count, nor its week.
            _cover(districts, patient, states["not insured"], "2025-04-05")
            districts.execute(
                "INSERT INTO memberships (user_id, organization_id) VALUES (%s, %s)",
                [uuid(patient), uuid("school of far" if number % 2 else "school of west")],
            )
    _cover(districts, "deleted", states["eligible"], "2025-03-05")
    districts.execute(
        "UPDATE insurance_coverages SET _fivetran_deleted = true WHERE user_id = %s", [uuid("deleted")]
    )
    (row, *others) = rows(districts, "coverage_by_week")
    assert (str(row["week"]), row["weeks"], row["patients"]) == ("2025-03-03", 1, 77)
    assert {name: row[name] for name in ("eligible", "submitted", "expired", "unknown", "not_insured", "insured")} == {
        "eligible": 11, "submitted": 11, "expired": 33, "unknown": 11, "not_insured": 11, "insured": 66,
    }  # fmt: skip
    # Half of eleven is too few to be shown by district; the patients are not.
    assert {(one["district"], one["patients"], one["eligible"]) for one in others} == {
        ("west", 42, None),
        ("far", 35, None),
    }


def test_a_patient_belongs_to_the_district_of_the_newest_referral(districts: Connection) -> None:
    for number in range(12):
        patient, referral = f"patient {number}", f"referral {number}"
        _cover(districts, patient, "2, 4, NULL, NULL", "2025-03-05")
        districts.execute(
            "INSERT INTO memberships (user_id, organization_id) VALUES (%s, %s)",
            [uuid(patient), uuid("school of far")],
        )
        for which, district, made in ((1, "none", "2025-01-01"), (2, "west", "2025-02-01")):
            districts.execute(
                "INSERT INTO referrals (id, submitter_id, organization_id, service_kind, contract_id, created_at)"
                " VALUES (%s, %s, %s, 1, %s, %s)",
                [uuid(f"{referral} {which}"), uuid("parent"), uuid(f"school of {district}"), CONTRACT, made],
            )
            districts.execute(
                "INSERT INTO referral_members (referral_id, user_id) VALUES (%s, %s)",
                [uuid(f"{referral} {which}"), uuid(patient)],
            )
    found = rows(districts, "coverage_by_week")
    assert [(row["district"], row["patients"]) for row in found] == [(None, 12), ("west", 12)]


def _cover(connection: Connection, patient: str, values: str, at: str) -> None:
    connection.execute(
        "INSERT INTO insurance_coverages (user_id, created_at, kind, eligibility, system_labels, profile_data)"
        f" VALUES (%s, %s, {values})".encode(),
        [uuid(patient), at],
    )


# --- Capacity ------------------------------------------------------------------------------------------------


def _add_clinicians(
    connection: Connection, number: int, district: str | None, state: str = "NY", begin: int = 0
) -> None:
    """Add clinicians with eight hours every Tuesday, the last two of which overlap with two other hours."""
    for which in range(begin, begin + number):
        clinician = uuid(f"clinician {which}")
        connection.execute(
            "INSERT INTO clinicians (id, healthie_id, states_active) VALUES (%s, %s, ARRAY[%s])",
            [clinician, str(which), state],
        )
        for place, hours in enumerate((8, 2)):
            begins = datetime(2024, 1, 2, 9 + 6 * place, tzinfo=UTC)
            connection.execute(
                "INSERT INTO clinician_availabilities"
                " (id, user_id, range_start, range_end, timezone, is_repeating, created_at, updated_at)"
                " VALUES (%s, %s, %s, %s, 'America/Los_Angeles', true, now(), now())",
                [2 * which + place, which, begins, begins + timedelta(hours=hours)],
            )
        if district:
            connection.execute(
                "INSERT INTO memberships (user_id, organization_id) VALUES (%s, %s)",
                [clinician, uuid(f"school of {district}")],
            )


def test_capacity_is_the_hours_of_this_week_and_the_next_eleven(districts: Connection) -> None:
    _add_clinicians(districts, 12, "west")
    _add_clinicians(districts, 13, None, state="TX", begin=100)
    found = rows(districts, "capacity_by_week")
    this_week = monday(datetime.now(UTC), "none")
    weeks = sorted({row["week"] for row in found if row["scope"] == "other districts"}, key=str)
    assert weeks == [this_week + timedelta(days=7 * number) for number in range(12)]
    lines = {
        (row["scope"], row["district"], row["state"], row["clinicians"], row["hours"])
        for row in found
        if row["week"] == weeks[1]
    }
    assert lines == {
        ("all", None, None, 25, 200),
        ("district", "west", None, 12, 96),
        ("other districts", None, None, 13, 104),
        ("state", None, "NY", 12, 96),
        ("state", None, "TX", 13, 104),
    }


def test_few_clinicians_are_a_small_group_too(districts: Connection) -> None:
    _add_clinicians(districts, 12, "west")
    _add_clinicians(districts, 3, "far", state="TX", begin=100)
    found = [row for row in rows(districts, "capacity_by_week") if row["clinicians"] == 15]
    assert {row["scope"] for row in rows(districts, "capacity_by_week")} == {"all"}
    assert len(found) >= 11
