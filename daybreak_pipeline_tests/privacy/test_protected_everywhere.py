"""What goes over the plan's tables with personal columns goes over an application's protected table too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.backups import drill
from daybreak_pipeline.cli.erase import _counted
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import audit, erasure, keys, plain_values, roles, rotation, sealed_faults
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import protected
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import PATIENTS
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.demographics import (
    ANOTHER,
    CHILD,
    CREATE,
    MARK,
    PERSONAL,
    SEARCHED,
    TABLE,
    insert,
    protect,
    release,
    shown,
    stored,
)
from daybreak_pipeline_tests.privacy.test_roles import APP, READONLY, apply_with_passwords, login, taken_back

NEW = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff"
PARENT = uuid("a child")


def fill(given: DatabaseSettings) -> None:
    """Make the table, protect it, and write two children into it, one of which is a patient."""
    with database.connect(given, key=KEY) as owner:
        keys.verify(owner)
        owner.execute(CREATE)
        protect(owner, search=SEARCHED)
        insert(owner, PATIENTS, id=PARENT, role=1)
        insert(owner, **CHILD, child_id=PARENT, school="East")
        insert(owner, **ANOTHER)


@pytest.fixture
def given(migrated: DatabaseSettings) -> DatabaseSettings:
    fill(migrated)
    return migrated


@pytest.fixture
def owner(given: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(given, key=KEY, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database with the table, and with roles that may log in."""
    with databases.copy(template.name, "protected") as given:
        fill(given)
        apply_with_passwords(given)
        yield given


@pytest.fixture(scope="module")
def app(db: DatabaseSettings) -> Iterator[Connection]:
    """The application, with the key; what it does is rolled back."""
    with database.connect(login(db, APP), key=KEY) as connection:
        yield connection


