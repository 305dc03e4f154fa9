# ruff: noqa: S608 - what is put into statements here are the plan's own names
"""The plan's integration tests: what the onboarding application does all day, as ``daybreak_app``, and what is refused.

Once on the server itself and once through the real PgBouncer in transaction mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.pooler import programs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import MARKET_ID, TABLES
from daybreak_pipeline_tests.application import (
    BAD_CODE,
    MISSING_VALUE,
    NO_JSON,
    NO_KEY,
    NO_SUCH_ROW,
    NOBODY,
    NOT_ALLOWED,
    NOT_UNIQUE,
    Application,
    add,
    refused,
)
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.pgbouncer import pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, READONLY, apply_with_passwords

NOW = datetime(2026, 9, 1, 15, 0, tzinfo=UTC)
TERMS = [{"kind": "insurance", "services": ["individual_therapy"]}]


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database without rows, in which the roles may log in."""
    with databases.copy(template.name, "workflows") as given:
        apply_with_passwords(given)
        yield given


@pytest.fixture(scope="module", params=["directly", "through PgBouncer"])
def reached(request: pytest.FixtureRequest, db: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """The same database, as an application reaches it."""
    if request.param == "directly":
        yield db
    elif programs.find() is None:
        pytest.skip("PgBouncer is not installed (make pooler)")
    else:
        with pooled(db, size=3) as (through, _log):
            yield through


@pytest.fixture(scope="module")
def application(reached: DatabaseSettings) -> Iterator[Application]:
    opened = Application(reached, APP)
    yield opened
    opened.connection.close()


@pytest.fixture(scope="module")
def keyless(reached: DatabaseSettings) -> Iterator[Application]:
    opened = Application(reached, APP, key=None)
    yield opened
    opened.connection.close()


@pytest.fixture(scope="module")
def analyst(reached: DatabaseSettings) -> Iterator[Application]:
    opened = Application(reached, READONLY)
    yield opened
    opened.connection.close()


# --- What the workflows begin with ---------------------------------------------------------------------------


def family(application: Application) -> tuple[UUID, UUID]:
    """A guardian and a child, in one unit of work."""
    with application.work() as work:
        guardian = add(
            work,
            "patients_and_guardians",
            role=1,
            first_name="Iris",
            last_name="Quillon",
            email="iris.quillon@example.org",
            phone="+15550100",
            address={"city": "Anytown", "state": "CA"},
            preferred_language="spa",
            system_labels=["guardian"],
        )
        child = add(
            work,
            "patients_and_guardians",
            role=1,
            first_name="Odo",
            last_name="Quillon",
            birthdate=date(2013, 4, 5),
            system_labels=["dependent", "student"],
        )
        add(
            work,
            "kinships",
            user_0_id=guardian,
            user_1_id=child,
            kind=1,
            user_0_label=1,
            user_1_label=2,
            guardian_can_be_contacted=True,
        )
    return guardian, child


def school(application: Application, **values: Any) -> UUID:
    return UUID(str(application.add("organizations", kind=2, name="Birch School", **values)))


def contract(application: Application, *organizations: UUID, **values: Any) -> UUID:
    terms: dict[str, Any] = {
        "effective_date": date(2026, 8, 1),
        "services": ["individual_therapy"],
        "terms": TERMS,
    }
    with application.work() as work:
        made = add(work, "contracts", **terms | values)
        for organization in organizations:
            add(work, "org_contracts", organization_id=organization, contract_id=made)
    return UUID(str(made))


def referral(application: Application, guardian: UUID, organization: UUID, **values: Any) -> UUID:
    given: dict[str, Any] = {
        "submitter_id": guardian,
        "organization_id": organization,
        "contract_id": contract(application, organization),
        "service_kind": 1,
        "system_labels": ["referred"],
        "referred_at": NOW,
    }
    return UUID(str(application.add("referrals", **given | values)))


# --- A referral, from the first form to the last session --------------------------------------------------------


def test_a_referral_from_the_form_to_the_end_of_care(application: Application, db: DatabaseSettings) -> None:
    guardian, child = family(application)
    organization = school(application)
    clinician = application.add("clinicians", first_name="Ada", last_name="Marsh", states_active=["CA"])
    intake = application.add(
        "questionnaires", subject_id=child, respondent_id=guardian, type=3, question_answers={"q1": "often"}
    )
    application.add("insurance_coverages", user_id=child, created_by=guardian, kind=2, member_id="M-1")
    made = referral(
        application,
        guardian,
        organization,
        concerns="sleeps badly",
        data={"source": "form"},
        intake_id=intake,
    )
    application.add("referral_members", referral_id=made, user_id=child, data={"grade": "GRADE_7"})
    steps: list[tuple[str, dict[str, Any]]] = [
        ("onboarding_completed", {"onboarding_completed_at": NOW + timedelta(days=1)}),
        ("ready_for_scheduling", {"ready_for_scheduling_at": NOW + timedelta(days=2)}),
        ("scheduled", {"scheduled_at": NOW + timedelta(days=3), "care_provider_id": clinician}),
        ("enrolled", {"enrolled_at": NOW + timedelta(days=9), "initial_scheduled_sessions": 12}),
    ]
    labels = ["referred"]
    for label, changes in steps:
        labels = [*labels, label]
        application.change("referrals", made, system_labels=labels, **changes)
    application.change("referrals", made, disenrolled_at=NOW + timedelta(days=90), disenrollment_category=2)

    found = application.one(
        "SELECT r.market_id::text, r.planned_sessions, r.collect_coverage, r.enrolled_at - r.referred_at, "
        "       r.system_labels @> ARRAY['enrolled'], r.updated_at > r.created_at, "
        "       p.first_name, m.data ->> 'grade', c.last_name, q.question_answers ->> 'q1' "
        "FROM referrals r JOIN referral_members m ON m.referral_id = r.id "
        "JOIN app.patients_and_guardians p ON p.id = m.user_id JOIN app.clinicians c ON c.id = r.care_provider_id "
        "JOIN questionnaires q ON q.id = r.intake_id WHERE r.id = %s",
        made,
    )
    assert found == (MARKET_ID, 12, True, timedelta(days=9), True, True, "Odo", "GRADE_7", "Marsh", "often")
    with database.connect(db) as owner:
        trail = owner.execute(
            "SELECT action, acting_role, count(*) FROM audit.changes WHERE row_id = %s GROUP BY 1, 2 ORDER BY 1",
            [str(made)],
        ).fetchall()
    assert trail == [("INSERT", APP, 1), ("UPDATE", APP, 5)]


def test_a_referral_is_rejected_with_its_cause(application: Application) -> None:
    guardian, _child = family(application)
    made = referral(application, guardian, school(application))
    application.change(
        "referrals",
        made,
        request_rejected_at=NOW,
        system_labels=["referred", "request_rejected"],
        notes={"request_rejected_cause": "Not Engaged"},
    )
    cause = (
        "SELECT notes ->> 'request_rejected_cause' FROM referrals "
        "WHERE system_labels @> ARRAY['request_rejected'] AND id = %s"
    )
    assert application.one(cause, made) == "Not Engaged"


def test_what_is_no_referral_is_refused(application: Application) -> None:
    guardian, child = family(application)
    organization = school(application)
    made = referral(application, guardian, organization)
    application.add("referral_members", referral_id=made, user_id=child)
    with refused(BAD_CODE, column="service_kind"):
        referral(application, guardian, organization, service_kind=4)
    with refused(MISSING_VALUE, column="submitter_id"):
        referral(application, guardian, organization, submitter_id=None)
    for column in ("organization_id", "contract_id", "intake_id", "care_provider_id"):
        with refused(NO_SUCH_ROW, table="referrals"):
            referral(application, guardian, organization, **{column: NOBODY})
    with refused(NOT_UNIQUE):
        application.add("referral_members", referral_id=made, user_id=child)
    with refused(NO_SUCH_ROW):
        application.add("referral_members", referral_id=NOBODY, user_id=child)
    with refused(NO_SUCH_ROW):
        application.delete("organizations", organization)


def test_a_deleted_referral_takes_its_members_along(application: Application) -> None:
    guardian, child = family(application)
    made = referral(application, guardian, school(application))
    member = application.add("referral_members", referral_id=made, user_id=child)
    application.delete("referrals", made)
    assert application.all("SELECT FROM referral_members WHERE id = %s", member) == []


def test_nothing_of_a_referral_is_left_when_its_last_step_is_refused(application: Application) -> None:
    with refused(BAD_CODE), application.work() as work:
        guardian = add(work, "patients_and_guardians", role=1, first_name="Nobody", last_name="Halfway")
        add(work, "kinships", user_0_id=guardian, user_1_id=guardian, kind=1, user_0_label=1, user_1_label=3)
    assert application.one("SELECT count(*) FROM search_people('nobody halfway')") == 0


# --- People -----------------------------------------------------------------------------------------------------


def test_a_family_is_found_by_its_name_and_read_with_the_key_only(
    application: Application, keyless: Application
) -> None:
    guardian, child = family(application)
    found = application.all("SELECT id, first_name FROM search_people('quillon')")
    assert {(guardian, "Iris"), (child, "Odo")} <= set(found)
    read = "SELECT first_name, birthdate::text, phone, address ->> 'city', email FROM app.patients_and_guardians WHERE id = %s"
    assert application.one(read, guardian) == (
        "Iris",
        None,
        "+15550100",
        "Anytown",
        "iris.quillon@example.org",
    )
    assert application.one(read, child) == ("Odo", "2013-04-05", None, None, None)
    assert keyless.one(read, guardian) == (None, None, None, None, "iris.quillon@example.org")
    with refused(NO_KEY):
        keyless.add("patients_and_guardians", role=1, first_name="Odo")
    with refused(NO_KEY):
        keyless.one("SELECT count(*) FROM search_people('quillon')")
    with refused(MISSING_VALUE, column="role"):
        application.add("patients_and_guardians", first_name="Odo")


def test_a_family_moves_and_a_phone_is_erased(application: Application, keyless: Application) -> None:
    guardian, _child = family(application)
    application.change("app.patients_and_guardians", guardian, address={"city": "Elsewhere"}, phone=None)
    read = "SELECT address ->> 'city', phone, first_name FROM app.patients_and_guardians WHERE id = %s"
    assert application.one(read, guardian) == ("Elsewhere", None, "Iris")
    with refused(NO_KEY):
        keyless.change("patients_and_guardians", guardian, phone="+15550101")
    # What is not personal needs no key.
    keyless.change("patients_and_guardians", guardian, system_labels=["guardian", "referred"])


def test_kinships_have_known_labels_and_each_pair_once(application: Application) -> None:
    guardian, child = family(application)
    pair = {"user_0_id": guardian, "user_1_id": child, "kind": 1, "user_0_label": 1, "user_1_label": 2}
    with refused(NOT_UNIQUE):
        application.add("kinships", **pair)
    for label in ("user_0_label", "user_1_label"):
        with refused(BAD_CODE, column=label):
            application.add("kinships", **pair | {"user_0_id": child, "user_1_id": guardian, label: 3})
    with refused(MISSING_VALUE, column="user_1_id"):
        application.add("kinships", **pair | {"user_1_id": None})
    adult = application.add("patients_and_guardians", role=1, system_labels=["guardian", "dependent"])
    both = application.add("kinships", **pair | {"user_0_id": adult, "user_1_id": adult} | {
        "user_0_label": 12, "user_1_label": 12})  # fmt: skip
    assert application.one(
        "SELECT user_0_label = 12 AND user_0_id = user_1_id FROM kinships WHERE id = %s", both
    )


def test_a_person_belongs_to_an_organization_once(application: Application) -> None:
    guardian, _child = family(application)
    organization = school(application)
    belongs = {"user_id": guardian, "organization_id": organization, "profile_data": {"grade": "7"}}
    made = application.add("memberships", **belongs)
    with refused(NOT_UNIQUE):
        application.add("memberships", **belongs)
    with refused(NO_SUCH_ROW):
        application.add("memberships", **belongs | {"organization_id": NOBODY})
    with refused(MISSING_VALUE, column="user_id"):
        application.add("memberships", organization_id=organization)
    application.change("memberships", made, profile_data={"grade": "8"})
    application.delete("memberships", made)
    application.add("memberships", **belongs)


# --- Questionnaires and coverage ------------------------------------------------------------------------------------


def test_a_questionnaire_is_begun_answered_and_completed(application: Application) -> None:
    guardian, child = family(application)
    made = application.add(
        "questionnaires",
        subject_id=child,
        respondent_id=guardian,
        type=4,
        question_answers={},
        started_at=NOW,
        language_of_completion="spa",
    )
    with application.work() as work:
        for number in (1, 2):
            work.execute(
                "UPDATE questionnaires SET question_answers = question_answers || jsonb_build_object(%s::text, %s::int) "
                "WHERE id = %s",
                [f"question_{number}_answer", number, made],
            )
    application.change("questionnaires", made, completed_at=NOW + timedelta(minutes=8), score=3)
    read = "SELECT question_answers, score, completed_at - started_at FROM questionnaires WHERE id = %s"
    answers = {"question_1_answer": 1, "question_2_answer": 2}
    assert application.one(read, made) == (answers, 3, timedelta(minutes=8))
    with refused(BAD_CODE, column="type"):
        application.change("questionnaires", made, type=5)
    with refused(MISSING_VALUE, column="question_answers"):
        application.change("questionnaires", made, question_answers=None)
    with refused(NO_JSON):
        application.change("questionnaires", made, question_answers='{"q1": ')
    with refused(MISSING_VALUE, column="subject_id"):
        application.add("questionnaires", respondent_id=guardian, type=3, question_answers={})


def test_a_coverage_is_created_and_its_eligibility_follows(
    application: Application, keyless: Application
) -> None:
    guardian, child = family(application)
    coverage: dict[str, Any] = {
        "user_id": child,
        "created_by": guardian,
        "kind": 2,
        "member_id": "M-2",
        "insurance_company_name": "Acme Health",
        "plan_holder_first_name": "Iris",
        "plan_holder_dob": date(1980, 2, 29),
        "plan_holder_state": "CA",
    }
    made = application.add("insurance_coverages", **coverage)
    assert application.one("SELECT eligibility, level FROM insurance_coverages WHERE id = %s", made) == (0, 1)
    for eligibility, label in ((2, "submitted"), (4, "in_network"), (6, "expired")):
        application.change("insurance_coverages", made, eligibility=eligibility, system_labels=[label])
    read = (
        "SELECT plan_holder_first_name, plan_holder_dob::text, eligibility, system_labels "
        "FROM app.insurance_coverages WHERE id = %s"
    )
    assert application.one(read, made) == ("Iris", "1980-02-29", 6, ["expired"])
    assert keyless.one(read, made) == (None, None, 6, ["expired"])
    with refused(BAD_CODE, column="eligibility"):
        application.change("insurance_coverages", made, eligibility=3)
    with refused(BAD_CODE, column="kind"):
        application.add("insurance_coverages", **coverage | {"kind": 1})
    with refused(MISSING_VALUE, column="user_id"):
        application.add("insurance_coverages", **coverage | {"user_id": None})
    with refused(NO_KEY):
        keyless.add("insurance_coverages", **coverage)


# --- Organizations --------------------------------------------------------------------------------------------------

EFFECTIVE_CONTRACT = """
    SELECT c.id FROM organizations o JOIN org_contracts l ON l.organization_id IN (o.id, o.parent_organization_id)
    JOIN contracts c ON c.id = l.contract_id
    WHERE o.id = %s AND %s BETWEEN c.effective_date AND coalesce(c.end_date, 'infinity')
    ORDER BY l.organization_id = o.id DESC, c.effective_date DESC LIMIT 1
"""


def test_a_school_has_its_own_contract_or_its_districts(application: Application) -> None:
    district = application.add("organizations", kind=1, name="North District", tzdb="America/Los_Angeles")
    birch = school(application, parent_organization_id=district)
    of_district = contract(application, district)
    assert application.one(EFFECTIVE_CONTRACT, birch, date(2026, 9, 1)) == of_district
    own = contract(application, birch, effective_date=date(2026, 9, 1), end_date=date(2026, 12, 31))
    assert application.one(EFFECTIVE_CONTRACT, birch, date(2026, 9, 1)) == own
    assert application.one(EFFECTIVE_CONTRACT, birch, date(2027, 1, 1)) == of_district
    assert application.all(EFFECTIVE_CONTRACT, birch, date(2026, 7, 31)) == []


def test_what_is_no_organization_or_contract_is_refused(application: Application) -> None:
    slug = f"birch-{application.one('SELECT gen_random_uuid()')}"
    birch = school(application, slug=slug)
    signed = contract(application, birch)
    with refused(NOT_UNIQUE, column="slug"):
        school(application, slug=slug)
    with refused(BAD_CODE, column="kind"):
        application.add("organizations", kind=3, name="A county")
    with refused(MISSING_VALUE, column="name"):
        application.add("organizations", kind=1)
    with refused(NO_SUCH_ROW, table="organizations"):
        school(application, parent_organization_id=NOBODY)
    with refused(NOT_UNIQUE):
        application.add("org_contracts", organization_id=birch, contract_id=signed)
    with refused(NO_SUCH_ROW):
        application.add("org_contracts", organization_id=birch, contract_id=NOBODY)
    with refused(MISSING_VALUE, column="services"):
        contract(application, services=None)
    with refused(NO_SUCH_ROW):
        application.delete("contracts", signed)


# --- Time and documents -----------------------------------------------------------------------------------------------


def test_a_patients_free_hours_are_written_and_found(application: Application) -> None:
    _guardian, child = family(application)
    hours = [{"day": "Monday", "time_blocks": [{"start": "08:00:00", "duration": 60}]}]
    made = application.add("patient_availabilities", user_id=child, availability=hours)
    on_monday = 'SELECT count(*) FROM patient_availabilities WHERE availability @> \'[{"day": "Monday"}]\' AND id = %s'
    assert application.one(on_monday, made) == 1
    application.change("patient_availabilities", made, availability=[{"day": "Friday", "time_blocks": []}])
    assert application.one(on_monday, made) == 0
    with refused(MISSING_VALUE, column="availability"):
        application.add("patient_availabilities", user_id=child)
    with refused(NO_JSON):
        application.change("patient_availabilities", made, availability="every Monday")


def test_a_clinicians_hours_are_written_and_taken_away(application: Application) -> None:
    [number] = application.all("SELECT coalesce(max(id), 0) + 1 FROM clinician_availabilities")[0]
    application.add("clinicians", healthie_id=str(number), last_name="Marsh")
    hours: dict[str, Any] = {
        "id": number,
        "user_id": number,
        "range_start": NOW,
        "range_end": NOW + timedelta(hours=2),
        "timezone": "America/Chicago",
        "day_of_week": 2,
        "is_repeating": True,
        "created_at": NOW,
        "updated_at": NOW,
    }
    application.add("clinician_availabilities", **hours)
    with refused(NOT_UNIQUE):
        application.add("clinician_availabilities", **hours)
    with refused(MISSING_VALUE, column="timezone"):
        application.add("clinician_availabilities", **hours | {"id": number + 1, "timezone": None})
    application.change("clinician_availabilities", number, deleted_at=NOW)
    whose = (
        "SELECT count(*) FROM clinician_availabilities a JOIN clinicians c ON c.healthie_id = a.user_id::text "
        "WHERE a.id = %s AND a.deleted_at IS NULL"
    )
    assert application.one(whose, number) == 0


def test_a_guardian_consents_to_the_newest_document(application: Application, keyless: Application) -> None:
    guardian, _child = family(application)
    for version in (1, 2):
        application.add(
            "documents",
            label="informed_consent",
            version=version,
            version_date=date(2026, version, 1),
            checkboxes=["read", "agreed"],
            urls={"eng": f"https://example.org/{version}", "spa": f"https://example.org/es/{version}"},
            names={"eng": "Consent", "spa": "Consentimiento"},
        )
    newest = application.one(
        "SELECT d.id, d.version, d.urls ->> p.preferred_language FROM documents d, patients_and_guardians p "
        "WHERE d.label = 'informed_consent' AND p.id = %s ORDER BY d.version DESC, d.created_at DESC LIMIT 1",
        guardian,
    )
    assert newest[1:] == (2, "https://example.org/es/2")
    consent = {"consents": [{"document_id": str(newest[0]), "version": 2, "checkboxes": ["read", "agreed"]}]}
    keyless.change("patients_and_guardians", guardian, profile_data=consent)
    agreed = (
        'SELECT profile_data @> \'{"consents": [{"version": 2}]}\' FROM patients_and_guardians WHERE id = %s'
    )
    assert application.one(agreed, guardian) is True
    with refused(MISSING_VALUE, column="label"):
        application.add("documents", version=3)


# --- What nobody but the owner may, and what analysts may not -----------------------------------------------------------


def test_the_application_may_not_change_the_schema_or_empty_a_table(application: Application) -> None:
    for statement in (
        "TRUNCATE referrals CASCADE",
        "ALTER TABLE kinships DISABLE TRIGGER ALL",
        "DROP TABLE documents",
        "CREATE TABLE mine (id int)",
        "SELECT * FROM audit.changes",
        "SELECT * FROM ingest.quarantine",
        "SET session_replication_role = replica",
    ):
        with refused(NOT_ALLOWED):
            application.connection.execute(statement.encode())


def test_analysts_count_referrals_and_change_nothing(application: Application, analyst: Application) -> None:
    guardian, child = family(application)
    made = referral(application, guardian, school(application), concerns="sleeps badly")
    seen = analyst.one("SELECT to_jsonb(r)::text FROM referrals r WHERE id = %s", made)
    assert "sleeps badly" not in seen
    assert analyst.one("SELECT to_jsonb(p) ?| ARRAY['first_name', 'email'] FROM patients_and_guardians p WHERE id = %s",
                       child) is False  # fmt: skip
    application.change("referrals", made, _fivetran_deleted=True)
    assert analyst.all("SELECT FROM referrals WHERE id = %s", made) == []
    statements = [
        *(f"SELECT FROM public.{table}" for table in TABLES),
        *(f"INSERT INTO public.{table} DEFAULT VALUES" for table in TABLES),
        *(f"UPDATE reporting.{table} SET id = id" for table in TABLES),
        *(f"DELETE FROM {schema}.{table}" for schema in ("public", "reporting") for table in TABLES),
        "SELECT FROM app.patients_and_guardians",
        "SELECT FROM public.users",
        "SELECT public.search_people('quillon')",
        "SELECT privacy.key('seal')",
        "SELECT app.person_exists(NULL)",
        "SELECT FROM audit.changes",
    ]
    for statement in statements:
        with refused(NOT_ALLOWED):
            analyst.connection.execute(statement.encode())
