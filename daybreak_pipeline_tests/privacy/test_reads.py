"""Who looked at a person: searches and commands leave a line in the audit trail, and say where they cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli import reading
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.database import Connection
from daybreak_pipeline.privacy import audit, keys, rotation
from daybreak_pipeline.privacy.audit import Change
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.privacy.conftest import ROLE

PERSON = uuid("edith")


@pytest.fixture(autouse=True)
def _given(migrated: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    home = {"DAYBREAK_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "ENCRYPTION_KEY": KEY}
    for name, value in (migrated.environment() | home).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def edith(session: Connection, client: Connection) -> Connection:
    """A clinician of that name, whom a client renamed; the client may search."""
    session.execute("INSERT INTO clinicians (id, first_name) VALUES (%s, 'Edith')", [PERSON])
    session.execute(f"GRANT EXECUTE ON FUNCTION search_people TO {ROLE}".encode())
    session.commit()
    client.execute("UPDATE clinicians SET last_name = 'Quill'")
    return client


def readings(session: Connection, **narrowed: Any) -> list[Change]:
    """Return what was read, oldest first."""
    session.rollback()
    return audit.changes(session, reads=True, values=True, **narrowed)[::-1]


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return done


# --- Searches ------------------------------------------------------------------------------------------------


def test_a_search_and_whom_it_found_are_on_record(edith: Connection, session: Connection) -> None:
    with edith.transaction():
        edith.execute("SELECT set_config('daybreak.person', 'dana at the desk', true)")
        edith.execute("SELECT * FROM search_people('edith quill')")
    search, found = readings(session)
    assert (search.action, search.table_name, search.row_id, search.rows_read) == ("READ", "users", None, 1)
    assert search.before == {"query": "edith quill"}
    assert (found.table_name, found.row_id, found.before) == ("clinicians", PERSON, None)
    for line in (search, found):
        assert (line.reading, line.session_role, line.launched_by) == (
            "search_people",
            ROLE,
            "dana at the desk",
        )
        assert line.application_name == "intake form"
        assert line.transaction_id == search.transaction_id


def test_a_search_that_finds_nobody_is_on_record_and_sealed(edith: Connection, session: Connection) -> None:
    assert edith.execute("SELECT * FROM search_people('zebediah')").fetchall() == []
    (search,) = readings(session)
    assert (search.rows_read, search.before) == (0, {"query": "zebediah"})
    stored = session.execute("SELECT string_agg(c::text, ' ') FROM audit.changes c").fetchone()
    assert "zebediah" not in str(stored)
    assert b"zebediah".hex() not in str(stored)


def test_a_search_finds_as_before(edith: Connection, session: Connection) -> None:
    for number in range(5):
        session.execute(
            "INSERT INTO patients_and_guardians (id, role, first_name) VALUES (%s, 1, 'Edith')",
            [uuid(f"e{number}")],
        )
    session.commit()
    rows = edith.execute("SELECT id::text, user_type, first_name FROM search_people('edith')").fetchall()
    assert rows == sorted(rows)
    assert len(rows) == 6
    assert len(edith.execute("SELECT * FROM search_people('edith', 2)").fetchall()) == 2
    assert [line.rows_read for line in readings(session) if line.rows_read is not None] == [6, 2]


def test_a_search_in_a_read_only_transaction_answers_and_says_that_it_is_not_on_record(
    edith: Connection, session: Connection
) -> None:
    said: list[str | None] = []
    edith.add_notice_handler(lambda diagnostic: said.append(diagnostic.message_primary))
    with database.snapshot(edith):
        assert len(edith.execute("SELECT * FROM search_people('edith')").fetchall()) == 1
    assert said == [
        "this reading (search_people) is not in the audit trail, since the transaction is read-only"
    ]
    assert readings(session) == []


def test_a_client_can_neither_write_readings_nor_search_without_one(edith: Connection) -> None:
    for statement in (
        "SELECT audit.record_reads('trace', '{clinicians}', '{x}')",
        "SELECT privacy.people_named('edith', 5)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            edith.execute(statement.encode())


# --- Commands ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("edith")
def test_a_trace_is_on_record_before_it_is_told(session: Connection) -> None:
    assert "UPDATE last_name" in run("trace", "clinicians", PERSON.upper()).stdout
    (line,) = readings(session, row_id=PERSON)
    assert (line.reading, line.table_name, line.row_id) == ("trace", "clinicians", PERSON)
    assert line.launched_by == settings.account()
    assert line.launched_by.startswith("account ")
    assert "READ" not in run("trace", "clinicians", PERSON).stdout  # a story is of changes


def test_a_trace_of_a_name_is_refused_and_the_name_is_nowhere(session: Connection) -> None:
    done = CliRunner().invoke(main, ["trace", "clinicians", "Edith Quill"])
    assert done.exit_code == 2
    assert "Edith" not in done.output
    assert readings(session) == []


def test_a_quarantined_record_that_is_shown_is_on_record(export: Export, session: Connection) -> None:
    export.load("documents", record("documents", "a") | {"updated_at": "never"})
    session.commit()
    number, row_id = session.execute("SELECT id, row_id FROM ingest.quarantine").fetchone() or (0, "")
    session.rollback()
    run("quarantine", "list")
    assert readings(session) == []
    run("quarantine", "show", str(number))
    (line,) = readings(session)
    assert (line.reading, line.table_name, line.row_id) == (f"quarantine show {number}", "documents", row_id)


@pytest.mark.usefixtures("edith")
def test_old_values_that_are_shown_are_on_record_and_those_that_are_not_are_not(session: Connection) -> None:
    run("audit", "show")
    assert readings(session) == []
    run("audit", "show", "--values")
    lines = readings(session)
    assert [(line.reading, line.row_id) for line in lines] == [("audit show --values", PERSON)]


def test_readings_are_listed_apart_from_changes(edith: Connection, session: Connection) -> None:
    edith.execute("SELECT * FROM search_people('edith')")
    session.rollback()
    assert "search_people" not in run("audit", "show").stdout
    listed = run("audit", "show", "--reads").stdout
    assert "search_people: 1 found" in listed
    assert PERSON in listed
    assert "edith" not in listed.replace(PERSON, "")
    shown = json.loads(run("audit", "show", "--reads", "--json", "--id", PERSON).stdout)
    assert [line["reading"] for line in shown] == ["search_people"]
    searched = run("audit", "show", "--reads", "--values").stdout
    assert '{"query": "edith"}' in searched
    assert readings(session)[-1].reading == "audit show --values"
    assert "no such reading is on record" in run("audit", "show", "--reads", "--id", uuid("other")).stdout


@pytest.mark.usefixtures("edith")
def test_a_standby_answers_and_says_that_nothing_is_on_record(
    migrated: DatabaseSettings, session: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connect(migrated, key=KEY, options="-c default_transaction_read_only=on") as connection:
        reading.put_on_record(connection, "trace", [("clinicians", PERSON)])
    assert "the database is read-only, so this reading is not on record" in capsys.readouterr().err
    assert readings(session) == []


def test_a_role_without_the_right_gets_its_answer_and_is_told(
    client_settings: DatabaseSettings, session: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    session.execute(
        f"GRANT USAGE ON SCHEMA audit TO {ROLE}; GRANT SELECT ON audit.changes TO {ROLE}".encode()
    )
    session.commit()
    with database.connect(replace(client_settings), key=KEY) as connection:
        assert audit.changes(connection) == []
        reading.put_on_record(connection, "audit show --values", [("clinicians", PERSON)])
    assert f"role {ROLE} may not write to the audit trail" in capsys.readouterr().err


def test_who_became_root_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "dana")
    assert settings.account() == "account dana"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert settings.account() == "account 4000000"


# --- Keeping -------------------------------------------------------------------------------------------------


def test_readings_can_no_more_be_changed_than_changes(edith: Connection, session: Connection) -> None:
    edith.execute("SELECT * FROM search_people('edith')")
    session.rollback()
    for statement in (
        "DELETE FROM audit.changes WHERE action = 'READ'",
        "UPDATE audit.changes SET reading = 'x'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            session.execute(statement.encode())
        session.rollback()


def test_a_search_is_still_readable_under_the_next_key(
    edith: Connection, session: Connection, migrated: DatabaseSettings
) -> None:
    keys.verify(session)
    session.commit()
    edith.execute("SELECT * FROM search_people('edith')")
    following = KEY[::-1]
    with database.connect(migrated, autocommit=True) as connection:
        rotation.rotate(connection, Exchange(KEY, following, kept=False))
    with database.connect(migrated, key=following) as connection:
        search, _found = audit.changes(connection, reads=True, values=True)[::-1]
    assert search.before == {"query": "edith"}


def test_readings_go_with_their_migration_and_the_trail_stays_append_only(
    edith: Connection, session: Connection, migrated: DatabaseSettings
) -> None:
    edith.execute("SELECT * FROM search_people('edith')")
    session.rollback()
    runner.downgrade(migrated, "30")
    audit.require_whole(session)
    assert len(edith.execute("SELECT * FROM search_people('edith')").fetchall()) == 1
    kept = session.execute("SELECT action FROM audit.changes ORDER BY id").fetchall()
    assert kept == [("INSERT",), ("UPDATE",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        session.execute("DELETE FROM audit.changes")
    session.rollback()
    runner.upgrade(migrated)
    assert readings(session) == []
    # Who was let in to search before is let in still, and to no way around the trail.
    assert len(edith.execute("SELECT * FROM search_people('edith')").fetchall()) == 1
    assert len(readings(session)) == 2
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        edith.execute("SELECT * FROM privacy.people_named('edith', 5)")
