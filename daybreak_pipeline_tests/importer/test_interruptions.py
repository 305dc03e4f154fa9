"""Imports that are interrupted, or not alone: afterwards the database is as before or as after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.importer.run import ImportFailedError, import_table
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, told

_IMPORT = """
import sys
from pathlib import Path
from daybreak_pipeline import database, settings
from daybreak_pipeline.importer.run import import_table

def tell(phase, amount):
    print(phase, flush=True)
    if phase == sys.argv[2]:
        sys.stdin.read()

import_table(database.connect(settings.given_database(), key=sys.argv[3]), "documents", Path(sys.argv[1]), progress=tell)
"""


def _wait_for_other_sessions(export: Export) -> None:
    """Wait until the server has noticed that a killed client is gone."""
    deadline = time.monotonic() + 20
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    while time.monotonic() < deadline:
        found = export.connection.execute(query).fetchone()
        export.connection.rollback()
        if found == (0,):
            return
        time.sleep(0.05)
    pytest.fail("the killed import's session is still there")


@pytest.mark.parametrize("phase", ["fingerprint", "stage", "classify", "validate", "merge", "quarantine"])
def test_an_import_killed_in_any_phase_leaves_everything_as_it_was(
    export: Export, migrated: DatabaseSettings, phase: str
) -> None:
    export.load("documents", record("documents", label="old"))
    before = export.rows("documents", "id", "label", "_import_id")
    export.connection.rollback()
    export.write("documents", record("documents", label="new"), record("documents", "bad", label=None))
    child = subprocess.Popen(
        [sys.executable, "-c", _IMPORT, str(export.directory), phase, KEY],
        env={**os.environ, **migrated.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    for line in child.stdout:
        if line.strip() == phase:
            break
    child.send_signal(signal.SIGKILL)
    child.communicate()
    _wait_for_other_sessions(export)
    assert export.rows("documents", "id", "label", "_import_id") == before
    assert export.refused("documents") == []
    export.connection.rollback()
    assert export.load("documents") == {"status": "imported", "read": 2, "updated": 1, "quarantined": 1}


def test_two_imports_of_one_table_at_once_follow_each_other(
    export: Export, migrated: DatabaseSettings
) -> None:
    export.write("documents", *(record("documents", str(number)) for number in range(200)))
    outcomes: list[dict[str, int | str]] = []

    def load() -> None:
        with database.connect(migrated, key=KEY) as connection:
            outcomes.append(told(import_table(connection, "documents", export.directory)))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(outcome["status"]) for outcome in outcomes) == [
        "imported",
        "skipped",
        "skipped",
        "skipped",
    ]
    assert len(export.rows("documents", "id")) == 200


def test_a_reader_sees_the_old_rows_while_an_import_runs_and_is_not_blocked(
    export: Export, migrated: DatabaseSettings
) -> None:
    export.load("documents", record("documents", label="old"))
    export.write("documents", record("documents", label="new"))
    seen: list[str] = []

    with psycopg.connect(migrated.conninfo(), autocommit=True) as reader:
        reader.execute("SET statement_timeout = '5s'")

        def read(_phase: str, _amount: int) -> None:
            seen.extend(label for (label,) in reader.execute("SELECT label FROM documents").fetchall())

        export.load("documents", progress=read)
        assert set(seen) == {"old"}
        assert reader.execute("SELECT label FROM documents").fetchall() == [("new",)]


def test_an_edit_by_the_application_during_the_import_is_not_lost(
    export: Export, migrated: DatabaseSettings
) -> None:
    export.load("documents", record("documents", label="old"))
    export.write("documents", record("documents", label="new"))

    def edit(phase: str, _amount: int) -> None:
        if phase == "merge":
            with psycopg.connect(migrated.conninfo()) as application:
                application.execute("UPDATE documents SET label = 'edited'")

    assert export.load("documents", progress=edit) == {"status": "imported", "read": 1, "stale": 1}
    assert export.rows("documents", "label") == [("edited",)]


def test_a_row_that_is_edited_while_it_gives_its_key_away_keeps_it(
    export: Export, migrated: DatabaseSettings
) -> None:
    export.load("organizations", record("organizations", "one", slug="a"))
    export.write(
        "organizations", record("organizations", "one", slug="b"), record("organizations", "two", slug="a")
    )

    def edit(phase: str, _amount: int) -> None:
        if phase == "merge":
            with psycopg.connect(migrated.conninfo()) as application:
                application.execute("UPDATE organizations SET name = 'edited'")

    with pytest.raises(ImportFailedError, match="UniqueViolation"):
        export.load("organizations", progress=edit)
    assert export.rows("organizations", "name", "slug") == [("edited", "a")]
    assert export.load("organizations") == {"status": "imported", "read": 2, "stale": 1, "quarantined": 1}


@pytest.mark.parametrize("phase", ["stage", "merge", "quarantine"])
def test_a_lost_connection_fails_the_import_and_the_next_one_succeeds(
    export: Export, migrated: DatabaseSettings, phase: str
) -> None:
    export.write("documents", record("documents"))

    with database.connect(migrated, key=KEY) as doomed:
        process = doomed.info.backend_pid

        def cut(reached: str, _amount: int) -> None:
            if reached == phase:
                export.connection.execute("SELECT pg_terminate_backend(%s, 5000)", [process])

        with pytest.raises(ImportFailedError, match="connection to the server was lost"):
            import_table(doomed, "documents", export.directory, progress=cut)
    export.connection.rollback()
    assert export.rows("documents", "id") == []
    assert export.load("documents")["inserted"] == 1


def test_a_statement_timeout_fails_the_import_and_the_ledger_says_why(export: Export) -> None:
    export.write("documents", *(record("documents", str(number)) for number in range(20)))
    export.connection.execute("SET statement_timeout = '1ms'")
    export.connection.commit()
    with pytest.raises(ImportFailedError, match="it took longer than statement_timeout allows"):
        export.load("documents")
    export.connection.rollback()
    export.connection.execute("SET statement_timeout = 0")
    assert export.rows("documents", "id") == []


def test_what_the_database_refuses_unforeseen_fails_the_import_without_repeating_values(
    export: Export,
) -> None:
    export.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'no %', NEW.label USING ERRCODE = '23514'; END$$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    export.connection.commit()
    with pytest.raises(ImportFailedError) as caught:
        export.load("documents", record("documents", label="Geheimnis"))
    assert "CheckViolation" in str(caught.value)
    assert "Geheimnis" not in str(caught.value)
    ledger = export.connection.execute("SELECT status, error FROM ingest.imports").fetchall()
    assert ledger == [("failed", str(caught.value))]


def test_an_import_that_failed_does_not_count_as_the_last_content(export: Export, tmp_path: Path) -> None:
    assert tmp_path.exists()
    export.write("documents", record("documents"))
    export.connection.execute("ALTER TABLE documents ADD CONSTRAINT never CHECK (label IS NULL) NOT VALID")
    export.connection.commit()
    counts = export.load("documents")
    assert counts["quarantined"] == 1
    export.connection.execute("ALTER TABLE documents DROP CONSTRAINT never")
    export.connection.commit()
    assert export.load("documents", full=True)["inserted"] == 1
