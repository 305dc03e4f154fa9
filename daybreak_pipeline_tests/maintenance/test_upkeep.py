"""Tables are vacuumed where autovacuum lags, indexes built again where they are mostly empty, and imports come first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.maintenance import giving_way, upkeep
from daybreak_pipeline.maintenance.giving_way import GivesWayError, LongWaitError, Watch
from daybreak_pipeline.settings import DatabaseSettings

TABLE = "public.visits"


@pytest.fixture
def visits(worker: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A table that autovacuum leaves alone, of which most rows are dead and whose indexes are mostly empty."""
    monkeypatch.setattr(upkeep, "BLOATED_BYTES", 100_000)
    worker.execute("CREATE TABLE visits (id bigint PRIMARY KEY, who text) WITH (autovacuum_enabled = false)")
    worker.execute("CREATE INDEX visits_lower ON visits (lower(who))")
    worker.execute("INSERT INTO visits SELECT n, 'somebody ' || n FROM generate_series(1, 40000) n")
    worker.execute("ANALYZE visits")
    worker.execute("DELETE FROM visits WHERE id % 10 <> 0")
    wait_until(lambda: dead(worker) > 30_000)
    return worker


def dead(worker: Connection) -> int:
    worker.execute("SELECT pg_stat_clear_snapshot()")
    return int(
        database.value(worker, "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'visits'") or 0
    )


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def indexes(worker: Connection) -> dict[str, tuple[bool, int]]:
    rows = worker.execute(
        "SELECT c.relname::text, i.indisvalid, pg_relation_size(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = 'visits'::regclass ORDER BY 1"
    ).fetchall()
    return {name: (valid, size) for name, valid, size in rows}


@pytest.fixture
def importing(migrated: DatabaseSettings) -> Iterator[Callable[[], None]]:
    """Begin what holds the lock of an import until the test ends."""
    with psycopg.connect(migrated.conninfo()) as other:

        def begin() -> None:
            other.execute("SELECT FROM ingest.locks WHERE name = 'import documents' FOR UPDATE")

        yield begin
        other.rollback()


# --- Vacuum and reindex ------------------------------------------------------------------------------------


def test_a_dry_run_names_what_lags_and_is_bloated_and_changes_nothing(
    visits: Connection, watch: Watch
) -> None:
    visits.execute("VACUUM visits")
    before = indexes(visits)
    found = upkeep.reindex(visits, watch, dry_run=True)
    assert set(found.names) == {"public.visits_pkey", "public.visits_lower"}
    assert found.bytes > 500_000
    assert indexes(visits) == before


def test_what_lags_is_vacuumed_and_analyzed_and_what_is_bloated_is_built_again(
    visits: Connection, watch: Watch
) -> None:
    foretold = upkeep.vacuum(visits, watch, dry_run=True)
    assert (foretold.names, dead(visits) > 30_000) == ((TABLE,), True)
    done = upkeep.vacuum(visits, watch, dry_run=False)
    assert (done.names, done.rows > 30_000) == ((TABLE,), True)
    wait_until(lambda: dead(visits) < 100)
    before = indexes(visits)
    built = upkeep.reindex(visits, watch, dry_run=False)
    after = indexes(visits)
    assert set(after) == {"visits_pkey", "visits_lower"}
    assert all(after[name][1] < before[name][1] / 3 for name in after)
    assert built.bytes == sum(size for _, size in before.values()) - sum(size for _, size in after.values())
    assert upkeep.vacuum(visits, watch, dry_run=False).names == ()
    assert upkeep.reindex(visits, watch, dry_run=False).names == ()


