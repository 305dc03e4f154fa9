"""Rotation of the encryption key: everything is under the new one afterwards, and says the same as before."""

# ruff: noqa: S608 - statements are put together from names and values of these tests
from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import import_table, replay_table
from daybreak_pipeline.privacy import keys, rotation, sealed, walk
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import TABLES, import_order
from daybreak_pipeline_tests.conftest import KEY, Databases, _check_imports
from daybreak_pipeline_tests.exports import Export, record, uuid

NEW = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff"
THIRD = "8899aabbccddeeff00112233445566770123456789abcdeffedcba9876543210"
SAMPLE = PROJECT_ROOT / "data" / "sample"
LAST = "WHERE id = (SELECT max(id::text)::uuid FROM patients_and_guardians)"
VIEWS = ("app.patients_and_guardians", "app.clinicians", "app.insurance_coverages", "users")
SHOWN = {
    **{name: f"SELECT * FROM {name} ORDER BY id" for name in VIEWS},
    "quarantine": "SELECT id, resolved_at, privacy.unseal(record_encrypted, privacy.key('seal')) FROM ingest.quarantine "
    "ORDER BY id",
    "issues": "SELECT id, resolved_at, privacy.unseal(value_encrypted, privacy.key('seal')) FROM ingest.field_issues "
    "ORDER BY id",
    "export columns": "SELECT id, privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM clinicians ORDER BY id",
    "origin": "SELECT id, _import_id, _record_number, updated_at FROM questionnaires ORDER BY id",
    "found": "SELECT id, name_tokens @> privacy.name_tokens(a.first_name, privacy.key('search')) "
    "FROM public.patients_and_guardians JOIN app.patients_and_guardians a USING (id) ORDER BY id",
}


def rotate(
    settings: DatabaseSettings, current: str = KEY, new: str = NEW, **options: Any
) -> rotation.Outcome:
    with database.connect(settings, autocommit=True) as connection:
        return rotation.rotate(connection, Exchange(current, new, kept=False), **options)


def query(settings: DatabaseSettings, statement: str, key: str | None = None) -> list[tuple[Any, ...]]:
    with database.connect(settings, key=key) as connection:
        return connection.execute(statement.encode()).fetchall()


