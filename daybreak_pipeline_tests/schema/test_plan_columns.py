"""The tables of the database against the plan, column by column, and what the database says of them.

``COLUMNS`` transcribes the plan's CREATE TABLE statements: name, type, "not null". What the columns must
hold (defaults, constraints) is the business of ``test_plan_constraints``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    import psycopg
    from psycopg.rows import TupleRow

COLUMNS = {
    "patients_and_guardians": """
        id uuid not null
        role integer not null
        email varchar(255)
        phone varchar(50)
        first_name varchar(255)
        preferred_name varchar(255)
        middle_name varchar(255)
        last_name varchar(255)
        latest_ticket varchar(255)
        title varchar(50)
        preferred_language varchar(10)
        preferred_pronoun varchar(50)
        self_gender integer
        legal_gender integer
        birthdate date
        profile_data jsonb
        supervisor_id uuid
        clinical_associate boolean
        licenses text[]
        licensed_states text[]
        care_provider_status integer
        system_labels text[]
        supabase_id uuid
        supabase_metadata jsonb
        migration_details jsonb
        address jsonb
        healthie_id varchar(50)
        openpm_reference_id varchar(50)
        account_status integer
        openpm_policyholder_id varchar(50)
        zendesk_id varchar(50)
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "clinicians": """
        id uuid not null
        healthie_id varchar(50)
        account_status integer
        email varchar(255)
        first_name varchar(255)
        middle_name varchar(255)
        last_name varchar(255)
        preferred_name varchar(255)
        preferred_pronoun varchar(50)
        title varchar(50)
        address jsonb
        phone varchar(50)
        birthdate date
        preferred_language varchar(10)
        legal_gender integer
        care_provider_status integer
        clinical_associate boolean
        supervisor_id uuid
        licensed_states text[]
        care_languages text[]
        care_provider_role integer
        licenses text[]
        states_active text[]
        profile_data jsonb
        migration_details jsonb
        migration_profile_data jsonb
        system_labels text[]
        created_at timestamptz not null
        updated_at timestamptz not null
        associate_supervisor_id uuid
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "kinships": """
        id uuid not null
        user_0_id uuid not null
        user_1_id uuid not null
        kind integer not null
        user_0_label integer not null
        user_1_label integer not null
        guardian_can_be_contacted boolean
        migration_details jsonb
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "questionnaires": """
        id uuid not null
        subject_id uuid not null
        respondent_id uuid not null
        score integer
        started_at timestamptz
        completed_at timestamptz
        question_answers jsonb not null
        type integer not null
        language_of_completion varchar(10)
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "clinician_credentialed_insurances": """
        id uuid not null
        name varchar(255) not null
        country varchar(10)
        state varchar(10)
        line_of_business integer
        legacy_names text[]
        network_status integer
        associates_allowed integer
        legacy_id varchar(255)
        parent_credentialed_insurance_id uuid
        open_pm_name varchar(255)
        migration_details jsonb
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "insurance_coverages": """
        id uuid not null
        member_id varchar(255)
        group_id varchar(255)
        front_card_url text
        back_card_url text
        plan_holder_first_name varchar(255)
        plan_holder_last_name varchar(255)
        plan_holder_dob date
        plan_holder_country varchar(10)
        plan_holder_state varchar(10)
        plan_holder_city varchar(255)
        plan_holder_street_address varchar(255)
        plan_holder_zip_code varchar(20)
        plan_holder_legal_gender integer
        created_by uuid
        level integer
        insurance_company_name varchar(255)
        kind integer not null
        system_labels text[]
        eligibility integer
        user_id uuid not null
        genesis integer
        migration_details jsonb
        profile_data jsonb
        openpm_insurance_organization_id varchar(255)
        openpm_coverage_id varchar(255)
        openpm_insurance_organization_name varchar(255)
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "organizations": """
        id uuid not null
        parent_organization_id uuid
        kind integer not null
        slug varchar(255)
        tzdb varchar(100)
        name varchar(255) not null
        config jsonb
        market_id uuid
        internal_name varchar(255)
        enabled_at timestamptz
        migration_details jsonb
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "contracts": """
        id uuid not null
        effective_date date not null
        end_date date
        services text[] not null
        terms jsonb not null
        contract_url text
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "org_contracts": """
        id uuid not null
        organization_id uuid not null
        contract_id uuid not null
        created_at timestamptz not null
        updated_at timestamptz not null
    """,
    "referrals": """
        id uuid not null
        submitter_id uuid not null
        organization_id uuid not null
        service_kind integer not null
        concerns text
        data jsonb
        contract_id uuid not null
        market_id uuid
        terms_kind integer
        appointment_kind integer
        planned_sessions integer
        collect_coverage boolean
        allowed_coverage text[]
        collection_rule integer
        self_responsibility_required boolean
        care_provider_requirements text[]
        referred_at timestamptz
        ready_for_scheduling_at timestamptz
        scheduled_at timestamptz
        system_labels text[]
        intake_id uuid
        tzdb varchar(100)
        onboarding_completed_at timestamptz
        request_rejected_at timestamptz
        notes jsonb
        enrolled_at timestamptz
        disenrolled_at timestamptz
        disenrollment_category integer
        excluded_at timestamptz
        initial_scheduled_sessions integer
        care_provider_id uuid
        zendesk_ticket_id varchar(50)
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "referral_members": """
        id uuid not null
        referral_id uuid not null
        user_id uuid not null
        role integer
        data jsonb
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "memberships": """
        id uuid not null
        user_id uuid not null
        organization_id uuid not null
        profile_data jsonb
        migration_details jsonb
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "patient_availabilities": """
        id uuid not null
        user_id uuid not null
        availability jsonb not null
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "clinician_availabilities": """
        id integer not null
        user_id integer not null
        range_start timestamptz not null
        range_end timestamptz not null
        timezone varchar(100) not null
        day_of_week integer
        is_repeating boolean
        contact_type_id integer
        appointment_location_id integer
        deleted_at timestamptz
        end_on timestamptz
        parent_organization_id integer
        created_at timestamptz not null
        updated_at timestamptz not null
        tx_commit_time timestamptz
    """,
    "clinician_insurance_affiliations": """
        id uuid not null
        care_provider_profile_id uuid not null
        credentialed_insurance_id uuid not null
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
    "documents": """
        id uuid not null
        version integer not null
        label varchar(255) not null
        checkboxes text[]
        version_date date
        urls jsonb
        names jsonb
        created_at timestamptz not null
        updated_at timestamptz not null
        _fivetran_deleted boolean
        _fivetran_synced timestamptz
    """,
}

