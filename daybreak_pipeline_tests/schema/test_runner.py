"""How migrations are run: each in a transaction of its own, one after another, whoever runs them and whatever happens."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three small migrations."""
    for number, table in enumerate(("one", "two", "three"), 1):
        (tmp_path / f"{number:03d}_{table}.sql").write_text(f"CREATE TABLE {table} (id int);\n")
        (tmp_path / f"{number:03d}_{table}.rollback.sql").write_text(f"DROP TABLE {table};\n")
    return tmp_path


def revision(settings: DatabaseSettings) -> str | None:
    with database.connect(settings) as connection:
        return runner.current_revision(connection)


def tables(settings: DatabaseSettings) -> list[str]:
    with database.connect(settings) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


def names(done: list[runner.Migration]) -> list[str]:
    return [migration.name for migration in done]


def test_migrations_are_applied_in_order_and_rolled_back_in_reverse(
    empty: DatabaseSettings, three: Path
) -> None:
    assert names(runner.upgrade(empty, "2", directory=three)) == ["one", "two"]
    assert revision(empty) == "002"
    assert names(runner.upgrade(empty, directory=three)) == ["three"]
    assert names(runner.upgrade(empty, directory=three)) == []
    assert names(runner.downgrade(empty, "1", directory=three)) == ["three", "two"]
    assert (revision(empty), tables(empty)) == ("001", ["one"])
    assert names(runner.downgrade(empty, "0", directory=three)) == ["one"]
    assert (revision(empty), tables(empty)) == (None, [])


def test_a_target_that_is_behind_changes_nothing(empty: DatabaseSettings, three: Path) -> None:
    runner.upgrade(empty, directory=three)
    assert runner.upgrade(empty, "1", directory=three) == []
    assert runner.downgrade(empty, "3", directory=three) == []
    assert revision(empty) == "003"


def test_going_back_to_a_migration_that_is_not_applied_is_refused(
    empty: DatabaseSettings, three: Path
) -> None:
    runner.upgrade(empty, "1", directory=three)
    with pytest.raises(UsageError, match="migration 003 is not applied: the database has 001"):
        runner.downgrade(empty, "3", directory=three)
    assert revision(empty) == "001"


def test_a_migration_that_fails_leaves_those_before_it_applied(empty: DatabaseSettings, three: Path) -> None:
    (three / "003_three.sql").write_text("CREATE TABLE three (id int);\nSELECT nothing;\n")
    with pytest.raises(
        UsageError, match=r'003_three\.sql, line 2: column "nothing" does not exist .* nothing of it was done'
    ):
        runner.upgrade(empty, directory=three)
    assert (revision(empty), tables(empty)) == ("002", ["one", "two"])


def test_a_database_that_alembic_has_migrated_goes_on_where_it_was(
    empty: DatabaseSettings, three: Path
) -> None:
    with database.connect(empty) as connection:
        connection.execute("CREATE SCHEMA migrations; CREATE TABLE one (id int)")
        connection.execute(
            "CREATE TABLE migrations.alembic_version "
            "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        connection.execute("INSERT INTO migrations.alembic_version VALUES ('001')")
    assert names(runner.upgrade(empty, directory=three)) == ["two", "three"]


def test_several_commands_at_once_apply_each_migration_once(empty: DatabaseSettings, three: Path) -> None:
    for path in three.glob("*[a-z].sql"):
        if "rollback" not in path.name:
            path.write_text(path.read_text() + "SELECT pg_sleep(0.05);\n")
    begin = threading.Barrier(4)

    def migrate() -> list[str]:
        begin.wait()
        return names(runner.upgrade(empty, directory=three))

    with ThreadPoolExecutor(4) as commands:
        done = [name for command in [commands.submit(migrate) for _ in range(4)] for name in command.result()]
    assert sorted(done) == ["one", "three", "two"]
    assert tables(empty) == ["one", "three", "two"]


def test_a_killed_command_leaves_the_migration_undone_and_no_lock(
    empty: DatabaseSettings, three: Path
) -> None:
    (three / "002_two.sql").write_text("CREATE TABLE two (id int);\nSELECT pg_sleep(60);\n")
    with (
        ThreadPoolExecutor(1) as commands,
        psycopg.connect(empty.conninfo(), autocommit=True) as administrator,
    ):
        command = commands.submit(runner.upgrade, empty, directory=three)
        sleeping = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'daybreak migrate' AND wait_event = 'PgSleep' AND datname = current_database()"
        )
        while not administrator.execute(sleeping).fetchall():
            pass
        with pytest.raises(Exception, match="002"):
            command.result()
    assert (revision(empty), tables(empty)) == ("001", ["one"])
    (three / "002_two.sql").write_text("CREATE TABLE two (id int);\n")
    assert names(runner.upgrade(empty, directory=three)) == ["two", "three"]


def test_a_newer_database_is_left_alone(empty: DatabaseSettings, three: Path) -> None:
    runner.upgrade(empty, directory=three)
    for kind in ("", ".rollback"):
        (three / f"003_three{kind}.sql").unlink()
    with pytest.raises(UsageError, match="the database has migration 003, this program knows up to 002"):
        runner.upgrade(empty, directory=three)
    assert tables(empty) == ["one", "three", "two"]


def test_a_login_that_may_create_nothing_is_told_what_it_needs(empty: DatabaseSettings, three: Path) -> None:
    with psycopg.connect(empty.conninfo(), autocommit=True) as administrator:
        administrator.execute("CREATE ROLE newcomer LOGIN PASSWORD 'secret'")
    try:
        with pytest.raises(UsageError, match="user newcomer may not create a schema in database"):
            runner.upgrade(replace(empty, user="newcomer", password="secret"), directory=three)
    finally:
        with psycopg.connect(empty.conninfo(), autocommit=True) as administrator:
            administrator.execute("DROP ROLE newcomer")
