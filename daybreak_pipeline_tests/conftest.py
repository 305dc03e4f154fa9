"""One embedded server for all tests, and a freshly migrated database for each test that writes."""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
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
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings, own_environment
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
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", "none")  # tests of backups turn them on


@contextmanager
def _served() -> Iterator[DatabaseSettings]:
    """Yield a server with a small cache: making and dropping a database looks through all of it, several times."""
    with (
        pytest.MonkeyPatch.context() as patch,
        own_environment(DAYBREAK_BACKUP_REPO="none"),
        server_home() as home,
    ):
        patch.setattr(data_directory, "_shared_buffers", lambda: 128)
        with embedded_server.serve(home) as settings:
            _log_in_quickly(settings)
            yield settings


def _log_in_quickly(settings: DatabaseSettings) -> None:
    """Store the same password hashed once, not 4,096 times over: tests log in some ten thousand times."""
    salted = hashlib.pbkdf2_hmac("sha256", settings.password.encode(), salt := bytes(16), iterations=1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    kept = [
        base64.b64encode(part).decode()
        for part in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    ]
    verifier = "SCRAM-SHA-256$1:{}${}:{}".format(*kept)
    with psycopg.connect(settings.conninfo()) as administrator:
        administrator.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(settings.user), sql.Literal(verifier))
        )


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


class Databases:
    """Makes and drops databases of a server, over one connection: logging in takes as long as dropping."""

    def __init__(self, server: DatabaseSettings, administrator: Connection) -> None:
        self._server = server
        self._administrator = administrator

    @contextmanager
    def copy(self, template: str = "template1", name: str | None = None) -> Iterator[DatabaseSettings]:
        """Yield a copy of a database, dropped afterwards."""
        settings = replace(self._server, name=name or next(_NAMES))
        # By default the server writes each page of the copy into its log, too.
        files = " STRATEGY FILE_COPY" if self._administrator.info.server_version >= 150_000 else ""
        self._execute("CREATE DATABASE {} TEMPLATE {}" + files, settings.name, template)
        try:
            yield settings
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", settings.name)

    def _execute(self, statement: str, *names: str) -> None:
        self._administrator.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(scope="session")
def databases(server: DatabaseSettings) -> Iterator[Databases]:
    """What makes databases on the server that tests share."""
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as administrator:
        yield Databases(server, administrator)


@pytest.fixture(scope="session")
def template(databases: Databases) -> Iterator[DatabaseSettings]:
    """A migrated database without rows, which others are copied from."""
    with databases.copy(name="template_migrated") as settings:
        runner.upgrade(settings)
        yield settings


@pytest.fixture
def migrated(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A migrated database of the test's own."""
    with databases.copy(template.name) as settings:
        yield settings
        _check_imports(settings)


@pytest.fixture
def empty(databases: Databases) -> Iterator[DatabaseSettings]:
    """A database of the test's own without any schema."""
    with databases.copy() as settings:
        yield settings


@pytest.fixture(scope="session")
def _shared(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with databases.copy(template.name, "shared") as settings:
        yield settings


@pytest.fixture(scope="session")
def _shared_connection(_shared: DatabaseSettings) -> Iterator[Connection]:
    with psycopg.connect(_shared.conninfo()) as opened:
        yield opened


@pytest.fixture
def connection(_shared_connection: Connection) -> Iterator[Connection]:
    """A connection to a migrated database, both of which tests share: what it does is rolled back."""
    yield _shared_connection
    _shared_connection.rollback()


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


def pytest_collection_finish() -> None:
    """Keep Python from looking for garbage among thousands of collected tests and all that they import."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--write-golden`` writes golden files again, to be read and committed."""
    parser.addoption(
        "--write-golden", action="store_true", help="write the golden files of the importer's SQL again"
    )
