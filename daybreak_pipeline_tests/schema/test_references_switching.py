"""Enforcing references and releasing them: what stays, what is locked, what migrations and the drift check make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import catalog, locks, references, runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import CLINICIANS, PATIENTS
from daybreak_pipeline_tests.application import NO_SUCH_ROW, NOBODY, Application, add, refused
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.privacy.test_roles import APP, apply_with_passwords
from daybreak_pipeline_tests.schema.test_references import REFERENCES


@pytest.fixture
def owner(migrated: DatabaseSettings) -> Iterator[Connection]:
    apply_with_passwords(migrated)
    with database.connect(migrated, key=KEY, autocommit=True) as connection:
        yield connection


def test_references_are_not_enforced_until_somebody_says_so(
    owner: Connection, migrated: DatabaseSettings
) -> None:
    assert {one.enforced for one in references.states(owner)} == {"no"}
    application = Application(migrated, APP)
    orphan = application.add("patient_availabilities", user_id=NOBODY, availability=[{}])
    [state] = references.enforce(owner, ["patient_availabilities"])
    assert (state.enforced, state.orphans) == ("yes", 1)
    # It stays, and may be changed, but not into another that leads nowhere.
    application.change("patient_availabilities", orphan, availability=[{}, {}])
    application.change("patient_availabilities", orphan, user_id=NOBODY)
    with refused(NO_SUCH_ROW):
        application.change("patient_availabilities", orphan, user_id=uuid("somebody"))
    with refused(NO_SUCH_ROW):
        application.add("patient_availabilities", user_id=NOBODY, availability=[{}])
    # Other tables are not concerned.
    application.add("kinships", user_0_id=NOBODY, user_1_id=NOBODY, kind=1, user_0_label=1, user_1_label=2)
    [state] = references.release(owner, ["patient_availabilities"])
    assert (state.enforced, state.orphans) == ("no", 1)
    application.add("patient_availabilities", user_id=NOBODY, availability=[{}])
    application.connection.close()


def test_enforcing_twice_is_the_same_and_releasing_leaves_nothing(owner: Connection) -> None:
    made = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'integrity'::regnamespace"
    everything = (
        "SELECT array_agg(format('%%s %%s', t.tgrelid::regclass, pg_get_triggerdef(t.oid)) ORDER BY t.tgrelid, t.tgname) "
        "FROM pg_trigger t"
    )
    before = database.value(owner, everything)
    references.enforce(owner, references.tables())
    enforced = database.value(owner, everything)
    assert database.value(owner, made) == 2 * len(REFERENCES)
    references.enforce(owner, references.tables())
    assert database.value(owner, everything) == enforced != before
    references.release(owner, references.tables())
    references.release(owner, ["kinships"])
    assert (database.value(owner, everything), database.value(owner, made)) == (before, 0)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER same_for_kinships_user_0_id ON clinicians",
        "ALTER TABLE kinships DISABLE TRIGGER reference_user_0_id",
        "CREATE OR REPLACE FUNCTION integrity.check_kinships_user_0_id() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ],
)
def test_what_enforces_only_in_part_is_seen_and_mended(owner: Connection, change: str) -> None:
    references.enforce(owner, ["kinships"])
    owner.execute(change.encode())
    assert [one.enforced for one in references.states(owner, ["kinships"])] == ["partly", "yes"]
    assert [one.enforced for one in references.enforce(owner, ["kinships"])] == ["yes", "yes"]


def test_a_missing_index_is_said(owner: Connection) -> None:
    assert [one.unindexed for one in references.states(owner) if one.unindexed] == []
    owner.execute("DROP INDEX idx_kinships_user_1; DROP INDEX idx_clinicians_healthie_id")
    owner.execute("CREATE INDEX idx_kinships_user_1 ON kinships (user_1_id) WHERE kind = 1")
    found = {one.table: one.unindexed for one in references.states(owner) if one.unindexed}
    assert found == {
        "kinships": ("kinships.user_1_id",),
        "clinician_availabilities": ("clinicians.healthie_id",),
    }


def test_a_table_whose_references_are_all_foreign_keys_has_none_to_enforce(owner: Connection) -> None:
    for name in ("organizations", "no such table"):
        with pytest.raises(UsageError, match=f"{name} has no reference that applications answer for"):
            references.enforce(owner, [name])


def test_enforcing_waits_for_who_writes_and_releasing_for_who_reads_and_both_give_up(
    owner: Connection, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "lock_seconds", lambda: 0)
    application = Application(migrated, APP)
    read = "SELECT count(*) FROM clinicians"
    with application.connection.transaction():
        add(application.connection, CLINICIANS, title="Dr")
        with pytest.raises(locks.LockedError, match=r"gave up after 0 s of waiting for .*clinicians"):
            references.enforce(owner, ["kinships"])
        # Nobody else has to wait for it, and nothing is left of it.
        add(application.connection, CLINICIANS, title="Dr")
    with application.connection.transaction():
        application.connection.execute(read.encode())
        assert references.enforce(owner, ["kinships"])[0].enforced == "yes"
    for change in (references.release, references.enforce):
        with application.connection.transaction():
            application.connection.execute(read.encode())
            with pytest.raises(locks.LockedError, match=r"gave up after 0 s of waiting for .*clinicians"):
                change(owner, ["kinships"])
            application.connection.execute(read.encode())
    application.connection.close()
    assert [one.enforced for one in references.states(owner, ["kinships"])] == ["yes", "yes"]


def test_what_is_enforced_is_no_change_by_hand(owner: Connection) -> None:
    references.enforce(owner, references.tables())
    for table in ("kinships", PATIENTS, CLINICIANS):
        assert examine(owner, catalog.read(owner, table))["database_matches_migrations"].passed, table
    owner.execute(
        "CREATE TRIGGER mine BEFORE UPDATE ON kinships FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    )
    assert not examine(owner, catalog.read(owner, "kinships"))["database_matches_migrations"].passed


def test_migrations_go_down_and_up_where_references_are_enforced(
    owner: Connection, migrated: DatabaseSettings
) -> None:
    references.enforce(owner, references.tables())
    before = next(m for m in runner.migrations() if m.name == "references")
    runner.downgrade(migrated, str(int(before.revision) - 1))
    left = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgdeferrable"
    assert database.value(owner, left) == 0
    runner.upgrade(migrated)
    assert {one.enforced for one in references.states(owner)} == {"no"}
    assert {one.enforced for one in references.enforce(owner, ["referrals"])} == {"yes"}


def test_who_migrates_as_another_role_leaves_the_functions_to_the_owner_of_the_tables(
    owner: Connection,
) -> None:
    tables_owner = database.value(
        owner, "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'kinships'::regclass"
    )
    references.enforce(owner, ["kinships"])
    found = owner.execute(
        "SELECT DISTINCT proowner::regrole::text, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc "
        "WHERE pronamespace = 'integrity'::regnamespace"
    ).fetchall()
    assert found == [(tables_owner, False)]


# --- As people and programs use it --------------------------------------------------------------------------------------


def daybreak(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["references", *arguments])


def test_the_command_enforces_releases_and_tells(
    owner: Connection, migrated: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute("INSERT INTO patient_availabilities (user_id, availability) VALUES (%s, '[]')", [NOBODY])
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    home = {"DAYBREAK_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "ENCRYPTION_KEY": KEY}
    for name, value in (migrated.environment() | home).items():
        monkeypatch.setenv(name, value)
    done = daybreak("enforce", "patient_availabilities")
    assert done.exit_code == 0, done.output
    assert "rows that led nowhere before stay as they are: 1" in done.output
    [state] = json.loads(daybreak("status", "patient_availabilities", "--json").stdout)["references"]
    assert state == {
        "table": "patient_availabilities",
        "column": "user_id",
        "leads_to": [PATIENTS],
        "target_column": "id",
        "enforced": "yes",
        "deletion": "refused",
        "ask": "app.patient_exists",
        "orphans": 1,
        "unindexed": [],
    }
    assert len(json.loads(daybreak("status", "--json").stdout)["references"]) == len(REFERENCES)
    owner.execute("ALTER TABLE patient_availabilities DISABLE TRIGGER reference_user_id")
    assert "run daybreak references enforce patient_availabilities" in daybreak("status").output
    done = daybreak("release", "patient_availabilities", "--json")
    assert json.loads(done.stdout)["references"][0]["enforced"] == "no"
    done = daybreak("enforce", "documents")
    assert (done.exit_code, "documents has no reference" in done.stderr) == (2, True)
    assert daybreak("enforce").exit_code == 2
