"""What it means that a connection failed is known by the server's code, in whichever language the server speaks."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import refusals
from daybreak_pipeline.embedded_postgres import data_directory, programs
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of, one_line
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.homes import server_home

LANGUAGES = {"de_DE": "fehlgeschlagen", "fr_FR": "authentification par mot de passe"}
"""Each with a word that its messages have of a wrong password."""
USER = "refused"
SAMPLE = PROJECT_ROOT / "data" / "sample"
TABLES_TRIED = ("organizations", "clinicians", "patients_and_guardians", "questionnaires")
SOURCES = Path("/usr/share/i18n/locales")


def localized(language: str) -> bool:
    """Return whether this machine can make a locale, and has the server's messages in its language."""
    messages = Path("/usr/share/locale") / language[:2] / "LC_MESSAGES"
    return bool(
        shutil.which("localedef") and (SOURCES / language).exists() and any(messages.glob("postgres-*.mo"))
    )


needs_locales = pytest.mark.skipif(
    not all(map(localized, LANGUAGES)),
    reason="no locales, or a server without its messages in other languages",
)


@pytest.fixture(scope="module", params=[None, *LANGUAGES])
def speaking(request: pytest.FixtureRequest) -> Iterator[tuple[str | None, DatabaseSettings]]:
    """A server that speaks a language from its first message on, English where there is none."""
    language: str | None = request.param
    with server_home() as home, embedded_server.serve(home) as settings:
        if language:
            if not localized(language):
                pytest.skip("this machine does not have the language")
            speak(home, language)
        yield language, settings


def speak(home: Path, language: str) -> None:
    """Start the home's server again, in another language."""
    data = data_directory.existing_data(home)
    assert data
    account = data_directory.account_for(home)
    locales = home / "locales"
    locales.mkdir()
    locale = f"{language}.UTF-8"
    subprocess.run(
        ["localedef", "-i", language, "-f", "UTF-8", str(locales / locale)], check=True, capture_output=True
    )
    for path in (locales, *locales.rglob("*")):
        path.chmod(0o755)
    subprocess.run(
        [
            *(programs.find() / "pg_ctl", "restart", "--wait", "-m", "fast"),
            *("-o", f"-c cluster_name={data_directory.token(data)} -c lc_messages={locale}"),
        ],
        env=programs.environment(PGDATA=str(data), LOCPATH=str(locales)),
        cwd="/",
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **account.popen(),
    )


@pytest.fixture
def login(speaking: tuple[str | None, DatabaseSettings]) -> Iterator[DatabaseSettings]:
    """A role that may log in to a database of its own."""
    _, server = speaking
    administer(server, "CREATE DATABASE {0}", f"CREATE ROLE {USER} LOGIN PASSWORD 'right'")
    yield replace(server, name=USER, user=USER, password="right")
    administer(server, "DROP DATABASE {0}", "DROP ROLE {0}")


def administer(server: DatabaseSettings, *statements: str) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as administrator:
        for statement in statements:
            administrator.execute(sql.SQL(statement).format(sql.Identifier(USER)))


def told(login: DatabaseSettings) -> UsageError:
    with pytest.raises(UsageError) as caught:
        database.connect(login)
    return caught.value


def test_the_server_speaks_its_language(speaking: tuple[str | None, DatabaseSettings]) -> None:
    language, server = speaking
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(replace(server, password="wrong").conninfo())
    assert (LANGUAGES[language] if language else "password authentication failed") in str(caught.value)


