"""A step is tried again when the server was not there, and never when the data is at fault."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.orchestration import resources
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory

LEDGER = "SELECT table_name, status FROM ingest.imports ORDER BY id"


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


def retries(runs: Runs, run_id: str | None) -> list[str]:
    assert run_id
    found = runs.dagster.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY).records
    return [record.event_log_entry.step_key or "" for record in found]


class Killer(threading.Thread):
    """Kills the import's session once it waits for a table that this holds: the server ends all and recovers."""

    def __init__(self, settings: DatabaseSettings) -> None:
        super().__init__()
        self.settings = settings
        self.holder = psycopg.connect(settings.conninfo())
        self.holder.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        self.killed = 0

    def run(self) -> None:
        deadline = time.monotonic() + 60
        onlooking = psycopg.connect(self.settings.conninfo(), autocommit=True)
        with closing(self.holder), closing(onlooking) as onlooker:
            while not self.killed and time.monotonic() < deadline:
                # It asks for the lock again and again, in its transaction.
                waiting = onlooker.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s "
                    "AND state LIKE 'idle in transaction%%' AND xact_start < now() - interval '0.5 s'",
                    [self.holder.info.backend_pid],
                ).fetchone()
                if waiting:
                    self.killed = int(waiting[0])
                    os.kill(self.killed, signal.SIGKILL)
                time.sleep(0.05)


def test_the_server_killed_during_an_import_is_waited_for_and_the_step_succeeds(
    own_server: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_memory(own_server, monkeypatch) as runs, psycopg.connect(own_server.conninfo()) as unused:
        Export(tmp_path, unused).write("documents", record("documents"))
        killer = Killer(own_server)
        killer.start()
        outcome = runs.load(tmp_path, only=["documents"])
        killer.join()
        assert killer.killed
        assert (outcome.tables["documents"].status, outcome.exit_code) == ("imported", 0)
        assert set(retries(runs, outcome.run_id)) == {"documents"}
        assert runs.count("documents") == 1
        assert all(check.passed for check in outcome.checks["documents"].values())


def test_a_file_at_fault_is_not_tried_again(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "documents.csv").write_bytes(b"id\n")
    outcome = runs.load(tmp_path, only=["documents"])
    assert outcome.tables["documents"].status == "failed"
    assert retries(runs, outcome.run_id) == []
    assert runs.query(LEDGER) == [("documents", "failed")]


FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'Canarylast' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER fail BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION fail()
"""


@pytest.mark.parametrize(
    ("code", "attempts"), [("40P01", 3), ("40001", 3), ("53300", 3), ("55P03", 3), ("23514", 1), ("53100", 1)]
)
def test_it_is_the_servers_own_trouble_that_is_tried_again_and_not_for_ever(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, attempts: int
) -> None:
    monkeypatch.setattr(resources, "_RETRY_SECONDS", (0.0, 0.0))
    with psycopg.connect(runs.settings.conninfo()) as unused:
        Export(tmp_path, unused).write("documents", record("documents"))
    runs.execute(FAIL.format(code=code))
    outcome = runs.load(tmp_path, only=["documents"])
    assert runs.query(LEDGER) == [("documents", "failed")] * attempts
    assert len(retries(runs, outcome.run_id)) == attempts - 1
    reason = outcome.tables["documents"].reason
    assert ("disk is full" if code == "53100" else code) in reason
    assert ("(tried 3 times)" in reason) == (attempts == 3)
    assert "Canarylast" not in runs.told()


def test_a_check_whose_connection_is_lost_is_tried_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_RETRY_SECONDS", (0.0, 0.0))
    connect = database.connect
    lost: list[database.Connection] = []

    def losing(*arguments: object, **options: object) -> database.Connection:
        connection = connect(*arguments, **options)  # type: ignore[arg-type]  # passed on as they come
        if options.get("key") and not lost:
            lost.append(connection)
            with connect(runs.settings, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        return connection

    monkeypatch.setattr(database, "connect", losing)
    outcome = runs.check()
    assert len(lost) == len(retries(runs, outcome.run_id)) == 1
    assert len(outcome.checks) == 16


def test_a_server_that_is_not_there_is_another_error_than_one_that_refuses(
    migrated: DatabaseSettings,
) -> None:
    from dataclasses import replace

    with pytest.raises(ServerUnavailableError):
        database.connect(replace(migrated, port=9))
    for refused in (replace(migrated, password="wrong"), replace(migrated, name="nowhere")):
        with pytest.raises(UsageError) as caught:
            database.connect(refused)
        assert not isinstance(caught.value, ServerUnavailableError)
