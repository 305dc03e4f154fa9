# ruff: noqa: S608 - statements are put together from this file's own names
"""What doctor says of a server's settings is true of that server's log, and the lines that mend them do."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import data_directory, server_log
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.operations import server_settings
from daybreak_pipeline.operations.server_settings import Judgement
from daybreak_pipeline.privacy import keys, roles, rotation
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.homes import server_home

NEW_KEY = "77665544332211008899aabbccddeeff0123456789abcdeffedcba9876543210"
OWNER = "ward_owner"
ADMINISTRATOR = "as an administrator: "
BY_DEFAULT = {
    "log_min_messages": "warning",
    "log_min_error_statement": "error",
    "log_error_verbosity": "default",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_lock_waits": "off",
    "log_temp_files": "-1",
    "daybreak.slow_statements": "",
}
"""Where the embedded server is stricter than a server that nobody has configured."""
_MARKS = itertools.count()


@dataclass(frozen=True)
class Ward:
    """A server of others: its administrator, an ordinary owner of the database ``ward``, and its log."""

    administrator: DatabaseSettings
    owner: DatabaseSettings
    log: Path

    def administer(self, *statements: str) -> None:
        with psycopg.connect(self.administrator.conninfo(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def configure(self, **values: str) -> None:
        """Have settings, and nothing else but defaults, for every later session in the database."""
        self.administer("ALTER DATABASE ward RESET ALL", "LOAD 'auto_explain'")
        with psycopg.connect(self.administrator.conninfo(), autocommit=True) as connection:
            connection.execute("LOAD 'auto_explain'")
            for name, value in (BY_DEFAULT | values).items():
                setting = name.replace("__", ".")
                connection.execute(f"ALTER DATABASE ward SET {setting} = '{value}'".encode())

    def judged(self) -> list[Judgement]:
        with database.connect(self.owner) as connection:
            return server_settings.judge(connection)

    def logged(self, since: int = 0) -> str:
        """Return the log as it is now: once a failed login that comes after everything is in it."""
        mark = f"no_such_database_{next(_MARKS)}"
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.owner.conninfo(dbname=mark))
        for _ in range(200):
            text = "".join(path.read_text(errors="replace") for path in sorted(self.log.iterdir()))
            if mark in text:
                return text[since:]
            time.sleep(0.05)
        pytest.fail("the server does not log")


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    with server_home() as home, embedded_server.serve(home) as settings:
        data = data_directory.existing_data(home)
        assert data
        administrator = replace(settings, name="postgres")
        found = Ward(
            administrator,
            replace(settings, name="ward", user=OWNER, password="test"),
            server_log.directory(data),
        )
        found.administer(
            f"CREATE ROLE {OWNER} LOGIN PASSWORD 'test'",
            f"CREATE DATABASE ward OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8'",
        )
        runner.upgrade(found.owner)
        yield found


def use(ward: Ward) -> None:
    """Have our own session and an application's work with the key, and fail with it at hand."""
    failing = "SELECT 1 / (length(%s) - 64)"
    with database.connect(ward.owner, key=KEY, autocommit=True) as ours:
        ours.execute("SELECT privacy.seal('x', privacy.key('seal'))")
        with pytest.raises(psycopg.errors.DivisionByZero):
            ours.execute(failing, [KEY])
    with psycopg.connect(ward.owner.conninfo(), autocommit=True) as application:
        application.execute("SELECT set_config('daybreak.encryption_key', %s, false)", [KEY])
        with pytest.raises(psycopg.errors.DivisionByZero):
            application.execute(failing, [KEY])


