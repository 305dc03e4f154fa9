# ruff: noqa: S608 - what is put into statements here are this file's own names
"""Who was erased is nowhere any more: everything that the database holds is opened with the key and searched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from daybreak_pipeline import database
from daybreak_pipeline.checks import rules
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.database import Connection
from daybreak_pipeline.operations import row_history
from daybreak_pipeline.privacy import audit, erasure
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import NOON, Export, record, soon, uuid

PATIENTS = "patients_and_guardians"
ZELDA, OTHER = uuid("zelda"), uuid("other")
# Everything of Zelda has one of these in it.
WORDS = ("zelda", "quillfeather", "5550199", "1987-06-05")
NAMED = {
    "first_name": "Zelda",
    "last_name": "Quillfeather",
    "email": "zelda@example.org",
    "phone": "5550199",
    "birthdate": "1987-06-05",
    "address": "at the Quillfeathers'",  # no JSON
    "full_name": "Zelda Quillfeather",
    "motto": "zelda the great",  # a column that nobody knows
    "supabase_metadata": '{"name": "Zelda"}',
}


@pytest.fixture
def person(export: Export) -> Export:
    """Zelda, whose record was loaded, edited by an application, and refused when it came again; and somebody else."""
    export.load(
        PATIENTS,
        record(PATIENTS, "zelda", **NAMED),
        record(PATIENTS, "other", first_name="Pia", email="p@x.org"),
    )
    export.connection.commit()
    edits = (
        "first_name = 'Zelda Ann'",
        "first_name = 'Z'",
        """birthdate = '2000-01-01', profile_data = profile_data || '{"a": 1}'""",
    )
    for edit in edits:
        export.connection.execute(f"UPDATE {PATIENTS} SET {edit} WHERE id = %s", [ZELDA])
    export.connection.execute(f"UPDATE {PATIENTS} SET title = 'Dr' WHERE id = %s", [OTHER])
    export.connection.commit()
    refused = record(PATIENTS, "zelda", **NAMED) | {"role": "nobody", "updated_at": soon()}
    export.load(PATIENTS, refused, record(PATIENTS, "other", first_name="Pia", email="p@x.org"))
    export.connection.commit()
    assert len(export.refused(PATIENTS)) == 1
    assert {word for word in WORDS if word in everything(export.connection)} == set(WORDS)
    export.connection.commit()
    return export


def everything(connection: Connection) -> str:
    """Return all that the tables hold, opened with the key."""
    found = []
    for schema, name in connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND n.nspname IN ('public', 'ingest', 'audit', 'privacy')"
    ).fetchall():
        for (row,) in connection.execute(f'SELECT to_jsonb(t) FROM "{schema}"."{name}" t'.encode()):
            found.append(f"{schema}.{name}: {row}")
            found += [opened(connection, value) for key, value in row.items() if key.endswith("_encrypted")]
    return "\n".join(found).lower()


def opened(connection: Connection, value: Any) -> str:
    return str(
        database.value(connection, "SELECT privacy.unseal(%s::text::bytea, privacy.key('seal'))", [value])
    )


def erase(export: Export, row_id: str = ZELDA, table: str = PATIENTS) -> erasure.Erased:
    export.connection.commit()
    done = erasure.erase(export.connection, table, row_id)
    export.connection.commit()
    return done


# --- Erased ----------------------------------------------------------------------------------------------


def test_nothing_of_the_person_is_left(person: Export) -> None:
    done = erase(person)
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []
    assert (done.quarantined, done.issues, done.changes) == (1, 1, 3)
    assert done.columns == [
        *(
            "_export_columns",
            "address",
            "birthdate",
            "email",
            "first_name",
            "last_name",
            "name_tokens",
            "phone",
        ),
        *("profile_data", "supabase_metadata"),
    ]
    hashes = f"SELECT name_tokens, _source_hash, profile_data FROM {PATIENTS} WHERE id = %s"
    assert person.connection.execute(hashes.encode(), [ZELDA]).fetchone() == (None, None, {"a": 1})


def test_a_search_that_found_the_person_is_erased_and_others_are_not(person: Export) -> None:
    for query in ("zelda@example.org", "pia"):
        assert len(person.connection.execute("SELECT id FROM search_people(%s)", [query]).fetchall()) == 1
        person.connection.commit()
    assert "zelda@example.org" in everything(person.connection)
    erase(person)
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []
    assert '{"query": "pia"}' in left


def test_the_row_and_everybody_else_stay(person: Export) -> None:
    query = f"SELECT to_jsonb(t) FROM {PATIENTS} t WHERE id <> %s"
    before = person.connection.execute(query.encode(), [ZELDA]).fetchall()
    trail = audit.changes(person.connection, row_id=OTHER, values=True)
    erase(person)
    assert person.connection.execute(query.encode(), [ZELDA]).fetchall() == before
    assert audit.changes(person.connection, row_id=OTHER, values=True) == trail
    assert sorted(str(row_id) for (row_id,) in person.rows(PATIENTS, "id")) == sorted([ZELDA, OTHER])
    people = person.connection.execute("SELECT count(*) FROM search_people('pia')").fetchall()
    assert people == [(1,)]


def test_the_trail_keeps_who_when_and_what_but_no_value(person: Export) -> None:
    before = audit.changes(person.connection, table=PATIENTS, row_id=ZELDA)
    erase(person)
    line, *kept = audit.changes(person.connection, table=PATIENTS, row_id=ZELDA, values=True)
    assert (line.action, line.row_id, line.before, line.sealed) == ("ERASURE", ZELDA, None, False)
    assert "first_name" in (line.changed_columns or [])
    assert [(c.id, c.changed_at, c.changed_columns) for c in kept] == [
        (c.id, c.changed_at, c.changed_columns) for c in before
    ]
    assert [set(c.before or {}) for c in kept] == [{"profile_data"}, set(), {"updated_at"}]
    assert any("ERASURE" in told for told in row_history.trace(person.connection, PATIENTS, ZELDA))
    with pytest.raises(Exception, match="append-only"):
        person.connection.execute("UPDATE audit.changes SET before_encrypted = NULL")


def test_no_check_takes_it_for_a_fault(person: Export) -> None:
    person.load(PATIENTS, record(PATIENTS, "zelda", **NAMED), record(PATIENTS, "other", first_name="Pia"))
    before = _failing(person)
    erase(person)
    assert _failing(person) <= before


def _failing(export: Export) -> set[str]:
    export.connection.commit()
    found = rules.examine(export.connection, catalogs.read(export.connection, PATIENTS))
    return {name for name, finding in found.items() if not finding.passed}


def test_a_soft_deleted_row_is_erased_and_stays_deleted(person: Export) -> None:
    person.connection.execute(f"UPDATE {PATIENTS} SET _fivetran_deleted = true WHERE id = %s", [ZELDA])
    erase(person)
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []
    assert person.rows(PATIENTS, "_fivetran_deleted", "id")[-1][0] is True


def test_a_row_that_is_gone_is_erased_from_the_trail(person: Export) -> None:
    person.connection.execute(f"DELETE FROM {PATIENTS} WHERE id = %s", [ZELDA])
    done = erase(person, ZELDA.upper())
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []
    assert (done.columns, done.changes) == ([], 4)


def test_old_values_that_do_not_open_go_too(person: Export) -> None:
    with person.connection.transaction():
        person.connection.execute(
            "SELECT set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)"
        )
        person.connection.execute(
            "UPDATE audit.changes SET before_encrypted = 'zelda' WHERE before_encrypted IS NOT NULL"
        )
    erase(person)
    changes = audit.changes(person.connection, table=PATIENTS, row_id=ZELDA, values=True)
    assert [change.before for change in changes if change.action == "UPDATE"] == [{}, {}, {}]


def test_text_where_json_must_be_is_erased_as_well(export: Export) -> None:
    answers = record("questionnaires", "q", question_answers="Zelda says no", type="3")
    export.load("questionnaires", answers)
    erase(export, uuid("q"), "questionnaires")
    assert export.rows("questionnaires", "question_answers") == [({},)]
    assert "zelda" not in everything(export.connection)


def test_a_reference_that_waits_for_its_row_still_finds_it(export: Export) -> None:
    export.load(PATIENTS, record(PATIENTS, "zelda", first_name="Zelda", supervisor_id="boss"))
    erase(export)
    export.load("clinicians", record("clinicians", "boss"))
    export.load(PATIENTS)
    assert [str(boss) for (boss,) in export.rows(PATIENTS, "supervisor_id")] == [uuid("boss")]


def test_it_waits_for_an_import_and_gives_up(
    person: Export, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_LOCK_SECONDS", "1")
    with database.connect(migrated) as importer:
        importer.execute(
            "INSERT INTO ingest.locks VALUES (%s) ON CONFLICT DO NOTHING", [f"import {PATIENTS}"]
        )
        importer.commit()
        importer.execute("SELECT FROM ingest.locks WHERE name = %s FOR UPDATE", [f"import {PATIENTS}"])
        with pytest.raises(Exception, match="nothing was changed"):
            erase(person)
    person.connection.rollback()
    assert "zelda" in everything(person.connection)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_personal_column_can_be_emptied(session: Connection, table: str) -> None:
    person = erasure.Person(table, ZELDA, is_row=True, columns=(), quarantined=0, issues=0, changes=0)
    personal = erasure._personal(session, person)
    assert [name for name, required in personal.items() if required] == []
    sealed = {f"{name}_encrypted" for name in TABLES[table].sealed_columns}
    assert sealed <= personal.keys()


# --- What a later import does ----------------------------------------------------------------------------


def test_the_same_export_brings_nobody_back(person: Export) -> None:
    person.load(PATIENTS, record(PATIENTS, "zelda", **NAMED))
    erase(person)
    again = person.load(PATIENTS, full=True)
    assert (again["stale"], again.get("updated")) == (1, None)
    later = record(PATIENTS, "zelda", title="Ms", **NAMED)
    later["updated_at"] = "2026-01-01"  # older than the erasure, newer than the row was
    assert person.load(PATIENTS, later)["stale"] == 1
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []


def test_what_the_source_has_changed_since_is_loaded(person: Export) -> None:
    erase(person)
    changed = record(PATIENTS, "zelda", **NAMED)
    changed["updated_at"] = soon()
    assert person.load(PATIENTS, changed)["updated"] == 1


@pytest.mark.parametrize("updated_at", [NOON, None])
def test_who_was_only_in_quarantine_does_not_come_to_life(export: Export, updated_at: str | None) -> None:
    refused = record(PATIENTS, "zelda", **NAMED)
    refused |= {"role": "nobody", "updated_at": updated_at}
    export.load(PATIENTS, refused)
    done = erase(export)
    assert (done.columns, done.quarantined) == ([], 1)
    assert export.load(PATIENTS, full=True)["stale"] == 1
    assert export.load(PATIENTS, refused | {"role": "1"})["stale"] == 1
    left = everything(export.connection)
    assert [word for word in WORDS if word in left] == []
    assert any("erased" in told for told in row_history.trace(export.connection, PATIENTS, ZELDA))
    assert export.load(PATIENTS, refused | {"role": "1", "updated_at": soon()})["inserted"] == 1


# --- The command -----------------------------------------------------------------------------------------


@pytest.fixture
def _given(migrated: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    home = {"DAYBREAK_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "ENCRYPTION_KEY": KEY}
    for name, value in (migrated.environment() | home).items():
        monkeypatch.setenv(name, value)


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["erase", *arguments], input=answer)


@pytest.mark.usefixtures("_given")
def test_it_asks_and_says_what_it_did_and_what_remains(person: Export) -> None:
    coverage = record("insurance_coverages", "c", user_id="zelda", plan_holder_first_name="Zelda")
    person.load("insurance_coverages", coverage)
    person.connection.commit()
    asked = run(PATIENTS, ZELDA)
    assert (asked.exit_code, len(asked.stderr.splitlines())) == (2, 1)
    assert "--yes" in asked.stderr
    assert "zelda" in everything(person.connection)
    person.connection.commit()
    done = run(PATIENTS, ZELDA, "--yes")
    assert done.exit_code == 0, done.output
    assert "records in quarantine: 1, repaired values: 1, lines of the audit trail: 3" in done.stdout
    assert f"daybreak erase insurance_coverages {uuid('c')}" in done.stdout
    assert all(word in done.stdout for word in ("backups", "write-ahead log", "VACUUM", "the export"))
    assert not re.search("|".join(WORDS), (asked.output + done.output).lower())
    assert run("insurance_coverages", uuid("c"), "--yes").exit_code == 0
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []


@pytest.mark.usefixtures("_given", "person")
@pytest.mark.parametrize("row_id", [uuid("nobody"), "7", "no id", ""])
def test_an_unknown_id_is_one_line(row_id: str) -> None:
    done = run(PATIENTS, row_id, "--yes")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "nothing is kept" in done.stderr


@pytest.mark.usefixtures("_given")
def test_another_key_erases_nothing(person: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", KEY[::-1])
    done = run(PATIENTS, ZELDA, "--yes")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "key" in done.stderr
    assert "zelda" in everything(person.connection)


@pytest.mark.usefixtures("_given")
def test_insurance_that_only_quarantine_or_the_trail_still_has_is_named(person: Export) -> None:
    """Or the name of the plan's holder stays, and nobody knows where."""
    refused = record("insurance_coverages", "r", user_id="zelda", plan_holder_first_name="Zelda", kind="77")
    deleted = record("insurance_coverages", "d", user_id="zelda", plan_holder_last_name="Zelda")
    other = record("insurance_coverages", "o", user_id="patient", kind="77")
    person.load("insurance_coverages", refused, deleted, other)
    person.connection.execute("DELETE FROM insurance_coverages")
    person.connection.commit()
    done = run(PATIENTS, ZELDA, "--yes")
    assert done.exit_code == 0, done.output
    named = re.findall(r"about the same person: daybreak erase insurance_coverages (\S+)", done.stdout)
    assert named == sorted([uuid("r"), uuid("d")])
    for row_id in named:
        assert run("insurance_coverages", row_id, "--yes").exit_code == 0
    left = everything(person.connection)
    assert [word for word in WORDS if word in left] == []
