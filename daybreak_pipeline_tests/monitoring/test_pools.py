"""PgBouncer's pools: asked on the real one's console, with a client that waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.monitoring import pools, survey, thresholds
from daybreak_pipeline.monitoring.metrics import Measurement
from daybreak_pipeline.pooler import configuration, presence
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled


@pytest.fixture
def pooler(migrated: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """The real PgBouncer with one connection to the server."""
    with pooled(migrated, size=1) as (through, _):
        yield through


def waits(found: list[Measurement]) -> str:
    (threshold,) = [one for one in thresholds.THRESHOLDS if one.check == "pool_waits"]
    limit = replace(threshold, warn=0.2, error=100)
    return thresholds.judge(found, role="somebody", limits=[limit])[0].state


def test_without_a_pooler_nothing_is_measured() -> None:
    assert pools.read(None) == []
    assert waits([]) == "passed"


@needs_pgbouncer
def test_a_client_that_waits_for_a_connection_is_seen(pooler: DatabaseSettings) -> None:
    with psycopg.connect(pooler.conninfo()) as holding:
        holding.execute("SELECT 1")
        waiting = threading.Thread(target=_ask, args=(pooler.conninfo(),))
        waiting.start()
        time.sleep(1)
        found = pools.read(pooler)
        holding.rollback()
        waiting.join()
    assert waits(found) == "WARN"
    values = {m.metric: m.value for m in found if m.labels.get("database") == pooler.name}
    assert values["pool_clients_waiting"] == 1
    assert values["pool_servers_active"] == 1
    assert "pool_transactions_total" in values
    assert waits(pools.read(pooler)) == "passed"


def _ask(conninfo: str) -> None:
    with psycopg.connect(conninfo, prepare_threshold=None) as asking:
        asking.execute("SELECT 1")


@needs_pgbouncer
def test_the_settings_name_the_pooler(
    pooler: DatabaseSettings, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.watched_pooler(migrated) is None
    monkeypatch.setenv("DAYBREAK_POOLER_HOST", pooler.host)
    monkeypatch.setenv("DAYBREAK_POOLER_PORT", str(pooler.port))
    assert survey.look(migrated).of("pool_clients_active") != []


@needs_pgbouncer
def test_the_one_that_runs_here_is_watched_while_it_does(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pooled(migrated, self_signed=True) as (through, log):
        home = log.parent.parent / "home"
        monkeypatch.setenv("DAYBREAK_HOME", str(home))
        assert presence.watched(migrated) is None
        with presence.noted(home, log.parent / configuration.CONFIGURATION):
            psycopg.connect(through.conninfo()).close()
            found = survey.look(migrated)
            assert [m.value for m in found.of("pool_clients_active") if m.labels["database"] == through.name]
        assert presence.watched(migrated) is None
        assert (home / presence.FILE).exists()  # as a killed one leaves it


@needs_pgbouncer
def test_a_login_that_may_not_ask_is_not_permitted(pooler: DatabaseSettings) -> None:
    found = pools.read(replace(pooler, password="wrong"))
    assert {(m.value, bool(m.note)) for m in found} == {(None, True)}
    assert waits(found) == "WARN"


def test_a_pooler_that_does_not_answer_is_a_warning(migrated: DatabaseSettings) -> None:
    found = pools.read(replace(migrated, host="127.0.0.1", port=9))
    assert {m.note for m in found} == {"the pooler does not let us in, or does not answer"}
    assert waits(found) == "WARN"
