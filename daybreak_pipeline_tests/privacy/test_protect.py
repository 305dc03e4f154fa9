"""A table that a team protects has what the plan's tables with personal columns have, and can be released again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.schema import protected, runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY, Databases
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
    structure,
    use_key,
)

WRONG = KEY[::-1]


def revision_before(name: str) -> str:
    """Return the migration before the one of this name."""
    return next(before.revision for before, one in pairwise(runner.migrations()) if one.name == name)


BEFORE = revision_before("protected_tables")
"""The migration before those that this is about."""


@pytest.fixture
def owner(connection: Connection) -> Connection:
    """The tables' owner, with the key, and with two children in a table that nothing protects yet."""
    use_key(connection)
    connection.execute(CREATE)
    insert(connection, **CHILD)
    insert(connection, **ANOTHER)
    return connection


def found(connection: Connection, query: str) -> list[str]:
    rows = connection.execute("SELECT legal_name FROM app.search_demographics(%s) ORDER BY 1", [query])
    return [name for (name,) in rows]


# --- One way for all tables --------------------------------------------------------------------------------


def objects(connection: Connection, table: str) -> list[tuple[str, ...]]:
    """Return what protects a table: with its own name called ``TABLE``, wherever that occurs."""
    rows = connection.execute(
        """
        SELECT kind, name, definition FROM migrations.current_objects()
        WHERE table_name = %(table)s AND (kind = 'policy' OR name ~ '^(seal|index|audit)_.*|personal|_encrypted$|^name_tokens$')
        UNION ALL
        SELECT 'view', 'app', pg_get_viewdef(to_regclass('app.' || %(table)s))
        UNION ALL
        SELECT 'view trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = to_regclass('app.' || %(table)s)
        UNION ALL
        SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid) FROM pg_proc p
        WHERE p.pronamespace IN ('app'::regnamespace, 'privacy'::regnamespace)
          AND p.proname IN ('seal_' || %(table)s, 'update_' || %(table)s, 'index_names_of_' || %(table)s)
        ORDER BY 1, 2
        """,
        {"table": table},
    ).fetchall()
    return [tuple(str(part).replace(table, "TABLE") for part in row) for row in rows]


@pytest.mark.parametrize("table", [name for name, table in TABLES.items() if table.sealed_columns])
def test_a_copy_of_a_plan_table_becomes_what_that_table_is(connection: Connection, table: str) -> None:
    declared = TABLES[table]
    name = sql.Identifier(table)
    connection.execute(sql.SQL("CREATE TABLE copied (LIKE {}, PRIMARY KEY (id))").format(name))
    sealed = [column for column in declared.sealed_columns if column not in declared.kept_plain]
    made = [f"{column}_encrypted" for column in declared.sealed_columns]
    made += ["name_tokens"] if declared.searchable_columns else []
    for column in [*made, "_source_hash", "_export_columns_encrypted"]:
        connection.execute(sql.SQL("ALTER TABLE copied DROP COLUMN {}").format(sql.Identifier(column)))
    protect(connection, sealed, list(declared.searchable_columns), "copied")
    # What a copy cannot have: the address that is kept in plain as well, and a view in the old order of columns.
    if declared.kept_plain:
        connection.execute(
            "UPDATE privacy.protected_tables SET sealed = sealed || '{email}'::text[], kept_plain = '{email}' "
            "WHERE table_name = 'copied'"
        )
        connection.execute("ALTER TABLE copied ADD COLUMN email_encrypted BYTEA")
        connection.execute("SELECT privacy.make_guards('copied')")
    theirs = dict.fromkeys(objects(connection, table))
    assert [one for one in objects(connection, "copied") if one not in theirs] == []
    assert len(objects(connection, "copied")) == len(theirs) - 1  # _export_columns_encrypted is an import's


