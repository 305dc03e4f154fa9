"""Every threshold, crossed on a real server; where that takes minutes, with a limit that is crossed in a moment."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.monitoring import history, measure, surroundings, survey, thresholds
from daybreak_pipeline.monitoring.metrics import METRICS, NOT_PERMITTED, Measurement
from daybreak_pipeline.monitoring.surroundings import Backups
from daybreak_pipeline.monitoring.thresholds import CHECKS, THRESHOLDS, Judgement
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.monitoring.test_measure import role_without_rights

HOUR, DAY = 3600, 86_400


def judged(
    found: list[Measurement], check: str, *, warn: float | None = None, error: float | None = None
) -> Judgement:
    """Return what a check says, with other limits where they are given."""
    (threshold,) = [one for one in THRESHOLDS if one.check == check]
    if warn is not None:
        threshold = replace(threshold, warn=warn, error=error)
    return thresholds.judge(found, role="somebody", limits=[threshold])[0]


def measured(db: DatabaseSettings) -> list[Measurement]:
    with database.connect(db, autocommit=True) as connection:
        return measure.from_server(connection, dagster="dagster")


@contextmanager
def administrator(db: DatabaseSettings) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(db.conninfo(application_name="somebody"), autocommit=True) as opened:
        yield opened


# --- Sessions ----------------------------------------------------------------------------------------------


def test_a_session_that_is_idle_in_a_transaction(migrated: DatabaseSettings) -> None:
    with psycopg.connect(migrated.conninfo(application_name="somebody")) as idle:
        idle.execute("SELECT 1")
        time.sleep(1.1)
        found = measured(migrated)
    verdict = judged(found, "idle_in_transaction", warn=1, error=1000)
    assert verdict.state == "WARN"
    assert verdict.summary == (
        "1 s idle in a transaction, limit 1 s: it keeps locks, and VACUUM from cleaning up: end it with "
        "SELECT pg_terminate_backend(pid), "
        "whose pid is in pg_stat_activity; see docs/runbooks/slow-or-stuck.md"
    )
    assert judged(found, "long_transactions", warn=0.5, error=1).state == "ERROR"
    assert judged(measured(migrated), "idle_in_transaction").state == "passed"


def test_an_import_may_take_long(migrated: DatabaseSettings) -> None:
    with database.connect(migrated) as importer:
        importer.execute("SELECT 1")
        found = measured(migrated)
    assert judged(found, "long_transactions", warn=0.000001).state == "passed"
    assert next(m.value for m in found if m.metric == "longest_import_seconds")


@pytest.mark.parametrize(
    ("holder", "waiter", "state"),
    [("somebody", "somebody", "WARN"), ("somebody", "daybreak", "WARN"), ("daybreak", "daybreak", "passed")],
)
def test_who_waits_for_a_lock_unless_an_import_waits_for_another(
    migrated: DatabaseSettings, holder: str, waiter: str, state: str
) -> None:
    with psycopg.connect(migrated.conninfo(application_name=holder)) as holding:
        holding.execute("LOCK TABLE referrals IN SHARE ROW EXCLUSIVE MODE")
        waiting = threading.Thread(target=_wait_for_lock, args=(migrated.conninfo(application_name=waiter),))
        waiting.start()
        time.sleep(0.5)
        found = measured(migrated)
        holding.rollback()
        waiting.join()
    assert judged(found, "lock_waits", warn=0.1, error=1000).state == state


def _wait_for_lock(conninfo: str) -> None:
    with psycopg.connect(conninfo) as waiting:
        waiting.execute("LOCK TABLE referrals IN SHARE ROW EXCLUSIVE MODE")


def test_connections_that_are_nearly_used_up(migrated: DatabaseSettings) -> None:
    opened = [psycopg.connect(migrated.conninfo()) for _ in range(80)]
    try:
        verdict = judged(measured(migrated), "connections")
    finally:
        for connection in opened:
            connection.close()
    assert verdict.state == "WARN"
    assert "limit 80.0 %" in verdict.summary


def test_a_role_that_has_used_up_its_own_limit(migrated: DatabaseSettings) -> None:
    name = f"limited_{migrated.name}"
    role = sql.Identifier(name)
    with administrator(migrated) as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'plain' CONNECTION LIMIT 2")
        connection.execute(create.format(role))
        try:
            login = replace(migrated, user=name, password="plain").conninfo()
            with psycopg.connect(login):
                assert judged(measured(migrated), "role_connections").state == "passed"
                with psycopg.connect(login):
                    verdict = judged(measured(migrated), "role_connections")
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
    assert verdict.state == "ERROR"
    assert verdict.summary.startswith(
        f"{name}: 100.0 % of the role's connections used, limit 95.0 %: end its"
    )


# --- Tables and indexes ------------------------------------------------------------------------------------


def statistics_are_written(db: DatabaseSettings, condition: str) -> None:
    """Wait until the server's statistics, which come late up to PostgreSQL 14, say so."""
    deadline = time.monotonic() + 90
    with administrator(db) as connection:
        while connection.execute(condition.encode()).fetchone() != (True,):
            assert time.monotonic() < deadline, condition
            time.sleep(0.1)