def test_a_packed_index_and_one_of_equal_values_are_not_bloated(
    worker: Connection, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BLOATED_BYTES", 100_000)
    worker.execute(
        "CREATE TABLE packed AS SELECT n AS id, n % 3 AS same, NULL::text AS none FROM generate_series(1, 50000) n"
    )
    for columns in ("id", "same", "none", "same, id", "id) WHERE (id < 40000"):
        worker.execute(sql.SQL("CREATE INDEX ON packed ({})").format(sql.SQL(columns)))
    worker.execute("ANALYZE packed")
    assert upkeep.reindex(worker, watch, dry_run=True).names == ()


def test_nothing_lags_in_an_empty_database(worker: Connection, watch: Watch) -> None:
    for step in (upkeep.drop_half_built, upkeep.vacuum, upkeep.reindex):
        freed = step(worker, watch, dry_run=False)
        assert (freed.rows, freed.bytes, freed.names, freed.note) == (0, 0, (), "")


def test_what_another_role_owns_is_named_and_left(visits: Connection, watch: Watch) -> None:
    visits.execute("CREATE ROLE upkeep_guest")
    try:
        visits.execute("SET ROLE upkeep_guest")
        freed = upkeep.vacuum(visits, watch, dry_run=False)
        assert freed.names == ()
        assert freed.note.endswith("does not own public.visits: its owner or an administrator must do that")
    finally:
        visits.execute("RESET ROLE")
        visits.execute("DROP ROLE upkeep_guest")


# --- Killed ------------------------------------------------------------------------------------------------


def test_what_a_killed_reindex_left_behind_is_dropped(
    visits: Connection, migrated: DatabaseSettings, watch: Watch
) -> None:
    with (
        psycopg.connect(migrated.conninfo()) as holder,
        psycopg.connect(migrated.conninfo(), autocommit=True) as killed,
    ):
        holder.execute("LOCK TABLE visits IN ROW EXCLUSIVE MODE")  # a writer whose end the REINDEX waits for
        pid = killed.info.backend_pid

        def reindex() -> None:
            with pytest.raises(psycopg.OperationalError):
                killed.execute("REINDEX INDEX CONCURRENTLY visits_lower")

        working = threading.Thread(target=reindex)
        working.start()
        wait_until(lambda: len(indexes(visits)) == 3)
        # While it is at work, what it builds is left alone.
        assert upkeep.drop_half_built(visits, watch, dry_run=False).names == ()
        visits.execute("SELECT pg_terminate_backend(%s)", [pid])
        working.join()
        holder.rollback()
    assert indexes(visits)["visits_lower_ccnew"][0] is False
    assert upkeep.drop_half_built(visits, watch, dry_run=True).names == ("public.visits_lower_ccnew",)
    assert len(indexes(visits)) == 3
    assert upkeep.drop_half_built(visits, watch, dry_run=False).names == ("public.visits_lower_ccnew",)
    assert set(indexes(visits)) == {"visits_pkey", "visits_lower"}


def test_an_invalid_index_of_somebody_elses_making_stays(visits: Connection, watch: Watch) -> None:
    visits.execute("INSERT INTO visits VALUES (1, 'twice'), (2, 'twice')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        visits.execute("CREATE UNIQUE INDEX CONCURRENTLY visits_once ON visits (who)")
    assert upkeep.drop_half_built(visits, watch, dry_run=False).names == ()
    assert indexes(visits)["visits_once"][0] is False


# --- Giving way --------------------------------------------------------------------------------------------


def test_nothing_begins_while_an_import_runs(
    visits: Connection, watch: Watch, importing: Callable[[], None]
) -> None:
    importing()
    with pytest.raises(GivesWayError, match="an import of documents is running"):
        upkeep.vacuum(visits, watch, dry_run=False)
    assert dead(visits) > 30_000


def test_an_import_that_begins_stops_a_statement_that_runs(
    worker: Connection, watch: Watch, importing: Callable[[], None]
) -> None:
    timer = threading.Timer(0.5, importing)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(GivesWayError, match="an import of documents is running"):
        giving_way.execute(watch, worker, sql.SQL("SELECT pg_sleep({})").format(sql.Literal(60)))
    assert time.monotonic() - begun < 10
    timer.join()
    assert database.value(worker, "SELECT 1") == 1


def test_a_rotation_of_the_key_comes_first(worker: Connection, watch: Watch) -> None:
    worker.execute("INSERT INTO ingest.processes (kind, host, pid) VALUES ('rotation', 'another-host', 1)")
    with pytest.raises(GivesWayError, match="a rotation of the encryption key is running"):
        watch.check()


def test_a_lock_that_somebody_holds_is_not_waited_for_for_ever(
    visits: Connection, migrated: DatabaseSettings, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_way, "_LOCK_PATIENCE", 1)
    with psycopg.connect(migrated.conninfo()) as holder:
        holder.execute("LOCK TABLE visits IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(LongWaitError, match="somebody holds a lock"):
            giving_way.execute(
                watch, visits, sql.SQL("REINDEX TABLE CONCURRENTLY {}").format(sql.Identifier("visits"))
            )
        # A vacuum skips such a table.
        freed = upkeep.vacuum(visits, watch, dry_run=False)
        assert (freed.names, freed.note) == ((), "public.visits was left: somebody holds a lock on it")


def test_an_index_whose_table_is_locked_is_left_with_a_note(
    visits: Connection, migrated: DatabaseSettings, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits.execute("VACUUM visits")
    monkeypatch.setattr(giving_way, "_LOCK_PATIENCE", 1)
    with psycopg.connect(migrated.conninfo()) as holder:
        holder.execute("LOCK TABLE visits IN SHARE UPDATE EXCLUSIVE MODE")
        freed = upkeep.reindex(visits, watch, dry_run=False)
    assert freed.names == ()
    assert "public.visits_pkey was left: somebody holds a lock" in freed.note
    assert "see docs/runbooks/slow-or-stuck.md" in freed.note
