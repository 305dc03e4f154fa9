"""What PgBouncer is told, and what a real one makes of it."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres.programs import server_account
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.pooler import certificate, configuration, console, process, programs, users
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.settings import DatabaseSettings, PoolerSettings
from daybreak_pipeline_tests.conftest import KEY, _administer
from daybreak_pipeline_tests.embedded_postgres.test_programs import script
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.pgbouncer import free_port, needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, PASSWORDS, READONLY, apply_with_passwords

POOLER = PoolerSettings("127.0.0.1", 6432, port_given=True, size=20, clients=100)


@pytest.fixture
def db(migrated: DatabaseSettings) -> DatabaseSettings:
    apply_with_passwords(migrated)
    return migrated


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that PgBouncer's account may enter, with a home beside what is written."""
    with server_home() as directory:
        monkeypatch.setenv("DAYBREAK_HOME", str(directory / "home"))
        yield directory


def write(db: DatabaseSettings, directory: Path, pooler: PoolerSettings = POOLER) -> configuration.Written:
    return configuration.write(db, pooler, directory, server_account())


def app(through: DatabaseSettings, password: str = PASSWORDS[APP]) -> DatabaseSettings:
    return replace(through, user=APP, password=password)


# --- The files ----------------------------------------------------------------------------------------------


def test_no_password_is_in_the_files_and_nobody_else_reads_them(db: DatabaseSettings, place: Path) -> None:
    written = write(db, place / "pool")
    files = sorted(written.directory.iterdir())
    assert [file.name for file in files] == ["pgbouncer.ini", "userlist.txt"]
    text = "".join(file.read_text() for file in files)
    assert not [password for password in (db.password, *PASSWORDS.values()) if password in text]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert text.count('"SCRAM-SHA-256$') == 4
    assert db.password not in repr(users.read(db))
    assert "SCRAM" not in repr(users.read(db))


def test_pools_are_as_large_as_the_settings_say_and_no_larger_than_a_role_may_use(
    db: DatabaseSettings, place: Path
) -> None:
    text = write(db, place / "pool", replace(POOLER, size=30, clients=70)).file.read_text()
    assert "pool_mode = transaction\ndefault_pool_size = 30\nmax_client_conn = 70\n" in text
    assert (
        "[users]\ndaybreak_readonly = max_user_connections=20\ndaybreak_admin = max_user_connections=5\n"
        in text
    )


def test_the_server_is_reached_as_we_reach_it(db: DatabaseSettings, place: Path) -> None:
    assert "server_tls_sslmode = disable\n" in write(db, place / "a").file.read_text()
    trusting = replace(db, sslmode="prefer")
    assert "server_tls_sslmode = prefer\n" in write(trusting, place / "b").file.read_text()
    with pytest.MonkeyPatch.context() as patch:
        # Where DB_HOST is a pooler, the server itself is where Dagster's records go.
        patch.setenv("DAYBREAK_DAGSTER_HOST", db.host)
        patch.setenv("DAYBREAK_DAGSTER_PORT", str(db.port))
        behind = replace(db, host="pooler.invalid", port=1)
        assert f"host='{db.host}' port={db.port} " in write(behind, place / "c").file.read_text()