def test_a_table_full_of_dead_rows(migrated: DatabaseSettings) -> None:
    with administrator(migrated) as connection:
        connection.execute("CREATE TABLE churned (n INT) WITH (autovacuum_enabled = false)")
        connection.execute("INSERT INTO churned SELECT generate_series(1, 30000)")
        connection.execute("DELETE FROM churned WHERE n <= 12000")
    statistics_are_written(
        migrated, "SELECT n_dead_tup = 12000 FROM pg_stat_user_tables WHERE relname = 'churned'"
    )
    found = measured(migrated)
    verdict = judged(found, "dead_rows")
    assert verdict.state == "WARN"
    assert verdict.summary.startswith(
        "public.churned: 40.0 % dead rows, limit 20.0 %: VACUUM (ANALYZE) the table"
    )
    assert judged(found, "vacuumed", warn=0).state == "WARN"
    assert "public.churned" in judged(found, "analyzed", warn=0).summary
    with administrator(migrated) as connection:
        connection.execute("VACUUM ANALYZE churned")
    statistics_are_written(
        migrated, "SELECT n_dead_tup = 0 FROM pg_stat_user_tables WHERE relname = 'churned'"
    )
    assert judged(measured(migrated), "dead_rows").state == "passed"


def test_an_index_whose_making_failed(migrated: DatabaseSettings) -> None:
    with administrator(migrated) as connection:
        connection.execute("CREATE TABLE twice (n INT)")
        connection.execute("INSERT INTO twice VALUES (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY twice_n ON twice (n)")
        verdict = judged(measured(migrated), "invalid_indexes")
        assert verdict.state == "WARN"
        assert "public.twice_n" in verdict.summary
        connection.execute("DROP INDEX twice_n")
    assert judged(measured(migrated), "invalid_indexes").state == "passed"


def test_a_big_index_that_nobody_uses(migrated: DatabaseSettings) -> None:
    with administrator(migrated) as connection:
        connection.execute("CREATE TABLE big (n INT, said TEXT)")
        connection.execute(
            "INSERT INTO big SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 100000) n"
        )
        connection.execute("CREATE INDEX big_said ON big (said)")
        connection.execute("VACUUM ANALYZE big")
    first = survey.look(migrated, keep=True)
    assert [m.labels["index"] for m in first.of("index_unused_bytes")] == ["public.big_said"]
    assert judged(list(first.measurements), "unused_indexes").state == "passed"
    with administrator(migrated) as connection:
        connection.execute("UPDATE ingest.server_measurements SET at = at - interval '31 days'")
    later = judged(list(survey.look(migrated, keep=True).measurements), "unused_indexes")
    assert later.state == "WARN"
    assert later.summary.startswith(
        "public.big_said: 31 days without use, limit 30 days: each change of the table costs time"
    )
    with administrator(migrated) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT FROM big WHERE said = 'x'")
    statistics_are_written(
        migrated, "SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelname = 'big_said'"
    )
    assert survey.look(migrated).of("index_unused_bytes") == []


