# ruff: noqa: S608 - what is put into statements here are this file's own names
"""The views for common queries in schema ``app``: what they show, to whom, and by which index."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import uuid

SCHOOL, DISTRICT, PATIENT, CHILD, CONTRACT, REFERRAL = map(
    uuid, ("school", "district", "patient", "child", "contract", "referral")
)
VIEWS = (
    *("active_referrals", "relatives", "coverage_status"),
    *("organization_contracts", "insurance_companies", "clinician_directory"),
)


def found(connection: Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), parameters).fetchall()


def values(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in found(connection, query, *parameters)]


_SCENE = """
INSERT INTO organizations (id, kind, name) VALUES (%(d)s, 1, 'Any District');
INSERT INTO organizations (id, kind, name, parent_organization_id) VALUES (%(s)s, 2, 'Any School', %(d)s);
INSERT INTO contracts (id, effective_date, end_date, services, terms) VALUES (%(k)s, '2025-01-01', '2025-06-30', '{}', '[]');
INSERT INTO org_contracts (organization_id, contract_id) VALUES (%(d)s, %(k)s);
INSERT INTO patients_and_guardians (id, role) VALUES (%(p)s, 1), (%(c)s, 1);
INSERT INTO kinships (user_0_id, user_1_id, kind, user_0_label, user_1_label) VALUES (%(p)s, %(c)s, 1, 1, 2);
INSERT INTO referrals (id, submitter_id, organization_id, service_kind, contract_id, referred_at)
    VALUES (%(r)s, %(p)s, %(s)s, 1, %(k)s, '2025-03-01');
