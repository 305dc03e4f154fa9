# ruff: noqa: S608 - what is put into statements here are this file's own names
"""Making the roles: by a superuser, by an ordinary owner, by two at once, and on a server with several databases.

On a server of its own, because roles belong to the server: each test begins without any.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres import data_directory, server, server_log
from daybreak_pipeline.embedded_postgres import programs as server_programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.cli.test_main import dump, environment_of, one_line
from daybreak_pipeline_tests.commands import Done, daybreak
from daybreak_pipeline_tests.conftest import KEY, _administer
from daybreak_pipeline_tests.homes import server_home

pytestmark = pytest.mark.slow

SAMPLE = PROJECT_ROOT / "data" / "sample"
SECRET = "correct horse battery staple"
ROLES = tuple(role.name for role in roles.ROLES)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with server_home() as directory:
        yield directory


@pytest.fixture(scope="module")
def own_server(home: Path) -> Iterator[DatabaseSettings]:
    """A server whose roles the tests make and drop."""
    with server.serve(home) as given:
        yield given


@pytest.fixture
def db(own_server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """An empty database on a server without roles, as the server's superuser sees it."""
    given = replace(own_server, name="health")
    _administer(own_server, "CREATE DATABASE {}", given.name)
    yield given
    _administer(own_server, "DROP DATABASE {} WITH (FORCE)", given.name)
    for role in (*ROLES, "daybreak_importer"):
        _administer(own_server, "DROP ROLE IF EXISTS {}", role)


