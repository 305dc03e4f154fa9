"""What ``tables.py`` declares, held against the plan, the database and itself."""

from __future__ import annotations

from collections import Counter

import pytest
from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.tables import MARKET_ID, TABLES, import_order

# The plan, "Complete Foreign Key Reference List", copied: column and the tables whose rows it may name.
ENFORCED = {
    ("patients_and_guardians.supervisor_id", "clinicians.id"),
    ("clinicians.supervisor_id", "clinicians.id"),
    (
        "clinician_credentialed_insurances.parent_credentialed_insurance_id",
        "clinician_credentialed_insurances.id",
    ),
    ("referrals.organization_id", "organizations.id"),
    ("referrals.contract_id", "contracts.id"),
    ("referrals.intake_id", "questionnaires.id"),
    ("referrals.care_provider_id", "clinicians.id"),
    ("referral_members.referral_id", "referrals.id"),
    ("org_contracts.organization_id", "organizations.id"),
    ("org_contracts.contract_id", "contracts.id"),
    ("organizations.parent_organization_id", "organizations.id"),
    ("memberships.organization_id", "organizations.id"),
    ("clinician_insurance_affiliations.credentialed_insurance_id", "clinician_credentialed_insurances.id"),
    ("clinician_insurance_affiliations.care_provider_profile_id", "clinicians.id"),
}
APPLICATION_LEVEL = {
    ("kinships.user_0_id", "patients_and_guardians.id OR clinicians.id"),
    ("kinships.user_1_id", "patients_and_guardians.id OR clinicians.id"),
    ("questionnaires.subject_id", "patients_and_guardians.id"),
    ("questionnaires.respondent_id", "patients_and_guardians.id OR clinicians.id"),
    ("insurance_coverages.user_id", "patients_and_guardians.id"),
    ("insurance_coverages.created_by", "patients_and_guardians.id OR clinicians.id"),
    ("referrals.submitter_id", "patients_and_guardians.id"),
    ("referral_members.user_id", "patients_and_guardians.id"),
    ("memberships.user_id", "patients_and_guardians.id OR clinicians.id"),
    ("patient_availabilities.user_id", "patients_and_guardians.id"),
    ("clinician_availabilities.user_id", "clinicians.healthie_id"),
}


def declared(*, enforced: bool) -> set[tuple[str, str]]:
    return {
        (f"{table.name}.{r.column}", " OR ".join(f"{name}.{r.target_column}" for name in r.tables))
        for table in TABLES.values()
        for r in table.references
        if r.enforced is enforced
    }


def test_the_plan_has_14_enforced_and_11_application_level_references() -> None:
    assert (len(ENFORCED), len(APPLICATION_LEVEL)) == (14, 11)


def test_enforced_references_are_the_plans() -> None:
    assert declared(enforced=True) == ENFORCED


def test_application_level_references_are_the_plans() -> None:
    assert declared(enforced=False) == APPLICATION_LEVEL


def test_enforced_references_are_the_databases_foreign_keys(connection: Connection) -> None:
    rows = connection.execute(
        """
        SELECT format('%s.%s', c.conrelid::regclass, a.attname), format('%s.%s', c.confrelid::regclass, f.attname)
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
        JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = ANY (c.confkey)
        WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
        """
    ).fetchall()
    assert len(rows) == 14
    assert set(rows) == declared(enforced=True)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_that_a_table_declares_exists(connection: Connection, name: str) -> None:
    table = TABLES[name]
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0", [f"public.{name}"]
    ).fetchall()
    columns = {row[0] for row in rows}
    named = {r.column for r in table.references} | {column for column, _ in table.constants}
    named |= set(table.sealed_columns) | set(table.signature)
    assert named <= columns
    # A column that only the export has must not be one of the schema's: it would be kept plain there.
    assert not set(table.personal_export_columns) & columns


@pytest.mark.parametrize("name", TABLES)
def test_the_sealed_columns_are_those_with_an_encrypted_twin(connection: Connection, name: str) -> None:
    rows = connection.execute(
        """
        SELECT left(attname, -10) FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attname LIKE '%%\\_encrypted' AND attname <> '_export_columns_encrypted'
        """,
        [f"public.{name}"],
    ).fetchall()
    assert {row[0] for row in rows} == set(TABLES[name].sealed_columns)


def test_searchable_and_plain_columns_are_sealed_ones() -> None:
    for table in TABLES.values():
        assert set(table.searchable_columns) | set(table.kept_plain) <= set(table.sealed_columns), table.name


def test_only_the_email_stays_plain() -> None:
    assert {column for table in TABLES.values() for column in table.kept_plain} == {"email"}


def test_every_table_of_the_database_is_declared(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    ).fetchall()
    assert {row[0] for row in rows} == set(TABLES)
    assert len(TABLES) == 16


def test_import_order_has_every_table_once_and_parents_first() -> None:
    order = import_order()
    assert Counter(order) == dict.fromkeys(TABLES, 1)
    for child, parent in declared(enforced=True) | declared(enforced=False):
        child_table = child.split(".")[0]
        for target in parent.split(" OR "):
            parent_table = target.split(".")[0]
            assert parent_table == child_table or order.index(parent_table) < order.index(child_table)


def test_tables_that_share_a_file_name_are_told_apart_by_a_column() -> None:
    stems = Counter(stem for table in TABLES.values() for stem in set(table.file_stems))
    shared = {stem for stem, times in stems.items() if times > 1}
    assert shared == {"clinician_credentialed_insurances", "credentialed_insurances"}
    for table in TABLES.values():
        if shared & set(table.file_stems):
            assert table.signature, table.name


def test_the_market_is_the_plans_in_the_two_tables_that_have_one(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name = 'market_id'"
    ).fetchall()
    constants = {table.name: dict(table.constants) for table in TABLES.values() if table.constants}
    assert set(constants) == {row[0] for row in rows} == {"organizations", "referrals"}
    for name, values in constants.items():
        assert values == {"market_id": "00000000-0000-0000-0000-000000000001"} == {"market_id": MARKET_ID}
        default = connection.execute(
            sql.SQL(
                "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a "
                "ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
                "WHERE d.adrelid = {}::regclass AND a.attname = 'market_id'"
            ).format(sql.Literal(name))
        ).fetchone()
        assert default
        assert MARKET_ID in default[0]