INSERT INTO referral_members (referral_id, user_id) VALUES (%(r)s, %(c)s);
INSERT INTO insurance_coverages (kind, user_id, eligibility) VALUES (2, %(c)s, 4);
INSERT INTO clinicians (id) VALUES (%(n)s);
INSERT INTO clinician_credentialed_insurances (id, name) VALUES (%(i)s, 'Any Insurance');
INSERT INTO clinician_insurance_affiliations (care_provider_profile_id, credentialed_insurance_id) VALUES (%(n)s, %(i)s)"""


@pytest.fixture
def scene(connection: Connection) -> Connection:
    """A row of every table that the views read, without personal values: those need a key."""
    ids = {"d": DISTRICT, "s": SCHOOL, "k": CONTRACT, "p": PATIENT, "c": CHILD, "r": REFERRAL}
    ids |= {"n": uuid("clinician"), "i": uuid("insurance")}
    for statement in _SCENE.split(";\n"):
        connection.execute(statement.encode(), ids)
    return connection


# --- What is deleted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "tables"),
    [
        ("active_referrals", ["referrals"]),
        ("relatives", ["kinships", "patients_and_guardians"]),
        ("coverage_status", ["insurance_coverages", "patients_and_guardians"]),
        ("organization_contracts", ["organizations", "contracts"]),
        ("insurance_companies", ["clinician_credentialed_insurances"]),
        ("clinician_directory", ["clinicians"]),
    ],
)
def test_a_soft_deleted_row_is_in_no_view(scene: Connection, view: str, tables: list[str]) -> None:
    assert found(scene, f"SELECT * FROM app.{view}")
    for table in tables:
        with scene.transaction(force_rollback=True):
            scene.execute(f"UPDATE {table} SET _fivetran_deleted = true".encode())
            assert found(scene, f"SELECT * FROM app.{view}") == []
        with scene.transaction(force_rollback=True):
            scene.execute(f"UPDATE {table} SET _fivetran_deleted = NULL".encode())
            assert found(scene, f"SELECT * FROM app.{view}")


def test_what_hangs_on_a_row_is_not_shown_when_it_is_deleted(scene: Connection) -> None:
    shown = "SELECT organization_name, member_ids FROM app.active_referrals"
    assert [(name, list(map(str, ids))) for name, ids in found(scene, shown)] == [("Any School", [CHILD])]
    scene.execute("UPDATE organizations SET _fivetran_deleted = true")
    scene.execute("UPDATE referral_members SET _fivetran_deleted = true")
    assert found(scene, shown) == [(None, [])]
    insured = "SELECT insurance_ids FROM app.clinician_directory"
    assert values(scene, insured) != [[]]
    scene.execute("UPDATE clinician_insurance_affiliations SET _fivetran_deleted = true")
    assert values(scene, insured) == [[]]


# --- Referrals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("system_labels = NULL", "referred"),
        ("system_labels = '{}'", "referred"),
        ("system_labels = '{referred,onboarding_completed}'", "onboarding_completed"),
        ("onboarding_completed_at = now()", "onboarding_completed"),
        ("ready_for_scheduling_at = now(), system_labels = '{scheduled}'", "scheduled"),
        ("enrolled_at = now(), system_labels = '{referred}'", "enrolled"),
        ("system_labels = '{referred,request_rejected}'", None),
        ("request_rejected_at = now()", None),
        ("enrolled_at = now(), disenrolled_at = now()", None),
        ("excluded_at = '-infinity'", None),
    ],
)
def test_the_status_is_the_furthest_step_of_an_open_referral(
    scene: Connection, change: str, status: str | None
) -> None:
    scene.execute(f"UPDATE referrals SET {change}".encode())
    assert values(scene, "SELECT status FROM app.active_referrals") == ([status] if status else [])


def test_a_referral_has_the_district_of_its_school_and_a_district_is_its_own(scene: Connection) -> None:
    district = "SELECT district_id::text FROM app.active_referrals"
    assert values(scene, district) == [DISTRICT]
    scene.execute("UPDATE referrals SET organization_id = %s", [DISTRICT])
    assert values(scene, district) == [DISTRICT]


# --- Families ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "of_the_first", "of_the_second"),
    [
        ((1, 2), [(False, True)], [(True, False)]),
        ((2, 1), [(True, False)], [(False, True)]),
        ((12, 12), [(True, True)], [(True, True)]),
        ((12, 2), [(False, True)], [(True, False)]),
        ((1, 12), [(False, True)], [(True, False)]),
        ((1, 1), [(False, False)], [(False, False)]),
        ((2, 2), [(False, False)], [(False, False)]),
    ],
)
def test_a_kinship_is_seen_from_both_ends(
    scene: Connection, labels: tuple[int, int], of_the_first: list[Any], of_the_second: list[Any]
) -> None:
    scene.execute("UPDATE kinships SET user_0_label = %s, user_1_label = %s", labels)
    query = "SELECT is_guardian, is_child FROM app.relatives WHERE person_id = %s"
    assert found(scene, query, PATIENT) == of_the_first
    assert found(scene, query, CHILD) == of_the_second


def test_who_is_nobody_here_is_a_relative_without_a_name(scene: Connection) -> None:
    scene.execute("DELETE FROM patients_and_guardians WHERE id = %s", [CHILD])
    query = "SELECT relative_id::text, first_name, relative_user_type FROM app.relatives WHERE person_id = %s"
    assert found(scene, query, PATIENT) == [(CHILD, None, None)]


def test_a_family_is_all_that_kinships_lead_to_in_circles_too(scene: Connection) -> None:
    mother, brother, aunt = map(uuid, ("mother", "brother", "aunt"))
    for one, other, labels in (
        (mother, CHILD, (1, 2)),
        (mother, brother, (1, 2)),
        (PATIENT, brother, (1, 2)),
        (aunt, mother, (12, 12)),
        (CHILD, CHILD, (12, 12)),
    ):
        scene.execute(
            "INSERT INTO kinships (user_0_id, user_1_id, kind, user_0_label, user_1_label) VALUES (%s, %s, 1, %s, %s)",
            [one, other, *labels],
        )
    family = "SELECT member_id::text, steps FROM app.family(%s)"
    near = {(CHILD, 0), (PATIENT, 1), (mother, 1), (brother, 2), (aunt, 2)}
    assert set(found(scene, family, CHILD)) == near
    assert set(found(scene, "SELECT member_id::text, steps FROM app.family(%s, 1)", CHILD)) == {
        (member, steps) for member, steps in near if steps < 2
    }
    scene.execute("UPDATE patients_and_guardians SET _fivetran_deleted = true WHERE id = %s", [CHILD])
    assert found(scene, family, CHILD) == []
    assert CHILD not in values(scene, family, PATIENT)
    assert found(scene, family, None) == []


# --- Coverage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "expires_on"),
    [
        ({"expires_on": "2024-02-29"}, "2024-02-29"),
        ({"expires_on": "2025-12-31T00:00:00"}, "2025-12-31"),
        ({"export_columns": {"expires_on": "2025-12-31"}}, "2025-12-31"),
        ({"expires_on": "2025-02-29"}, None),
        ({"expires_on": "1900-02-29"}, None),
        ({"expires_on": "0000-01-01"}, None),
        ({"expires_on": "2025-13-01"}, None),
        ({"expires_on": "infinity"}, None),
        ({"expires_on": 20251231}, None),
        ({"expires_on": {}}, None),
        ({"expires_on": "2025-12-311"}, None),
        ([], None),
        ("soon", None),
        (None, None),
    ],
)
def test_a_coverage_expires_where_something_says_when(
    scene: Connection, profile: Any, expires_on: str | None
) -> None:
    scene.execute("UPDATE insurance_coverages SET profile_data = %s", [json.dumps(profile)])
    assert values(scene, "SELECT expires_on::text FROM app.coverage_status") == [expires_on]


def test_days_until_expiry_count_from_today_and_what_has_expired_says_so(scene: Connection) -> None:
    query = "SELECT days_until_expiry, is_expired, eligibility_name FROM app.coverage_status"
    assert found(scene, query) == [(None, False, "eligible")]
    (today,) = values(scene, "SELECT current_date")
    for days, expired in ((3, False), (0, False), (-1, True)):
        profile = json.dumps({"expires_on": str(today + timedelta(days=days))})
        scene.execute("UPDATE insurance_coverages SET profile_data = %s", [profile])
        assert found(scene, query) == [(days, expired, "eligible")]
    scene.execute(
        "UPDATE insurance_coverages SET profile_data = NULL, eligibility = NULL, system_labels = '{expired}'"
    )
    assert found(scene, query) == [(None, True, None)]


# --- Contracts ---------------------------------------------------------------------------------------------


def effective(connection: Connection, day: str | date) -> list[tuple[str, bool]]:
    query = "SELECT contract_id::text, is_own FROM app.effective_contract(%s, %s::date)"
    return [(contract, own) for contract, own in found(connection, query, SCHOOL, day)]


def test_a_school_has_its_own_contract_before_that_of_its_district(scene: Connection) -> None:
    assert effective(scene, "2025-01-01") == effective(scene, "2025-06-30") == [(CONTRACT, False)]
    assert effective(scene, "2024-12-31") == effective(scene, "2025-07-01") == []
    own, later, never = map(uuid, ("own", "later", "never"))
    for contract, begins, ends in (
        (own, "2025-02-01", None),
        (later, "2025-03-01", "infinity"),
        (never, "2025-05-01", "2025-04-01"),
    ):
        scene.execute(
            "INSERT INTO contracts (id, effective_date, end_date, services, terms) VALUES (%s, %s, %s, '{}', '[]')",
            [contract, begins, ends],
        )
        scene.execute(
            "INSERT INTO org_contracts (organization_id, contract_id) VALUES (%s, %s)", [SCHOOL, contract]
        )
    assert effective(scene, "2025-01-31") == [(CONTRACT, False)]
    assert effective(scene, "2025-02-28") == [(own, True)]
    assert effective(scene, "2025-06-01") == [(later, True)]
    scene.execute("UPDATE contracts SET _fivetran_deleted = true WHERE id = %s", [later])
    assert effective(scene, "2025-06-01") == [(own, True)]


def test_an_organization_that_is_its_own_parent_has_each_contract_once(scene: Connection) -> None:
    scene.execute("UPDATE organizations SET parent_organization_id = id")
    assert values(scene, "SELECT held_by::text FROM app.organization_contracts") == [DISTRICT]


# --- Insurance companies -----------------------------------------------------------------------------------


@pytest.fixture
def insurers(connection: Connection) -> Connection:
    for name, payer, legacy, state in (
        ("Blue Cross and Blue Shield of Texas", None, None, "TX"),
        ("Blue Cross Blue Shield of Illinois", None, [], "IL"),
        ("Aetna", "AETNA US HEALTHCARE", None, None),
        ("Crestfield Health Plan", None, ["Old Mill Mutual", None, ""], "CA"),
        ("Überlandia Krankenkasse", None, None, "CA"),
    ):
        connection.execute(
            "INSERT INTO clinician_credentialed_insurances (name, open_pm_name, legacy_names, state) VALUES (%s, %s, %s, %s)",
            [name, payer, legacy, state],
        )
    return connection


@pytest.mark.parametrize(
    ("query", "state", "first"),
    [
        ("blue cross blue shield of texas", None, "Blue Cross and Blue Shield of Texas"),
        ("BCBS", "il", "Blue Cross Blue Shield of Illinois"),
        ("bcbst", None, "Blue Cross and Blue Shield of Texas"),
        ("Blue Cros & Blue Sheild Texs", None, "Blue Cross and Blue Shield of Texas"),
        ("aenta", None, "Aetna"),
        ("aetna", "NY", "Aetna"),
        ("Aetna U.S. Healthcare", None, "Aetna"),
        ("old mill", None, "Crestfield Health Plan"),
        ("Oldmill Mutal", "CA", "Crestfield Health Plan"),
        ("chp", None, "Crestfield Health Plan"),
        ("uberlandia", None, "Überlandia Krankenkasse"),
    ],
)
def test_a_company_is_found_by_any_spelling(
    insurers: Connection, query: str, state: str | None, first: str
) -> None:
    rows = found(insurers, "SELECT name, score FROM app.find_insurances(%s, %s)", query, state)
    assert rows[0][0] == first
    scores = [score for _, score in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@pytest.mark.parametrize("legacy", ["{{Old Mill,Mutual},{New Mill,Mutual}}", "{NULL}", "{}", None])
def test_old_names_may_be_any_array(insurers: Connection, legacy: str | None) -> None:
    insurers.execute("UPDATE clinician_credentialed_insurances SET legacy_names = %s::text[]", [legacy])
    assert values(insurers, "SELECT name FROM app.find_insurances('aetna')")[0] == "Aetna"


def test_a_spelling_as_it_stands_has_the_highest_score(insurers: Connection) -> None:
    query = "SELECT max(score) FROM app.find_insurances(%s)"
    assert values(insurers, query, "AETNA") == [1.0]
    assert values(insurers, query, "aetma")[0] < 1


@pytest.mark.parametrize("query", ["", "  ", "&", "!!", None, "zzzz", "%", "x' OR true --"])
def test_what_is_like_no_company_finds_none(insurers: Connection, query: str | None) -> None:
    assert found(insurers, "SELECT * FROM app.find_insurances(%s)", query) == []


def test_a_search_leaves_the_threshold_of_the_session_alone(insurers: Connection) -> None:
    values(insurers, "SELECT name FROM app.find_insurances('aetna')")
    assert values(insurers, "SELECT current_setting('pg_trgm.word_similarity_threshold')") == ["0.6"]
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        found(insurers, "SELECT * FROM app.find_insurances('aetna', NULL, 0)")


# --- Names, and who has time -------------------------------------------------------------------------------


def test_names_show_with_the_key_and_are_null_without(
    session: Connection, migrated: DatabaseSettings
) -> None:
    session.execute(
        "INSERT INTO patients_and_guardians (id, role, first_name) VALUES (%s, 1, 'Ines'), (%s, 1, 'Leo')",
        [PATIENT, CHILD],
    )
    session.execute(
        "INSERT INTO kinships (user_0_id, user_1_id, kind, user_0_label, user_1_label) VALUES (%s, %s, 1, 1, 2)",
        [PATIENT, CHILD],
    )
    session.execute(
        "INSERT INTO clinicians (id, first_name, healthie_id, states_active) VALUES (%s, 'Noor', '7', '{NY}')",
        [uuid("clinician")],
    )
    session.execute("INSERT INTO organizations (id, kind, name) VALUES (%s, 2, 'Any School')", [SCHOOL])
    session.execute(
        "INSERT INTO clinician_availabilities (id, user_id, range_start, range_end, timezone, created_at, updated_at)"
        " VALUES (1, 7, '2025-06-02 13:00+00', '2025-06-02 15:00+00', 'UTC', now(), now())"
    )
    session.commit()
    family = "SELECT first_name FROM app.relatives WHERE person_id = %s"
    free = "SELECT first_name, slots FROM app.find_clinicians(%s, '2025-06-01', '2025-06-08', state => 'NY')"
    assert values(session, family, CHILD) == ["Ines"]
    assert found(session, free, SCHOOL) == [("Noor", 2)]
    with database.connect(migrated) as keyless:
        assert values(keyless, family, CHILD) == [None]
        assert found(keyless, free, SCHOOL) == [(None, 2)]


# --- Indexes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(databases: Databases, template: DatabaseSettings) -> Iterator[Connection]:
    """Tables that are large enough for an index to matter, made by the server."""
    with databases.copy(template.name) as settings, database.connect(settings, key=KEY) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
        for statement in _MANY.split(";\n"):
            connection.execute(statement.encode())
        connection.execute("SET session_replication_role = origin")
        connection.commit()
        yield connection


_MANY = """
INSERT INTO organizations (id, kind, name, parent_organization_id)
    SELECT md5('o' || n)::uuid, CASE WHEN n <= 100 THEN 1 ELSE 2 END, n::text,
           CASE WHEN n > 100 THEN md5('o' || n % 100 + 1)::uuid END
    FROM generate_series(1, 5000) n;
