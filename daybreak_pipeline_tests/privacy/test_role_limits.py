"""What roles can do to themselves, and what PostgreSQL gives to everybody: taken away where the server lets us, else named.

On a server of its own, because roles and databases belong to the server: each test begins without any.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli import doctor
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.privacy import role_limits, roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY, _administer
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.privacy.test_roles_installation import ROLES, SECRET, apply, owned

pytestmark = pytest.mark.slow

PASSWORDS = {f"DAYBREAK_{name}_PASSWORD": SECRET for name in ("APP", "READONLY", "ADMIN")}
TEMPLATE = "template_migrated"
OTHERS = ("postgres", "template1", "dagster", "daybreak_health")
CLIENTS = ("daybreak_app", "daybreak_readonly")


@pytest.fixture(scope="module")
def own_server() -> Iterator[DatabaseSettings]:
    """A server whose roles the tests make and drop."""
    with server_home() as home, server.serve(home) as given:
        _administer(given, "CREATE DATABASE {}", TEMPLATE)
        runner.upgrade(replace(given, name=TEMPLATE))
        _administer(given, "ALTER DATABASE {} ALLOW_CONNECTIONS false", TEMPLATE)
        yield given


@pytest.fixture
def db(own_server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A migrated database on a server without roles, as the server's superuser sees it."""
    given = replace(own_server, name="health")
    _administer(own_server, "CREATE DATABASE {} TEMPLATE {}", given.name, TEMPLATE)
    yield given
    _tidy(own_server, given)


@pytest.fixture
def importer(own_server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """The same, migrated and owned by a role that may make roles."""
    given = replace(own_server, name="health")
    _administer(own_server, "CREATE DATABASE {}", given.name)
    made = owned(given, "CREATEROLE")
    runner.upgrade(made)
    yield made
    _tidy(own_server, given)


def _tidy(own_server: DatabaseSettings, given: DatabaseSettings) -> None:
    _administer(own_server, "DROP DATABASE {} WITH (FORCE)", given.name)
    with psycopg.connect(own_server.conninfo(dbname="postgres"), autocommit=True) as administrator:
        for name in OTHERS:
            administrator.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(sql.Identifier(name))
            )
        for role in (*ROLES, "daybreak_importer", "neighbour"):
            if administrator.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                administrator.execute(
                    sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role))
                )


def granted(given: DatabaseSettings) -> roles.Applied:
    return apply(given, **PASSWORDS)


def as_superuser(importer: DatabaseSettings, own_server: DatabaseSettings) -> DatabaseSettings:
    return replace(own_server, name=importer.name)


@contextmanager
def logged_in(db: DatabaseSettings, role: str, name: str | None = None) -> Iterator[Connection]:
    login = replace(db, user=role, password=SECRET, name=name or db.name)
    with database.connect(login, key=KEY, autocommit=True) as opened:
        yield opened


def described(db: DatabaseSettings) -> str:
    with database.connect(db) as connection:
        return "\n".join(roles.show(connection))


# --- What everybody has ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", CLIENTS)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_unlink(1)",
        "SELECT lo_open(1, 131072)",
        "SELECT lo_put(1, 0, 'x')",
        "SELECT loread(0, 1)",
        "SELECT lowrite(0, 'x')",
        "SELECT pg_notify('anything', 'x')",
        "SELECT pg_logical_emit_message(false, 'anything', repeat('x', 1000))",
        "CREATE TEMPORARY TABLE mine (id int)",
    ],
)
def test_readers_and_the_application_have_nothing_from_public(
    db: DatabaseSettings, role: str, statement: str
) -> None:
    granted(db)
    with logged_in(db, role) as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(statement.encode())


def test_the_owner_and_administrators_keep_what_they_had(
    importer: DatabaseSettings, own_server: DatabaseSettings
) -> None:
    db = as_superuser(importer, own_server)
    granted(importer)
    apply(db)
    for user in ("daybreak_importer", "daybreak_admin"):
        with logged_in(db, user) as client:
            assert client.execute("SELECT lo_unlink(lo_create(0)), pg_notify('a', 'b')").fetchone() == (1, "")
            client.execute("CREATE TEMPORARY TABLE mine (id int)")
    with logged_in(db, "daybreak_importer") as client, pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute("SELECT lo_import('/etc/passwd')")  # was never PUBLIC's


