"""Everything works through PgBouncer in transaction mode, and nothing of a client is left in a session of the pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.orchestration import process_locks
from daybreak_pipeline.privacy import keys, rotation
from daybreak_pipeline.schema import catalog, runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import import_order
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.test_roles import APP, PASSWORDS, SAMPLE, apply_with_passwords

pytestmark = [needs_pgbouncer, pytest.mark.slow]

POOL, CLIENTS = 5, 15
NEW_KEY = "ffeeddccbbaa99887766554433221100" + KEY[:32]


@pytest.fixture
def pool(migrated: DatabaseSettings) -> Iterator[tuple[DatabaseSettings, Path]]:
    apply_with_passwords(migrated)
    with pooled(migrated, size=POOL) as found:
        yield found


def leftovers(pool: DatabaseSettings) -> list[str]:
    """Return what the pool's sessions still have of their clients: each is looked at, all at once."""
    meet = threading.Barrier(POOL)

    def look() -> list[str]:
        with psycopg.connect(pool.conninfo(application_name=""), prepare_threshold=None) as client:
            found = client.execute(
                "SELECT coalesce(nullif(current_setting('daybreak.encryption_key', true), ''), '-'), "
                "coalesce(nullif(current_setting('daybreak.import_xid', true), ''), '-'), "
                "current_setting('work_mem'), current_setting('lock_timeout'), current_setting('role'), "
                "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                " (SELECT oid FROM pg_database WHERE datname = current_database())), "
                "(SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels())"
            ).fetchone()
            meet.wait(10)  # so that no two of these share a session
            return [str(value) for value in found or ()]

    with ThreadPoolExecutor(POOL) as clients:
        looks = [one.result() for one in [clients.submit(look) for _ in range(POOL)]]
    clean = ["-", "-", "4MB", "0", "none", "0", "0", "0"]
    return [str(found) for found in looks if found != clean]


def test_the_sample_is_imported_checked_and_searched_through_a_pool(
    pool: tuple[DatabaseSettings, Path],
) -> None:
    db, _ = pool
    with database.connect(db, key=KEY, autocommit=True) as connection:
        assert database.is_pooled(connection)
        keys.verify(connection)
        for name in import_order():
            result = import_table(connection, name, SAMPLE)
            assert result.status == "imported"
            assert examine(connection, catalog.read(connection, name))["row_accounting"].passed
        with connection.transaction():
            names = connection.execute(
                "SELECT first_name || ' ' || last_name FROM app.patients_and_guardians "
                "WHERE first_name IS NOT NULL AND last_name IS NOT NULL LIMIT 1"
            ).fetchone()
            assert names is not None
            found = connection.execute("SELECT count(*) FROM search_people(%s)", [names[0]]).fetchone()
            assert found is not None
            assert found[0] >= 1
    assert leftovers(db) == []


def test_the_key_is_gone_when_its_transaction_ends(pool: tuple[DatabaseSettings, Path]) -> None:
    db, _ = pool
    with database.connect(db, key=KEY) as connection:
        assert connection.execute("SELECT privacy.key('seal') IS NOT NULL").fetchone() == (True,)
        connection.commit()
        assert leftovers(db) == []
        assert connection.execute("SELECT privacy.key('seal') IS NOT NULL").fetchone() == (True,)


def test_the_key_is_rotated_through_a_pool(
    pool: tuple[DatabaseSettings, Path], migrated: DatabaseSettings
) -> None:
    db, log = pool
    with database.connect(db, key=KEY, autocommit=True) as connection:
        keys.verify(connection)
        import_table(connection, "clinicians", SAMPLE)
    with database.connect(db, autocommit=True) as connection:
        outcome = rotation.rotate(connection, keys.Exchange(KEY, NEW_KEY, kept=False))
        assert sum(outcome.rows.values()) > 0
        assert not outcome.damaged
    with database.connect(migrated, key=NEW_KEY) as reader:
        row = reader.execute("SELECT count(*) FROM app.clinicians WHERE last_name IS NOT NULL").fetchone()
    assert row is not None
    assert row[0] > 0
    assert leftovers(db) == []
    assert KEY not in log.read_text()
    assert NEW_KEY not in log.read_text()


def test_migrations_run_through_a_pool(pool: tuple[DatabaseSettings, Path]) -> None:
    db, _ = pool
    newest = runner.newest_revision()
    runner.downgrade(db, "20")
    runner.upgrade(db, key=KEY)
    with database.connect(db) as connection:
        assert runner.current_revision(connection) == newest
    assert leftovers(db) == []


def test_processes_are_seen_through_a_pool(pool: tuple[DatabaseSettings, Path]) -> None:
    db, _ = pool
    with process_locks.held(db, "web"):
        assert process_locks.anybody(db, "web")
        assert not process_locks.anybody(db, "command line")
    assert not process_locks.anybody(db, "web")


def test_an_application_of_many_clients_writes_while_an_import_runs(
    pool: tuple[DatabaseSettings, Path],
) -> None:
    """Fifteen clients on a pool of five, in another time zone: every value and every time arrives as it was meant."""
    db, _ = pool
    app = DatabaseSettings(db.host, db.port, db.name, APP, PASSWORDS[APP])
    over = threading.Event()

    def work(number: int) -> int:
        written = 0
        with psycopg.connect(app.conninfo(), prepare_threshold=None, autocommit=True) as client:
            while not over.is_set() or written < 3:
                with client.transaction():
                    client.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
                    client.execute("SELECT set_config('timezone', 'Pacific/Auckland', true)")
                    client.execute(
                        "INSERT INTO patients_and_guardians (role, first_name, birthdate, created_at) "
                        "VALUES (1, %s, '2015-05-05', '2025-06-01 12:00')",
                        [f"Client {number} {written}"],
                    )
                written += 1
        return written

    with ThreadPoolExecutor(CLIENTS) as clients:
        working = [clients.submit(work, number) for number in range(CLIENTS)]
        with database.connect(db, key=KEY, autocommit=True) as connection:
            keys.verify(connection)
            for name in ("clinicians", "patients_and_guardians", "clinician_availabilities"):
                import_table(connection, name, SAMPLE)
        over.set()
        written = sum(one.result() for one in working)
    with database.connect(db, key=KEY) as reader:
        rows = reader.execute(
            "SELECT first_name, birthdate::text, created_at FROM app.patients_and_guardians WHERE first_name LIKE 'Client %'"
        ).fetchall()
        span = reader.execute(
            "SELECT min(created_at), max(created_at) FROM clinician_availabilities"
        ).fetchone()
    assert len(rows) == len({name for name, _, _ in rows}) == written
    assert {(day, at) for _, day, at in rows} == {("2015-05-05", datetime(2025, 6, 1, 0, 0, tzinfo=UTC))}
    assert span is not None
    assert leftovers(db) == []