INSERT INTO contracts (id, effective_date, services, terms)
    SELECT md5('k' || n)::uuid, '2025-01-01', '{}', '[]' FROM generate_series(1, 5000) n;
INSERT INTO org_contracts (organization_id, contract_id)
    SELECT md5('o' || n)::uuid, md5('k' || n)::uuid FROM generate_series(1, 5000) n;
INSERT INTO referrals (id, submitter_id, organization_id, service_kind, contract_id, referred_at, scheduled_at)
    SELECT md5('r' || n)::uuid, md5('p' || n)::uuid, md5('o' || n % 4900 + 101)::uuid, 1, md5('k' || n % 5000 + 1)::uuid,
           now() - n * interval '1 minute', CASE WHEN n % 3 = 0 THEN now() END
    FROM generate_series(1, 40000) n;
INSERT INTO referral_members (referral_id, user_id)
    SELECT md5('r' || n)::uuid, md5('p' || n)::uuid FROM generate_series(1, 40000) n;
INSERT INTO patients_and_guardians (id, role) SELECT md5('p' || n)::uuid, 1 FROM generate_series(1, 40000) n;
INSERT INTO kinships (user_0_id, user_1_id, kind, user_0_label, user_1_label)
    SELECT md5('p' || n)::uuid, md5('p' || n + 1)::uuid, 1, 1, 2 FROM generate_series(1, 39999) n;