REFUSALS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "a wrong password": ((), {"password": "wrong"}, "refuses user refused: check DB_USER and DB_PASSWORD"),
    "no password": ((), {"password": ""}, "refuses user refused: check DB_USER and DB_PASSWORD"),
    "a user that is not there": ((), {"user": "nobody_here"}, "refuses user nobody_here"),
    "a database that is not there": (
        (),
        {"name": "nowhere"},
        "has no database nowhere: create it, or set DB_NAME",
    ),
    "a role that may not log in": (
        ("ALTER ROLE {0} NOLOGIN",),
        {},
        "user refused cannot log in at .*: set its password with daybreak roles apply",
    ),
    "no right to connect": (
        ("REVOKE CONNECT ON DATABASE {0} FROM PUBLIC",),
        {},
        "user refused may not connect to database refused at .*: grant it CONNECT",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_told_in_our_words(
    speaking: tuple[str | None, DatabaseSettings], login: DatabaseSettings, case: str
) -> None:
    statements, change, message = REFUSALS[case]
    administer(speaking[1], *statements)
    error = told(replace(login, **change))
    assert not isinstance(error, ServerUnavailableError)
    with pytest.raises(UsageError, match=message):
        raise error


def test_a_server_without_connections_left_may_have_one_soon(
    speaking: tuple[str | None, DatabaseSettings], login: DatabaseSettings
) -> None:
    administer(speaking[1], "ALTER ROLE {0} CONNECTION LIMIT 1")
    with database.connect(login):
        error = told(login)
    assert isinstance(error, ServerUnavailableError)
    assert "no connection left for user refused" in str(error)


def test_who_is_kept_out_by_address_is_not_told_to_look_at_the_password(
    speaking: tuple[str | None, DatabaseSettings], login: DatabaseSettings
) -> None:
    with psycopg.connect(speaking[1].conninfo(), autocommit=True) as administrator:
        row = administrator.execute("SHOW hba_file").fetchone()
        assert row
        rules = Path(row[0])
        before = rules.read_text()
        rules.write_text(f"host all {USER} all reject\n{before}")
        administrator.execute("SELECT pg_reload_conf()")
        try:
            text = str(told(login))
            assert "pg_hba.conf" in text
            assert "DB_PASSWORD" not in text
        finally:
            rules.write_text(before)
            administrator.execute("SELECT pg_reload_conf()")


def test_nothing_is_known_of_who_does_not_answer() -> None:
    nowhere = DatabaseSettings("127.0.0.1", 9, "a", "b", "SECRET")
    assert refusals.log_in(nowhere) == refusals.Login(accepted=False)
    error = told(nowhere)
    assert isinstance(error, ServerUnavailableError)
    assert "SECRET" not in str(error)


@pytest.mark.slow
@needs_locales
def test_everything_works_on_a_server_in_another_language(tmp_path: Path) -> None:
    """Dagster's database is missing at first; the sample's faults are found as in English."""
    counted = []
    for language in (None, "de_DE"):
        with server_home() as home, embedded_server.serve(home) as server:
            if language:
                speak(home, language)
            administer(server, "DROP DATABASE dagster", "CREATE DATABASE {0}")
            environment = environment_of(replace(server, name=USER), tmp_path / (language or "C"))
            only = [word for table in TABLES_TRIED for word in ("--only", table)]
            done = daybreak(environment, "import", "--data-dir", SAMPLE, "--json", *only)
            assert done.returncode in {0, 1}, done.stderr
            found = json.loads(done.stdout)
            counted.append(
                {
                    name: {k: v for k, v in table.items() if k != "seconds"}
                    for name, table in found["tables"].items()
                }
            )
            assert {table["status"] for table in found["tables"].values()} == {"imported"}
            assert daybreak(environment, "doctor").stdout.count("missing ") == 0
            assert "check DB_USER" in one_line(daybreak(environment | {"DB_PASSWORD": "wrong"}, "status"))
    assert counted[0] == counted[1]


def test_the_embedded_server_speaks_english_whatever_an_administrator_sets() -> None:
    with server_home() as home:
        with (
            embedded_server.serve(home) as server,
            psycopg.connect(server.conninfo(), autocommit=True) as connection,
        ):
            connection.execute("ALTER SYSTEM SET lc_messages = 'POSIX'")
        with embedded_server.serve(home) as server, psycopg.connect(server.conninfo()) as connection:
            assert connection.execute("SHOW lc_messages").fetchone() == ("C",)
