# ruff: noqa: S608 - what is put into statements here are this file's own names
"""Who was cleared is found by nobody: the blind index follows the names, however they are written."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords, login

TABLES = ("patients_and_guardians", "clinicians")
NAMES = ("first_name", "preferred_name", "middle_name", "last_name")


@pytest.fixture
def application(migrated: DatabaseSettings) -> Iterator[Connection]:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), key=KEY) as opened:
        for table in TABLES:
            insert = "INSERT INTO {} (first_name, last_name, phone, email) VALUES ('Zelda', 'Quill', '555', 'z@example.org')"
            if table == "patients_and_guardians":
                insert = insert.replace("(first", "(role, first").replace("('Z", "(1, 'Z")
            opened.execute(sql.SQL(insert).format(sql.Identifier(table)))
        opened.commit()
        yield opened


def found(connection: Connection, query: str) -> int:
    rows = connection.execute("SELECT count(*) FROM search_people(%s)", [query]).fetchone() or (0,)
    return int(rows[0])


def tokens(connection: Connection) -> int:
    counted = connection.execute(
        "SELECT count(t) FROM (SELECT name_tokens FROM patients_and_guardians UNION ALL "
        "SELECT name_tokens FROM clinicians) n, unnest(n.name_tokens) t"
    ).fetchone() or (0,)
    return int(counted[0])


def update(connection: Connection, schema: str, change: str) -> None:
    for table in TABLES:
        connection.execute(sql.SQL("UPDATE {} SET " + change).format(sql.Identifier(schema, table)))


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        ("app", "first_name = NULL, last_name = NULL"),
        ("public", "first_name_encrypted = NULL, last_name_encrypted = NULL"),
    ],
)
def test_clearing_the_names_clears_the_index(application: Connection, schema: str, change: str) -> None:
    assert found(application, "zelda") == found(application, "quil*") == 2
    update(application, schema, change)
    assert found(application, "zelda") == found(application, "quil*") == tokens(application) == 0
    names = ", ".join(f"{name}_encrypted" for name in NAMES if name != "middle_name")
    left = f"SELECT num_nonnulls({names}) FROM {{}}"
    for table in TABLES:
        assert application.execute(sql.SQL(left).format(sql.Identifier(table))).fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("schema", "change"), [("app", "first_name = NULL"), ("public", "first_name_encrypted = NULL")]
)
def test_clearing_one_name_leaves_the_others(application: Connection, schema: str, change: str) -> None:
    update(application, schema, change)
    assert (found(application, "zelda"), found(application, "quill")) == (0, 2)
    assert application.execute("SELECT DISTINCT first_name, last_name, phone FROM users").fetchall() == [
        (None, "Quill", "555")
    ]


def test_a_name_written_as_ciphertext_is_found(application: Connection) -> None:
    update(application, "public", "first_name_encrypted = privacy.seal('Ines', privacy.key('seal'))")
    assert (found(application, "zelda"), found(application, "ines quill")) == (0, 2)


def test_names_written_in_plain_and_cleared_at_once(application: Connection) -> None:
    update(application, "public", "first_name = 'Ines', last_name_encrypted = NULL")
    assert (found(application, "zelda"), found(application, "quill"), found(application, "ines")) == (0, 0, 2)


def test_a_session_without_the_key_can_clear_all_names_and_no_single_one(
    application: Connection, migrated: DatabaseSettings
) -> None:
    application.commit()
    with database.connect(login(migrated, APP)) as keyless:
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification), keyless.transaction():
            update(keyless, "public", "first_name_encrypted = NULL")
        update(
            keyless,
            "public",
            "first_name_encrypted = NULL, last_name_encrypted = NULL, phone_encrypted = NULL",
        )
        keyless.commit()
    assert tokens(application) == 0


def test_a_session_with_another_key_can_clear_nothing(
    application: Connection, migrated: DatabaseSettings
) -> None:
    application.commit()
    with database.connect(login(migrated, APP), key=KEY[::-1]) as other:
        state = "INSERT INTO privacy.key_check (check_value) VALUES (privacy.required_key('check'))"
        with database.connect(migrated, key=KEY) as owner:
            owner.execute(state)
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            update(other, "public", "first_name_encrypted = NULL")


# --- The views of the application can be updated ---------------------------------------------------------


def test_what_an_update_of_the_view_does_not_name_stays(application: Connection) -> None:
    before = application.execute("SELECT first_name_encrypted FROM patients_and_guardians").fetchall()
    application.execute(
        "UPDATE app.patients_and_guardians SET phone = NULL, title = 'Dr', birthdate = '2011-02-03'"
    )
    assert application.execute("SELECT first_name_encrypted FROM patients_and_guardians").fetchall() == before
    shown = "SELECT first_name, phone, title, birthdate::text, email FROM app.patients_and_guardians"
    assert application.execute(shown.encode()).fetchall() == [
        ("Zelda", None, "Dr", "2011-02-03", "z@example.org")
    ]
    application.execute("UPDATE app.patients_and_guardians SET email = NULL")
    sealed = "SELECT email, email_encrypted FROM patients_and_guardians"
    assert application.execute(sealed.encode()).fetchall() == [(None, None)]


def test_an_update_of_the_view_is_one_line_of_the_trail(application: Connection, session: Connection) -> None:
    application.execute("UPDATE app.clinicians SET last_name = NULL WHERE first_name = 'Zelda'")
    application.commit()
    line = "SELECT changed_columns, session_role FROM audit.changes WHERE action = 'UPDATE'"
    assert session.execute(line.encode()).fetchall() == [(["last_name"], APP)]


@pytest.mark.parametrize("view", ["patients_and_guardians", "clinicians", "insurance_coverages"])
def test_every_column_of_the_view_is_written(session: Connection, view: str) -> None:
    """A migration that adds a column to the view has to make its trigger again."""
    body = session.execute(
        f"SELECT prosrc FROM pg_proc WHERE oid = 'app.update_{view}()'::regprocedure".encode()
    ).fetchone()
    names = [
        name
        for (name,) in session.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [f"app.{view}"]
        )
    ]
    assert body
    assert [name for name in names if f"NEW.{name} IS DISTINCT FROM OLD.{name}" not in body[0]] == []


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_a_birthdate_is_the_same_day_for_a_reader_of_another_style(
    application: Connection, style: str
) -> None:
    with application.transaction():
        application.execute("SELECT set_config('datestyle', %s, true)", [style])
        application.execute("UPDATE public.clinicians SET birthdate = make_date(2015, 3, 4)")
    assert application.execute("SELECT birthdate = make_date(2015, 3, 4) FROM app.clinicians").fetchall() == [
        (True,)
    ]
