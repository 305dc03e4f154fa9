"""Reads of the decrypting views in the server's log, on a real server with pgaudit loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.cli import doctor
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import data_directory, server, server_log
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import read_log, roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.pgaudit import needs_pgaudit

SECRET = "correct horse"


@dataclass(frozen=True)
class Audited:
    """A server with pgaudit, migrated, with an application's login; and where its log is."""

    db: DatabaseSettings
    home: Path

    def lines(self) -> list[str]:
        """Return what pgaudit has logged so far."""
        data = data_directory.existing_data(self.home)
        assert data
        text = "".join(path.read_text(errors="replace") for path in server_log.files(data))
        return [line for line in text.splitlines() if "AUDIT:" in line]

    def ask(self, statement: str, *parameters: str) -> list[str]:
        """Run a statement as the application, in a new session, and return what was logged of it."""
        before = len(self.lines())
        login = replace(self.db, user="daybreak_app", password=SECRET)
        with database.connect(login, key=KEY) as application:
            application.execute(statement.encode(), parameters or None)
        return self.lines()[before:]


@pytest.fixture(scope="module")
def running() -> Iterator[Audited]:
    with server_home() as home:
        with (
            server.serve(home) as given,
            psycopg.connect(given.conninfo(), autocommit=True) as administrator,
        ):
            administrator.execute("ALTER SYSTEM SET shared_preload_libraries = 'pgaudit'")
        with server.serve(home) as given:  # stopped by the last to leave, so it has started again
            runner.upgrade(given)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DAYBREAK_APP_PASSWORD", SECRET)
                roles.apply(given)
            yield Audited(given, home)


@pytest.fixture
def audited(running: Audited) -> Iterator[Audited]:
    """Reads are logged; not any more afterwards."""
    with database.connect(running.db) as connection:
        read_log.turn_on(connection)
    yield running
    with database.connect(running.db) as connection:
        read_log.turn_off(connection)


@needs_pgaudit
@pytest.mark.slow
class TestWithPgaudit:
    """What the log has where the server has pgaudit."""

    @pytest.mark.parametrize(
        "view", ["app.patients_and_guardians", "app.clinicians", "app.insurance_coverages", "public.users"]
    )
    def test_a_read_of_a_view_is_logged_with_its_reader_and_no_text(
        self, audited: Audited, view: str
    ) -> None:
        column = "plan_holder_last_name" if "coverages" in view else "last_name"
        logged = audited.ask(
            f"SELECT {column} FROM {view} WHERE {column} = 'Quillfeather' OR {column} = %s",  # noqa: S608 - this file's own names
            "Wintergreen",
        )
        assert any(f"READ,SELECT,VIEW,{view}," in line for line in logged)
        assert all("daybreak_app@" in line for line in logged)
        assert not [line for line in logged if "Quillfeather" in line or "Wintergreen" in line]
        assert not [line for line in logged if KEY in line]

    def test_what_shows_nothing_personal_is_not_logged(self, audited: Audited) -> None:
        assert audited.ask("SELECT label FROM documents") == []

    def test_a_read_is_logged_even_if_it_is_rolled_back(self, audited: Audited) -> None:
        assert audited.ask("SELECT first_name FROM app.clinicians; ROLLBACK") != []

    def test_the_application_cannot_turn_it_off(self, audited: Audited) -> None:
        login = replace(audited.db, user="daybreak_app", password=SECRET)
        for statement in (
            "SET pgaudit.role = ''",
            "ALTER ROLE daybreak_app SET pgaudit.role = ''",
            "ALTER DATABASE daybreak_health RESET pgaudit.role",
        ):
            with (
                database.connect(login) as application,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                application.execute(statement.encode())
        with (
            database.connect(login) as application,
            pytest.raises(UsageError, match="DB_USER to a superuser"),
        ):
            read_log.turn_off(application)

    def test_off_is_off_and_leaves_nothing(self, audited: Audited) -> None:
        with database.connect(audited.db) as connection:
            read_log.turn_off(connection)
            read_log.turn_off(connection)
            assert not read_log.state(connection).is_on
            left = "SELECT to_regrole('daybreak_auditor') IS NULL"
            assert database.value(connection, left)
        assert audited.ask("SELECT first_name FROM app.clinicians") == []

    def test_a_view_that_was_made_again_is_seen_and_mended(self, audited: Audited) -> None:
        with database.connect(audited.db) as connection:
            assert finding(connection) == (
                True,
                "of the app views, by SQL too, are in the server's log",
            )
            connection.execute("REVOKE ALL ON app.clinicians FROM daybreak_auditor")
            connection.commit()
            good, text = finding(connection)
            assert not good
            assert "not of app.clinicians" in text
        roles.apply(audited.db)  # as after every migration
        assert audited.ask("SELECT first_name FROM app.clinicians") != []

    def test_pgaudit_that_is_off_is_told_and_nothing_is_wrong(self, running: Audited) -> None:
        with database.connect(running.db) as connection:
            good, text = finding(connection)
        assert good
        assert "pgaudit is there and off" in text
        assert "daybreak audit reads on" in text


def finding(connection: Connection) -> tuple[bool, str]:
    found = doctor._reads(connection)
    return found.good, found.text


def test_a_server_without_pgaudit_says_what_is_not_seen(session: Connection) -> None:
    good, text = finding(session)
    assert good
    assert "pgaudit is not there: reads of the app views by SQL are not seen" in text
    with pytest.raises(UsageError, match="shared_preload_libraries"):
        read_log.turn_on(session)
    assert not database.value(session, "SELECT to_regrole('daybreak_auditor') IS NOT NULL")


def test_asking_for_it_on_a_server_that_lost_pgaudit_is_a_fault() -> None:
    lost = read_log.State(loaded=False, is_on=True, missing=[], names_users=True)
    assert not lost.good
    assert "asked for, but pgaudit is not there" in lost.describe()


def test_a_log_that_does_not_say_who_is_a_fault() -> None:
    nameless = read_log.State(loaded=True, is_on=True, missing=[], names_users=False)
    assert not nameless.good
    assert "log_line_prefix" in nameless.describe()
