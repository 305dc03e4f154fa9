"""Servers that others have set up: migrations either run to their end, or say what to mend before they begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.importer.run import replay_table
from daybreak_pipeline.privacy import keys, roles, rotation
from daybreak_pipeline.schema import extensions, preconditions, runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.homes import server_home

NEW_KEY = "77665544332211008899aabbccddeeff0123456789abcdeffedcba9876543210"
PERSON = {"first_name": "Aurelia", "last_name": "Van der Berg", "email": "aurelia@example.org"}
OWNER = "clinic_owner"


@pytest.fixture(scope="module")
def hosted() -> Iterator[DatabaseSettings]:
    """A server of its own, since these tests make roles."""
    with server_home() as home, embedded_server.serve(home) as settings:
        administer(settings, f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD 'test'")
        yield settings


@pytest.fixture
def owned(hosted: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """An empty database as an ordinary owner sees it, who is no superuser."""
    administer(hosted, f"CREATE DATABASE clinic OWNER {OWNER}")
    yield replace(hosted, name="clinic", user=OWNER, password="test")
    administer(hosted, "DROP DATABASE IF EXISTS clinic WITH (FORCE)", f"ALTER ROLE {OWNER} RESET ALL")


def administer(hosted: DatabaseSettings, *statements: str, name: str = "postgres") -> None:
    with psycopg.connect(hosted.conninfo(dbname=name), autocommit=True) as administrator:
        for statement in statements:
            administrator.execute(statement.encode())


def schemas(settings: DatabaseSettings) -> list[str]:
    with psycopg.connect(settings.conninfo()) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public)' ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


# --- Extensions in another schema --------------------------------------------------------------------------


def keep_extensions_in(hosted: DatabaseSettings, schema: str) -> None:
    """Do what providers do: a schema for extensions that only a superuser owns."""
    name = sql.Identifier(schema).as_string(None)
    administer(
        hosted,
        f"CREATE SCHEMA {name}",
        *(f"CREATE EXTENSION {extension} SCHEMA {name}" for extension in extensions.NEEDED),
        f"GRANT USAGE ON SCHEMA {name} TO {OWNER} WITH GRANT OPTION",
        name="clinic",
    )


@pytest.mark.parametrize("schema", ["extensions", 'Add "ons"'])
def test_everything_works_with_extensions_in_a_schema_of_their_own(
    hosted: DatabaseSettings,
    owned: DatabaseSettings,
    tmp_path: Path,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_extensions_in(hosted, schema)
    monkeypatch.setenv("DAYBREAK_APP_PASSWORD", "application")
    runner.upgrade(owned)
    roles.apply(owned)
    with database.connect(owned, key=KEY, autocommit=True) as connection:
        keys.verify(connection)
        export = Export(tmp_path, connection)
        # The second import is into a table with rows, the first drops the indexes and makes them again.
        export.load("patients_and_guardians", record("patients_and_guardians", "one", **PERSON))
        counts = export.load("patients_and_guardians", record("patients_and_guardians", "two", **PERSON))
        assert counts["inserted"] == 1
        assert search(connection, "aurelia berg") == search(connection, "aurelia@example") == 2
        rotation.rotate(connection, keys.Exchange(KEY, NEW_KEY, kept=False))
        assert search(connection, "van aur*") == 2
        export.load(
            "patients_and_guardians", record("patients_and_guardians", "three", **{**PERSON, "role": "x"})
        )
        assert replay_table(connection, "patients_and_guardians").accounting.quarantined == 1
    with database.connect(replace(owned, user="daybreak_app", password="application"), key=NEW_KEY) as client:
        client.execute("INSERT INTO clinicians (id, first_name) VALUES (gen_random_uuid(), 'Aurelia')")
        assert client.execute("SELECT first_name FROM app.clinicians").fetchall() == [("Aurelia",)]
        assert search(client, "aurelia") == 3
    with database.connect(owned) as connection:
        assert roles.is_current(connection)
        assert preconditions.obstacles(connection) == []
    runner.downgrade(owned, "8", key=NEW_KEY)  # hashes the names again, with functions as they were then
    runner.upgrade(owned, key=NEW_KEY)
    with database.connect(owned, key=NEW_KEY) as connection:
        assert search(connection, "aurelia") == 3


def search(connection: database.Connection, words: str) -> int:
    return len(connection.execute("SELECT * FROM search_people(%s)", [words]).fetchall())


def test_an_extension_schema_that_roles_may_not_use_is_named(
    hosted: DatabaseSettings, owned: DatabaseSettings
) -> None:
    keep_extensions_in(hosted, "extensions")
    administer(hosted, f"REVOKE GRANT OPTION FOR USAGE ON SCHEMA extensions FROM {OWNER}", name="clinic")
    runner.upgrade(owned)
    (warning,) = [text for text in roles.apply(owned).warnings if "extensions" in text]
    administer(hosted, warning.partition("has to run: ")[2], name="clinic")
    assert not [text for text in roles.apply(owned).warnings if "extensions" in text]


def test_an_extension_that_was_moved_afterwards_is_named(
    hosted: DatabaseSettings, owned: DatabaseSettings
) -> None:
    runner.upgrade(owned)
    administer(hosted, "CREATE SCHEMA tools", "ALTER EXTENSION pgcrypto SET SCHEMA tools", name="clinic")
    administer(hosted, f"GRANT USAGE ON SCHEMA tools TO {OWNER}", name="clinic")
    with database.connect(owned) as connection:
        (found,) = preconditions.obstacles(connection)
    assert found.mend == "as its owner: ALTER EXTENSION pgcrypto SET SCHEMA public"
    administer(hosted, found.mend.partition(": ")[2], name="clinic")
    with database.connect(owned) as connection:
        assert preconditions.obstacles(connection) == []
