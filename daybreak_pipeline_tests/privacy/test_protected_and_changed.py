"""A protected table that somebody changes by hand: no value is lost, none is stored in plain, and none stays of a person."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import erasure, keys, plain_values
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.privacy.demographics import (
    ANOTHER,
    CHILD,
    CREATE,
    MARK,
    SEARCHED,
    insert,
    protect,
    release,
    stored,
    use_key,
)


@pytest.fixture
def owner(connection: Connection) -> Connection:
    """The tables' owner, with the key, and with two children in a protected table."""
    use_key(connection)
    connection.execute(CREATE)
    protect(connection, search=SEARCHED)
    insert(connection, **CHILD, school="East")
    insert(connection, **ANOTHER)
    return connection


UNGUARDED = (
    "ALTER TABLE demographics DROP CONSTRAINT personal_columns_are_sealed",
    "ALTER TABLE demographics DISABLE TRIGGER seal_personal_data_on_insert",
)
CHANGES = (
    ("ALTER TABLE demographics RENAME legal_name TO full_name", "no column legal_name any more"),
    (
        "ALTER TABLE demographics RENAME legal_name_encrypted TO sealed",
        "no column legal_name_encrypted any more",
    ),
    (
        "ALTER TABLE demographics DROP COLUMN legal_name CASCADE, DROP COLUMN legal_name_encrypted CASCADE",
        "no column legal_name, legal_name_encrypted any more",
    ),
)
CALLS = (
    "SELECT privacy.protect('demographics')",
    "SELECT privacy.protect('demographics', '{school}')",
    "SELECT privacy.release('demographics')",
    "SELECT privacy.release('demographics', '{legal_name}')",
    "SELECT privacy.release('demographics', '{remarks}')",
)


@pytest.mark.parametrize(("change", "told"), CHANGES, ids=[told for _, told in CHANGES])
def test_a_protected_column_that_was_renamed_or_dropped_is_not_taken_for_none(
    owner: Connection, change: str, told: str
) -> None:
    owner.execute(change.encode())
    for call in CALLS:
        refused = pytest.raises(psycopg.errors.RaiseException, match=told)
        with refused, owner.transaction():
            owner.execute(call.encode())
    with pytest.raises(UsageError, match=f"the protected table demographics has {told}"):
        plain_values.require_none(owner)


def test_a_table_whose_only_protected_column_lost_its_twin_stays_protected(connection: Connection) -> None:
    use_key(connection)
    connection.execute("CREATE TABLE kids (id INTEGER PRIMARY KEY, name TEXT, note TEXT)")
    protect(connection, ["name"], table="kids")
    connection.execute("ALTER TABLE kids RENAME name_encrypted TO sealed")
    with pytest.raises(psycopg.errors.RaiseException, match="no column name_encrypted any more"):
        protect(connection, ["note"], table="kids")


def test_the_key_that_seals_the_rows_is_the_databases_from_then_on(connection: Connection) -> None:
    """Also where nothing was imported yet, which would have put the key on record."""
    assert database.value(connection, "SELECT count(*) FROM privacy.key_check") == 0
    use_key(connection)
    connection.execute(CREATE)
    insert(connection, **CHILD)
    protect(connection)
    use_key(connection, KEY[::-1])
    refused = pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="not the one")
    with refused, connection.transaction():
        insert(connection, **ANOTHER)


def test_given_its_name_again_the_column_is_released_whole(owner: Connection) -> None:
    owner.execute("ALTER TABLE demographics RENAME legal_name TO full_name")
    owner.execute("ALTER TABLE demographics RENAME full_name TO legal_name")
    release(owner)
    names = owner.execute("SELECT legal_name FROM public.demographics ORDER BY 1").fetchall()
    assert names == [(CHILD["legal_name"],), (ANOTHER["legal_name"],)]


def test_what_came_in_plain_meanwhile_is_released_with_the_others(owner: Connection) -> None:
    for statement in UNGUARDED:
        owner.execute(statement.encode())
    insert(owner, legal_name=f"Cleo {MARK}")
    release(owner)
    names = [name for (name,) in owner.execute("SELECT legal_name FROM public.demographics ORDER BY 1")]
    assert names == [CHILD["legal_name"], ANOTHER["legal_name"], f"Cleo {MARK}"]


def test_what_came_in_plain_meanwhile_leaves_the_planners_statistics(owner: Connection) -> None:
    for statement in UNGUARDED:
        owner.execute(statement.encode())
    for _ in range(3):
        insert(owner, legal_name=f"Cleo {MARK}")
    owner.execute("ANALYZE demographics")
    statistics = "SELECT string_agg(s::text, '') FROM pg_stats s WHERE tablename = 'demographics'"
    assert MARK in database.value(owner, statistics)
    protect(owner, [])
    assert MARK not in stored(owner)
    assert MARK not in database.value(owner, statistics)


@pytest.mark.parametrize("table", ["demographics", "clinicians"])
def test_without_the_key_a_view_does_not_say_that_it_has_erased(owner: Connection, table: str) -> None:
    """What it cannot read looks empty already, so nothing would be written."""
    column = "remarks" if table == "demographics" else "phone"
    insert(owner, table, **{column: MARK})
    emptied = f"UPDATE app.{table} SET {column} = NULL"  # noqa: S608 - ours
    use_key(owner, "")
    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification), owner.transaction():
        owner.execute(emptied.encode())
    use_key(owner)
    owner.execute(emptied.encode())
    left = f"SELECT count({column}_encrypted) FROM {table}"  # noqa: S608 - ours
    assert database.value(owner, left) == 0


# --- Erasing what a table had under another name ------------------------------------------------------------


@pytest.fixture
def kept(migrated: DatabaseSettings) -> Iterator[Connection]:
    """The tables' owner, outside a transaction, and a child whose name was corrected."""
    with database.connect(migrated, key=KEY, autocommit=True) as opened:
        keys.verify(opened)
        opened.execute(CREATE)
        protect(opened)
        insert(opened, **CHILD, school="East")
        opened.execute("UPDATE app.demographics SET legal_name = 'Anne'")
        yield opened


@pytest.mark.parametrize(
    ("rename", "table", "column"),
    [
        ("ALTER TABLE demographics RENAME TO children", "children", "legal_name"),
        ("ALTER TABLE demographics RENAME legal_name TO full_name", "demographics", "full_name"),
    ],
)
def test_old_values_under_another_name_are_erased_too(
    kept: Connection, rename: str, table: str, column: str
) -> None:
    """As the page says to rename: released, renamed, and protected again."""
    release(kept)
    kept.execute(rename.encode())
    protect(kept, [column, "guardian_name"], table=table)
    row = database.value(kept, f"SELECT id::text FROM {table}")  # noqa: S608 - ours
    assert erasure.find(kept, table, row).changes > 0
    assert erasure.erase(kept, table, row).changes > 0
    opened = kept.execute(
        "SELECT string_agg(privacy.unseal(before_encrypted, privacy.key('seal')), ' ') FROM audit.changes"
    ).fetchone()
    assert MARK not in str(opened)


def test_a_row_of_another_table_keeps_its_old_values(kept: Connection) -> None:
    row = database.value(kept, "SELECT id::text FROM demographics")
    kept.execute("CREATE TABLE others (id UUID PRIMARY KEY, note TEXT)")
    protect(kept, ["note"], table="others")
    insert(kept, "others", id=row, note="n")
    erasure.erase(kept, "others", row)
    opened = kept.execute(
        "SELECT string_agg(privacy.unseal(before_encrypted, privacy.key('seal')), ' ') FROM audit.changes"
    ).fetchone()
    assert MARK in str(opened)
