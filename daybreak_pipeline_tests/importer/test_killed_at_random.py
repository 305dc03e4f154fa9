"""The importer, or the server under it, killed at random moments: the table is as before or as after, never between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record

pytestmark = pytest.mark.slow

RECORDS = 2000
KILLS = 50
SERVER_KILLS = 5
_IMPORT = """
import sys
from pathlib import Path
from daybreak_pipeline import database, settings
from daybreak_pipeline.importer.run import import_table

connection = database.connect(settings.given_database(), key=sys.argv[2])
print("ready", flush=True)
import_table(connection, "documents", Path(sys.argv[1]))
"""


def _write(export: Export, version: int) -> None:
    """Write the export's next version: every record changed, some new, some bad."""
    records = [record("documents", f"{number}", label=f"v{version}") for number in range(RECORDS)]
    bad = record("documents", "bad", label=None, version=str(version))
    export.write("documents", *records, record("documents", f"new {version}", label=f"v{version}"), bad)


def _start(export: Export, settings: DatabaseSettings) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _IMPORT, str(export.directory), KEY],
        env={**os.environ, **settings.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    return child


def _version(connection: database.Connection) -> int:
    """Return which version the table, the ledger and the quarantine all hold.

    The old version's extra rows stay; of the records that all versions share, none may differ.
    """
    shared = connection.execute(
        "SELECT label, count(*) FROM documents WHERE _record_number <= %s GROUP BY label", [RECORDS]
    ).fetchall()
    assert len(shared) == 1, shared
    label, number = shared[0]
    assert number == RECORDS
    version = int(label.removeprefix("v"))
    kept = connection.execute(
        "SELECT privacy.unseal(record_encrypted, privacy.key('seal'))::jsonb ->> 'version' FROM ingest.quarantine"
    ).fetchall()
    assert kept == [(str(version),)]
    written = connection.execute(
        "SELECT i.rows_inserted + i.rows_updated, (SELECT count(*) FROM documents d WHERE d._import_id = i.id) "
        "FROM ingest.imports i WHERE i.status = 'imported' ORDER BY i.id DESC LIMIT 1"
    ).fetchone()
    assert written == (RECORDS + 1, RECORDS + 1)
    left = connection.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relname LIKE '%documents' "
        "AND relname NOT LIKE 'tombstones%'"
    ).fetchone()
    assert left == (0,)
    connection.rollback()
    return version


def _wait_for_its_session(connection: database.Connection) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = connection.execute(query).fetchone()
        connection.rollback()
        if found == (0,):
            return
        time.sleep(0.01)
    pytest.fail("the killed import's session is still there")


def test_the_importer_killed_at_fifty_random_moments(export: Export, migrated: DatabaseSettings) -> None:
    _write(export, 0)
    begun = time.monotonic()
    export.load("documents")
    export.connection.commit()
    longest = time.monotonic() - begun
    moments = random.Random(7)  # noqa: S311 - a repeatable choice, not a secret
    before, seen = 0, set()
    for version in range(1, KILLS + 1):
        _write(export, version)
        child = _start(export, migrated)
        time.sleep(moments.uniform(0, longest))
        child.kill()
        child.communicate()
        _wait_for_its_session(export.connection)
        now = _version(export.connection)
        assert now in {before, version}
        seen.add(now == version)
        # However long an import takes beside what else the machine does, about half of the kills come after it.
        longest *= 0.8 if now == version else 1.25
        before = now
    assert seen == {True, False}, "every kill came too early, or every one too late: the test shows nothing"
    _write(export, KILLS + 1)
    assert export.load("documents")["updated"] == RECORDS
    assert _version(export.connection) == KILLS + 1


def _connected(settings: DatabaseSettings) -> database.Connection:
    """Connect as soon as the server has recovered."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return database.connect(settings, key=KEY)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_the_server_killed_under_the_importer(own_server: DatabaseSettings, tmp_path: Path) -> None:
    with _connected(own_server) as connection:
        export = Export(tmp_path, connection)
        _write(export, 0)
        export.load("documents")
    moments = random.Random(11)  # noqa: S311 - as above
    before = 0
    for version in range(1, SERVER_KILLS + 1):
        _write(export, version)
        child = _start(export, own_server)
        time.sleep(moments.uniform(0, 0.2))
        with psycopg.connect(own_server.conninfo()) as administrator:
            row = administrator.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        # One killed session makes the server end all others and recover, as a crash does.
        with _connected(own_server) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            child.communicate()
            victim.close()
        with _connected(own_server) as connection:
            now = _version(connection)
        assert now in {before, version}
        before = now
    with _connected(own_server) as connection:
        _write(export, SERVER_KILLS + 1)
        assert Export(tmp_path, connection).load("documents")["updated"] == RECORDS
