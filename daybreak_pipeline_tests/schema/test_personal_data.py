"""Personal columns as clients meet them: sealed when written, readable with the key, NULL without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import uuid

PERSON: dict[str, Any] = {
    "email": "zoe@example.org",
    "phone": "+18185550123",
    "first_name": "Zoë",
    "preferred_name": "Zo",
    "middle_name": "de la",
    "last_name": "O'Brien-García",
    "birthdate": date(2009, 3, 1),
    "address": {"city": "Anytown", "zip_code": "00000"},
}
PLAN_HOLDER: dict[str, Any] = {
    "plan_holder_first_name": "Zoë",
    "plan_holder_last_name": "O'Brien",
    "plan_holder_dob": date(1980, 2, 29),
    "plan_holder_state": "CA",
    "plan_holder_city": "Anytown",
    "plan_holder_street_address": "1 Any Street",
    "plan_holder_zip_code": "00000",
}
VALUES = {"patients_and_guardians": PERSON, "clinicians": PERSON, "insurance_coverages": PLAN_HOLDER}
OTHERS: dict[str, dict[str, Any]] = {
    "patients_and_guardians": {"role": 1},
    "clinicians": {},
    "insurance_coverages": {"kind": 2, "user_id": uuid("child")},
}

# The plan, CREATE VIEW users.
USERS = """\
id, role, email, phone, first_name, preferred_name, middle_name, last_name,
title, preferred_language, preferred_pronoun, self_gender, legal_gender,
birthdate, profile_data, supervisor_id, clinical_associate, licenses,
licensed_states, care_provider_status, system_labels, supabase_id,
supabase_metadata, address, healthie_id, openpm_reference_id,
account_status, openpm_policyholder_id, zendesk_id, latest_ticket,
created_at, updated_at, _fivetran_deleted, _fivetran_synced,
user_type"""

every_table = pytest.mark.parametrize("table", VALUES)


def insert(connection: Connection, table: str, values: dict[str, Any] | None = None) -> str:
    """Insert a row as the plan's own INSERT does: plain values into plain columns."""
    row = {"id": uuid(table), **OTHERS[table], **(VALUES[table] if values is None else values)}
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        [psycopg.types.json.Jsonb(v) if isinstance(v, dict) else v for v in row.values()],
    )
    connection.commit()
    return str(row["id"])


def read(connection: Connection, relation: str, columns: list[str]) -> dict[str, Any]:
    """Return the one row of a table or view."""
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(*relation.split("."))
    )
    (row,) = connection.execute(query).fetchall()
    return dict(zip(columns, row, strict=True))


def types(connection: Connection, relation: str) -> dict[str, str]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [relation],
    ).fetchall()
    return dict(rows)


