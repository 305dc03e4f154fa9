"""A session with another key than the database's: refused before anything is read or written."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY

OTHER_KEY = "fedcba98765432100123456789abcdef" + KEY[:32]
MESSAGE = "this session's encryption key is not the one this database uses"


@pytest.fixture
def keyed(migrated: DatabaseSettings) -> DatabaseSettings:
    """A database with a patient, under KEY."""
    with database.connect(migrated, key=KEY) as connection:
        keys.verify(connection)
        connection.execute(
            "INSERT INTO patients_and_guardians (role, email, first_name) VALUES (1, 'z@example.org', 'Zoë')"
        )
    return migrated


READS = [
    "SELECT first_name FROM app.patients_and_guardians",
    "SELECT id FROM app.patients_and_guardians",
    "SELECT count(*) FROM users",
    "SELECT privacy.unseal(first_name_encrypted, privacy.key('seal')) FROM patients_and_guardians",
]
WRITES = [
    "INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Ada')",
    "INSERT INTO insurance_coverages (kind, user_id, plan_holder_city) VALUES (2, gen_random_uuid(), 'Anytown')",
    "UPDATE patients_and_guardians SET first_name = 'Ada'",
    "UPDATE patients_and_guardians SET email = 'ada@example.org'",
]


@pytest.mark.parametrize("statement", READS + WRITES)
def test_a_session_with_another_key_is_told_so(keyed: DatabaseSettings, statement: str) -> None:
    with database.connect(keyed, key=OTHER_KEY) as connection:
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification) as refused:
            connection.execute(statement.encode())
        assert refused.value.diag.message_primary == MESSAGE
        assert "last rotated to" in str(refused.value.diag.message_hint)
        assert not [key for key in (KEY, OTHER_KEY) if key in str(refused.value)]
        connection.rollback()
    with database.connect(keyed, key=KEY) as connection:
        rows = connection.execute("SELECT email, first_name FROM app.patients_and_guardians").fetchall()
    assert rows == [("z@example.org", "Zoë")]


@pytest.mark.parametrize("statement", READS[:2])
def test_a_session_without_a_key_sees_rows_without_personal_values(
    keyed: DatabaseSettings, statement: str
) -> None:
    with database.connect(keyed) as connection:
        (row,) = connection.execute(statement.encode()).fetchall()
    assert (row[0] is None) == ("first_name" in statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO documents (id, label) VALUES (gen_random_uuid(), 'x')",
        "UPDATE patients_and_guardians SET title = 'Dr'",
        "DELETE FROM patients_and_guardians",
        "TRUNCATE documents",
    ],
)
def test_what_needs_no_key_is_refused_to_another_one_too(keyed: DatabaseSettings, statement: str) -> None:
    with database.connect(keyed, key=OTHER_KEY, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            connection.execute(statement.encode())
        assert connection.execute("SELECT title FROM patients_and_guardians").fetchall() == [(None,)]
    with database.connect(keyed) as connection:
        connection.execute(statement.encode())


def test_readers_need_no_right_on_the_keys_state(keyed: DatabaseSettings) -> None:
    """The views work for a role that may use them and nothing else."""
    reader = sql.Identifier(f"reader_of_{keyed.name}")
    with database.connect(keyed, key=KEY) as connection:
        connection.execute(
            sql.SQL(
                "CREATE ROLE {0}; GRANT USAGE ON SCHEMA app TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {0}; "
                "SET ROLE {0}"
            ).format(reader)
        )
        assert connection.execute("SELECT first_name FROM app.patients_and_guardians").fetchall() == [
            ("Zoë",)
        ]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM privacy.key_check")
        connection.rollback()