SHORT_TYPE_NAMES = {
    "timestamp with time zone": "timestamptz",
    "character varying": "varchar",
}

ADDED_LATER = re.compile(r"_(?!fivetran_(deleted|synced)$).*|.*_encrypted|name_tokens")
"""Columns of later migrations, about encryption and origin: the plan's CREATE TABLE does not have them."""
BEYOND_THE_PLAN: frozenset[str] = frozenset()
"""Other columns that a migration has added, as ``table.column``."""


class Column(NamedTuple):
    name: str
    type: str
    required: bool


def planned_columns(table: str) -> list[Column]:
    columns = []
    for line in COLUMNS[table].strip().splitlines():
        name, type_, *rest = line.split()
        assert rest in ([], ["not", "null"]), line
        columns.append(Column(name, type_, required=bool(rest)))
    return columns


def actual_columns(connection: psycopg.Connection[TupleRow], table: str) -> list[Column]:
    rows = connection.execute(
        """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull
        FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum
        """,
        [f"public.{table}"],
    ).fetchall()
    columns = []
    for name, type_, required in rows:
        if not ADDED_LATER.fullmatch(name) and f"{table}.{name}" not in BEYOND_THE_PLAN:
            for long_name, short_name in SHORT_TYPE_NAMES.items():
                type_ = type_.replace(long_name, short_name)  # noqa: PLW2901
            columns.append(Column(name, type_, required))
    return columns


def column_comments(connection: psycopg.Connection[TupleRow], table: str) -> dict[str, str | None]:
    rows = connection.execute(
        """
        SELECT attname, col_description(attrelid, attnum)
        FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
        """,
        [f"public.{table}"],
    ).fetchall()
    return dict(rows)


def test_the_transcription_has_the_declared_tables() -> None:
    assert COLUMNS.keys() == TABLES.keys()


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_order_types_and_not_null_are_the_plans(
    connection: psycopg.Connection[TupleRow], table: str
) -> None:
    assert actual_columns(connection, table) == planned_columns(table)


@pytest.mark.parametrize("table", COLUMNS)
def test_the_table_says_what_it_is(connection: psycopg.Connection[TupleRow], table: str) -> None:
    row = connection.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class')", [f"public.{table}"]
    ).fetchone()
    assert row is not None
    assert row[0]


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_says_what_it_is(connection: psycopg.Connection[TupleRow], table: str) -> None:
    comments = column_comments(connection, table)
    assert [column.name for column in planned_columns(table) if not comments[column.name]] == []


@pytest.mark.parametrize(
    ("table", "column"),
    [
        pytest.param(table.name, reference.column, id=f"{table.name}.{reference.column}")
        for table in TABLES.values()
        for reference in table.references
    ],
)
def test_a_reference_says_where_it_points_and_whether_that_is_enforced(
    connection: psycopg.Connection[TupleRow], table: str, column: str
) -> None:
    (reference,) = (r for r in TABLES[table].references if r.column == column)
    comment = column_comments(connection, table)[column]
    assert comment is not None
    for target in reference.tables:
        assert f"{target}.{reference.target_column}" in comment
    assert ("a foreign key" in comment) == reference.enforced
    assert ("Not enforced by the database" in comment) == (not reference.enforced)