INSERT INTO insurance_coverages (user_id, kind, profile_data)
    SELECT md5('p' || n)::uuid, 2, jsonb_build_object('expires_on', date '2025-01-01' + n % 2000)
    FROM generate_series(1, 40000) n;
INSERT INTO clinicians (id, healthie_id) SELECT md5('c' || n)::uuid, n::text FROM generate_series(1, 5000) n;
INSERT INTO clinician_credentialed_insurances (id, name, state)
    SELECT md5('i' || n)::uuid, substr(md5(n::text), 1, 9) || ' ' || substr(md5(n::text), 12, 9), 'NY'
    FROM generate_series(1, 5000) n;
INSERT INTO clinician_insurance_affiliations (care_provider_profile_id, credentialed_insurance_id)
    SELECT md5('c' || n)::uuid, md5('i' || n)::uuid FROM generate_series(1, 5000) n;
INSERT INTO clinician_availabilities (id, user_id, range_start, range_end, timezone, is_repeating, created_at, updated_at)
    SELECT n, n % 5000 + 1, b, b + interval '2 hours', 'America/New_York', n % 10 < 6, now(), now()
    FROM generate_series(1, 40000) n,
         LATERAL (SELECT timestamptz '2025-06-01 12:00+00' + n * 7919 % 180 * interval '1 day') t (b);