def shown(settings: DatabaseSettings, key: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that people see of what is sealed."""
    with database.connect(settings, key=key) as connection:
        return {name: connection.execute(statement.encode()).fetchall() for name, statement in SHOWN.items()}


def readable(settings: DatabaseSettings, key: str) -> tuple[int, int]:
    """Return how many sealed values the key opens, and how many there are, in all tables and columns."""
    opened = total = 0
    with database.connect(settings) as connection:
        for target in sealed.targets(connection):
            for column in target.sealed:
                row = connection.execute(
                    sql.SQL(
                        "SELECT count(privacy.unseal({0}, privacy.sub_key(privacy.root_key(%s), 'seal'))), count({0}) FROM {1}"
                    ).format(sql.Identifier(column), sql.Identifier(target.schema, target.name)),
                    [key],
                ).fetchone()
                assert row
                opened, total = opened + row[0], total + row[1]
    return opened, total


def add_patients(settings: DatabaseSettings, number: int = 1, first_name: str = "Zoë") -> None:
    with database.connect(settings, key=KEY) as connection:
        keys.verify(connection)
        connection.execute(
            "INSERT INTO patients_and_guardians (role, first_name, last_name, phone, birthdate, address) "
            "SELECT 1, %s, 'Nr' || n, '+1818' || n, '2009-03-01', '{}' FROM generate_series(1, %s) n",
            [first_name, number],
        )


def held_open(settings: DatabaseSettings, key: str, statement: str) -> Connection:
    """Return a session with an open transaction in which the statement was run."""
    session = database.connect(settings, key=key)
    session.execute(statement.encode())
    return session


class Rotating:
    """A rotation in another thread."""

    def __init__(self, settings: DatabaseSettings, **options: Any) -> None:
        self.told: list[str] = []
        self.error: BaseException | None = None
        self.outcome: rotation.Outcome | None = None
        self._thread = threading.Thread(target=self._run, args=(settings, options))
        self._thread.start()

    def _run(self, settings: DatabaseSettings, options: dict[str, Any]) -> None:
        try:
            self.outcome = rotate(settings, tell=self.told.append, **options)
        except BaseException as error:  # noqa: BLE001 - for whoever joins
            self.error = error

    def heard(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while not any(text in told for told in self.told):
            assert time.monotonic() < deadline, self.told
            assert self._thread.is_alive(), self.error
            time.sleep(0.02)

    def join(self) -> rotation.Outcome:
        self._thread.join(60)
        if self.error:
            raise self.error
        assert self.outcome
        return self.outcome


@pytest.fixture(scope="module")
def imported(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """The sample, imported under KEY: what tests get copies of."""
    with databases.copy(template.name) as settings:
        with database.connect(settings, key=KEY, autocommit=True) as connection:
            for name in import_order():
                import_table(connection, name, SAMPLE)
        yield settings


@pytest.fixture
def sample(databases: Databases, imported: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """The sample, imported under KEY, in a database of the test's own."""
    with databases.copy(imported.name) as settings:
        yield settings
        _check_imports(settings)


@pytest.fixture
def interrupted(migrated: DatabaseSettings) -> DatabaseSettings:
    """A database with 30 patients of whom 10 are re-encrypted: the rotation was stopped."""
    add_patients(migrated, 30)

    class StoppedError(Exception):
        pass

    def stop(text: str) -> None:
        if text.startswith("re-encrypt public.patients_and_guardians: 10 rows"):
            raise StoppedError

    with pytest.raises(StoppedError):
        rotate(migrated, batch=10, tell=stop)
    assert query(
        migrated, "SELECT rows_done FROM privacy.rotation_steps WHERE relation LIKE '%patients%'"
    ) == [(10,)]
    return migrated


# --- All of it ------------------------------------------------------------------------------------------


def test_the_sample_says_the_same_under_the_new_key(sample: DatabaseSettings) -> None:
    before = shown(sample, KEY)
    opened, total = readable(sample, KEY)
    assert opened == total > 500
    outcome = rotate(sample, batch=50)
    assert (outcome.finished_before, outcome.damaged) == (False, {})
    assert shown(sample, NEW) == before
    assert readable(sample, NEW) == (total, total)
    assert readable(sample, KEY) == (0, total)


def test_every_hash_and_token_is_another_afterwards(sample: DatabaseSettings) -> None:
    hashes = "SELECT id, _source_hash FROM kinships ORDER BY id"
    tokens = "SELECT id, name_tokens FROM clinicians WHERE name_tokens IS NOT NULL ORDER BY id"
    before = [query(sample, statement) for statement in (hashes, tokens)]
    rotate(sample)
    for old, new in zip(before, (query(sample, statement) for statement in (hashes, tokens)), strict=True):
        assert old
        assert [row[0] for row in old] == [row[0] for row in new]
        assert not [pair for pair in zip(old, new, strict=True) if pair[0][1] == pair[1][1]]


def test_the_next_import_skips_and_a_full_one_finds_everything_unchanged(sample: DatabaseSettings) -> None:
    rotate(sample)
    quarantined = query(sample, "SELECT count(*) FROM ingest.quarantine")
    with database.connect(sample, key=NEW, autocommit=True) as connection:
        for name in import_order():
            assert import_table(connection, name, SAMPLE).status == "skipped"
        for name in import_order():
            done = import_table(connection, name, SAMPLE, full=True).accounting
            assert (done.inserted, done.updated) == (0, 0), name
    assert query(sample, "SELECT count(*) FROM ingest.quarantine") == quarantined


def test_it_can_be_done_again_and_again(migrated: DatabaseSettings) -> None:
    add_patients(migrated)
    rotate(migrated, KEY, NEW)
    rotate(migrated, NEW, THIRD)
    rotate(migrated, THIRD, KEY)
    assert query(migrated, "SELECT first_name FROM app.patients_and_guardians", KEY) == [("Zoë",)]
    assert query(migrated, "SELECT count(*), count(finished_at) FROM privacy.rotations") == [(3, 3)]


def test_an_empty_database_is_rotated_too(migrated: DatabaseSettings) -> None:
    rotate(migrated)
    with database.connect(migrated, key=NEW) as connection:
        keys.verify(connection)
    with database.connect(migrated, key=KEY) as connection, pytest.raises(UsageError, match="another key"):
        keys.verify(connection)


def test_null_stays_null_and_empty_stays_empty(migrated: DatabaseSettings) -> None:
    add_patients(migrated, first_name="")
    query(migrated, "INSERT INTO clinicians (email) VALUES (NULL) RETURNING id")
    rotate(migrated)
    assert query(migrated, "SELECT first_name, middle_name FROM app.patients_and_guardians", NEW) == [
        ("", None)
    ]
    assert query(migrated, "SELECT email_encrypted, name_tokens, _source_hash FROM clinicians") == [
        (None,) * 3
    ]


def test_updated_at_is_not_touched(sample: DatabaseSettings) -> None:
    statement = " UNION ALL ".join(f"SELECT '{name}', id::text, updated_at FROM {name}" for name in TABLES)
    before = query(sample, f"{statement} ORDER BY 1, 2")
    rotate(sample)
    assert query(sample, f"{statement} ORDER BY 1, 2") == before


def test_nothing_of_a_key_is_stored_as_it_is(interrupted: DatabaseSettings) -> None:
    """While the state still holds what the old values need."""
    rows = query(
        interrupted,
        "SELECT k::text FROM privacy.key_check k UNION ALL SELECT r::text FROM privacy.rotations r "
        "UNION ALL SELECT s::text FROM privacy.rotation_steps s",
    )
    subkeys = [
        query(interrupted, f"SELECT encode({function}, 'hex')", NEW)[0][0]
        for function in (
            "privacy.previous_key('seal')",
            "privacy.previous_key('source_hash')",
            "privacy.key('search')",
        )
    ]
    assert len(set(subkeys)) == 3
    for secret in (
        KEY,
        NEW,
        *subkeys,
        query(interrupted, f"SELECT encode(privacy.root_key('{KEY}'), 'hex')")[0][0],
    ):
        assert not [row for row in rows if secret in row[0]]


# --- Columns of later migrations ------------------------------------------------------------------------


def test_a_column_that_a_later_migration_seals_is_rotated_too(migrated: DatabaseSettings) -> None:
    with database.connect(migrated, key=KEY) as connection:
        keys.verify(connection)
        connection.execute(
            """
            CREATE SCHEMA later;
            CREATE TABLE later.notes (at TIMESTAMPTZ, id BIGINT, note_encrypted BYTEA, PRIMARY KEY (at, id))
                PARTITION BY RANGE (at);
            CREATE TABLE later.notes_all PARTITION OF later.notes DEFAULT;
            INSERT INTO later.notes SELECT '2025-01-01 00:00:00.123456Z'::timestamptz + n % 7 * '1 day'::interval, n,
                privacy.seal('before ' || n, privacy.key('seal')) FROM generate_series(1, 50) n;
            """
        )
    outcome = rotate(migrated, batch=7)
    assert outcome.rows["later.notes"] == 50
    assert not [relation for relation in outcome.rows if "notes_all" in relation]
    assert query(migrated, "SELECT count(*) FROM later.notes", NEW) == [(50,)]
    opened = "SELECT count(*) FROM later.notes WHERE privacy.unseal(note_encrypted, privacy.key('seal')) = 'before ' || id"
    assert query(migrated, opened, NEW) == [(50,)]


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ("note_encrypted BYTEA", "no primary key"),
        ("id INT PRIMARY KEY, note_encrypted TEXT", "note_encrypted is not of type bytea"),
        ("id INT PRIMARY KEY, name_tokens BYTEA[]", "nothing says"),
    ],
)
def test_a_table_that_cannot_be_rotated_is_named_before_anything_changes(
    migrated: DatabaseSettings, definition: str, reason: str
) -> None:
    add_patients(migrated)
    with database.connect(migrated) as connection:
        connection.execute(f"CREATE TABLE notes ({definition})".encode())
    with pytest.raises(UsageError, match=rf"public\.notes .*{reason}.*; nothing was changed"):
        rotate(migrated)
    assert query(migrated, "SELECT first_name FROM app.patients_and_guardians", KEY) == [("Zoë",)]