def owned(db: DatabaseSettings, *privileges: str) -> DatabaseSettings:
    """Give the database to an ordinary importer, with such privileges as it may have on a managed server."""
    login = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} ").format(
        sql.Identifier("daybreak_importer"), sql.Literal(SECRET)
    )
    with psycopg.connect(db.conninfo(dbname="postgres"), autocommit=True) as administrator:
        administrator.execute(login + sql.SQL(" ").join(map(sql.SQL, privileges)))
    _administer(db, "ALTER DATABASE {} OWNER TO {}", db.name, "daybreak_importer")
    return replace(db, user="daybreak_importer", password=SECRET)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What else the command needs: a home, and an instance whose storage is a file."""
    directory = tmp_path / "dagster"
    directory.mkdir()
    (directory / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    return {"DAGSTER_HOME": str(directory), "DAYBREAK_HOME": str(tmp_path / "home")}


def run(given: DatabaseSettings, environment: dict[str, str], *arguments: str | Path, **more: str) -> Done:
    home = Path(environment["DAYBREAK_HOME"])
    return daybreak(environment_of(given, home) | environment | more, *arguments)


def present(db: DatabaseSettings) -> set[str]:
    with psycopg.connect(db.conninfo()) as administrator:
        rows = administrator.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(ROLES)])
        return {row[0] for row in rows}


def apply(given: DatabaseSettings, **variables: str) -> roles.Applied:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return roles.apply(given)


def reads(given: DatabaseSettings, role: str, query: str) -> int:
    with database.connect(replace(given, user=role, password=SECRET)) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


# --- By whom ---------------------------------------------------------------------------------------------


def test_an_ordinary_owner_imports_without_roles_and_is_told(
    db: DatabaseSettings, environment: dict[str, str]
) -> None:
    importer = owned(db)
    up = run(importer, environment, "migrate", "up")
    assert up.returncode == 0
    (warning,) = up.stderr.splitlines()
    assert re.search(r"warning: .*daybreak_importer may not make roles \(CREATEROLE\).*roles apply", warning)
    done = run(importer, environment, "import", "--data-dir", SAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    assert "warning: role daybreak_app is missing" in done.stderr
    assert present(db) == set()
    assert "may not make roles" in one_line(run(importer, environment, "roles", "apply"))
    shown = run(importer, environment, "roles", "show")
    assert (shown.returncode, shown.stdout.count("missing")) == (0, 4)
    assert run(importer, environment, "import", "--data-dir", SAMPLE, "--full").returncode == 0


def test_an_ordinary_owner_rotates_the_key_of_every_row_or_none(
    db: DatabaseSettings, environment: dict[str, str]
) -> None:
    importer = owned(db)
    assert run(importer, environment, "import", "--data-dir", SAMPLE).returncode == 0
    new_key = KEY[::-1]
    _execute(db, "CREATE POLICY hidden ON patients_and_guardians AS RESTRICTIVE USING (email IS NOT NULL)")
    refused = one_line(run(importer, environment, "keys", "rotate", NEW_ENCRYPTION_KEY=new_key))
    assert "row-level security hides rows of public.patients_and_guardians" in refused
    _execute(db, "DROP POLICY hidden ON patients_and_guardians")
    assert run(importer, environment, "keys", "rotate", NEW_ENCRYPTION_KEY=new_key).returncode == 0
    unreadable = (
        "SELECT count(*) FROM patients_and_guardians p JOIN app.patients_and_guardians a USING (id) "
        "WHERE p.first_name_encrypted IS NOT NULL AND a.first_name IS NULL"
    )
    with database.connect(importer, key=new_key) as connection:
        assert connection.execute(unreadable).fetchone() == (0,)


def _execute(given: DatabaseSettings, statement: str) -> None:
    with psycopg.connect(given.conninfo()) as administrator:
        administrator.execute(statement.encode())


def test_an_owner_who_may_make_roles_makes_all_and_says_what_administrators_lack(
    db: DatabaseSettings, environment: dict[str, str]
) -> None:
    importer = owned(db, "CREATEROLE", "CREATEDB")
    up = run(importer, environment, "migrate", "up", DAYBREAK_READONLY_PASSWORD=SECRET)
    assert up.returncode == 0
    assert present(db) == set(ROLES)
    (line,) = [line for line in up.stderr.splitlines() if line.startswith("daybreak_admin")]
    assert "CREATEROLE, CREATEDB" in line
    assert "may not give it SUPERUSER, BYPASSRLS" in line
    assert "set DAYBREAK_ADMIN_PASSWORD" in line
    done = run(importer, environment, "import", "--data-dir", SAMPLE)
    assert (done.returncode, "warning" in done.stderr) == (0, False)
    assert reads(db, "daybreak_readonly", "SELECT count(*) FROM questionnaires") > 0
    with psycopg.connect(db.conninfo()) as administrator:
        rows = administrator.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class"
            " WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v'"
        ).fetchall()
        assert rows == [("daybreak_reporting",)]
        # A member would see what the views' owner sees: no soft-deleted row.
        members = administrator.execute(
            "SELECT FROM pg_auth_members WHERE roleid = 'daybreak_reporting'::regrole"
            " AND member = 'daybreak_importer'::regrole AND NOT admin_option"
        ).fetchall()
        assert members == []


def test_an_administrator_who_is_no_superuser_may_still_do_everything_with_the_data(
    db: DatabaseSettings,
) -> None:
    importer = owned(db, "CREATEROLE")
    runner.upgrade(importer)
    apply(importer, DAYBREAK_ADMIN_PASSWORD=SECRET)
    administrator = replace(db, user="daybreak_admin", password=SECRET)
    with database.connect(administrator, key=KEY) as connection:
        is_superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert is_superuser.fetchone() == (False,)
        for name in [*TABLES, "ingest.imports", "ingest.quarantine", "privacy.key_check", "users"]:
            connection.execute(f"SELECT * FROM {name}".encode())
        for name in TABLES:
            connection.execute(f"SELECT * FROM reporting.{name}".encode())
            connection.execute(f"TRUNCATE {name} CASCADE".encode())
        called = connection.execute(
            "SELECT nextval('ingest.imports_id_seq'), ingest.text_array('a'), privacy.key('seal') IS NOT NULL"
        ).fetchone()
        assert called == (1, ["a"], True)
        connection.execute("CREATE TABLE public.mine (id int)")
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'")
        assert owner.fetchone() == ("daybreak_admin",)


def test_what_an_administrator_applied_keeps_working_for_an_ordinary_owner(
    db: DatabaseSettings, environment: dict[str, str]
) -> None:
    """On a managed server: roles by the administrator, migrations and imports by the owner."""
    importer = owned(db)
    runner.upgrade(importer)
    apply(db, DAYBREAK_READONLY_PASSWORD=SECRET, DAYBREAK_APP_PASSWORD=SECRET)
    with psycopg.connect(db.conninfo()) as administrator:
        owner = administrator.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert owner == [("daybreak_importer",)]
    runner.downgrade(importer, "9")
    up = run(importer, environment, "migrate", "up")
    assert up.returncode == 0
    assert (
        "may not give the reporting views" in up.stderr
    )  # made again, so the administrator is needed once more
    apply(db)
    runner.upgrade(importer)
    done = run(importer, environment, "import", "--data-dir", SAMPLE)
    assert (done.returncode, "warning" in done.stderr) == (0, False)
    with psycopg.connect(importer.conninfo()) as connection:
        # As a later migration does, without any privilege on the views.
        connection.execute("SELECT reporting.clear(), reporting.refresh()")
    assert reads(db, "daybreak_readonly", "SELECT count(*) FROM kinships") > 0
    assert reads(db, "daybreak_app", "SELECT count(*) FROM kinships") > 0


def test_an_importer_sees_and_keeps_soft_deleted_rows_and_keeps_foreign_keys_cheap(
    db: DatabaseSettings, environment: dict[str, str]
) -> None:
    importer = owned(db, "CREATEROLE")
    runner.upgrade(importer)
    apply(importer)
    run(importer, environment, "import", "--data-dir", SAMPLE)
    with database.connect(importer, key=KEY) as connection:
        connection.execute("UPDATE contracts SET _fivetran_deleted = true")
        row = connection.execute("SELECT count(*) FROM contracts").fetchone()
        assert row
        assert row[0] > 0
        connection.execute("ALTER TABLE org_contracts DROP CONSTRAINT org_contracts_contract_id_fkey")
        connection.commit()
        connection.execute(
            "ALTER TABLE org_contracts ADD CONSTRAINT org_contracts_contract_id_fkey"
            " FOREIGN KEY (contract_id) REFERENCES contracts (id)"
        )
        # Validated by one query. The slow way, row by row, locks each parent row, which shows in its xmax.
        locked = connection.execute("SELECT count(*) FROM contracts WHERE xmax = pg_current_xact_id()::xid")
        assert locked.fetchone() == (0,)


@pytest.mark.parametrize("role", ["daybreak_app", "daybreak_readonly", "daybreak_admin"])
@pytest.mark.parametrize("command", [("migrate", "up"), ("migrate", "down"), ("import",), ("check",)])
def test_people_and_applications_do_not_import(
    own_server: DatabaseSettings, environment: dict[str, str], role: str, command: tuple[str, ...]
) -> None:
    line = one_line(run(replace(own_server, user=role), environment, *command))
    assert f"DB_USER is {role}" in line
    assert "daybreak_importer" in line


def test_tables_that_belong_to_the_application_are_refused(db: DatabaseSettings) -> None:
    _administer(db, "CREATE ROLE {} LOGIN", "daybreak_app")
    runner.upgrade(db)
    with psycopg.connect(db.conninfo()) as administrator:
        administrator.execute("ALTER SCHEMA ingest OWNER TO daybreak_app")
    with pytest.raises(UsageError, match=r"belong to daybreak_app.*REASSIGN OWNED"):
        apply(db)
    assert present(db) == {"daybreak_app"}  # all or nothing


# --- Logging in --------------------------------------------------------------------------------------------


def test_without_a_password_a_role_is_there_and_cannot_log_in(db: DatabaseSettings) -> None:
    runner.upgrade(db)
    done = apply(db)
    assert any(
        "daybreak_app: cannot log in" in line and "DAYBREAK_APP_PASSWORD" in line for line in done.lines
    )
    with pytest.raises(UsageError, match=r"refuses user|cannot log in"):
        reads(db, "daybreak_app", "SELECT 1")


def test_a_password_stays_when_the_environment_no_longer_has_it(db: DatabaseSettings) -> None:
    runner.upgrade(db)
    apply(db, DAYBREAK_APP_PASSWORD="first", DAYBREAK_APP_CONNECTION_LIMIT="7")
    apply(db, DAYBREAK_APP_PASSWORD=SECRET)
    done = apply(db)
    assert "daybreak_app: can log in, at most 7 connections" in done.lines
    assert reads(db, "daybreak_app", "SELECT count(*) FROM documents") == 0
    with pytest.raises(UsageError, match="refuses user"):
        database.connect(replace(db, user="daybreak_app", password="first"))


def test_an_import_lets_a_role_in_whose_password_came_later(
    db: DatabaseSettings, environment: dict[str, str]
) -> None:
    assert run(db, environment, "migrate", "up").returncode == 0
    assert "nothing to apply" in run(db, environment, "migrate", "up", DAYBREAK_APP_PASSWORD=SECRET).stdout
    assert reads(db, "daybreak_app", "SELECT count(*) FROM documents") == 0


@pytest.mark.parametrize("password", [SECRET, 'it\'s \\ "quoted" %s $1', "пароль 密码", "x" * 500])
def test_any_password_works(db: DatabaseSettings, password: str) -> None:
    apply(db, DAYBREAK_APP_PASSWORD=password)
    with database.connect(replace(db, user="daybreak_app", password=password)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("daybreak_app",)


def test_no_password_reaches_the_servers_log(db: DatabaseSettings, home: Path) -> None:
    data = data_directory.existing_data(home)
    assert data
    with psycopg.connect(db.conninfo(), autocommit=True) as administrator:
        for setting in (
            "log_statement = 'all'",
            "log_min_error_statement = 'error'",
            "log_min_messages = 'debug1'",
        ):
            administrator.execute(f"ALTER SYSTEM SET {setting}".encode())
        administrator.execute("SELECT pg_reload_conf()")
        try:
            apply(db, DAYBREAK_APP_PASSWORD=SECRET)
            # One that fails, too: the server logs the statement with its context.
            administrator.execute("CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'maker'")
            administrator.execute("ALTER ROLE daybreak_app SUPERUSER")
            with pytest.raises(UsageError, match="may not apply"):
                apply(replace(db, user="maker", password="maker"), DAYBREAK_APP_PASSWORD=SECRET)
        finally:
            administrator.execute("ALTER SYSTEM RESET ALL")
            administrator.execute("SELECT pg_reload_conf()")
            administrator.execute("DROP ROLE IF EXISTS maker")
    logged = "".join(path.read_text(errors="replace") for path in server_log.files(data))
    assert "CREATE ROLE" in logged
    assert SECRET not in logged
    assert "SCRAM-SHA-256$" not in logged


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5", "9999999", "²"])
def test_a_limit_that_is_none_is_wrong_usage(
    own_server: DatabaseSettings, environment: dict[str, str], limit: str
) -> None:
    line = one_line(run(own_server, environment, "roles", "apply", DAYBREAK_READONLY_CONNECTION_LIMIT=limit))
    assert "DAYBREAK_READONLY_CONNECTION_LIMIT" in line
    assert present(own_server) == set()


# --- Again, elsewhere, at once -------------------------------------------------------------------------------


def test_applying_again_changes_nothing(db: DatabaseSettings) -> None:
    runner.upgrade(db)
    first = apply(db)
    before = dump(db)
    assert apply(db) == first
    assert dump(db) == before


def test_what_was_granted_by_hand_to_the_roles_is_taken_back(db: DatabaseSettings) -> None:
    runner.upgrade(db)
    apply(db, DAYBREAK_READONLY_PASSWORD=SECRET)
    with psycopg.connect(db.conninfo()) as administrator:
        administrator.execute("GRANT USAGE ON SCHEMA public TO daybreak_readonly")
        administrator.execute("GRANT SELECT ON clinicians TO daybreak_readonly")
        administrator.execute("GRANT SELECT (email) ON clinicians TO daybreak_reporting")
        administrator.execute("GRANT ALL ON SCHEMA ingest TO PUBLIC")
        administrator.execute("ALTER ROLE daybreak_readonly BYPASSRLS CREATEDB")
    assert reads(db, "daybreak_readonly", "SELECT count(*) FROM public.clinicians") == 0
    apply(db)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reads(db, "daybreak_readonly", "SELECT count(*) FROM public.clinicians")
    with psycopg.connect(db.conninfo()) as administrator:
        row = administrator.execute(
            "SELECT has_column_privilege('daybreak_reporting', 'clinicians', 'email', 'SELECT'),"
            " has_schema_privilege('daybreak_app', 'ingest', 'USAGE'),"
            " (SELECT rolbypassrls OR rolcreatedb FROM pg_roles WHERE rolname = 'daybreak_readonly')"
        ).fetchone()
    assert row == (False, False, False)


def test_an_ordinary_import_looks_once_and_applies_nothing(
    db: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in (db.environment() | environment | {"ENCRYPTION_KEY": KEY}).items():
        monkeypatch.setenv(name, value)
    applied: list[str] = []
    honest = roles.apply

    def counted(given: DatabaseSettings) -> roles.Applied:
        applied.append(given.name)
        return honest(given)

    monkeypatch.setattr(roles, "apply", counted)
    for _ in range(3):
        with readiness.ready():
            pass
    assert applied == ["health"]
    _administer(db, "ALTER ROLE {} RENAME TO {}", "daybreak_app", "daybreak_importer")
    with readiness.ready():
        pass
    assert applied == ["health"] * 2
    assert present(db) == set(ROLES)


def test_migrations_go_down_and_up_under_the_grants(db: DatabaseSettings) -> None:
    runner.upgrade(db)
    apply(db, DAYBREAK_READONLY_PASSWORD=SECRET)
    first = dump(db)
    for to in ("9", "5", "0"):
        runner.downgrade(db, to)
        runner.upgrade(db)
        apply(db)
        assert dump(db) == first
        assert reads(db, "daybreak_readonly", "SELECT count(*) FROM documents") == 0


def test_a_column_that_a_view_shows_can_be_taken_back(db: DatabaseSettings, tmp_path: Path) -> None:
    for migration in runner.migrations():
        for file in (migration.upgrade_file, migration.rollback_file):
            shutil.copy(file, tmp_path)
    (tmp_path / "900_x.sql").write_text("ALTER TABLE documents ADD COLUMN audience text;")
    (tmp_path / "900_x.rollback.sql").write_text("ALTER TABLE documents DROP COLUMN audience;")
    number = len(runner.migrations()) + 1
    for suffix in ("sql", "rollback.sql"):
        (tmp_path / f"900_x.{suffix}").rename(tmp_path / f"{number:03d}_x.{suffix}")
    runner.upgrade(db)
    apply(db, DAYBREAK_READONLY_PASSWORD=SECRET)
    runner.upgrade(db, directory=tmp_path)
    # Between a migration and its grants the view goes on without the column that its owner may not read.
    assert reads(db, "daybreak_readonly", "SELECT count(*) FROM documents") == 0
    with psycopg.connect(db.conninfo()) as administrator:
        administrator.execute("GRANT SELECT (audience) ON documents TO daybreak_reporting")
        administrator.execute("SELECT reporting.refresh()")
    assert reads(db, "daybreak_readonly", "SELECT count(audience) FROM documents") == 0
    runner.downgrade(db, str(number - 1), directory=tmp_path)
    assert reads(db, "daybreak_readonly", "SELECT count(*) FROM documents") == 0


def test_a_second_database_of_the_server_gets_its_own_grants(db: DatabaseSettings) -> None:
    second = replace(db, name="second")
    _administer(db, "CREATE DATABASE {}", second.name)
    try:
        for given in (db, second):
            runner.upgrade(given)
        apply(db, DAYBREAK_READONLY_PASSWORD=SECRET)
        with database.connect(second) as connection:
            assert not roles.is_current(connection)
        apply(second)
        for given in (db, second):
            assert reads(given, "daybreak_readonly", "SELECT count(*) FROM documents") == 0
            with database.connect(given) as connection:
                assert roles.is_current(connection)
    finally:
        _administer(db, "DROP DATABASE {} WITH (FORCE)", second.name)


def test_many_at_once_on_two_databases_all_succeed(db: DatabaseSettings) -> None:
    second = replace(db, name="second")
    _administer(db, "CREATE DATABASE {}", second.name)
    try:
        for given in (db, second):
            runner.upgrade(given)
        failures: list[UsageError] = []

        def attempt(given: DatabaseSettings) -> None:
            try:
                roles.apply(given)
            except UsageError as error:
                failures.append(error)

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAYBREAK_APP_PASSWORD", SECRET)
            threads = [threading.Thread(target=attempt, args=[given]) for given in (db, second) * 4]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert failures == []
        assert present(db) == set(ROLES)
    finally:
        _administer(db, "DROP DATABASE {} WITH (FORCE)", second.name)


def test_roles_can_be_made_before_a_backup_is_restored(db: DatabaseSettings) -> None:
    done = apply(db, DAYBREAK_READONLY_PASSWORD=SECRET)
    assert present(db) == set(ROLES)
    assert any("migrate up" in warning for warning in done.warnings)


def test_an_ordinary_owners_dump_has_every_row_and_comes_back(
    db: DatabaseSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    """Row-level security is forced: pg_dump then wants to be told that it may filter, and no policy filters the owner."""
    importer = owned(db, "CREATEROLE", "CREATEDB")
    runner.upgrade(importer)
    apply(importer)
    run(importer, environment, "import", "--data-dir", SAMPLE)
    with psycopg.connect(db.conninfo()) as administrator:
        administrator.execute("UPDATE documents SET _fivetran_deleted = true")
        rows = administrator.execute("SELECT id, label FROM documents ORDER BY id").fetchall()
    assert rows
    file = tmp_path / "dump"
    programs = server_programs.find()
    password = os.environ | {"PGPASSWORD": SECRET}
    subprocess.run(
        [
            programs / "pg_dump",
            "-Fc",
            "--enable-row-security",
            f"--file={file}",
            f"--dbname={importer.conninfo()}",
        ],
        check=True,
    )
    second = replace(importer, name="second")
    _administer(db, "CREATE DATABASE {} OWNER {}", second.name, importer.user)
    try:
        with psycopg.connect(replace(db, name="second").conninfo()) as administrator:
            for extension in ("pgcrypto", "pg_trgm", "btree_gin"):
                administrator.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
        subprocess.run(
            [programs / "pg_restore", "--no-owner", "--no-acl", f"--dbname={second.conninfo()}", file],
            env=password,
            check=False,  # comments on extensions belong to their owner
            capture_output=True,
        )
        with database.connect(second) as connection:
            assert connection.execute("SELECT id, label FROM documents ORDER BY id").fetchall() == rows
            assert not roles.is_current(connection)
        assert apply(second, DAYBREAK_READONLY_PASSWORD=SECRET).warnings == []
        assert reads(second, "daybreak_readonly", "SELECT count(*) FROM reporting.documents") == 0
        assert reads(second, "daybreak_readonly", "SELECT count(*) FROM reporting.kinships") > 0
    finally:
        _administer(db, "DROP DATABASE {} WITH (FORCE)", second.name)


def test_the_variables_are_named_after_the_roles() -> None:
    assert settings.role_variable("daybreak_app", "PASSWORD") == "DAYBREAK_APP_PASSWORD"
