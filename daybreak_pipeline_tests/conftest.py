"""One embedded server for all tests, and a freshly migrated database for each test that writes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export
from daybreak_pipeline_tests.homes import server_home

KEY = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"
"""An encryption key for tests; it protects nothing."""

# pytest --hypothesis-profile=many: for hours in which nobody waits.
hypothesis.settings.register_profile("many", max_examples=2000)

_NAMES = (f"test_{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """A command that runs in this process closes its files to others: tests do not inherit that from each other."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own DB_HOST or DAYBREAK_HOME must never be tested on."""
    forget_settings(monkeypatch)


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every setting out of the environment; fixtures of a module, which come before the above, call it too."""
    for name in list(os.environ):
        if name.startswith(("DB_", "DAYBREAK_", "DAGSTER_")) or name in {
            "ENCRYPTION_KEY",
            "NEW_ENCRYPTION_KEY",
            "NODE_ENV",
            "POOL_SIZE",
            "MAX_CLIENTS",
        }:
            monkeypatch.delenv(name)


@contextmanager
def _served() -> Iterator[DatabaseSettings]:
    with server_home() as home, embedded_server.serve(home) as settings:
        yield settings


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseSettings]:
    """The embedded server, in a home of its own."""
    with _served() as settings:
        yield settings


@pytest.fixture
def own_server() -> Iterator[DatabaseSettings]:
    """A server that the test may kill, with the schema."""
    with _served() as settings:
        runner.upgrade(settings)
        yield settings


@pytest.fixture(scope="session")
def template(server: DatabaseSettings) -> DatabaseSettings:
    """A migrated database without rows, which others are copied from."""
    settings = replace(server, name="template_migrated")
    _administer(server, "CREATE DATABASE {}", settings.name)
    runner.upgrade(settings)
    return settings


@pytest.fixture
def migrated(server: DatabaseSettings, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A migrated database of the test's own."""
    settings = replace(server, name=next(_NAMES))
    _administer(server, "CREATE DATABASE {} TEMPLATE {}", settings.name, template.name)
    try:
        yield settings
        _check_imports(settings)
    finally:
        _administer(server, "DROP DATABASE {} WITH (FORCE)", settings.name)


@pytest.fixture
def empty(server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database of the test's own without any schema."""
    settings = replace(server, name=next(_NAMES))
    _administer(server, "CREATE DATABASE {}", settings.name)
    yield settings
    _administer(server, "DROP DATABASE {} WITH (FORCE)", settings.name)


@pytest.fixture(scope="session")
def _shared(server: DatabaseSettings, template: DatabaseSettings) -> DatabaseSettings:
    settings = replace(server, name="shared")
    _administer(server, "CREATE DATABASE {} TEMPLATE {}", settings.name, template.name)
    return settings


@pytest.fixture
def connection(_shared: DatabaseSettings) -> Iterator[Connection]:
    """A connection to a migrated database that tests share: what it does is rolled back."""
    with psycopg.connect(_shared.conninfo()) as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def session(migrated: DatabaseSettings) -> Iterator[Connection]:
    """A connection that holds the key, to a database of the test's own."""
    with database.connect(migrated, key=KEY) as opened:
        yield opened


@pytest.fixture
def export(tmp_path: Path, session: Connection) -> Export:
    """An export directory to write files into and import from, into a database of the test's own."""
    directory = tmp_path / "export"
    directory.mkdir()
    return Export(directory, session)


def _check_imports(settings: DatabaseSettings) -> None:
    """Whatever a test did: every record of every import is accounted for, and no working table is left."""
    with psycopg.connect(settings.conninfo()) as reader:
        if reader.execute("SELECT to_regclass('ingest.imports')").fetchone() == (None,):
            return  # a test of the migrations took the ledger away
        unaccounted = reader.execute(
            """
            SELECT id, table_name, status FROM ingest.imports
            WHERE rows_read <> rows_inserted + rows_updated + rows_unchanged + rows_stale + rows_duplicate
                               + rows_skipped_deleted + rows_blank + rows_quarantined
               OR status <> 'imported' AND rows_read + field_issues > 0
            """
        ).fetchall()
        left = reader.execute(
            """
            -- All working tables are unlogged, and nothing else is.
            SELECT relname::text FROM pg_class
            WHERE relnamespace = 'ingest'::regnamespace AND relkind IN ('r', 'v') AND relpersistence = 'u'
            """
        ).fetchall()
    assert (unaccounted, left) == ([], [])


def _administer(server: DatabaseSettings, statement: str, *names: str) -> None:
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as administrator:
        identifiers = [sql.Identifier(name) for name in names]
        administrator.execute(sql.SQL(statement).format(*identifiers))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--write-golden`` writes golden files again, to be read and committed."""
    parser.addoption(
        "--write-golden", action="store_true", help="write the golden files of the importer's SQL again"
    )