@contextmanager
def keyless(settings: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(settings) as connection:
        yield connection


# --- Writing -------------------------------------------------------------------------------------------


def test_the_examples_hold_a_value_for_every_sealed_column() -> None:
    assert {name: tuple(values) for name, values in VALUES.items()} == {
        table.name: table.sealed_columns for table in TABLES.values() if table.sealed_columns
    }


@every_table
def test_a_plain_insert_stores_ciphertext_only(session: Connection, table: str) -> None:
    insert(session, table)
    plain = read(session, table, list(VALUES[table]))
    assert plain == dict.fromkeys(VALUES[table]) | ({"email": PERSON["email"]} if "email" in plain else {})
    sealed = read(session, table, [f"{column}_encrypted" for column in VALUES[table]])
    for column, value in VALUES[table].items():
        ciphertext = bytes(sealed[f"{column}_encrypted"])
        assert str(value).encode() not in ciphertext
        assert len(ciphertext) > 40


def test_no_personal_value_stands_anywhere_in_the_stored_row(session: Connection) -> None:
    insert(session, "patients_and_guardians", PERSON | {"email": None})
    row = session.execute("SELECT t::text FROM patients_and_guardians t").fetchone()
    assert row
    for value in ("Zoë", "Garc", "5550123", "2009-03-01", "Anytown", "de la"):
        assert value not in row[0]
        assert value.encode().hex() not in row[0]


def test_the_same_value_is_sealed_differently_each_time(session: Connection) -> None:
    insert(session, "clinicians", {"id": uuid("one"), "first_name": "Ada"})
    insert(session, "clinicians", {"id": uuid("two"), "first_name": "Ada"})
    rows = session.execute("SELECT first_name_encrypted, name_tokens FROM clinicians").fetchall()
    assert len({bytes(row[0]) for row in rows}) == 2
    assert rows[0][1] == rows[1][1]


@every_table
@pytest.mark.parametrize(
    "statement", ["INSERT INTO {0} (id, {1}) VALUES (gen_random_uuid(), %s)", "UPDATE {0} SET {1} = %s"]
)
def test_a_session_without_the_key_cannot_write_personal_values(
    session: Connection, migrated: DatabaseSettings, table: str, statement: str
) -> None:
    insert(session, table, {})
    column, value = next((c, v) for c, v in VALUES[table].items() if isinstance(v, str) and c != "email")
    query = sql.SQL(statement).format(sql.Identifier(table), sql.Identifier(column))
    with keyless(migrated) as client:
        with pytest.raises(
            psycopg.Error, match="no encryption key, so personal data cannot be written"
        ) as no:
            client.execute(query, [value])
        assert value not in str(no.value)
        assert "set_config('daybreak.encryption_key', $1, true)" in (no.value.diag.message_hint or "")
        client.rollback()
        sealed = f"{column}_encrypted"
        assert read(client, table, ["id", column, sealed]) == {
            "id": UUID(uuid(table)),
            column: None,
            sealed: None,
        }


@every_table
def test_a_session_without_the_key_can_write_everything_else(migrated: DatabaseSettings, table: str) -> None:
    with keyless(migrated) as client:
        insert(client, table, {})
        client.execute(sql.SQL("UPDATE {} SET profile_data = '{{}}'").format(sql.Identifier(table)))
        assert read(client, table, ["profile_data"]) == {"profile_data": {}}


@pytest.mark.parametrize("table", ["patients_and_guardians", "clinicians"])
def test_changing_one_name_keeps_the_others_and_renews_the_search(session: Connection, table: str) -> None:
    insert(session, table)
    session.execute(sql.SQL("UPDATE {} SET last_name = 'Smith'").format(sql.Identifier(table)))
    assert read(session, f"app.{table}", list(PERSON)) == PERSON | {"last_name": "Smith"}
    assert read(session, table, ["last_name"]) == {"last_name": None}

    def found(name: str) -> bool:
        query = sql.SQL(
            "SELECT count(*) FROM {} WHERE name_tokens @> privacy.name_tokens(%s, privacy.key('search'))"
        )
        return session.execute(query.format(sql.Identifier(table)), [name]).fetchone() == (1,)

    assert found("smith")
    assert found("ZOE")
    assert not found("obrien")
    assert not found("garcia")


@pytest.mark.parametrize(
    "name", ["zoe", "ZOË", "o'brien", "OBrien", "García zoe", "garcia, o\N{RIGHT SINGLE QUOTATION MARK}brien"]
)
def test_names_are_found_whatever_their_case_accents_and_order(session: Connection, name: str) -> None:
    insert(session, "patients_and_guardians")
    query = (
        "SELECT count(*) FROM patients_and_guardians "
        "WHERE name_tokens @> privacy.name_tokens(%s, privacy.key('search'))"
    )
    assert session.execute(query, [name]).fetchone() == (1,)


def test_changing_the_email_seals_the_new_one(session: Connection) -> None:
    insert(session, "clinicians")
    session.execute("UPDATE clinicians SET email = 'new@example.org'")
    row = session.execute(
        "SELECT email, privacy.unseal(email_encrypted, privacy.key('seal')) FROM clinicians"
    ).fetchone()
    assert row == ("new@example.org", "new@example.org")


def test_removing_the_email_removes_the_sealed_one(session: Connection) -> None:
    insert(session, "clinicians")
    session.execute("UPDATE clinicians SET email = NULL")
    assert read(session, "clinicians", ["email", "email_encrypted"]) == {
        "email": None,
        "email_encrypted": None,
    }


def test_an_update_of_something_else_needs_no_key_and_leaves_the_ciphertext_alone(
    session: Connection, migrated: DatabaseSettings
) -> None:
    insert(session, "clinicians")
    sealed = [*(f"{column}_encrypted" for column in PERSON), "name_tokens"]
    before = read(session, "clinicians", sealed)
    session.commit()
    with keyless(migrated) as client:
        client.execute("UPDATE clinicians SET title = 'Dr', email = email")
    assert read(session, "clinicians", [*sealed, "title"]) == before | {"title": "Dr"}


# --- Reading -------------------------------------------------------------------------------------------


@every_table
def test_views_show_personal_values_with_the_key(session: Connection, table: str) -> None:
    insert(session, table)
    assert read(session, f"app.{table}", list(VALUES[table])) == VALUES[table]


@every_table
def test_views_show_null_without_the_key(session: Connection, migrated: DatabaseSettings, table: str) -> None:
    row_id = insert(session, table)
    plain = {"email": PERSON["email"]} if "email" in VALUES[table] else {}
    with keyless(migrated) as client:
        row = read(client, f"app.{table}", ["id", *VALUES[table]])
    assert str(row.pop("id")) == row_id
    assert row == dict.fromkeys(VALUES[table]) | plain


@every_table
def test_views_show_null_with_another_key_as_long_as_the_database_has_none(
    session: Connection, migrated: DatabaseSettings, table: str
) -> None:
    insert(session, table)
    with database.connect(migrated, key=KEY[::-1]) as client:
        row = read(client, f"app.{table}", [c for c in VALUES[table] if c != "email"])
    assert set(row.values()) == {None}


@every_table
def test_views_have_the_columns_and_types_of_the_plan(connection: Connection, table: str) -> None:
    of_the_table = {
        name: kind
        for name, kind in types(connection, f"public.{table}").items()
        if not name.endswith("_encrypted")
        and name
        not in {
            "name_tokens",
            "_source_hash",
            "_record_digest",
            "_import_id",
            "_record_number",
            "_source_updated_at",
            "_edited_at",
        }
    }
    view = types(connection, f"app.{table}")
    assert view == of_the_table
    assert list(view) == list(of_the_table)


@every_table
def test_one_damaged_value_is_null_and_the_rest_is_there(session: Connection, table: str) -> None:
    insert(session, table)
    column = next(c for c in VALUES[table] if c.endswith("last_name"))
    sealed = sql.Identifier(f"{column}_encrypted")
    for damage in (
        "'\\x00'::bytea",
        "substring({} FROM 1 FOR 50)",
        "set_byte({}, 60, 255 - get_byte({}, 60))",
    ):
        session.execute(
            sql.SQL("UPDATE {} SET {} = {}").format(
                sql.Identifier(table), sealed, sql.SQL(damage).format(*[sealed] * damage.count("{}"))
            )
        )
        assert read(session, f"app.{table}", list(VALUES[table])) == VALUES[table] | {column: None}
        session.rollback()


def test_a_damaged_date_or_address_is_null_too(session: Connection) -> None:
    insert(session, "clinicians")
    session.execute("UPDATE clinicians SET birthdate_encrypted = '\\x00', address_encrypted = '\\x00'")
    row = read(session, "users", ["first_name", "birthdate", "address"])
    assert row == {"first_name": "Zoë", "birthdate": None, "address": None}


# --- The users view ------------------------------------------------------------------------------------


def test_users_has_exactly_the_plans_columns(connection: Connection) -> None:
    assert list(types(connection, "public.users")) == re.split(r",\s", USERS)


def test_users_columns_have_the_types_of_the_patients(connection: Connection) -> None:
    patients = types(connection, "public.patients_and_guardians")
    expected = {name: patients[name] for name in re.split(r",\s", USERS) if name != "user_type"} | {
        "user_type": "integer"
    }
    assert types(connection, "public.users") == expected


@pytest.mark.parametrize(
    ("table", "user_type", "differing"),
    [
        pytest.param("patients_and_guardians", 1, {}, id="patient"),
        # The plan's view leaves out the middle name of clinicians.
        pytest.param("clinicians", 2, {"middle_name": None}, id="clinician"),
    ],
)
def test_users_shows_personal_values_with_the_key(
    session: Connection, table: str, user_type: int, differing: dict[str, Any]
) -> None:
    insert(session, table)
    assert read(session, "users", [*PERSON, "role", "user_type"]) == PERSON | differing | {
        "role": user_type,
        "user_type": user_type,
    }


@pytest.mark.parametrize("table", ["patients_and_guardians", "clinicians"])
def test_users_shows_null_without_the_key(
    session: Connection, migrated: DatabaseSettings, table: str
) -> None:
    insert(session, table)
    with keyless(migrated) as client:
        assert read(client, "users", list(PERSON)) == dict.fromkeys(PERSON) | {"email": PERSON["email"]}


def test_clinicians_have_no_gender_of_their_own_in_users(session: Connection) -> None:
    insert(session, "patients_and_guardians", {"self_gender": 3, "supabase_id": uuid("supabase")})
    insert(session, "clinicians", {"legal_gender": 2})
    rows = session.execute(
        "SELECT user_type, self_gender, legal_gender, supabase_id::text FROM users ORDER BY 1"
    ).fetchall()
    assert rows == [(1, 3, None, uuid("supabase")), (2, None, 2, None)]