def test_a_directory_that_cannot_be_written_is_named(db: DatabaseSettings, place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(UsageError, match=rf"cannot write .*{place.name}/file"):
        write(db, place / "file" / "pool")


def test_a_login_that_cannot_work_is_named_with_what_to_do(migrated: DatabaseSettings, place: Path) -> None:
    roles.apply(migrated)
    _administer(migrated, "ALTER ROLE {} NOLOGIN", READONLY)
    try:
        missing = write(migrated, place / "pool").missing
        assert [line for line in missing if line.startswith(READONLY)] == [
            "daybreak_readonly cannot log in through PgBouncer yet: set DAYBREAK_READONLY_PASSWORD and run daybreak roles apply"
        ]
    finally:
        _administer(migrated, "ALTER ROLE {} LOGIN", READONLY)


def test_who_may_not_read_verifiers_gets_those_of_known_passwords(
    db: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them = {user.name: user.verifier for user in users.read(db)}
    _administer(db, "CREATE ROLE {} LOGIN PASSWORD 'owner''s'", "pool_owner")
    try:
        owner = replace(db, user="pool_owner", password="owner's")
        monkeypatch.setenv("DAYBREAK_APP_PASSWORD", PASSWORDS[APP])
        monkeypatch.setenv("DAYBREAK_READONLY_PASSWORD", "wrong")
        _administer(db, "GRANT CONNECT ON DATABASE {} TO {}", db.name, "pool_owner")
        found = {user.name: user.verifier for user in users.read(owner)}
        assert found[APP] == all_of_them[APP]
        assert found[READONLY] is None
        assert (found["pool_owner"] or "").startswith("SCRAM-SHA-256$4096:")
    finally:
        _administer(db, "REVOKE ALL ON DATABASE {} FROM {}", db.name, "pool_owner")
        _administer(db, "DROP ROLE {}", "pool_owner")


# --- Settings that contradict each other --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"POOL_SIZE": "101"}, "POOL_SIZE is greater than MAX_CLIENTS"),
        ({"POOL_SIZE": "0"}, "POOL_SIZE is not a number of connections"),
        ({"MAX_CLIENTS": "many"}, "MAX_CLIENTS is not a number of clients"),
        ({"DAYBREAK_PGBOUNCER_HOST": "0.0.0.0"}, "without TLS others could listen"),  # noqa: S104 - refused
        (
            {"DAYBREAK_PGBOUNCER_HOST": "10.0.0.1", "DAYBREAK_PGBOUNCER_CERT": "self-signed"},
            "nobody elsewhere",
        ),
        ({"DAYBREAK_PGBOUNCER_CERT": "/a.crt"}, "only of use together"),
        ({"DAYBREAK_PGBOUNCER_CERT_KEY": "/a.key"}, "only of use together"),
        ({"DAYBREAK_PGBOUNCER_CERT": "self-signed", "DAYBREAK_PGBOUNCER_CERT_KEY": "/a.key"}, "made with it"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    given: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        settings.pooler()


# --- The program --------------------------------------------------------------------------------------------


def test_a_missing_or_old_program_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="PgBouncer is not installed: run `make pooler` as root"):
        programs.require()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script(tmp_path / "pgbouncer", "echo 'PgBouncer 1.17.0'")
    with pytest.raises(UsageError, match=r"is version 1\.17, and 1\.18 or later is needed"):
        programs.require()
    script(tmp_path / "pgbouncer", "exit 1")
    with pytest.raises(UsageError, match="does not run"):
        programs.require()
    script(tmp_path / "pgbouncer", "echo 'PgBouncer 1.24.1'")
    assert programs.require() == str(tmp_path / "pgbouncer")


def test_beside_a_given_server_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_HOST", "db.example.org")
    with pytest.raises(UsageError, match="run daybreak pgbouncer config"):
        process.require_possible()


# --- The real one -------------------------------------------------------------------------------------------


@pytest.fixture
def pool(db: DatabaseSettings) -> Iterator[tuple[DatabaseSettings, Path]]:
    with pooled(db) as found:
        yield found


@needs_pgbouncer
def test_with_a_certificate_of_its_own_nobody_gets_in_without_tls_or_with_another_authority(
    db: DatabaseSettings, place: Path
) -> None:
    certificate_of_others, _ = certificate.provide(place)
    with pooled(db, self_signed=True) as (through, _):
        assert through.sslmode == "verify-full"
        with database.connect(app(through)) as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("SELECT current_user").fetchone() == (APP,)
        shown = Path(through.sslrootcert)
        assert stat.S_IMODE(shown.with_name("server.key").stat().st_mode) == 0o600
        with pytest.raises(psycopg.OperationalError, match="SSL required"):
            psycopg.connect(app(replace(through, sslmode="disable", sslrootcert="")).conninfo())
        with pytest.raises(UsageError, match="no TLS connection"):
            database.connect(app(replace(through, sslrootcert=str(certificate_of_others))))


@needs_pgbouncer
def test_a_certificate_is_made_once(db: DatabaseSettings, place: Path) -> None:
    wanted = replace(POOLER, self_signed=True)
    first = Path(write(db, place / "pool", wanted).through.sslrootcert).read_bytes()
    assert Path(write(db, place / "pool", wanted).through.sslrootcert).read_bytes() == first
    (place / "pool" / "server.crt").write_text("damaged")
    assert b"BEGIN CERTIFICATE" in Path(write(db, place / "pool", wanted).through.sslrootcert).read_bytes()


@needs_pgbouncer
def test_a_new_password_works_without_a_restart(
    db: DatabaseSettings, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(db, place / "pool", replace(POOLER, port=free_port()))
    running = process.start(written, server_account())
    try:
        database.connect(app(written.through)).close()
        monkeypatch.setenv("DAYBREAK_APP_PASSWORD", "another one")
        assert configuration.is_current(db)
        roles.apply(db)
        assert not configuration.is_current(db)
        assert configuration.refresh(db) == [place / "pool" / "userlist.txt"]
        assert configuration.refresh(db) == []
        assert configuration.is_current(db)
        deadline = time.monotonic() + 10
        while True:
            try:
                database.connect(app(written.through, "another one")).execute("SELECT 1").connection.close()
            except (UsageError, psycopg.Error):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            else:
                break
        with pytest.raises(UsageError, match=r"PgBouncer at .* refuses user daybreak_app"):
            database.connect(app(written.through))
    finally:
        process.stop(running.process)
        apply_with_passwords(db)


@needs_pgbouncer
def test_what_clients_send_is_not_in_its_log(pool: tuple[DatabaseSettings, Path]) -> None:
    through, log = pool
    canary = "Zaphira"
    login = app(through)
    with psycopg.connect(login.conninfo(application_name=canary), prepare_threshold=None) as client:
        with pytest.raises(psycopg.Error):
            client.execute("SELECT %s::date", [canary])
        client.rollback()
        with pytest.raises(psycopg.Error):
            client.execute(sql.SQL("SELECT {}::int").format(sql.Literal(canary)))
        client.rollback()
        with client.transaction():
            client.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
    with psycopg.connect(login.conninfo(options=f"-c daybreak.encryption_key={KEY}")) as careless:
        assert careless.execute("SELECT current_setting('daybreak.encryption_key', true)").fetchone() in {
            (None,),
            ("",),
        }
    with pytest.raises(UsageError):
        database.connect(replace(login, password=canary))
    text = log.read_text()
    assert "process up" in text
    assert not [secret for secret in (canary, KEY, PASSWORDS[APP]) if secret in text]


@needs_pgbouncer
def test_more_clients_than_it_takes_are_told_which_setting_to_raise(db: DatabaseSettings) -> None:
    with pooled(db, clients=2, size=1) as (through, _):
        told = r"takes no more clients: .* raise MAX_CLIENTS"
        with (
            database.connect(app(through)),
            database.connect(app(through)),
            pytest.raises(ServerUnavailableError, match=told),
        ):
            database.connect(app(through))


@needs_pgbouncer
@pytest.mark.parametrize("self_signed", [False, True])
def test_its_owner_sees_the_pools_and_nobody_else_does(db: DatabaseSettings, self_signed: bool) -> None:
    with pooled(db, self_signed=self_signed) as (through, log), database.connect(app(through)) as client:
        client.execute("SELECT 1")
        asking = console.address(db, log.with_name(configuration.CONFIGURATION))
        (row,) = [row for row in console.show(asking, "POOLS") if row["user"] == APP]
        assert (row["database"], row["cl_active"], row["maxwait"]) == (db.name, 1, 0)
        assert {row["database"] for row in console.show(asking, "STATS")} >= {db.name}
        with pytest.raises(psycopg.OperationalError, match="not allowed"):
            console.show(app(asking), "POOLS")


@needs_pgbouncer
def test_other_databases_cannot_be_reached(db: DatabaseSettings) -> None:
    with pooled(db) as (through, _), pytest.raises(UsageError, match="knows no database elsewhere"):
        database.connect(replace(app(through), name="elsewhere"))


@needs_pgbouncer
@pytest.mark.parametrize("name", ["with space", 'it\'s "quoted"', "Größe%s"])
def test_a_database_may_have_any_name(db: DatabaseSettings, name: str) -> None:
    _administer(db, "CREATE DATABASE {}", name)
    try:
        with pooled(replace(db, name=name)) as (through, _), database.connect(through) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == (name,)
    finally:
        _administer(db, "DROP DATABASE {} WITH (FORCE)", name)


@needs_pgbouncer
def test_one_that_cannot_start_says_why(db: DatabaseSettings, place: Path) -> None:
    written = write(db, place / "pool", replace(POOLER, port=free_port()))
    written.file.write_text(written.file.read_text() + "pool_mode = sometimes\n")
    with pytest.raises(UsageError, match=r"it ended by itself \| .*pool_mode"):
        process.start(written, server_account())