def test_the_plans_tables_were_what_the_shared_functions_make(migrated: DatabaseSettings) -> None:
    """The migration that brings them onto these functions changes nothing but who follows the index of names."""
    names = [name for name, table in TABLES.items() if table.sealed_columns]

    def made() -> list[tuple[str, ...]]:
        with database.connect(migrated) as connection:
            every = [(name, *one) for name in names for one in objects(connection, name)]
        return [one for one in every if not any("index_names" in part for part in one)]

    runner.downgrade(
        migrated, revision_before("protect_whole")
    )  # which has the views refuse an UPDATE without the key
    new = made()
    runner.downgrade(migrated, BEFORE)
    assert made() == new


def test_the_record_has_the_plans_tables_as_they_are_declared(connection: Connection) -> None:
    recorded = {one.name: one for one in protected.tables(connection)}
    assert recorded.keys() == {name for name, table in TABLES.items() if table.sealed_columns}
    for name, one in recorded.items():
        declared = TABLES[name]
        assert tuple(one.sealed) == declared.sealed_columns
        assert tuple(one.searched) == declared.searchable_columns
        assert tuple(one.kept_plain) == declared.kept_plain
        assert one.is_imported
        assert one.is_there


# --- Protecting --------------------------------------------------------------------------------------------


def test_what_is_there_is_sealed_and_shows_with_the_key_only(owner: Connection) -> None:
    before = shown(owner, "public.demographics")
    protect(owner)
    assert MARK not in stored(owner)
    assert shown(owner) == before
    use_key(owner, "")
    assert shown(owner) == [(None,) * len(PERSONAL)] * 2


def test_no_statistics_of_the_planner_keep_a_value(owner: Connection) -> None:
    owner.execute("INSERT INTO demographics (legal_name) SELECT %s FROM generate_series(1, 50)", [MARK])
    owner.execute("ANALYZE demographics")
    kept = "SELECT count(*) FROM pg_stats WHERE tablename = 'demographics' AND most_common_vals::text LIKE %s"
    assert database.value(owner, kept, [f"%{MARK}%"]) > 0
    protect(owner)
    assert database.value(owner, kept, [f"%{MARK}%"]) == 0


def test_what_comes_is_sealed_by_insert_update_and_the_view(owner: Connection) -> None:
    protect(owner)
    row = insert(owner, legal_name=f"Cleo {MARK}")
    owner.execute("UPDATE demographics SET remarks = %s WHERE id = %s", [f"new {MARK}", row])
    owner.execute(
        "UPDATE app.demographics SET guardian_name = %s, school = 'East' WHERE id = %s", [f"Di {MARK}", row]
    )
    values = ("legal_name", "remarks", "guardian_name", "school")
    query = sql.SQL("SELECT {} FROM app.demographics WHERE id = %s").format(
        sql.SQL(", ").join(map(sql.Identifier, values))
    )
    expected = (f"Cleo {MARK}", f"new {MARK}", f"Di {MARK}", "East")
    assert owner.execute(query, [row]).fetchone() == expected
    owner.execute("UPDATE app.demographics SET guardian_name = NULL WHERE id = %s", [row])
    assert owner.execute(query, [row]).fetchone() == (*expected[:2], None, "East")
    assert MARK not in stored(owner)


def test_a_value_belongs_to_its_column(owner: Connection) -> None:
    protect(owner)
    owner.execute("UPDATE demographics SET guardian_name_encrypted = legal_name_encrypted")
    assert {row[1] for row in shown(owner)} == {None}


def test_triggers_of_the_table_do_not_see_the_sealing(owner: Connection) -> None:
    owner.execute(
        "CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.grade := 99; RETURN NEW; END'"
    )
    owner.execute("CREATE TRIGGER grow BEFORE UPDATE ON demographics FOR EACH ROW EXECUTE FUNCTION grow()")
    lines = database.value(owner, "SELECT count(*) FROM audit.changes")
    protect(owner)
    release(owner)
    assert database.value(owner, "SELECT max(grade) FROM demographics") == 1
    assert database.value(owner, "SELECT count(*) FROM audit.changes") == lines