def test_an_ordinary_owner_is_told_what_only_others_can_close(
    importer: DatabaseSettings, own_server: DatabaseSettings
) -> None:
    db = as_superuser(importer, own_server)
    done = granted(importer)
    both = "daybreak_app and daybreak_readonly may"
    expected = {
        f"left open: {both} make large objects, which a superuser can stop",
        f"left open: {both} call pg_notify, which a superuser can stop",
        f"left open: {both} write messages into the write-ahead log, which a superuser can stop",
        *(f"left open: {both} enter the database {name}, which its owner can stop" for name in OTHERS),
    }
    assert {line for line in done.lines if line.startswith("left open")} == expected
    assert expected <= set(described(importer).splitlines())
    with database.connect(importer) as connection:
        assert roles.is_current(connection)  # or each import would try again in vain
        finding = doctor._role_limits(connection)
    assert finding.good
    assert "may enter the database postgres" in finding.text
    apply(db)  # a superuser closes what is the superuser's to close, and no database of others
    assert "large objects" not in described(db)
    assert "pg_notify" not in described(db)
    assert "write-ahead log" not in described(db)


# --- Other databases -------------------------------------------------------------------------------------------


def test_readers_cannot_enter_the_owners_other_databases(db: DatabaseSettings) -> None:
    granted(db)
    for name in OTHERS:
        with (
            pytest.raises(UsageError, match="may not connect to database"),
            logged_in(db, "daybreak_readonly", name),
        ):
            pass
        with logged_in(db, "daybreak_admin", name):
            pass
    assert "left open" not in described(db)


def test_databases_of_others_and_those_that_others_enter_stay_as_they_are(db: DatabaseSettings) -> None:
    _administer(db, "CREATE ROLE {} LOGIN PASSWORD 'x'", "neighbour")
    granted(db)
    assert "enter the database dagster" in described(db)
    with database.connect(replace(db, user="neighbour", password="x", name="dagster")):
        pass
    _administer(db, "GRANT CONNECT ON DATABASE {} TO {}", "dagster", "neighbour")
    _administer(db, "ALTER DATABASE {} OWNER TO {}", "template1", "neighbour")
    try:
        apply(db)
        assert "enter the database dagster" not in described(db)
        assert "enter the database template1" in described(db)
        with database.connect(replace(db, user="neighbour", password="x", name="dagster")):
            pass
    finally:
        _administer(db, "ALTER DATABASE {} OWNER TO {}", "template1", db.user)


def test_a_database_made_for_dagster_is_closed_from_its_first_moment(db: DatabaseSettings) -> None:
    granted(db)
    storage = replace(db, name="records")
    instance._ensure_database(db, storage)
    try:
        with (
            pytest.raises(UsageError, match="may not connect to database"),
            logged_in(db, "daybreak_readonly", storage.name),
        ):
            pass
    finally:
        _administer(db, "DROP DATABASE {}", storage.name)


# --- A role's own settings -------------------------------------------------------------------------------------

HARMFUL = (
    "ALTER ROLE {} SET search_path = pg_temp, public, pg_catalog",
    "ALTER ROLE {} IN DATABASE health SET search_path = ''",
    "ALTER ROLE {} SET row_security = off",
    "ALTER ROLE {} IN DATABASE health SET statement_timeout = 0",
    "ALTER ROLE {} IN DATABASE health RESET ALL",
)


@pytest.mark.parametrize("role", CLIENTS)
@pytest.mark.parametrize("statement", HARMFUL)
def test_what_a_role_sets_for_itself_is_named_and_put_back(
    db: DatabaseSettings, role: str, statement: str
) -> None:
    granted(db)
    with database.connect(db) as connection:
        expected = settings_of(connection)
    with logged_in(db, role) as client:
        client.execute(statement.format(role).encode())
    with database.connect(db) as connection:
        assert not roles.is_current(connection)
        if "RESET" not in statement:
            finding = doctor._role_limits(connection)
            assert not finding.good
            assert f"{role} has " in finding.text
    done = roles.ensure(db)  # as each import does
    assert ("put back" in " ".join(done.warnings)) is ("RESET" not in statement)
    with database.connect(db) as connection:
        assert settings_of(connection) == expected
        assert roles.is_current(connection)
        assert doctor._role_limits(connection).good


def settings_of(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting WHERE setrole <> 0 ORDER BY 1, 2"
    ).fetchall()


def test_no_value_of_a_setting_is_repeated(db: DatabaseSettings) -> None:
    granted(db)
    with logged_in(db, "daybreak_app") as client:
        client.execute("ALTER ROLE daybreak_app SET timezone = 'Antarctica/Troll'")
    with database.connect(db) as connection:
        said = f"{doctor._role_limits(connection)} {roles.show(connection)} {roles.ensure(db)}"
    assert "TimeZone" in said
    assert "Troll" not in said


