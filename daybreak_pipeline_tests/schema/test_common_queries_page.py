"""Every example of docs/common-queries.md runs as the role that it is for, and finds what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.maintenance import summaries
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.privacy.test_roles import APP, READONLY, apply_with_passwords, login

PAGE = PROJECT_ROOT / "docs" / "common-queries.md"
FOR_APPLICATIONS, FOR_ANALYSTS = PAGE.read_text(encoding="utf-8").split("## For analysts")
SCHOOL, PATIENT, INSURANCE = map(uuid, ("school", "patient", "insurance"))
ALIKE = SCHOOL
"""One id for all that ``$1`` may be: the page's examples are about a school, a person or a patient."""


def examples(text: str) -> list[str]:
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    return [statement.strip() for block in blocks for statement in block.split(";\n") if statement.strip()]


_SCENE = """
INSERT INTO organizations (id, kind, name, tzdb) VALUES (%(s)s, 2, 'Any School', 'America/New_York');
INSERT INTO contracts (id, effective_date, services, terms) VALUES (%(s)s, '2025-01-01', '{}', '[]');
INSERT INTO org_contracts (organization_id, contract_id) VALUES (%(s)s, %(s)s);
INSERT INTO patients_and_guardians (id, role) VALUES (%(s)s, 1), (%(p)s, 1);
INSERT INTO patients_and_guardians (id, role) VALUES ('ffffffff-0000-4000-8000-000000000001', 1);
INSERT INTO memberships (user_id, organization_id) VALUES ('ffffffff-0000-4000-8000-000000000001', %(s)s);
INSERT INTO kinships (user_0_id, user_1_id, kind, user_0_label, user_1_label) VALUES (%(p)s, %(s)s, 1, 1, 2);
INSERT INTO referrals (submitter_id, organization_id, service_kind, contract_id, referred_at, ready_for_scheduling_at)
    VALUES (%(p)s, %(s)s, 1, %(s)s, '2025-03-01', '2025-03-02');
INSERT INTO insurance_coverages (kind, user_id, profile_data)
    VALUES (2, %(s)s, jsonb_build_object('expires_on', current_date + 3));
INSERT INTO clinicians (id, healthie_id, states_active, care_languages) VALUES (%(s)s, '7', '{NY}', '{spa}');
INSERT INTO clinician_credentialed_insurances (id, name, state) VALUES (%(i)s, 'Blue Cross and Blue Shield of Texas', NULL);
INSERT INTO clinician_insurance_affiliations (care_provider_profile_id, credentialed_insurance_id) VALUES (%(s)s, %(i)s);
INSERT INTO patient_availabilities (user_id, availability) SELECT %(p)s, jsonb_agg(jsonb_build_object('day', day, 'time_blocks',
    '[{"start": "10:00:00", "duration": 60}]'::jsonb)) FROM unnest('{Monday,Tuesday,Wednesday,Thursday,Friday}'::text[]) day;
INSERT INTO clinician_availabilities (id, user_id, range_start, range_end, timezone, is_repeating, created_at, updated_at)
    SELECT n, 7, b, b + interval '8 hours', 'America/New_York', true, now(), now()
    FROM generate_series(1, 7) n, LATERAL (SELECT timestamptz '2025-01-01 09:00 America/New_York' + n * interval '1 day') t (b)"""


@pytest.fixture(scope="module")
def filled(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database with something to find for every example."""
    with databases.copy(template.name) as given:
        apply_with_passwords(given)
        with database.connect(given, key=KEY) as connection:
            for statement in _SCENE.split(";\n"):
                connection.execute(statement.encode(), {"s": ALIKE, "p": PATIENT, "i": INSURANCE})
            for summary in SUMMARIES.values():
                summaries.refresh(connection, summary)
        yield given


@pytest.fixture(scope="module")
def application(filled: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(login(filled, APP), key=KEY) as connection:
        yield connection


@pytest.fixture(scope="module")
def analyst(filled: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(login(filled, READONLY)) as connection:
        yield connection


def rows(connection: Connection, example: str) -> int:
    parameters = [ALIKE, PATIENT, INSURANCE]
    used = max((int(number) for number in re.findall(r"\$(\d)", example)), default=0)
    # $3 of two parameters: those between are not used, and the server could not tell their types.
    numbers = sorted({int(number) for number in re.findall(r"\$(\d)", example)})
    for place, number in enumerate(numbers, 1):
        example = example.replace(f"${number}", f"${place}")
    assert used <= len(parameters)
    cursor = psycopg.RawCursor(connection)
    cursor.execute(example.encode(), [parameters[number - 1] for number in numbers])
    return cursor.rowcount


@pytest.mark.parametrize("example", examples(FOR_APPLICATIONS))
def test_an_example_for_applications_finds_something(application: Connection, example: str) -> None:
    assert rows(application, example) > 0


@pytest.mark.parametrize("example", examples(FOR_ANALYSTS))
def test_an_example_for_analysts_finds_something(analyst: Connection, example: str) -> None:
    assert rows(analyst, example) > 0


def test_there_is_an_example_of_everything_that_applications_can_ask(filled: DatabaseSettings) -> None:
    with database.connect(filled) as connection:
        named = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'v'"
            " AND relname NOT IN ('patients_and_guardians', 'clinicians', 'insurance_coverages')"
        ).fetchall()
    assert [name for (name,) in named if f"app.{name}" not in FOR_APPLICATIONS] == []