SETTINGS: dict[str, dict[str, str]] = {
    "defaults": {},
    "every statement": {"log_statement": "all"},
    "changes": {"log_statement": "mod", "log_parameter_max_length": "0"},
    "structure": {"log_statement": "ddl"},
    "slow statements": {"log_min_duration_statement": "0"},
    "slow statements, some letters of a parameter": {
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "64",
    },
    "slow statements without parameters": {
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "0",
    },
    "a sample of statements": {"log_min_duration_sample": "0", "log_statement_sample_rate": "1"},
    "no sample of statements": {"log_min_duration_sample": "0", "log_statement_sample_rate": "0"},
    "a sample of transactions": {"log_transaction_sample_rate": "1"},
    "durations": {"log_duration": "on"},
    "parameters of errors": {"log_parameter_max_length_on_error": "-1"},
    "parameters of errors, which are not logged": {
        "log_parameter_max_length_on_error": "-1",
        "log_min_messages": "log",
    },
    "plans": {"session_preload_libraries": "auto_explain", "auto_explain__log_min_duration": "0"},
    "verbose plans": {
        "session_preload_libraries": "auto_explain",
        "auto_explain__log_min_duration": "0",
        "auto_explain__log_verbose": "on",
    },
    "no plans": {"session_preload_libraries": "auto_explain", "auto_explain__log_verbose": "on"},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_is_bad_where_the_log_then_has_the_key_and_its_line_mends_it(ward: Ward, case: str) -> None:
    ward.configure(**SETTINGS[case])
    before = len(ward.logged())
    use(ward)
    bad = [judgement for judgement in ward.judged() if judgement.bad]
    assert (KEY in ward.logged(before)) == bool(bad)

    with psycopg.connect(ward.administrator.conninfo(), autocommit=True) as administrator:
        administrator.execute("LOAD 'auto_explain'")
        for judgement in bad:
            administrator.execute(judgement.mend.removeprefix(ADMINISTRATOR).encode())
    before = len(ward.logged())
    use(ward)
    assert KEY not in ward.logged(before)
    assert not [judgement for judgement in ward.judged() if judgement.bad]


def test_our_own_errors_keep_the_key_where_the_parameters_of_errors_are_logged(ward: Ward) -> None:
    ward.configure(log_parameter_max_length_on_error="-1")
    before = len(ward.logged())
    with database.connect(ward.owner, key=KEY) as ours, pytest.raises(psycopg.errors.DivisionByZero):
        ours.execute("SELECT 1 / (length(%s) - 64)", [KEY])
    logged = ward.logged(before)
    assert "division by zero" in logged
    assert KEY not in logged


def test_a_rotation_keeps_the_keys_where_changes_are_logged_with_their_parameters(ward: Ward) -> None:
    ward.configure(log_statement="mod")
    before = len(ward.logged())
    with database.connect(ward.owner, key=KEY, autocommit=True) as connection:
        keys.verify(connection)
        rotation.rotate(connection, keys.Exchange(KEY, NEW_KEY, kept=False))
        connection.execute("TRUNCATE privacy.key_check")
    logged = ward.logged(before)
    assert "UPDATE privacy.key_check SET check_value = $1" in logged
    assert "parameters: $1 = " in logged
    assert KEY not in logged
    assert NEW_KEY not in logged


def test_logging_changes_with_their_parameters_is_bad_since_clients_write_personal_values(ward: Ward) -> None:
    ward.configure(log_statement="mod")
    before = len(ward.logged())
    with database.connect(ward.owner, key=KEY) as application:
        application.execute(
            "INSERT INTO clinicians (id, first_name) VALUES (gen_random_uuid(), %s)", ["Aurelia"]
        )
        application.rollback()
    assert "Aurelia" in ward.logged(before)
    assert "log_parameter_max_length" in {judgement.setting for judgement in ward.judged() if judgement.bad}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_connections", "40"),
        ("data_checksums", "off"),
        ("transaction_timeout", "60000"),
        ("log_checkpoints", "off"),
        ("log_autovacuum_min_duration", "-1"),
    ],
)
def test_what_takes_a_restart_or_a_newer_server_is_advice(ward: Ward, setting: str, value: str) -> None:
    """The session sees a server of such a setting through a view of its own."""
    ward.configure()
    with database.connect(ward.owner) as connection:
        connection.execute(
            "CREATE TEMPORARY VIEW pg_settings AS "
            f"SELECT name, setting FROM pg_catalog.pg_settings WHERE name <> '{setting}' "
            f"UNION ALL SELECT '{setting}', '{value}'"
        )
        found = {judgement.setting: judgement for judgement in server_settings.judge(connection)}
    assert not found[setting].bad


ADVICE = {
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "5s",
    "log_statement": "mod",
    "log_min_duration_statement": "1s",
    "log_min_error_statement": "error",
    "log_error_verbosity": "verbose",
    "log_lock_waits": "off",
    "log_temp_files": "-1",
    "pg_stat_statements.track_utility": "on",
}