@pytest.fixture(scope="module")
def keyless(db: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(login(db, APP)) as connection:
        yield connection


@pytest.fixture(scope="module")
def analyst(db: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(login(db, READONLY), key=KEY) as connection:
        yield connection


# --- Rotation, erasing, checks, doctor, drill ---------------------------------------------------------------


def test_a_rotation_goes_through_its_rows_and_its_index(owner: Connection, given: DatabaseSettings) -> None:
    before = shown(owner)
    with database.connect(given, autocommit=True) as connection:
        outcome = rotation.rotate(connection, Exchange(KEY, NEW, kept=False), batch=1)
        steps = {relation for _, relation, *_ in rotation.status(connection).steps}
    assert outcome.rows["public.demographics"] == 2
    assert not outcome.damaged
    assert "public.demographics" in steps
    with database.connect(given, key=NEW) as connection:
        assert shown(connection) == before
        assert connection.execute("SELECT count(*) FROM app.search_demographics('anne mar*')").fetchone() == (
            1,
        )
        assert database.value(connection, "SELECT count(*) FROM audit.changes WHERE action = 'UPDATE'") == 0
    with (
        database.connect(given, key=KEY) as connection,
        pytest.raises(psycopg.errors.InvalidAuthorizationSpecification),
    ):
        shown(connection)


def test_while_a_key_is_rotated_rows_under_both_keys_are_found(given: DatabaseSettings) -> None:
    with database.connect(given, autocommit=True) as connection:

        def stop(text: str) -> None:
            if "new key is in force" in text:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rotation.rotate(connection, Exchange(KEY, NEW, kept=False), stop)
    with database.connect(given, key=NEW, autocommit=True) as connection:
        insert(connection, legal_name=f"Cleo {MARK}")
        assert database.value(connection, "SELECT count(*) FROM app.search_demographics('marigold')") == 3
        with pytest.raises(psycopg.errors.RaiseException, match="the encryption key is being rotated"):
            release(connection)


def test_an_erased_row_is_nowhere_and_stays(owner: Connection) -> None:
    row = database.value(owner, "SELECT id FROM demographics WHERE school = 'East'")
    owner.execute("UPDATE demographics SET remarks = %s WHERE id = %s", [f"second {MARK}", row])
    owner.execute("SELECT * FROM app.search_demographics(%s)", [f"anne {MARK}"])
    found = erasure.find(owner, TABLE, str(row).upper())
    assert found.columns == [*sorted([*PERSONAL, "name_tokens"])]
    done = erasure.erase(owner, TABLE, str(row))
    assert "lines of the audit trail" in _counted(done)
    kept = owner.execute(
        "SELECT num_nulls(legal_name_encrypted, guardian_name_encrypted, born_on_encrypted, address_encrypted, "
        "remarks_encrypted, name_tokens), child_id, school FROM demographics WHERE id = %s",
        [row],
    ).fetchone()
    assert kept is not None
    assert (kept[0], str(kept[1]), kept[2]) == (6, str(PARENT), "East")
    opened = owner.execute(
        "SELECT string_agg(privacy.unseal(before_encrypted, privacy.key('seal')), ' ') FROM audit.changes"
    ).fetchone()
    assert MARK not in str(opened)
    assert [name for name, *_ in shown(owner) if name] == [ANOTHER["legal_name"]]


def test_who_erases_a_patient_is_told_of_the_rows_about_them(owner: Connection) -> None:
    row = database.value(owner, "SELECT id::text FROM demographics WHERE school = 'East'")
    assert erasure.erase(owner, PATIENTS, str(PARENT)).coverages == [(TABLE, row)]
    owner.execute("DELETE FROM demographics WHERE id = %s", [row])
    assert erasure.erase(owner, PATIENTS, str(PARENT)).coverages == [(TABLE, row)]
    assert erasure.erase(owner, TABLE, row).changes > 0
    assert database.value(owner, "SELECT count(*) FROM ingest.tombstones") == 0


def test_a_table_that_nothing_protects_is_not_erased_from(owner: Connection) -> None:
    owner.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY)")
    for name in ("plain", "nowhere"):
        with pytest.raises(
            UsageError, match=f"{name} is no table of the plan, and none that is protected.*demographics"
        ):
            erasure.find(owner, name, "1")


def test_a_value_of_another_column_is_found_and_noted(owner: Connection) -> None:
    owner.execute(
        "UPDATE demographics SET guardian_name_encrypted = legal_name_encrypted WHERE school = 'East'"
    )
    sealed_faults.look(owner, catalogs.read(owner, TABLE))
    faults = owner.execute("SELECT table_name, column_name, code FROM privacy.sealed_faults").fetchall()
    assert faults == [(TABLE, "guardian_name", "of_another_column")]
    release_refused = pytest.raises(
        psycopg.errors.RaiseException, match="1 of 1 values of column guardian_name"
    )
    with release_refused:
        release(owner)


def test_doctor_sees_what_is_gone_and_protecting_again_mends_it(owner: Connection) -> None:
    plain_values.require_none(owner)
    audit.require_whole(owner)
    owner.execute("ALTER TABLE demographics DISABLE TRIGGER seal_personal_data_on_insert")
    with pytest.raises(UsageError, match=r"triggers .* of demographics is missing or disabled"):
        plain_values.require_none(owner)
    owner.execute("ALTER TABLE demographics DROP CONSTRAINT personal_columns_are_sealed")
    insert(owner, legal_name=f"Plain {MARK}")
    with pytest.raises(
        UsageError, match=r"1 rows of demographics .* SELECT privacy.protect\('\"public\".\"demographics\"'\)"
    ):
        plain_values.require_none(owner)
    owner.execute("""SELECT privacy.protect('"public"."demographics"')""")
    plain_values.require_none(owner)
    assert MARK not in stored(owner)
    assert database.value(owner, "SELECT count(*) FROM app.search_demographics('plain')") == 1
    owner.execute("ALTER TABLE demographics DROP CONSTRAINT personal_columns_are_sealed")
    owner.execute(
        "ALTER TABLE demographics ADD CONSTRAINT personal_columns_are_sealed CHECK (legal_name IS NULL)"
    )
    with pytest.raises(UsageError, match="constraint personal_columns_are_sealed of demographics"):
        plain_values.require_none(owner)


def test_doctor_names_a_protected_table_that_was_renamed(owner: Connection) -> None:
    owner.execute("ALTER TABLE demographics RENAME TO children")
    with pytest.raises(UsageError, match="the protected table demographics is gone"):
        plain_values.require_none(owner)
    assert protected.of_applications(owner) == []


def test_a_drill_opens_its_values(owner: Connection) -> None:
    found = drill.Drill(datetime.now(UTC))
    drill.use(found, owner)
    opened = found.opened
    assert (opened, found.problems) == (len(CHILD) + len(ANOTHER) - 1, [])
    owner.execute("UPDATE demographics SET remarks_encrypted = 'x'")
    drill.use(found, owner)
    assert found.problems == ["no sealed value of demographics.remarks opens"]


# --- Roles --------------------------------------------------------------------------------------------------

MAY = (
    (APP, "SELECT * FROM app.demographics"),
    (APP, "UPDATE app.demographics SET grade = grade"),
    (APP, "INSERT INTO demographics (grade) VALUES (2)"),
    (APP, "SELECT * FROM app.search_demographics('marigold')"),
    (READONLY, "SELECT id, child_id, school, grade, taken_at, doubled FROM reporting.demographics"),
    (READONLY, "SELECT name FROM reporting.organizations"),
)
MAY_NOT = (
    (APP, "SELECT privacy.protect('demographics', '{school}')"),
    (APP, "SELECT privacy.release('demographics')"),
    (APP, "SELECT privacy.drop_guards('demographics')"),
    (APP, "SELECT * FROM privacy.rows_called('demographics', 'marigold', 5)"),
    (APP, "SELECT * FROM privacy.protected_tables"),
    (APP, "TRUNCATE demographics"),
    (APP, "ALTER TABLE demographics DISABLE TRIGGER ALL"),
    (READONLY, "SELECT * FROM public.demographics"),
    (READONLY, "SELECT * FROM app.demographics"),
    (READONLY, "SELECT * FROM app.search_demographics('marigold')"),
    (READONLY, "SELECT privacy.protect('demographics', '{school}')"),
)


@pytest.mark.parametrize(("role", "statement"), MAY)
def test_roles_may(app: Connection, analyst: Connection, role: str, statement: str) -> None:
    connection = app if role == APP else analyst
    with taken_back(connection):
        connection.execute(statement.encode())


@pytest.mark.parametrize(("role", "statement"), MAY_NOT)
def test_roles_may_not(app: Connection, analyst: Connection, role: str, statement: str) -> None:
    connection = app if role == APP else analyst
    with taken_back(connection), pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement", ["INSERT INTO app.demographics (grade) VALUES (1)", "DELETE FROM app.demographics"]
)
def test_rows_come_and_go_by_the_table_as_with_the_plans_views(app: Connection, statement: str) -> None:
    with taken_back(app), pytest.raises(psycopg.errors.InsufficientPrivilege, match="for view"):
        app.execute(statement.encode())


