"""How much of tables and indexes is empty: estimated and measured on a real server, and said by which."""

from __future__ import annotations

import re

import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import bloat
from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED, Measurement
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.monitoring.test_measure import role_without_rights
from daybreak_pipeline_tests.monitoring.test_thresholds import administrator, judged


def full_of_holes(db: DatabaseSettings, table: str) -> None:
    """Make a table of 15 MB with an index, of which a fifth is left."""
    with administrator(db) as connection:
        for statement in (
            "CREATE TABLE {} (n INT PRIMARY KEY, said TEXT) WITH (autovacuum_enabled = false)",
            "INSERT INTO {} SELECT n, md5(n::text) FROM generate_series(1, 220000) n",
            "DELETE FROM {} WHERE n > 10 AND n % 5 <> 0",
            "VACUUM ANALYZE {}",
        ):
            connection.execute(sql.SQL(statement).format(sql.Identifier(table)))


def test_a_table_and_an_index_that_are_mostly_empty(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bloat, "LEAST_BYTES", 4 << 20)
    monkeypatch.setattr(bloat, "LEAST_TABLE_BYTES", 4 << 20)
    full_of_holes(migrated, "holes")
    full_of_holes(migrated, "packed")
    with administrator(migrated) as connection:
        connection.execute("VACUUM FULL ANALYZE packed")
        connection.execute("INSERT INTO packed SELECT n, md5(n::text) FROM generate_series(300000, 480000) n")
        connection.execute("VACUUM ANALYZE packed")
    with database.connect(migrated, autocommit=True) as connection:
        found = bloat.read(connection)
        with administrator(migrated) as other:
            other.execute("CREATE EXTENSION pgstattuple")
        exactly = bloat.read(connection)
    verdict = judged(found, "table_bloat")
    assert verdict.state == "WARN"
    assert re.match(
        r"public\.holes: [78]\d\.\d % empty, by statistics, limit 50.0 %: new rows", verdict.summary
    )
    assert "packed" not in verdict.summary
    assert "public.holes_pkey" in judged(found, "index_bloat").summary
    assert "packed" not in judged(found, "index_bloat").summary

    def empty(measurements: list[Measurement]) -> float:
        return next(
            m.value or 0
            for m in measurements
            if (m.metric, m.labels.get("table")) == ("table_bloat_ratio", "public.holes")
        )

    assert ", by pgstattuple" in judged(exactly, "table_bloat").summary
    assert empty(found) == pytest.approx(empty(exactly), abs=0.1)


def test_empty_space_of_what_the_role_may_not_read_is_not_permitted(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bloat, "LEAST_BYTES", 4 << 20)
    monkeypatch.setattr(bloat, "LEAST_TABLE_BYTES", 4 << 20)
    full_of_holes(migrated, "holes")
    with role_without_rights(migrated) as login, database.connect(login, autocommit=True) as connection:
        found = bloat.read(connection)
    assert {(m.metric, m.value, m.note) for m in found} == {
        (metric, None, NOT_PERMITTED)
        for metric in ("table_bloat_bytes", "table_bloat_ratio", "index_bloat_bytes", "index_bloat_ratio")
    }


def test_a_measurement_that_takes_too_long_is_an_estimate(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bloat, "LEAST_BYTES", 4 << 20)
    full_of_holes(migrated, "holes")
    with administrator(migrated) as other, database.connect(migrated, autocommit=True) as connection:
        other.execute("CREATE EXTENSION pgstattuple")
        with other.transaction():
            other.execute("LOCK TABLE holes IN ACCESS EXCLUSIVE MODE")
            found = bloat.read(connection)
    assert {m.labels["by"] for m in found if "table" in m.labels} == {bloat.STATISTICS}