def test_indexes_that_are_there_twice(migrated: DatabaseSettings) -> None:
    with administrator(migrated) as connection:
        connection.execute("CREATE TABLE doubled (id INT PRIMARY KEY, n INT, m INT)")
        for columns in ("id", "n", "n", "n DESC", "n, m", "n) WHERE (m > 0", "lower(n::text)"):
            connection.execute(f"CREATE INDEX ON doubled ({columns})".encode())
        connection.execute("CREATE UNIQUE INDEX doubled_unique ON doubled (m)")
        connection.execute("CREATE INDEX doubled_m ON doubled (m)")
    found = measured(migrated)
    doubled = [
        m.labels for m in found if m.metric == "index_duplicate_bytes" and "doubled" in m.labels["index"]
    ]
    assert sorted((labels["index"], labels["of"]) for labels in doubled) == [
        ("public.doubled_id_idx", "public.doubled_pkey"),
        ("public.doubled_m", "public.doubled_unique"),
        ("public.doubled_n_idx1", "public.doubled_n_idx"),
    ]
    assert judged(found, "duplicate_indexes").state == "passed"
    assert judged(found, "duplicate_indexes", warn=1).state == "WARN"


def test_our_own_indexes_are_valid_and_there_once(migrated: DatabaseSettings) -> None:
    found = measured(migrated)
    assert judged(found, "invalid_indexes").summary == "there is none"
    assert [m.labels for m in found if m.metric == "index_duplicate_bytes"] == []


def test_a_foreign_key_of_a_big_table_without_an_index(migrated: DatabaseSettings) -> None:
    with administrator(migrated) as connection:
        connection.execute("CREATE TABLE parents (id INT PRIMARY KEY)")
        connection.execute("CREATE TABLE children (id INT, parent INT REFERENCES parents (id), said TEXT)")
        connection.execute(
            "INSERT INTO children SELECT n, NULL, repeat('x', 200) FROM generate_series(1, 60000) n"
        )
        connection.execute("ANALYZE children")
        verdict = judged(measured(migrated), "missing_indexes")
        assert verdict.state == "WARN"
        assert "public.children children_parent_fkey" in verdict.summary
        connection.execute("CREATE INDEX ON children (parent, id)")
    assert judged(measured(migrated), "missing_indexes").state == "passed"


def test_transaction_ids_that_run_out() -> None:
    old = [Measurement("transaction_id_age", 600e6, {"database": "old"})]
    assert judged(old, "transaction_ids").state == "WARN"
    assert judged(old, "transaction_ids").summary.startswith(
        "old: 600,000,000 transactions not frozen, limit 500,000,000: VACUUM (FREEZE)"
    )


def test_dagsters_own_records_are_measured(migrated: DatabaseSettings) -> None:
    with database.connect(migrated, autocommit=True) as connection:
        found = measure.from_server(connection, dagster=migrated.name)
    assert judged(found, "dagster_storage").state == "passed"
    assert judged(found, "dagster_storage", warn=1).state == "WARN"


# --- WAL ---------------------------------------------------------------------------------------------------


def test_a_replication_slot_that_keeps_wal(own_server: DatabaseSettings) -> None:
    with administrator(own_server) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('standby', true)")
        connection.execute(
            "CREATE TABLE written AS SELECT repeat('x', 1000) AS said FROM generate_series(1, 3000)"
        )
        verdict = judged(measured(own_server), "replication_slots", warn=1 << 20, error=1 << 40)
        assert verdict.state == "WARN"
        assert verdict.summary.startswith("standby: ")
        found = measured(own_server)
        assert judged(found, "slot_lag", warn=1 << 20).state == "WARN"
        assert judged(found, "lost_slots").state == "passed"
        connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        connection.execute("SELECT pg_reload_conf()")
        for _ in range(4):
            connection.execute("INSERT INTO written VALUES ('more')")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        lost = judged(measured(own_server), "lost_slots")
        assert lost.state == "ERROR"
        assert lost.summary.startswith("standby: 1 lost, limit 1: its standby or subscriber cannot go on")
        connection.execute("SELECT pg_drop_replication_slot('standby')")
    assert judged(measured(own_server), "replication_slots", warn=1 << 20).summary == "there is none"


