"""What is measured of a real server: by whom, with what in it, and never in anybody's way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import measure, survey
from daybreak_pipeline.monitoring.metrics import METRICS, NOT_PERMITTED, NOT_VISIBLE, Measurement
from daybreak_pipeline.monitoring.survey import Health
from daybreak_pipeline.monitoring.thresholds import Judgement
from daybreak_pipeline.settings import DatabaseSettings


def judgement(health: Health, check: str) -> Judgement:
    (found,) = [one for one in health.judgements if one.check == check]
    return found


def measured(db: DatabaseSettings) -> list[Measurement]:
    with database.connect(db, autocommit=True) as connection:
        return measure.from_server(connection, dagster="dagster")


def of(found: list[Measurement], metric: str, **labels: str) -> list[Measurement]:
    return [m for m in found if m.metric == metric and labels.items() <= m.labels.items()]


@contextmanager
def role_without_rights(db: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A login that may read the tables of schema ingest, and is no member of pg_monitor."""
    name = f"unprivileged_of_{db.name}"
    login = sql.Identifier(name)
    with psycopg.connect(db.conninfo(), autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'plain'").format(login))
        administrator.execute(sql.SQL("GRANT USAGE ON SCHEMA ingest TO {}").format(login))
        administrator.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA ingest TO {}").format(login))
        try:
            yield replace(db, user=name, password="plain")
        finally:
            administrator.execute(sql.SQL("DROP OWNED BY {}").format(login))
            administrator.execute(sql.SQL("DROP ROLE {}").format(login))


def test_every_measurement_is_declared_with_its_labels(migrated: DatabaseSettings) -> None:
    found = survey.look(migrated).measurements
    assert {m.metric for m in found} <= set(METRICS)
    assert {m.metric for m in found if m.labels and set(m.labels) != set(METRICS[m.metric].labels)} == set()
    assert {m.metric for m in found if (m.value is None) != bool(m.note)} == set()


def test_an_administrator_sees_everything_of_the_server(migrated: DatabaseSettings) -> None:
    found = measured(migrated)
    assert [m for m in found if m.value is None] == []
    assert {m.labels["table"] for m in of(found, "table_bytes")} >= {"public.referrals", "ingest.imports"}
    assert of(found, "connections_used")[0].value
    assert [m.labels for m in of(found, "database_bytes", database=migrated.name)] != []


def test_what_the_role_may_not_see_is_not_permitted_and_never_0(migrated: DatabaseSettings) -> None:
    with role_without_rights(migrated) as login, psycopg.connect(migrated.conninfo()) as other:
        other.execute("SELECT 1")
        health = survey.look(login)
    hidden = {m.metric for m in health.measurements if m.note == NOT_PERMITTED}
    # Of Dagster's database, where there is one, and where the server counts statements.
    may_be_hidden = {"database_bytes", "dagster_bytes", "statement_calls_total", "statement_seconds_total"}
    assert hidden - may_be_hidden == {
        *("idle_in_transaction_seconds", "longest_transaction_seconds", "longest_import_seconds"),
        *("wal_directory_bytes", "archive_waiting_files", "archive_waiting_seconds"),
    }
    assert all(m.value is None for m in health.measurements if m.note == NOT_PERMITTED)
    assert of(list(health.measurements), "connections", role=migrated.user, state=NOT_PERMITTED) != []
    found = judgement(health, "everything_is_visible")
    assert found.state == "WARN"
    assert f"GRANT pg_monitor TO {login.user}" in found.summary
    assert (judgement(health, "idle_in_transaction").state, judgement(health, "archive_queue").state) == (
        "none",
        "none",
    )


def test_a_member_of_pg_monitor_sees_the_same_as_an_administrator(migrated: DatabaseSettings) -> None:
    with role_without_rights(migrated) as login:
        with psycopg.connect(migrated.conninfo(), autocommit=True) as administrator:
            administrator.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(login.user)))
        health = survey.look(login)
    assert judgement(health, "everything_is_visible").state == "passed"


def test_an_empty_database_has_no_tables_and_no_history(empty: DatabaseSettings) -> None:
    health = survey.look(empty)
    assert health.of("table_bytes") == []
    assert {m.note for m in health.of("import_age_seconds")} == {"not there yet: run daybreak migrate up"}
    assert {m.note for m in health.of("disk_full_days")} == {"not there yet: run daybreak migrate up"}
    assert judgement(health, "dead_rows").summary == "there is none"
    assert judgement(health, "imports_in_time").state == "WARN"


def test_the_disk_of_another_server_is_not_visible(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path_factory.mktemp("other")))
    health = survey.look(migrated)
    assert {m.note for m in health.of("disk_free_bytes")} == {NOT_VISIBLE}
    assert judgement(health, "disk_free").state == "none"


def test_the_disk_below_the_embedded_server_is_measured(
    own_server: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(own_server.conninfo()) as administrator:
        (data,) = administrator.execute("SHOW data_directory").fetchone() or ("",)
    monkeypatch.setenv("DAYBREAK_HOME", str(data).removesuffix("/postgres"))
    health = survey.look(own_server, keep=True)
    free, size = health.value("disk_free_bytes"), health.value("disk_bytes")
    assert free is not None
    assert size is not None
    assert 0 < free < size
    with psycopg.connect(own_server.conninfo()) as administrator:
        kept = "SELECT value FROM ingest.server_measurements WHERE metric = 'disk_free_bytes'"
        assert administrator.execute(kept).fetchall() == [(free,)]


def test_a_look_waits_for_nobody(migrated: DatabaseSettings) -> None:
    with psycopg.connect(migrated.conninfo()) as other:
        other.execute("LOCK TABLE referrals IN ACCESS EXCLUSIVE MODE")
        found = measured(migrated)
    tables = {m.labels["table"] for m in of(found, "table_bytes")}
    assert "public.referrals" not in tables
    assert "public.clinicians" in tables


def test_the_partitions_of_a_table_count_as_one(migrated: DatabaseSettings) -> None:
    tables = [
        m.labels["table"] for m in of(measured(migrated), "table_bytes") if "audit" in m.labels["table"]
    ]
    assert tables == ["audit.changes"]


@pytest.mark.parametrize("version", [14, 16])
def test_up_to_version_16_checkpoints_are_counted_in_one_view(version: int) -> None:
    assert b"pg_stat_bgwriter" in measure.statement("checkpoints", version)


@pytest.mark.parametrize("version", [17, 19])
def test_from_version_17_on_checkpoints_have_a_view_of_their_own(version: int) -> None:
    assert b"pg_stat_checkpointer" in measure.statement("checkpoints", version)