ANALYZE"""

ORGANIZATION = "WHERE organization_id = md5('o200')::uuid"
INDEXED = [
    (
        f"SELECT member_ids FROM app.active_referrals {ORGANIZATION} AND status = 'scheduled' ORDER BY referred_at DESC LIMIT 9",
        {"idx_referrals_active", "referral_members"},
    ),
    (
        f"SELECT status, count(*) FROM app.active_referrals {ORGANIZATION} GROUP BY 1",
        {"referrals"},
    ),
    (
        "SELECT relative_id, first_name FROM app.relatives WHERE person_id = md5('p200')::uuid",
        {"idx_kinships_user_0", "idx_kinships_user_1", "patients_and_guardians_pkey"},
    ),
    (
        "SELECT id, days_until_expiry FROM app.coverage_status WHERE user_id = md5('p200')::uuid",
        {"idx_insurance_coverages_user"},
    ),
    (
        "SELECT id FROM app.coverage_status WHERE expires_on = '2026-01-01'",
        {"idx_insurance_coverages_expiry"},
    ),
    (
        f"SELECT contract_id FROM app.organization_contracts {ORGANIZATION}",
        {"org_contracts", "contracts_pkey"},
    ),
    (
        "SELECT id FROM app.insurance_companies WHERE app.is_spelled_like(spellings, app.spelled_out('c4ca4238a'))",
        {"idx_clin_cred_insurances_spellings"},
    ),
    (
        "SELECT first_name, insurance_ids FROM app.clinician_directory WHERE id = md5('c200')::uuid",
        {"clinicians_pkey", "clinician_insurance_affiliations"},
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "indexes"), INDEXED, ids=[query.split(" FROM ")[1].split()[0] for query, _ in INDEXED]
)
def test_a_typical_question_reads_by_index(large: Connection, query: str, indexes: set[str]) -> None:
    """Where two indexes of a table serve as well, the table is named instead."""
    (plan,) = values(large, f"EXPLAIN (FORMAT JSON) {query}")
    nodes = list(below(plan[0]["Plan"]))
    by_index = [node for node in nodes if "Index Name" in node or node["Node Type"] == "Bitmap Heap Scan"]
    used = {node.get(name) for node in by_index for name in ("Index Name", "Relation Name")}
    assert indexes - used == set()
    read_whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    # The parents of all insurances that are found, and the people of all coverages: tables that are narrow here.
    assert read_whole <= {"clinician_credentialed_insurances", "patients_and_guardians"}


def below(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from below(part)


@pytest.mark.slow
def test_two_weeks_of_5000_clinicians_take_a_moment(large: Connection) -> None:
    """Processor time, as the server counts it: what else the machine does is none of its business. 60 ms where it was made."""
    query = "SELECT count(*) FROM app.free_slots(md5('o200')::uuid, '2025-10-25', '2025-11-08')"
    (backend,) = values(large, "SELECT pg_backend_pid()")
    values(large, query)
    before = processor_seconds(backend)
    for _ in range(5):
        (slots,) = values(large, query)
    assert slots > 10_000
    assert (processor_seconds(backend) - before) / 5 < 0.3


def processor_seconds(process: int) -> float:
    with open(f"/proc/{process}/stat", encoding="ascii") as stat:  # noqa: PTH123 - no path of ours
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