def test_a_standby_that_falls_behind(own_server: DatabaseSettings, tmp_path: Path) -> None:
    program = programs.find() / "pg_receivewal"
    if not program.exists():
        pytest.skip("there is no pg_receivewal beside the server's programs")
    with administrator(own_server) as connection:
        receiving = subprocess.Popen(
            [program, "-D", tmp_path, "--dbname", own_server.conninfo(application_name="copy")]
        )
        try:
            statistics_are_written(own_server, "SELECT count(*) > 0 FROM pg_stat_replication")
            verdict = judged(measured(own_server), "standby_lag")
            with role_without_rights(own_server) as login:
                hidden = [m for m in measured(login) if m.metric == "standby_lag_seconds"]
        finally:
            receiving.terminate()
            receiving.wait()
        assert connection.execute("SELECT 1").fetchone()
    assert verdict.state == "passed"
    assert verdict.summary.startswith("copy: 0 s behind")
    assert [(m.value, m.note) for m in hidden] == [(None, NOT_PERMITTED)]
    behind = [Measurement("standby_lag_seconds", 400, {"standby": "copy"})]
    assert judged(behind, "standby_lag").state == "WARN"


@pytest.mark.slow
def test_an_archive_that_does_not_take_wal() -> None:
    with server_home() as home:
        with embedded_server.serve(home) as db, administrator(db) as connection:
            connection.execute("ALTER SYSTEM SET archive_mode = on")
            connection.execute("ALTER SYSTEM SET archive_command = 'false'")
        with embedded_server.serve(home) as db:
            with administrator(db) as connection:
                connection.execute("CREATE TABLE written (n INT)")
                connection.execute("SELECT pg_switch_wal()")
            statistics_are_written(db, "SELECT failed_count > 0 FROM pg_stat_archiver")
            found = measured(db)
            assert judged(found, "archiving", warn=0.001, error=HOUR).state == "WARN"
            assert "the server's log says why" in judged(found, "archiving", warn=0.001).summary
            assert judged(found, "archive_queue", warn=1).state == "WARN"
            with administrator(db) as connection:
                connection.execute("ALTER SYSTEM SET archive_command = 'true'")
                connection.execute("SELECT pg_reload_conf()")
                connection.execute("SELECT pg_switch_wal()")
            statistics_are_written(
                db,
                "SELECT last_archived_time > coalesce(last_failed_time, '-infinity') FROM pg_stat_archiver",
            )
            assert judged(measured(db), "archiving").state == "passed"


# --- Imports, backups --------------------------------------------------------------------------------------


def test_a_table_that_was_never_imported_or_too_long_ago(migrated: DatabaseSettings) -> None:
    never = judged(list(survey.look(migrated).measurements), "imports_in_time")
    assert never.state == "WARN"
    assert "never imported" in never.summary
    ages = [
        Measurement("import_age_seconds", hours * HOUR, {"table": f"of_{hours}"}) for hours in (2, 27, 31)
    ]
    late = judged(ages, "imports_in_time")
    assert late.state == "ERROR"
    assert late.summary.startswith(
        "of_31: 31 h since it matched its file; of_27: 27 h since it matched its file, limit 30 h: daybreak status"
    )


AT = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("known", "states"),
    [
        (None, ("WARN", "WARN", "none")),
        (Backups(None, None, elsewhere=True), ("none", "WARN", "none")),
        (Backups(None, AT - timedelta(hours=3), elsewhere=True), ("none", "passed", "none")),
        (Backups(AT - timedelta(hours=3), None, 0), ("passed", "WARN", "passed")),
        (Backups(AT - timedelta(hours=27), AT - timedelta(days=9), 0), ("WARN", "WARN", "passed")),
        (Backups(AT - timedelta(hours=51), AT - timedelta(days=16), 2), ("ERROR", "ERROR", "ERROR")),
    ],
)
def test_backups_that_are_old_unproven_or_have_gaps(
    known: Backups | None, states: tuple[str, str, str]
) -> None:
    found = surroundings.backups(known, AT)
    assert (
        tuple(judged(found, check).state for check in ("backup_age", "restore_drill", "wal_gaps")) == states
    )


def test_without_a_backup_it_is_said_so() -> None:
    assert judged(surroundings.backups(None, AT), "backup_age").summary.startswith(
        "no backup known: make one"
    )