def test_what_takes_a_superuser_to_set_is_left_to_superusers(db: DatabaseSettings) -> None:
    granted(db)
    with database.connect(db, autocommit=True) as administrator:
        administrator.execute("ALTER ROLE daybreak_app SET log_min_duration_statement = 500")
        assert roles.is_current(administrator)
        apply(db)
        assert ("log_min_duration_statement=500",) in administrator.execute(
            "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole <> 0"
        ).fetchall()


def test_an_owner_who_may_not_alter_roles_says_what_was_set_and_goes_on(
    importer: DatabaseSettings, own_server: DatabaseSettings
) -> None:
    db = as_superuser(importer, own_server)
    _administer(own_server, "ALTER ROLE {} NOCREATEROLE", importer.user)
    apply(db, **PASSWORDS)
    with logged_in(db, "daybreak_readonly") as client:
        client.execute("ALTER ROLE daybreak_readonly SET search_path = public")
    assert roles.ensure(importer).warnings == []
    assert "daybreak_readonly has search_path set for itself" in described(importer)
    with database.connect(importer) as connection:
        assert not doctor._role_limits(connection).good
    assert apply(db).warnings == ["daybreak_readonly had search_path set for itself: put back"]


def test_each_role_has_its_timeouts(db: DatabaseSettings) -> None:
    granted(db)
    for role, of in role_limits._SETTINGS.items():
        with logged_in(db, role) as client:
            for name, value in of.items():
                shown = client.execute("SELECT current_setting(%s)", [name]).fetchone()
                assert shown == (value,), (role, name)


@pytest.mark.parametrize("path", ["public, pg_catalog", "''", "reporting"])
@pytest.mark.parametrize("row_security", ["on", "off"])
def test_a_changed_setting_shows_nothing_more_and_records_no_less(
    db: DatabaseSettings, path: str, row_security: str
) -> None:
    granted(db)
    with logged_in(db, "daybreak_app") as client:
        client.execute("INSERT INTO public.documents (label) VALUES ('privacy_policy'), ('terms_of_use')")
        client.execute("UPDATE public.documents SET _fivetran_deleted = true WHERE label = 'terms_of_use'")
    with logged_in(db, "daybreak_app") as client, logged_in(db, "daybreak_readonly") as reader:
        for connection in (client, reader):
            connection.execute(
                f"ALTER ROLE {connection.info.user} IN DATABASE health SET search_path = {path}".encode()
            )
            connection.execute(
                f"ALTER ROLE {connection.info.user} SET row_security = {row_security}".encode()
            )
    with logged_in(db, "daybreak_readonly") as reader:
        try:
            rows = reader.execute("SELECT label FROM reporting.documents").fetchall()
        except (
            psycopg.errors.InsufficientPrivilege
        ):  # PostgreSQL refuses rather than shows what a policy hides
            rows = [("privacy_policy",)]
        assert rows == [("privacy_policy",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT id FROM public.clinicians")
    with logged_in(db, "daybreak_app") as client:
        try:
            client.execute("INSERT INTO public.clinicians (first_name) VALUES ('Ada')")
            written = 1
        except psycopg.errors.InsufficientPrivilege:
            written = 0
    with database.connect(db) as administrator:
        counts = administrator.execute(
            "SELECT (SELECT count(*) FROM public.clinicians WHERE first_name IS NULL AND first_name_encrypted IS NOT NULL"
            " AND name_tokens IS NOT NULL), (SELECT count(*) FROM audit.changes WHERE table_name = 'clinicians')"
        ).fetchone()
    assert counts == (written, written)


def test_every_function_with_more_rights_than_its_caller_has_its_own_search_path(
    db: DatabaseSettings,
) -> None:
    granted(db)
    with database.connect(db) as connection:
        loose = connection.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname IN ('public', 'app', 'privacy', 'audit', 'reporting', 'ingest', 'integrity', 'migrations')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
            " AND (p.prosecdef OR p.prorettype = 'trigger'::regtype)"
            " AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%')"
        ).fetchall()
    assert loose == []


def test_the_timeouts_are_documented() -> None:
    page = (settings.PROJECT_ROOT / "docs" / "own-server.md").read_text(encoding="utf-8")
    for role, of in role_limits._SETTINGS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{role}`") and " min |" in line]
        cells = [of["statement_timeout"], of["idle_in_transaction_session_timeout"]]
        assert [cell.strip().replace(" ", "") for cell in row.split("|")[2:4]] == cells