def test_a_key_is_needed_where_there_are_values_and_not_where_there_are_none(owner: Connection) -> None:
    use_key(owner, "")
    with (
        pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="no encryption key"),
        owner.transaction(),
    ):
        protect(owner)
    owner.execute("DELETE FROM demographics")
    protect(owner)
    insert(owner, school="North")
    with (
        pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="no encryption key"),
        owner.transaction(),
    ):
        insert(owner, legal_name=MARK)
    release(owner)


def test_protecting_again_changes_nothing_and_a_column_can_come_later(owner: Connection) -> None:
    protect(owner, ["legal_name"], ["legal_name"])
    once = structure(owner)
    protect(owner, ["legal_name"], ["legal_name"])
    protect(owner, [])
    assert structure(owner) == once
    protect(owner, ["guardian_name", "remarks", "born_on", "address"], ["guardian_name"])
    assert [name for name, *_ in shown(owner)] == [CHILD["legal_name"], ANOTHER["legal_name"]]
    assert found(owner, "jose") == [CHILD["legal_name"]]
    release(owner, ["guardian_name", "remarks", "born_on", "address"])
    assert structure(owner) == once
    assert found(owner, "jose") == []
    assert found(owner, "anne marigold") == [CHILD["legal_name"]]


def test_a_column_that_the_team_adds_shows_after_protecting_again(owner: Connection) -> None:
    protect(owner)
    owner.execute("ALTER TABLE demographics ADD COLUMN shoe_size INTEGER")
    protect(owner, [])
    owner.execute("UPDATE app.demographics SET shoe_size = 31")
    assert database.value(owner, "SELECT DISTINCT shoe_size FROM app.demographics") == 31
    owner.execute("DROP VIEW app.demographics CASCADE")
    owner.execute("ALTER TABLE demographics DROP COLUMN shoe_size")
    protect(owner, [])
    assert len(shown(owner)) == 2


def test_changes_are_in_the_audit_trail_with_sealed_old_values(owner: Connection) -> None:
    protect(owner)
    owner.execute("UPDATE demographics SET legal_name = 'New' WHERE legal_name_encrypted IS NOT NULL")
    rows = owner.execute(
        "SELECT changed_columns, privacy.unseal(before_encrypted, privacy.key('seal'))::jsonb ->> 'legal_name' "
        "FROM audit.changes WHERE table_name = 'demographics' AND action = 'UPDATE' ORDER BY 2"
    ).fetchall()
    assert rows == [(["legal_name"], CHILD["legal_name"]), (["legal_name"], ANOTHER["legal_name"])]


def test_ten_thousand_rows_in_one_statement(owner: Connection) -> None:
    protect(owner, search=SEARCHED)
    owner.execute(
        "INSERT INTO demographics (legal_name, born_on) "
        "SELECT 'Bulk ' || md5(n::text), '2015-01-01' FROM generate_series(1, 10000) n"
    )
    owner.execute("ANALYZE demographics")
    assert database.value(owner, "SELECT count(legal_name_encrypted) FROM demographics") == 10_002
    name = database.value(owner, "SELECT 'Bulk ' || md5('777')")
    assert found(owner, name) == [name]
    plan = owner.execute(
        "EXPLAIN (FORMAT JSON) SELECT * FROM app.demographics v WHERE v.id = ANY (ARRAY(SELECT gen_random_uuid()))"
    ).fetchone()
    assert "demographics_pkey" in str(plan)  # rows are found by key before anything is unsealed


# --- Searching ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("MARIGOLD anne", [CHILD["legal_name"]]),
        ("jose", [CHILD["legal_name"]]),
        ("mar* ann*", [CHILD["legal_name"]]),
        ("marigold", [CHILD["legal_name"], ANOTHER["legal_name"]]),
        ("gold", []),
        ("lives", []),  # of a column that is not searched
        ("", []),
    ],
)
def test_rows_are_found_by_words_and_beginnings(owner: Connection, query: str, names: list[str]) -> None:
    protect(owner, search=SEARCHED)
    assert found(owner, query) == names


