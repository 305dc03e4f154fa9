"""What an import says when it fails is true, names no value, and says what to do. The errors are raised for real."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.importer import repair
from daybreak_pipeline.importer.run import ImportFailedError, ImportInterruptedError, replay_table
from daybreak_pipeline.schema.locks import LockedError
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record, told


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def failure(export: Export, table: str = "documents") -> ImportFailedError:
    """Import a table, and return how that fails; the ledger has the same line."""
    export.connection.commit()
    with pytest.raises(ImportFailedError) as caught:
        export.load(table)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "statement_timeout = '1ms'",
            "the server stopped a statement: it took longer than statement_timeout",
        ),
        ("default_transaction_read_only = on", "the server takes no writes: it is a standby, or default_tr"),
        ("role = pg_read_all_data", "lacks a right that this needs"),
    ],
)
def test_settings_that_stop_an_import_are_named(export: Export, setting: str, words: str) -> None:
    export.write("documents", *(record("documents", f"n{n}") for n in range(2_000)))
    export.connection.execute(f"SET {setting}".encode())
    error = failure(export)
    assert words in str(error)
    assert "nothing was changed. " in str(error)
    assert not isinstance(error, ImportInterruptedError)


def test_a_lock_that_somebody_holds_is_named_and_may_be_tried_again(
    export: Export, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.write("documents", record("documents"))
    monkeypatch.setenv("DAYBREAK_LOCK_SECONDS", "1")
    with psycopg.connect(migrated.conninfo(), application_name="a report") as other:
        other.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(
            LockedError, match=r"gave up after 1 s of waiting for a report \(server process"
        ) as told:
            export.load("documents")
    assert "which has locked documents" in str(told.value)
    assert export.load("documents")["status"] == "imported"


def test_a_schema_that_somebody_has_changed_is_not_called_lost(export: Export) -> None:
    export.write("documents", record("documents", label=None))
    export.connection.execute("ALTER TABLE ingest.quarantine DROP COLUMN last_seen_at CASCADE")
    assert "the database lacks a table, column or function that is needed; nothing was changed" in str(
        failure(export)
    )


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (900, "a record is too long for a row of PostgreSQL"),
        (1_700, "more columns than a table or a query of PostgreSQL can have (1,600)"),
    ],
)
def test_a_file_too_wide_for_a_row_blames_the_row_and_says_how_wide_it_is(
    export: Export, columns: int, words: str
) -> None:
    extra = {
        f"measure_{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}": "x" * 20
        for n in range(columns)
    }
    wide = record("clinicians") | extra
    export.write("clinicians", wide)
    message = str(failure(export, "clinicians"))
    assert words in message
    assert f"the file has {len(wide):,} columns; nothing was changed" in message
    assert "index" not in message


STATES = {
    "XX001": "the server found data of its own damaged",
    "40P01": "deadlock",
    "53100": "the server's disk is full",
    "53200": "the server has not enough memory",
    "53300": "the server has no connection left",
    "53400": "temp_file_limit",
    "54000": "a row, a value or an entry of an index is larger than PostgreSQL allows",
    "54001": "max_stack_depth",
    "57P01": "the connection to the server was lost",
    "58030": "the server cannot read or write its files",
    "22P02": "the server reports InvalidTextRepresentation (22P02)",
    "P0001": "the server reports RaiseException (P0001)",
}


@pytest.mark.parametrize("state", STATES)
def test_every_code_of_the_server_has_its_sentence_and_no_word_of_its_message(
    connection: database.Connection, state: str
) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'Geheimnis' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(raising.encode())
    told_ = explanations.explain(caught.value, connection)
    assert STATES[state] in told_
    assert "Geheimnis" not in told_


def test_an_error_without_a_code_is_a_lost_connection_only_where_that_is_lost(
    migrated: DatabaseSettings,
) -> None:
    with database.connect(migrated) as whole:
        error = psycopg.OperationalError("made up")
        assert not database.is_transient(error, whole)
        assert "an error in the pipeline itself (OperationalError" in explanations.explain(error, whole)
    with pytest.raises(psycopg.OperationalError) as caught:
        whole.execute("SELECT 1")
    assert database.is_transient(caught.value, whole)
    assert "the connection to the server was lost" in explanations.explain(caught.value, whole)


def _wrong_placeholders(connection: database.Connection, *_: object) -> None:
    connection.execute("SELECT 'Geheimnis', %s", [])


def _wrong_key(*_: object) -> None:
    raise KeyError("Geheimnis")  # noqa: EM101 - as a dictionary does


@pytest.mark.parametrize(
    ("fault", "kind"), [(_wrong_placeholders, "ProgrammingError"), (_wrong_key, "KeyError")]
)
def test_a_fault_of_our_own_says_where_and_leaves_a_trace_without_values(
    export: Export, home: Path, monkeypatch: pytest.MonkeyPatch, fault: object, kind: str
) -> None:
    export.write("documents", record("documents"))
    monkeypatch.setattr(repair, "repairable", fault)
    error = failure(export)
    (trace,) = (home / "errors").iterdir()
    assert str(error).startswith(f"documents: an error in the pipeline itself ({kind} at importer/run.py:")
    assert str(error).endswith(f"please report it; nothing was changed; its trace is in {trace}")
    assert trace.stat().st_mode & 0o777 == 0o600
    assert "importer/run.py" in trace.read_text(encoding="utf-8")
    own = trace.read_text(encoding="utf-8").replace("connection.execute(\"SELECT 'Geheimnis', %s\", [])", "")
    assert "Geheimnis" not in f"{error} {own}".replace('raise KeyError("Geheimnis")', "")
    ledger = export.connection.execute("SELECT status, error FROM ingest.imports").fetchall()
    assert ledger == [("failed", str(error))]


# --- A percent sign begins a parameter, where a statement has any ---------------------------------------


@pytest.fixture
def with_percent_signs(export: Export) -> Export:
    """A table to which somebody has added a CHECK, a default and a column with percent signs."""
    export.connection.execute(
        b"""
        ALTER TABLE documents ADD CONSTRAINT "none of 100 %s" CHECK (label NOT LIKE '%draft%%s');
        ALTER TABLE documents ADD COLUMN "rate %" text NOT NULL DEFAULT '5 %(x)s' CHECK ("rate %" LIKE '%\\%%');
        CREATE UNIQUE INDEX "one %" ON documents ("rate %", id)
        """
    )
    export.connection.commit()
    return export


def test_percent_signs_in_names_defaults_and_checks_are_only_text(with_percent_signs: Export) -> None:
    export = with_percent_signs
    good = record("documents", "good") | {"rate %": "7 %"}
    bare = record("documents", "bare") | {"rate %": ""}
    drafts = record("documents", "draft", label="a draft, %s") | {"rate %": "8 %"}
    assert export.load("documents", good, bare, drafts) == {
        "status": "imported", "read": 3, "inserted": 2, "quarantined": 1,
    }  # fmt: skip
    assert export.rows("documents", "rate %") == [("5 %(x)s",), ("7 %",)]
    assert export.refused("documents") == [(3, [("invalid_enum", "label")])]
    kept = export.connection.execute(
        "SELECT privacy.unseal(record_encrypted, privacy.key('seal')) FROM ingest.quarantine"
    ).fetchone()
    assert kept
    assert json.loads(kept[0])["rate %"] == "8 %"
    assert told(replay_table(export.connection, "documents")) == {
        "status": "imported", "read": 1, "quarantined": 1,
    }  # fmt: skip
    export.connection.execute('ALTER TABLE documents DROP CONSTRAINT "none of 100 %s"')
    assert told(replay_table(export.connection, "documents"))["inserted"] == 1