def test_every_binary_column_is_known_to_the_rotation(connection: Connection) -> None:
    """A migration that keeps something under the key in a column of another name would be passed over."""
    known = {f"{t.relation}.{name}" for t in sealed.targets(connection) for name in (*t.sealed, *t.hashes)}
    known |= {f"{t.relation}.{sealed.TOKENS}" for t in sealed.targets(connection) if t.searchable}
    known |= {"privacy.key_check.check_value", "privacy.key_check.previous_sealed"}
    rows = connection.execute(
        """
        SELECT n.nspname || '.' || c.relname || '.' || a.attname
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
          AND a.atttypid IN ('bytea'::regtype, 'bytea[]'::regtype)
          AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        """
    ).fetchall()
    assert {name for (name,) in rows} == known


# --- While it is unfinished -----------------------------------------------------------------------------


def test_sessions_with_the_new_key_see_everything(interrupted: DatabaseSettings) -> None:
    opened, total = readable(interrupted, NEW)
    assert 0 < opened < total
    for view in ("app.patients_and_guardians", "users"):
        rows = query(interrupted, f"SELECT first_name, birthdate, address FROM {view}", NEW)
        assert len(rows) == 30
        assert [row for row in rows if row[0] != "Zoë" or None in row] == []


def test_a_search_finds_everybody_once(interrupted: DatabaseSettings) -> None:
    for text, number in (("zoe", 30), ("zoe nr7", 1), ("zoe* nr7", 1), ("zoe*", 30)):
        found = query(interrupted, f"SELECT id FROM search_people('{text}', 1000)", NEW)
        assert (len(found), len(set(found))) == (number, number), text