def test_the_index_follows_the_names(owner: Connection) -> None:
    protect(owner, search=SEARCHED)
    owner.execute(
        "UPDATE demographics SET legal_name = 'Zoë Other', name_tokens = NULL WHERE guardian_name_encrypted IS NULL"
    )
    assert found(owner, "zoe") == ["Zoë Other"]
    use_key(owner, "")
    owner.execute("UPDATE demographics SET legal_name_encrypted = NULL, guardian_name_encrypted = NULL")
    assert database.value(owner, "SELECT count(name_tokens) FROM demographics") == 0


def test_a_search_and_what_it_shows_are_on_record(owner: Connection) -> None:
    protect(owner, search=SEARCHED)
    owner.execute("SELECT set_config('daybreak.person', 'Pat', true)")
    assert len(found(owner, "marigold")) == 2
    rows = owner.execute(
        "SELECT row_id IS NULL, rows_read, launched_by, privacy.unseal(before_encrypted, privacy.key('seal'))::jsonb ->> 'query' "
        "FROM audit.changes WHERE table_name = 'demographics' AND reading = 'app.search_demographics' ORDER BY id"
    ).fetchall()
    assert rows == [(True, 2, "Pat", "marigold"), *[(False, None, "Pat", None)] * 2]


@pytest.mark.parametrize(
    ("key", "query", "limit", "state"),
    [("", "bo", 5, "28000"), (KEY, "b*", 5, "22023"), (KEY, "bo", 0, "22023"), (KEY, "bo", 1001, "22023")],
)
def test_a_search_that_cannot_be_is_refused(
    owner: Connection, key: str, query: str, limit: int, state: str
) -> None:
    protect(owner, search=SEARCHED)
    use_key(owner, key)
    with pytest.raises(psycopg.Error) as refused, owner.transaction():
        owner.execute("SELECT * FROM app.search_demographics(%s, %s)", [query, limit])
    assert refused.value.sqlstate == state


# --- Releasing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [True, False])
def test_released_the_table_is_as_it_was(owner: Connection, watched: bool) -> None:
    owner.execute("COMMENT ON COLUMN demographics.legal_name IS 'As in the passport.'")
    if watched:
        owner.execute("SELECT audit.watch('demographics')")
    values, made = shown(owner, "public.demographics"), structure(owner)
    protect(owner, search=SEARCHED)
    assert structure(owner) != made
    release(owner)
    assert structure(owner) == made
    assert shown(owner, "public.demographics") == values
    assert protected.of_applications(owner) == []


COPIED = "UPDATE demographics SET remarks_encrypted = legal_name_encrypted"
TOO_LONG = (
    "UPDATE demographics SET legal_name_encrypted = privacy.seal(repeat('x', 101), privacy.key('seal'), "
    "privacy.tag('public.demographics', 'legal_name_encrypted')) WHERE guardian_name_encrypted IS NULL"
)
NO_KEY = "SELECT set_config('daybreak.encryption_key', '', true)"


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (COPIED, "2 of 2 values of column remarks of table demographics"),
        (TOO_LONG, "1 of 2 values of column legal_name of table demographics"),
        (NO_KEY, "no encryption key, so the 2 values of column legal_name"),
    ],
)
def test_a_value_that_would_be_lost_keeps_everything_as_it_is(
    owner: Connection, before: str, told: str
) -> None:
    protect(owner)
    made = structure(owner)
    owner.execute(before.encode())
    with pytest.raises(psycopg.Error, match=rf"{told}.*nothing was changed"), owner.transaction():
        release(owner)
    use_key(owner)
    assert structure(owner) == made
    assert database.value(owner, "SELECT count(legal_name_encrypted) FROM demographics") == 2