# --- The declaration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", CHECKS, ids=lambda threshold: threshold.check)
def test_every_check_is_about_a_metric_and_names_what_to_do(threshold: thresholds.Threshold) -> None:
    assert threshold.metric in METRICS or threshold is thresholds.HIDDEN
    assert threshold.asset in thresholds.ASSETS
    assert threshold.wants.endswith(".")
    assert threshold.remedy
    assert threshold.warn is not None or threshold.error is not None
    if threshold.warn is not None and threshold.error is not None:
        assert (threshold.warn > threshold.error) == threshold.below


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1536, "1.5 kB"), (150 << 20, "150 MB"), (5 << 40, "5.0 TB"), (-2048, "-2.0 kB")],
)
def test_sizes_are_shown_in_their_unit(value: float, text: str) -> None:
    assert thresholds.size(value) == text


# --- History -----------------------------------------------------------------------------------------------


def kept(connection: Connection, metric: str, *values: tuple[float, float]) -> None:
    """Write a history: hours before ``AT``, and the value then."""
    for hours, value in values:
        history.keep(connection, AT - timedelta(hours=hours), [Measurement(metric, value)])


def trend(connection: Connection, metric: str, *now: Measurement) -> Measurement:
    (found,) = [m for m in history.trends(connection, AT, now) if m.metric == metric]
    return found


def test_days_until_the_disk_is_full_follow_from_how_it_went(session: Connection) -> None:
    free = Measurement("disk_free_bytes", 50e9)
    assert trend(session, "disk_full_days", free).note == "too little history: 0 s of 3 d"
    kept(session, "disk_free_bytes", *((day * 24.0, 50e9 + day * 2e9) for day in range(3)))
    assert trend(session, "disk_full_days", free).note == "too little history: 2 d of 3 d"
    kept(session, "disk_free_bytes", *((day * 24.0, 50e9 + day * 2e9) for day in range(3, 11)))
    lasts = trend(session, "disk_full_days", free)
    assert lasts.value == pytest.approx(25)
    assert judged([lasts], "disk_lasts").state == "WARN"
    assert judged([lasts], "disk_lasts").summary.startswith(
        "25 days until the disk is full, limit 30 days: make room"
    )


def test_a_disk_that_is_not_filling_is_never_full(session: Connection) -> None:
    kept(session, "disk_free_bytes", *((day * 24.0, 50e9 - day * 1e9) for day in range(8)))
    lasts = trend(session, "disk_full_days", Measurement("disk_free_bytes", 50e9))
    assert lasts.note == "never at this rate: the free space does not shrink"
    assert judged([lasts], "disk_lasts").state == "none"


def test_rates_are_of_the_last_hour_and_a_restarted_counter_is_no_negative_number(
    session: Connection,
) -> None:
    assert trend(session, "deadlocks_last_hour").note == "too little history: 0 s of 15 min"
    kept(session, "deadlocks_total", (5, 90), (1, 100), (0.5, 103), (0.25, 1), (0, 2))
    assert trend(session, "deadlocks_last_hour").value == 3 + 1 + 1
    kept(session, "wal_bytes_total", (0.5, 1000), (0, 3000))
    assert trend(session, "wal_bytes_per_hour").value == pytest.approx(4000)


def test_a_hit_rate_needs_something_that_was_read(session: Connection) -> None:
    kept(session, "block_hits_total", (0.5, 0), (0, 900_000))
    kept(session, "block_reads_total", (0.5, 0), (0, 100_000))
    ratio = trend(session, "cache_hit_ratio")
    assert ratio.value == pytest.approx(0.9)
    assert judged([ratio], "cache_hits").state == "WARN"


def test_an_error_is_news_once_and_again_on_the_next_day(session: Connection) -> None:
    def error(at: datetime) -> set[str]:
        told = history.already_told(session, at)
        history.keep(session, at, [Measurement("check_state", 2, {"check": "disk_free"})])
        return {"disk_free"} - told

    noon = AT + timedelta(hours=12)
    assert error(noon) == {"disk_free"}
    assert error(noon + timedelta(minutes=10)) == set()
    assert error(noon + timedelta(minutes=80)) == {"disk_free"}
    assert error(AT + timedelta(days=1, minutes=1)) == {"disk_free"}


def test_what_is_kept_is_little(migrated: DatabaseSettings) -> None:
    survey.look(migrated, keep=True)
    survey.look(migrated, keep=True)
    with administrator(migrated) as connection:
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT at) FROM ingest.server_measurements"
        ).fetchone()
    assert rows
    number, looks = rows
    assert looks == 2
    assert isinstance(number, int)
    assert number / 2 < 70