def test_rows_that_are_edited_meanwhile_keep_all_their_names(interrupted: DatabaseSettings) -> None:
    with database.connect(interrupted, key=NEW) as connection:
        connection.execute("UPDATE patients_and_guardians SET last_name = 'García'")
        connection.execute(
            "INSERT INTO patients_and_guardians (role, first_name, last_name) VALUES (1, 'Zoë', 'García')"
        )
    rotate(interrupted)
    assert readable(interrupted, KEY)[0] == 0
    found = (
        "SELECT count(*) FROM patients_and_guardians "
        "WHERE name_tokens @> privacy.name_tokens('zoe garcia', privacy.key('search'))"
    )
    assert query(interrupted, found, NEW) == [(31,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT first_name FROM app.patients_and_guardians",
        "SELECT first_name FROM users",
        "INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Ada')",
        "UPDATE patients_and_guardians SET first_name = 'Ada'",
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_the_old_key_reads_and_writes_nothing_any_more(
    interrupted: DatabaseSettings, statement: str, finished: bool
) -> None:
    if finished:
        rotate(interrupted)
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification) as refused:
        query(interrupted, statement, KEY)
    assert (
        refused.value.diag.message_primary
        == "this session's encryption key is not the one this database uses"
    )
    hint = str(refused.value.diag.message_hint)
    assert ("being rotated" in hint) == (not finished)
    assert KEY not in str(refused.value)


def test_without_a_key_views_show_null_also_meanwhile(interrupted: DatabaseSettings) -> None:
    assert query(interrupted, "SELECT DISTINCT first_name, role FROM app.patients_and_guardians") == [
        (None, 1)
    ]


def test_imports_and_replays_are_refused_until_it_is_finished(
    interrupted: DatabaseSettings, tmp_path: Path
) -> None:
    for key in (KEY, NEW):
        with database.connect(interrupted, key=key, autocommit=True) as connection:
            Export(tmp_path, connection).write("documents", record("documents", "one"))
            unfinished = r"rotation .* is unfinished: finish it with daybreak keys rotate"
            with pytest.raises(UsageError, match=unfinished):
                import_table(connection, "documents", tmp_path)
            with pytest.raises(UsageError, match=unfinished):
                replay_table(connection, "documents")
    assert query(
        interrupted, "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM ingest.imports)"
    ) == [(0, 0)]
    rotate(interrupted)
    with database.connect(interrupted, key=NEW, autocommit=True) as connection:
        assert import_table(connection, "documents", tmp_path).accounting.inserted == 1


def test_its_migration_is_not_taken_back_meanwhile(interrupted: DatabaseSettings) -> None:
    with pytest.raises(UsageError, match="finish it with daybreak keys rotate first"):
        runner.downgrade(interrupted, "11")
    assert query(interrupted, "SELECT count(first_name) FROM app.patients_and_guardians", NEW) == [(30,)]


# --- Going on -------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(interrupted: DatabaseSettings) -> None:
    done = "SELECT id, first_name_encrypted FROM patients_and_guardians ORDER BY id LIMIT 10"
    before = query(interrupted, done)
    told: list[str] = []
    outcome = rotate(interrupted, tell=told.append)
    assert outcome.rows["public.patients_and_guardians"] == 30
    assert query(interrupted, done) == before
    assert not [text for text in told if "in force" in text]
    assert readable(interrupted, NEW) == readable(interrupted, NEW)[1:] * 2


@pytest.mark.parametrize(
    ("current", "new"), [pytest.param(KEY, NEW, id="both"), pytest.param(NEW, None, id="the new one alone")]
)
def test_it_goes_on_with_the_new_key(interrupted: DatabaseSettings, current: str, new: str | None) -> None:
    with database.connect(interrupted, autocommit=True) as connection:
        rotation.rotate(connection, Exchange(current, new, kept=False))
    assert query(interrupted, "SELECT count(first_name) FROM app.patients_and_guardians", NEW) == [(30,)]


@pytest.mark.parametrize("new", [None, THIRD])
def test_it_does_not_go_on_without_its_new_key(interrupted: DatabaseSettings, new: str | None) -> None:
    state = "SELECT k::text FROM privacy.key_check k UNION ALL SELECT s::text FROM privacy.rotation_steps s"
    before = query(interrupted, state)
    for kept, named in ((False, "NEW_ENCRYPTION_KEY is not the key"), (True, r"encryption\.key\.next")):
        with (
            database.connect(interrupted, autocommit=True) as connection,
            pytest.raises(UsageError, match=named) as refused,
        ):
            rotation.rotate(connection, Exchange(KEY, new, kept=kept))
        assert not [key for key in (KEY, NEW, THIRD) if key in str(refused.value)]
    assert query(interrupted, state) == before


def test_a_finished_one_is_not_begun_again(migrated: DatabaseSettings) -> None:
    add_patients(migrated)
    rotate(migrated)
    assert rotate(migrated).finished_before
    assert query(migrated, "SELECT count(*) FROM privacy.rotations") == [(1,)]


def test_a_wrong_current_key_is_refused_and_changes_nothing(migrated: DatabaseSettings) -> None:
    add_patients(migrated)
    with pytest.raises(UsageError, match="another key"):
        rotate(migrated, THIRD, NEW)
    assert query(migrated, "SELECT first_name FROM app.patients_and_guardians", KEY) == [("Zoë",)]


def test_the_key_in_use_is_no_new_key(migrated: DatabaseSettings) -> None:
    """Said where the database has no key yet; where it has, there is nothing to do."""
    with pytest.raises(UsageError, match="is the key in use"):
        rotate(migrated, KEY, KEY)
    assert rotate(migrated, KEY, KEY).finished_before


_ROTATE = """
import sys
from daybreak_pipeline import database, settings
from daybreak_pipeline.privacy import rotation
from daybreak_pipeline.privacy.keys import Exchange

connection = database.connect(settings.given_database(), autocommit=True)
print("ready", flush=True)
rotation.rotate(connection, Exchange(sys.argv[1], sys.argv[2], kept=False), batch=40)
print("finished", flush=True)
"""


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_with_one_key(sample: DatabaseSettings) -> None:
    add_patients(sample, 3000)
    before = shown(sample, KEY)
    moments = random.Random(5)  # noqa: S311 - a repeatable choice, not a secret
    current, new, kills, cut_short = KEY, NEW, 0, 0
    while True:
        child = subprocess.Popen(
            [sys.executable, "-c", _ROTATE, current, new],
            env=os.environ | sample.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        if kills < 10:
            time.sleep(moments.uniform(0, 0.25))
            child.send_signal(signal.SIGKILL)
            kills += 1
        finished = child.communicate(timeout=60)[0] == "finished\n"
        unfinished = query(sample, "SELECT count(*) FROM privacy.rotations WHERE finished_at IS NULL") == [
            (1,)
        ]
        cut_short += unfinished
        assert not (finished and unfinished)
        if finished and kills == 10:
            break
        if finished:
            current, new = new, secrets.token_hex(32)
    assert cut_short >= 5, "the kills came too early or too late: the test shows nothing"
    opened, total = readable(sample, new)
    assert opened == total > 3000
    assert readable(sample, KEY)[0] == 0
    assert shown(sample, new) == before
    with database.connect(sample, key=new, autocommit=True) as connection:
        done = import_table(connection, "kinships", SAMPLE, full=True).accounting
    assert (done.inserted, done.updated) == (0, 0)
    assert done.unchanged > 0


# --- Beside others --------------------------------------------------------------------------------------


def test_a_second_rotation_at_once_is_refused(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_patients(migrated)
    held = held_open(migrated, KEY, "SELECT 1")
    first = Rotating(migrated)
    first.heard("waits for older transactions")
    monkeypatch.setattr(walk, "_ALONE_SECONDS", 0.2)
    with pytest.raises(UsageError, match="another rotation of the key is running"):
        rotate(migrated)
    held.close()
    assert first.join().rows["public.patients_and_guardians"] == 1


def test_transactions_that_do_not_end_keep_it_from_beginning(migrated: DatabaseSettings) -> None:
    add_patients(migrated)
    with held_open(migrated, KEY, "SELECT 1") as held:
        process = held.info.backend_pid
        with pytest.raises(UsageError, match=rf"server process {process}\).*; nothing was changed"):
            rotate(migrated, patience=0.3)
    assert query(migrated, "SELECT first_name FROM app.patients_and_guardians", KEY) == [("Zoë",)]
    assert query(migrated, "SELECT count(*) FROM privacy.rotations") == [(0,)]


def test_what_older_transactions_write_is_re_encrypted_too(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REPEATABLE READ: such a transaction keeps seeing the old key in force, and may write with it."""
    add_patients(migrated, 3)
    begun: list[Connection] = []

    exchange_keys = rotation._exchanged

    def exchanged(connection: Connection, current: str, new: str) -> int | None:
        older = database.connect(migrated, key=KEY)
        older.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        older.execute("SELECT count(*) FROM patients_and_guardians")
        begun.append(older)
        return exchange_keys(connection, current, new)

    monkeypatch.setattr(rotation, "_exchanged", exchanged)
    running = Rotating(migrated)
    running.heard("waits for older transactions")
    begun[0].execute("INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Late')")
    begun[0].commit()
    begun[0].close()
    running.join()
    names = query(migrated, "SELECT first_name FROM app.patients_and_guardians ORDER BY 1", NEW)
    assert names == [("Late",), ("Zoë",), ("Zoë",), ("Zoë",)]
    assert readable(migrated, KEY)[0] == 0


def test_it_waits_for_an_import_that_runs(migrated: DatabaseSettings) -> None:
    add_patients(migrated)
    with database.connect(migrated, key=KEY) as importing:
        keys.hold(importing)
        with database.connect(migrated, autocommit=True) as connection:
            assert rotation._exchanged(connection, KEY, NEW) is None
        importing.rollback()
    with database.connect(migrated, autocommit=True) as connection:
        assert rotation._exchanged(connection, KEY, NEW) is not None


def test_it_waits_for_a_locked_row_and_then_sees_its_newest_version(interrupted: DatabaseSettings) -> None:
    editing = held_open(interrupted, NEW, f"UPDATE patients_and_guardians SET last_name = 'Edited' {LAST}")
    running = Rotating(interrupted)
    running.heard("patients_and_guardians: waits for a row that another session has locked")
    assert query(interrupted, "SELECT count(first_name) FROM app.patients_and_guardians", NEW) == [(30,)]
    editing.commit()
    editing.close()
    running.join()
    assert readable(interrupted, KEY)[0] == 0
    assert ("Edited",) in query(interrupted, "SELECT last_name FROM app.patients_and_guardians", NEW)


def test_a_row_that_is_edited_in_the_moment_it_is_re_encrypted_keeps_the_edit(
    interrupted: DatabaseSettings,
) -> None:
    editing = held_open(interrupted, NEW, f"UPDATE patients_and_guardians SET last_name = 'Edited' {LAST}")
    running = Rotating(interrupted)
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while query(interrupted, blocked) == [(0,)]:
        time.sleep(0.01)
    editing.commit()
    editing.close()
    running.join()
    assert readable(interrupted, KEY)[0] == 0
    assert ("Edited",) in query(interrupted, "SELECT last_name FROM app.patients_and_guardians", NEW)


def test_a_row_that_changed_its_key_behind_its_back_is_found_by_the_verification(
    interrupted: DatabaseSettings,
) -> None:
    move = "UPDATE patients_and_guardians SET id = '00000000-0000-0000-0000-000000000000' "
    assert query(interrupted, f"{move} {LAST} RETURNING 1", NEW) == [(1,)]
    rotate(interrupted)
    assert readable(interrupted, KEY)[0] == 0
    assert query(interrupted, "SELECT count(first_name) FROM app.patients_and_guardians", NEW) == [(30,)]


def test_the_audit_trails_door_is_open_in_its_transactions(migrated: DatabaseSettings) -> None:
    """Triggers that keep others from changing rows stand aside for the transaction that the setting names."""
    add_patients(migrated, 3)
    with database.connect(migrated) as connection:
        connection.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF current_setting('daybreak.rotation_xid', true) IS DISTINCT FROM pg_current_xact_id()::text THEN
                    RAISE EXCEPTION 'append only';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER append_only BEFORE UPDATE ON patients_and_guardians
                FOR EACH ROW EXECUTE FUNCTION refuse();
            """
        )
    rotate(migrated)
    assert readable(migrated, KEY)[0] == 0


# --- Quarantine, issues, damage -------------------------------------------------------------------------


def test_quarantine_replays_and_knows_its_records_again(export: Export, migrated: DatabaseSettings) -> None:
    export.load("patients_and_guardians", record("patients_and_guardians", "patient"))
    bad = [record("documents", "bad", label=None), {**record("documents"), "id": ""}]
    export.load("documents", record("documents", "good"), *bad)
    export.connection.commit()
    before = query(migrated, SHOWN["quarantine"], KEY)
    rotate(migrated)
    assert query(migrated, SHOWN["quarantine"], NEW) == before
    assert len(before) == 2
    with database.connect(migrated, key=NEW, autocommit=True) as connection:
        again = Export(export.directory, connection)
        assert again.load("documents", full=True)["quarantined"] == 2
        assert query(migrated, "SELECT count(*) FROM ingest.quarantine") == [(2,)]
        connection.execute("ALTER TABLE documents ALTER COLUMN label DROP NOT NULL")
        assert replay_table(connection, "documents").accounting.inserted == 1
        assert [number for number, _ in again.refused("documents")] == [3]


def test_dangling_references_heal_after_it(export: Export, migrated: DatabaseSettings) -> None:
    export.load(
        "patients_and_guardians", record("patients_and_guardians", "patient", supervisor_id=uuid("late"))
    )
    export.connection.commit()
    rotate(migrated)
    with database.connect(migrated, key=NEW, autocommit=True) as connection:
        again = Export(export.directory, connection)
        assert [issue[:2] for issue in again.issues("patients_and_guardians")] == [
            ("supervisor_id", "dangling_reference")
        ]
        again.load("clinicians", record("clinicians", "late"))
        again.load("patients_and_guardians")
        assert again.rows("patients_and_guardians", "supervisor_id") == [(UUID(uuid("late")),)]
        assert again.issues("patients_and_guardians") == []


@pytest.mark.parametrize(
    "damage",
    [
        "'\\x00'::bytea",
        "substring(phone_encrypted FROM 1 FOR 50)",
        "set_byte(phone_encrypted, 60, 255 - get_byte(phone_encrypted, 60))",
    ],
)
def test_a_damaged_value_stops_nothing_is_left_as_it_is_and_is_named(
    migrated: DatabaseSettings, damage: str
) -> None:
    add_patients(migrated, 5)
    ((victim, left),) = query(
        migrated,
        f"UPDATE patients_and_guardians SET phone_encrypted = {damage} "
        "WHERE id = (SELECT min(id::text)::uuid FROM patients_and_guardians) RETURNING id, phone_encrypted",
    )
    outcome = rotate(migrated, batch=2)
    assert outcome.damaged == {("public.patients_and_guardians", "phone_encrypted"): 1}
    rows = query(migrated, "SELECT id, first_name, phone IS NULL FROM app.patients_and_guardians", NEW)
    assert {(row[1], row[2]) for row in rows if row[0] != victim} == {("Zoë", False)}
    assert [row[1:] for row in rows if row[0] == victim] == [("Zoë", True)]
    assert (victim, left) in query(migrated, "SELECT id, phone_encrypted FROM patients_and_guardians")
    with database.connect(migrated, key=NEW) as connection:
        found = rotation.status(connection)
    assert found.damaged == (("public.patients_and_guardians", "phone_encrypted", f'["{victim}"]'),)
    assert (found.fits, found.unfinished) == (True, False)


def test_a_value_of_a_third_key_is_damage_too(migrated: DatabaseSettings) -> None:
    add_patients(migrated)
    query(
        migrated,
        f"UPDATE patients_and_guardians SET first_name_encrypted = "
        f"privacy.seal('x', privacy.sub_key(privacy.root_key('{THIRD}'), 'seal')) RETURNING 1",
        KEY,
    )
    assert list(rotate(migrated).damaged) == [("public.patients_and_guardians", "first_name_encrypted")]


def test_a_hash_that_is_none_stops_nothing(migrated: DatabaseSettings) -> None:
    add_patients(migrated, 2)
    query(migrated, "UPDATE patients_and_guardians SET _source_hash = '\\x0102' RETURNING 1")
    rotate(migrated)
    assert query(migrated, "SELECT DISTINCT _source_hash FROM patients_and_guardians") == [(b"\x01\x02",)]


def test_views_of_large_tables_can_be_read_in_parallel_plans(migrated: DatabaseSettings) -> None:
    """Before PostgreSQL 17 an EXCEPTION block inside a parallel query is an error."""
    add_patients(migrated, 3000)
    with database.connect(migrated, key=KEY) as connection:
        connection.execute(
            "ANALYZE; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0"
        )
        for view in ("app.patients_and_guardians", "users"):
            assert connection.execute(f"SELECT count(first_name) FROM {view}".encode()).fetchone() == (3000,)


def test_a_percent_sign_in_a_name_is_no_parameter(migrated: DatabaseSettings) -> None:
    with database.connect(migrated, key=KEY) as connection:
        keys.verify(connection)
        connection.execute(
            b"""CREATE TABLE "a %s" ("id %(x)s" int PRIMARY KEY, "100 %_encrypted" bytea, "%" text);
            INSERT INTO "a %s" SELECT n, privacy.seal('x', privacy.key('seal')) FROM generate_series(1, 3) n;
            UPDATE "a %s" SET "100 %_encrypted" = 'damaged' WHERE "id %(x)s" = 2"""
        )
    outcome = rotate(migrated)
    assert outcome.rows["public.a %s"] == 3
    assert outcome.damaged == {("public.a %s", "100 %_encrypted"): 1}
    opened = (
        """SELECT privacy.unseal("100 %_encrypted", privacy.key('seal')) FROM "a %s" ORDER BY "id %(x)s\""""
    )
    assert query(migrated, opened, NEW) == [("x",), (None,), ("x",)]