def test_another_key_than_the_databases_seals_and_releases_nothing(session: Connection) -> None:
    session.execute(CREATE)
    protect(session, ["legal_name"])
    insert(session, legal_name=MARK, school="East")
    session.execute(
        "INSERT INTO privacy.key_check (check_value) VALUES (privacy.sub_key(privacy.root_key(%s), 'check'))",
        [KEY],
    )
    use_key(session, WRONG)
    refusal = pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="not the one")
    with refusal, session.transaction():
        release(session)
    with refusal, session.transaction():
        protect(session, ["school"])
    use_key(session, KEY)
    assert session.execute("SELECT legal_name, school FROM app.demographics").fetchall() == [(MARK, "East")]


# --- Tables of the plan, dropped tables, rollback, dumps ------------------------------------------------------


def test_one_that_was_dropped_and_made_again_is_protected_again(owner: Connection) -> None:
    protect(owner)
    owner.execute("DROP TABLE demographics CASCADE")
    owner.execute(CREATE)
    protect(owner, search=SEARCHED)
    insert(owner, **CHILD)
    assert MARK not in stored(owner)
    assert found(owner, "anne") == [CHILD["legal_name"]]


def test_a_column_of_a_plan_table_is_protected_the_same_way(owner: Connection) -> None:
    owner.execute("ALTER TABLE clinicians ADD COLUMN fax TEXT")
    before = structure(owner, "clinicians")
    insert(owner, "clinicians", fax=MARK, first_name="Ava")
    protect(owner, ["fax"], table="clinicians")
    assert owner.execute("SELECT fax, first_name FROM app.clinicians").fetchall() == [(MARK, "Ava")]
    release(owner, ["fax"], "clinicians")
    assert owner.execute("SELECT fax, first_name FROM app.clinicians").fetchall() == [(MARK, "Ava")]
    assert structure(owner, "clinicians") == before


def test_the_rollback_of_the_migration_waits_for_the_tables_of_applications(
    migrated: DatabaseSettings,
) -> None:
    with database.connect(migrated) as connection:
        connection.execute(CREATE)
        protect(connection)
    with pytest.raises(Exception, match=r"protected, and would not be any longer: demographics"):
        runner.downgrade(migrated, BEFORE)
    with database.connect(migrated) as connection:
        release(connection)
    runner.downgrade(migrated, BEFORE)


def test_a_dump_holds_no_value(migrated: DatabaseSettings, databases: Databases) -> None:
    with database.connect(migrated, key=KEY) as connection:
        connection.execute(CREATE)
        insert(connection, **CHILD)
        protect(connection, search=SEARCHED)
        insert(connection, **ANOTHER)
    dump = subprocess.run(
        [programs.find() / "pg_dump", "--enable-row-security", f"--dbname={migrated.conninfo()}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "legal_name_encrypted" in dump
    assert MARK not in dump
    with databases.copy() as other:
        subprocess.run(
            [programs.find() / "psql", "-q", f"--dbname={other.conninfo()}"],
            input=dump, check=True, capture_output=True, text=True,
        )  # fmt: skip
        with database.connect(other, key=KEY) as connection:
            assert found(connection, "anne marie") == [CHILD["legal_name"]]


def test_nobody_but_the_owner_may_call_any_of_it(connection: Connection) -> None:
    """Before roles are applied, too: what a migration makes is open to everybody unless it says otherwise."""
    open_: list[Any] = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'privacy'::regnamespace "
        "AND p.proname ~ '^(protect|release|refuse_|make_|drop_guards|seal_columns|seal_strays|open_columns|index_rows|take_away|"
        "add_what|rows_called|names_of|object_name|column_type)' AND has_function_privilege('public', p.oid, 'EXECUTE')"
    ).fetchall()
    assert open_ == []


@pytest.fixture(autouse=True)
def _nothing_is_left(connection: Connection) -> Iterator[None]:
    yield
    connection.rollback()
    assert database.value(connection, "SELECT to_regclass(%s)", [TABLE]) is None
