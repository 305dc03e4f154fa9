"""The extension that counts statements: in a schema of its own, where the role may make it, and for those who monitor."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings

BEFORE = "034"
PLACE = (
    "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'pg_stat_statements'"
)


@pytest.fixture(autouse=True)
def _library() -> None:
    if not programs.has_library(programs.find(), "pg_stat_statements"):
        pytest.skip("this server has no pg_stat_statements")


def place(settings: DatabaseSettings) -> str | None:
    with database.connect(settings) as connection:
        found: str | None = database.value(connection, PLACE)
        return found


def test_only_who_monitors_may_look_at_statements(migrated: DatabaseSettings) -> None:
    assert place(migrated) == "statements"
    with database.connect(migrated) as connection:
        connection.execute("CREATE ROLE watcher; CREATE ROLE passer_by; GRANT pg_monitor TO watcher")
        connection.execute("SET LOCAL ROLE watcher")
        assert database.value(connection, "SELECT count(*) > 0 FROM statements.pg_stat_statements")
        connection.execute("SET LOCAL ROLE passer_by")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM statements.pg_stat_statements")
        connection.rollback()


def test_the_rollback_takes_it_away_and_the_migration_brings_it_back(migrated: DatabaseSettings) -> None:
    runner.downgrade(migrated, BEFORE)
    assert place(migrated) is None
    with database.connect(migrated) as connection:
        assert database.value(connection, "SELECT to_regnamespace('statements') IS NULL")
    runner.upgrade(migrated)
    assert place(migrated) == "statements"


def test_an_administrators_own_stays_where_it_is(migrated: DatabaseSettings) -> None:
    runner.downgrade(migrated, BEFORE)
    with database.connect(migrated, autocommit=True) as administrator:
        administrator.execute("CREATE EXTENSION pg_stat_statements")
    runner.upgrade(migrated)
    assert place(migrated) == "public"
    runner.downgrade(migrated, BEFORE)
    assert place(migrated) == "public"


def test_an_owner_who_may_not_make_it_migrates_all_the_same(empty: DatabaseSettings) -> None:
    with database.connect(empty, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'test'")
        administrator.execute(f'ALTER DATABASE "{empty.name}" OWNER TO plain_owner'.encode())
        administrator.execute("ALTER SCHEMA public OWNER TO plain_owner")
    owner = replace(empty, user="plain_owner", password="test")
    try:
        runner.upgrade(owner)
        assert place(owner) is None
        with database.connect(owner) as connection:
            assert database.value(connection, "SELECT to_regnamespace('statements') IS NULL")
    finally:
        with database.connect(empty, autocommit=True) as administrator:
            administrator.execute("REASSIGN OWNED BY plain_owner TO CURRENT_USER")
            administrator.execute("DROP OWNED BY plain_owner")
            administrator.execute("DROP ROLE plain_owner")
