"""The way back, rehearsed on a database full of data: every migration is undone, one by one, and applied again.

What was there before a migration is there after its rollback. What a migration itself has added goes with it: the sealed
values with the columns they are in, the ledger with its tables.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.privacy import keys, sealed_faults
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import SAMPLE, DatabaseSettings
from daybreak_pipeline.tables import TABLES, import_order
from daybreak_pipeline_tests.conftest import KEY

pytestmark = pytest.mark.slow

TABLES_COME = "002"
SEALED_FROM = "007"
_PLAIN = """
    SELECT column_name::text FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND NOT starts_with(column_name, '_')
      AND column_name <> ALL (%s)
    ORDER BY 1
"""

Contents = dict[str, tuple[int, str]]
"""By table: how many rows it has, and a checksum of what they hold, whatever their order."""


def plain_columns(db: DatabaseSettings) -> dict[str, list[str]]:
    """Return the columns that are stored in plain, by table."""
    with database.connect(db) as connection:
        found = {}
        for name, table in TABLES.items():
            hidden = [
                *table.sealed_columns,
                *(f"{column}_encrypted" for column in table.sealed_columns),
                "name_tokens",
            ]
            # A write of any kind has a time of its own, and an opened value is rounded when it is sealed again.
            rows = connection.execute(_PLAIN, [name, [*hidden, "updated_at"]])
            found[name] = [str(column) for (column,) in rows]
        return found


def contents(db: DatabaseSettings, columns: dict[str, list[str]]) -> Contents:
    """Return the rows of every table in these columns."""
    query = """
        SELECT count(*)::int, coalesce(sum(hashtextextended(ROW({columns})::text, 0)), 0)::text FROM public.{table}
    """
    with database.connect(db) as connection:
        found = {}
        for name, wanted in columns.items():
            listed = sql.SQL(", ").join(map(sql.Identifier, wanted))
            row = connection.execute(
                sql.SQL(query).format(columns=listed, table=sql.Identifier(name))
            ).fetchone()
            assert row is not None
            found[name] = (int(row[0]), str(row[1]))
        return found


def sealed(db: DatabaseSettings) -> dict[str, tuple[int, int]]:
    """Return how many sealed values each column has, and how many of them do not open with the key."""
    with database.connect(db, key=KEY) as connection:
        assert keys.state(connection).fits
        found = {}
        for name in TABLES:
            catalog = catalogs.read(connection, name)
            for column in (one.name for one in catalog.columns if one.name in catalog.sealed):
                stored = sql.Identifier(f"{column}_encrypted")
                query = sql.SQL(
                    "WITH held AS MATERIALIZED (SELECT privacy.required_key('seal') AS key) "
                    "SELECT count({0})::int, count({fault})::int FROM public.{1}, held WHERE {0} IS NOT NULL"
                ).format(stored, sql.Identifier(name), fault=sealed_faults.fault(catalog, column, stored))
                row = connection.execute(query).fetchone()
                assert row is not None
                found[f"{name}.{column}"] = (int(row[0]), int(row[1]))
        return found


def load(db: DatabaseSettings) -> dict[str, str]:
    with database.connect(db, key=KEY, autocommit=True) as session:
        keys.verify(session)
        return {name: import_table(session, name, SAMPLE).status for name in import_order()}


def at(db: DatabaseSettings) -> str | None:
    with database.connect(db) as connection:
        return runner.current_revision(connection)


def test_every_row_survives_the_way_down_and_up_again(migrated: DatabaseSettings) -> None:
    assert set(load(migrated).values()) == {"imported"}
    columns = plain_columns(migrated)
    full, personal = contents(migrated, columns), sealed(migrated)
    assert sum(rows for rows, _ in full.values()) > 500
    assert sum(stored for stored, _ in personal.values()) > 100
    assert {faults for _, faults in personal.values()} == {0}

    known = [migration.revision for migration in runner.migrations()]
    way_down = [revision for revision in reversed(known) if revision >= TABLES_COME]
    for before, after in pairwise(way_down):
        runner.downgrade(migrated, after, key=KEY)
        assert at(migrated) == after
        assert contents(migrated, columns) == full, f"the rollback of {before} has changed rows"
        if after == SEALED_FROM:
            runner.upgrade(migrated, key=KEY)
            assert sealed(migrated) == personal, "personal values did not survive"
            assert contents(migrated, columns) == full
            runner.downgrade(migrated, after, key=KEY)

    runner.upgrade(migrated, key=KEY)
    assert contents(migrated, columns) == full
    with database.connect(migrated, key=KEY) as connection:
        assert (
            keys.state(connection).fits is None
        )  # the sealed values are gone with their columns, as the rollback says

    runner.downgrade(migrated, "0", key=KEY)
    runner.upgrade(migrated, key=KEY)
    assert set(load(migrated).values()) == {"imported"}
    again = {name: rows for name, (rows, _) in contents(migrated, columns).items()}
    assert again == {name: rows for name, (rows, _) in full.items()}
    assert sealed(migrated) == personal