def test_analysts_see_what_is_not_protected_of_it_and_other_tables_as_before(analyst: Connection) -> None:
    columns = "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'reporting' AND table_name = %s"
    found = {name for (name,) in analyst.execute(columns, [TABLE])}
    assert found == {"id", "child_id", "school", "grade", "taken_at", "doubled"}


def test_a_name_that_one_table_protects_is_not_hidden_in_others(connection: Connection) -> None:
    connection.execute("CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT, phone TEXT)")
    shown_columns = "SELECT count(*) FROM reporting.columns() WHERE target = 'organizations'::regclass"
    before = database.value(connection, shown_columns)
    protect(connection, ["name"], table="pets")
    assert database.value(connection, shown_columns) == before
    found = connection.execute(
        "SELECT column_name::text FROM reporting.columns() WHERE target = 'pets'::regclass"
    )
    assert found.fetchall() == [("id",)]  # a phone is personal by the plan, sealed here or not


def test_views_that_are_made_again_get_their_grants_again(given: DatabaseSettings) -> None:
    apply_with_passwords(given)
    with database.connect(given, key=KEY) as owner:
        assert roles.is_current(owner)
        protect(owner, ["school"])
        assert not roles.is_current(owner)
    roles.ensure(given)
    with database.connect(login(given, APP), key=KEY) as application:
        assert len(shown(application)) == 2