@pytest.mark.parametrize("setting", ADVICE)
def test_advice_is_taken_back_once_its_line_was_run(ward: Ward, setting: str) -> None:
    ward.configure(log_parameter_max_length="0", **{setting: ADVICE[setting]})
    (advice,) = [judgement for judgement in ward.judged() if judgement.setting == setting]
    assert not advice.bad
    if advice.mend.startswith(ADMINISTRATOR):
        ward.administer(advice.mend.removeprefix(ADMINISTRATOR))
    else:
        with psycopg.connect(ward.owner.conninfo(), autocommit=True) as owner:
            owner.execute(advice.mend.encode())
    assert setting not in {judgement.setting for judgement in ward.judged()}
    ward.administer(f"ALTER ROLE {OWNER} IN DATABASE ward RESET ALL")


AS_INSTALLED = {
    "log_error_verbosity",
    "log_min_error_statement",
    "log_lock_waits",
    "log_temp_files",
    "daybreak.slow_statements",
    "pg_stat_statements",
}
"""What a server of others gets advice on; the embedded one has the library, but an ordinary owner cannot make the extension."""


def test_a_server_as_it_is_installed_gets_advice_only(ward: Ward) -> None:
    ward.configure()
    assert {judgement.setting for judgement in ward.judged()} == AS_INSTALLED


def test_every_advice_on_the_log_names_the_page_that_helps(ward: Ward) -> None:
    ward.configure()
    told = {judgement.setting: str(judgement) for judgement in ward.judged()}
    for setting in AS_INSTALLED - {"log_error_verbosity", "log_min_error_statement"}:
        assert told[setting].endswith("; see docs/runbooks/slow-or-stuck.md")


def test_slow_statements_of_ours_are_logged_once_the_line_was_run_and_nobody_elses(ward: Ward) -> None:
    ward.configure()
    (advice,) = [one for one in ward.judged() if one.setting == "daybreak.slow_statements"]
    ward.administer(*advice.mend.removeprefix(ADMINISTRATOR).replace("'5s'", "'0'").split("; "))
    assert "daybreak.slow_statements" not in {one.setting for one in ward.judged()}
    before = len(ward.logged())
    with database.connect(ward.owner, key=KEY, autocommit=True, log_slow=True) as ours:
        ours.execute("SELECT 'of an import', %s", ["Kanarie"])
    with psycopg.connect(ward.owner.conninfo(), autocommit=True) as typed:
        typed.execute("SELECT 'Kanarie typed'")
    logged = ward.logged(before)
    assert "SELECT 'of an import', $1" in logged
    assert "Kanarie" not in logged
    assert KEY not in logged
    ward.administer(f"REVOKE SET ON PARAMETER log_min_duration_statement FROM {OWNER}")


def test_slow_statements_stay_unnamed_while_parameters_would_be_logged_with_them(ward: Ward) -> None:
    ward.configure(daybreak__slow_statements="0")
    ward.administer(f"GRANT SET ON PARAMETER log_min_duration_statement TO {OWNER}")
    before = len(ward.logged())
    with database.connect(ward.owner, key=KEY, autocommit=True, log_slow=True) as ours:
        ours.execute("SELECT 'of an import', %s", ["Kanarie"])
    ward.administer(f"REVOKE SET ON PARAMETER log_min_duration_statement FROM {OWNER}")
    logged = ward.logged(before)
    assert "of an import" not in logged
    assert KEY not in logged


def test_doctor_shows_advice_and_fails_for_what_is_bad(ward: Ward, tmp_path: Path) -> None:
    roles.apply(replace(ward.administrator, name="ward"))
    with database.connect(ward.owner, key=KEY) as connection:
        keys.verify(connection)
    environment = environment_of(ward.owner, tmp_path)

    ward.configure()
    done = daybreak(environment, "doctor")
    others = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert all(line.startswith("advice  ") for line in others)
    assert (done.returncode, len(others), done.stderr) == (0, len(AS_INSTALLED), "")

    ward.configure(log_min_duration_statement="1s")
    done = daybreak(environment, "doctor")
    (bad,) = [line for line in done.stdout.splitlines() if line.startswith("missing ")]
    assert bad.startswith(
        "missing log_parameter_max_length: the server logs statements with their parameters"
    )
    assert bad.endswith("ALTER DATABASE ward SET log_parameter_max_length = 0")
    assert (done.returncode, done.stderr) == (2, "")

    ward.administer("ALTER DATABASE ward SET default_transaction_read_only = on")
    done = daybreak(environment, "doctor")
    assert f"missing read-only: sessions of {OWNER} can only read" in done.stdout
    assert (done.returncode, done.stderr) == (2, "")


def test_the_embedded_server_needs_no_advice(template: DatabaseSettings) -> None:
    with database.connect(template) as connection:
        assert server_settings.judge(connection) == []
