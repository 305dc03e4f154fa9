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
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import replay_table
from daybreak_pipeline.privacy import keys, roles, rotation
from daybreak_pipeline.schema import extensions, preconditions, runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.homes import server_home

pytestmark = pytest.mark.slow

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


# --- Looking before migrations begin -----------------------------------------------------------------------

REFUSED = {
    "read only": (
        "ALTER DATABASE clinic SET default_transaction_read_only = on",
        f"BEGIN READ WRITE; ALTER ROLE {OWNER} IN DATABASE clinic SET default_transaction_read_only = off; COMMIT",
    ),
    "a schema of one's own": (
        f"CREATE SCHEMA {OWNER} AUTHORIZATION {OWNER}",
        "ALTER ROLE clinic_owner IN DATABASE clinic SET search_path = public",
    ),
    "search path": (
        f"CREATE SCHEMA legacy AUTHORIZATION {OWNER}; ALTER DATABASE clinic SET search_path = legacy, public",
        "ALTER ROLE clinic_owner IN DATABASE clinic SET search_path = public",
    ),
    "backslashes": (
        "ALTER DATABASE clinic SET standard_conforming_strings = off",
        "ALTER ROLE clinic_owner IN DATABASE clinic SET standard_conforming_strings = on",
    ),
    "row security": (
        "ALTER DATABASE clinic SET row_security = off",
        "ALTER ROLE clinic_owner IN DATABASE clinic SET row_security = on",
    ),
    "no public": ("DROP SCHEMA public", "CREATE SCHEMA public"),
    "another's public": (
        "ALTER SCHEMA public OWNER TO CURRENT_USER",
        "as an administrator: GRANT ALL ON SCHEMA public TO clinic_owner",
    ),
    "no right to create": (
        "ALTER DATABASE clinic OWNER TO CURRENT_USER; GRANT ALL ON SCHEMA public TO clinic_owner",
        "as an administrator: GRANT CREATE ON DATABASE clinic TO clinic_owner",
    ),
    "another's schema": (
        "CREATE SCHEMA audit",
        "set DB_NAME to a database that nothing else uses",
    ),
    "another's table": (
        "CREATE TABLE users (id int)",
        "set DB_NAME to a database that nothing else uses",
    ),
    "another's function": (
        "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "set DB_NAME to a database that nothing else uses",
    ),
    "hidden extension": (
        "CREATE SCHEMA vault; CREATE EXTENSION pgcrypto SCHEMA vault",
        "as an administrator: GRANT USAGE ON SCHEMA vault TO clinic_owner",
    ),
}
"""What an administrator may have done, and the line that mends it; that line is run as it is, by whom it names."""


@pytest.mark.parametrize("case", REFUSED)
def test_migrate_says_what_to_mend_before_it_changes_anything_and_works_afterwards(
    hosted: DatabaseSettings, owned: DatabaseSettings, case: str
) -> None:
    done, mend = REFUSED[case]
    administer(hosted, done, name="clinic")
    before = schemas(replace(hosted, name="clinic"))
    with pytest.raises(UsageError) as refused:
        runner.upgrade(owned)
    message = str(refused.value)
    assert message.endswith(f": {mend} (nothing was changed)")
    assert "\n" not in message
    assert schemas(replace(hosted, name="clinic")) == before

    if mend.startswith("set "):
        return
    administrators = mend.startswith("as an administrator: ")
    administer(hosted if administrators else owned, mend.removeprefix("as an administrator: "), name="clinic")
    assert runner.upgrade(owned)[-1].revision == runner.newest_revision()


def test_who_does_not_own_the_tables_is_told_who_does(
    hosted: DatabaseSettings, owned: DatabaseSettings, tmp_path: Path
) -> None:
    runner.upgrade(owned)
    administer(
        hosted,
        "CREATE ROLE colleague LOGIN PASSWORD 'test'",
        "GRANT CREATE, CONNECT ON DATABASE clinic TO colleague; GRANT ALL ON SCHEMA public TO colleague",
        name="clinic",
    )
    with pytest.raises(
        UsageError, match=f"the tables belong to {OWNER}, not to colleague: set DB_USER to {OWNER}"
    ):
        runner.upgrade(replace(owned, user="colleague"))
    done = daybreak(environment_of(replace(owned, user="colleague"), tmp_path), "doctor")
    assert f"missing owner: the tables belong to {OWNER}" in done.stdout
    assert (done.returncode, done.stderr) == (2, "")
    administer(hosted, "DROP OWNED BY colleague", name="clinic")
    administer(hosted, "DROP ROLE colleague")


def test_what_was_taken_back_altogether_can_be_applied_again(owned: DatabaseSettings) -> None:
    runner.upgrade(owned)
    runner.downgrade(owned, "0")
    with database.connect(owned) as connection:
        assert preconditions.obstacles(connection) == []
    assert len(runner.upgrade(owned)) == len(runner.migrations())


def test_a_database_in_another_encoding_is_refused(hosted: DatabaseSettings) -> None:
    latin = replace(hosted, name="latin")
    administer(hosted, "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(UsageError, match=r"encoding LATIN1, .*ENCODING 'UTF8' TEMPLATE template0"):
        runner.upgrade(latin)
    assert schemas(latin) == []
    administer(hosted, "DROP DATABASE latin")


def test_a_standby_is_refused(hosted: DatabaseSettings, owned: DatabaseSettings) -> None:
    """A standby's answer, from a function in front of the server's own."""
    administer(
        hosted,
        f"CREATE SCHEMA front; GRANT USAGE ON SCHEMA front TO {OWNER}",
        "CREATE FUNCTION front.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "ALTER DATABASE clinic SET search_path = front, pg_catalog, public",
        name="clinic",
    )
    with pytest.raises(UsageError, match="a standby, which can only be read: set DB_HOST to the primary"):
        runner.upgrade(owned)


def test_an_extension_that_only_an_administrator_may_make_is_named(
    hosted: DatabaseSettings, owned: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "NEEDED", ("pg_stat_statements", "pgcrypto"))
    with pytest.raises(UsageError, match="as an administrator: CREATE EXTENSION pg_stat_statements"):
        runner.upgrade(owned)
    administer(hosted, "CREATE EXTENSION pg_stat_statements", name="clinic")
    with database.connect(owned) as connection:
        assert preconditions.obstacles(connection) == []


def test_an_extension_that_the_servers_machine_lacks_is_named(
    owned: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "NEEDED", ("pgcrypto", "no_such_thing"))
    with pytest.raises(UsageError, match=r"no_such_thing is not installed .*contrib package"):
        runner.upgrade(owned)
    assert schemas(owned) == []


def test_time_limits_of_the_server_cut_no_migration_short(owned: DatabaseSettings, tmp_path: Path) -> None:
    (tmp_path / "001_slow.sql").write_text("SELECT pg_sleep(0.5);\n")
    (tmp_path / "001_slow.rollback.sql").write_text("SELECT 1;\n")
    administer(owned, f"ALTER ROLE {OWNER} SET statement_timeout = '250ms'", name="clinic")
    with database.connect(owned) as connection, pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(0.5)")
    assert [one.name for one in runner.upgrade(owned, directory=tmp_path)] == ["slow"]