# --- Attacks ------------------------------------------------------------------------------------------------


def test_without_the_key_nothing_shows_and_nothing_is_stored(keyless: Connection) -> None:
    with taken_back(keyless):
        assert MARK not in str(
            keyless.execute(
                "SELECT t::text, v::text FROM demographics t JOIN app.demographics v USING (id)"
            ).fetchall()
        )
        for table in ("pg_stats", "pg_stat_activity"):
            assert MARK not in str(
                keyless.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()
            )
        for statement in (
            "INSERT INTO demographics (legal_name) VALUES (%s)",
            "UPDATE demographics SET remarks = %s",
            "UPDATE app.demographics SET legal_name = %s",
            "INSERT INTO demographics (id) SELECT id FROM demographics ON CONFLICT (id) DO UPDATE SET legal_name = %s",
        ):
            with pytest.raises(psycopg.Error) as refused, keyless.transaction():
                keyless.execute(statement.encode(), [MARK])
            assert refused.value.sqlstate == "28000"
            assert MARK not in f"{refused.value.diag.message_primary} {refused.value.diag.message_detail}"


@pytest.mark.parametrize(
    "before",
    [
        "SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true)",
        "SELECT set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)",
        "SET LOCAL search_path = pg_temp, app, public",
        "SET LOCAL datestyle = 'German'",
    ],
)
def test_no_setting_gets_plain_text_stored(app: Connection, before: str) -> None:
    with taken_back(app):
        app.execute(before.encode())
        row = insert(app, **CHILD)
        app.execute(
            "UPDATE public.demographics SET legal_name = %s, name_tokens = NULL WHERE id = %s",
            [f"Eve {MARK}", row],
        )
        assert MARK not in str(app.execute("SELECT t::text FROM public.demographics t").fetchall())
        read = app.execute(
            "SELECT legal_name, born_on::date - '2015-02-28'::date FROM app.demographics WHERE id = %s", [row]
        )
        assert read.fetchone() == (f"Eve {MARK}", 0)
        app.execute("UPDATE public.demographics SET name_tokens = '{}'")
        assert database.value(app, "SELECT count(*) FROM app.search_demographics('eve')") == 1


@pytest.mark.parametrize(
    "values", [{"grade": 99}, {"grade": None}, {"child_id": uuid("nobody")}, {"id": PARENT}]
)
def test_what_breaks_another_rule_says_nothing_personal(owner: Connection, values: dict[str, Any]) -> None:
    owner.execute("ALTER TABLE demographics ADD CONSTRAINT small CHECK (grade < 13)")
    insert(owner, id=PARENT)
    with pytest.raises(psycopg.IntegrityError) as refused:
        insert(owner, **CHILD | values)
    assert MARK not in f"{refused.value} {refused.value.diag.message_detail} {refused.value.diag.context}"


@pytest.mark.slow
@needs_pgbouncer
def test_through_a_pooler_the_key_is_the_transactions(db: DatabaseSettings) -> None:
    with pooled(login(db, APP), size=1) as (through, log):
        connection: psycopg.Connection[Any]
        with psycopg.connect(through.conninfo(), prepare_threshold=None, autocommit=True) as connection:
            with connection.transaction():
                connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
                row = insert(connection, **CHILD)
                found = connection.execute("SELECT id FROM app.search_demographics('anne')").fetchall()
            assert (row,) in found
            assert connection.execute(
                "SELECT legal_name FROM app.demographics WHERE id = %s", [row]
            ).fetchone() == (None,)
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
                insert(connection, **CHILD)
            connection.execute("DELETE FROM demographics WHERE id = %s", [row])
        assert MARK not in log.read_text(encoding="utf-8")
