"""``daybreak up`` with its real processes killed: what is started again, how fast, what is said, alerted and lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline.embedded_postgres import data_directory, server
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DEFAULT_DATABASE, DatabaseSettings
from daybreak_pipeline.supervision import alone
from daybreak_pipeline_tests.cli.test_up import (
    DAYBREAK,
    START_SECONDS,
    STOP_SECONDS,
    Up,
    free_port,
    left_behind,
    one_file_export,
    temporary_home,
    until,
    up,
    waits_for_documents,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc"),
]
MOST_SECONDS = 15
"""What a killed server may cost."""
DAEMON_SECONDS = 60
"""Dagster's daemon loads the code, on a machine that may be busy."""
REPEATED_SECONDS = 300
"""An import from the beginning, noticed, queued and started: each step takes some of these."""


class Alerts:
    """A webhook that keeps what it gets."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                texts.append(json.loads(self.rfile.read(length))["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def of_the_supervisor(self) -> list[str]:
        """Return the alerts that are not about the data: the export of these tests lacks most files."""
        return [text for text in self.texts if "run " not in text.splitlines()[0]]


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Alerts]:
    hook = Alerts()
    monkeypatch.setenv("DAYBREAK_WEBHOOK_URL", hook.url)
    monkeypatch.setenv("DAYBREAK_SETTLE_SECONDS", "1")
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with temporary_home() as directory:
        yield directory


@contextmanager
def running(home: Path, tmp_path: Path) -> Iterator[Up]:
    """Yield a running ``daybreak up`` of a small export."""
    export = one_file_export(tmp_path / "export")
    with up(home, free_port(), tmp_path / "output", "--data-dir", export) as it:
        yield it


def postmaster(home: Path) -> int:
    data = data_directory.existing_data(home)
    assert data
    return int((data / "postmaster.pid").read_text().split("\n", 1)[0])


def database(home: Path) -> DatabaseSettings:
    """Return the database of a running server, without becoming a user who would start it."""
    data = data_directory.existing_data(home)
    assert data
    port = int((data / "postmaster.pid").read_text().splitlines()[3])
    login = (data_directory.ADMINISTRATOR, data_directory.password(home))
    return DatabaseSettings("127.0.0.1", port, DEFAULT_DATABASE, *login, sslmode="disable")


def answers(home: Path) -> bool:
    with contextlib.suppress(psycopg.Error, OSError, IndexError, ValueError):
        psycopg.connect(database(home).conninfo()).close()
        return True
    return False


def child(it: Up, what: str) -> int:
    """Return the process number of the web server or the daemon."""
    for process in Path(f"/proc/{it.process.pid}/task").glob("*/children"):
        for number in process.read_text().split():
            with contextlib.suppress(OSError):
                if what in Path(f"/proc/{number}/cmdline").read_text():
                    return int(number)
    return 0


WEB, DAEMON = "orchestration.web", "dagster-daemon"


def lines(it: Up) -> list[str]:
    """Return what was said about components."""
    return [line for line in it.said().splitlines() if "again" in line and line.startswith("daybreak: ")]


def test_a_killed_server_costs_seconds_and_one_alert_and_nothing_committed(
    home: Path, tmp_path: Path, alerts: Alerts
) -> None:
    with running(home, tmp_path) as it:
        before = database(home)
        with psycopg.connect(before.conninfo()) as connection:
            connection.execute("CREATE TABLE kept (number integer)")
            connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        web = child(it, WEB)
        killed = time.monotonic()
        os.kill(postmaster(home), signal.SIGKILL)
        until(lambda: answers(home), MOST_SECONDS)
        took = time.monotonic() - killed
        assert took < MOST_SECONDS
        assert database(home) == before  # whoever knew the port finds it there
        with psycopg.connect(before.conninfo()) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
            connection.execute("DROP TABLE kept")
        until(lambda: len(lines(it)) == 2, MOST_SECONDS)
        assert lines(it)[0] == "daybreak: the embedded server is gone: it is started again"
        assert lines(it)[1].startswith("daybreak: the embedded server runs again, after ")
        until(lambda: child(it, DAEMON) != 0, DAEMON_SECONDS)
        until(lambda: alerts.of_the_supervisor() != [], DAEMON_SECONDS)
        assert it.get("/server_info")
        assert it.ask("{ runsOrError { ... on Runs { results { status } } } }")["runsOrError"]["results"]
        assert child(it, WEB) == web
        (alert,) = alerts.of_the_supervisor()
        assert alert.splitlines()[0] == "Daybreak: the embedded server is gone: it is started again"
        assert "see docs/runbooks/server-gone.md" in alert

        os.killpg(it.process.pid, signal.SIGINT)
        assert it.ends() == 0, it.said()
        assert "Traceback" not in it.said()
    until(lambda: not left_behind(home), 5)
    assert len(alerts.of_the_supervisor()) == 1


@pytest.mark.parametrize("what", [WEB, DAEMON])
def test_a_killed_process_is_started_again_each_time(
    home: Path, tmp_path: Path, alerts: Alerts, what: str
) -> None:
    with running(home, tmp_path) as it:
        token = it.token
        for time_of in (1, 2):
            number = child(it, what)
            os.kill(number, signal.SIGKILL)
            until(lambda number=number: child(it, what) not in {0, number}, DAEMON_SECONDS)  # type: ignore[misc]
            until(lambda time_of=time_of: len(lines(it)) == 2 * time_of, DAEMON_SECONDS)  # type: ignore[misc]
            assert it.get("/server_info")
        name = "the web server" if what == WEB else "the daemon"
        assert lines(it)[0] == f"daybreak: {name} was killed (SIGKILL): it is started again"
        assert it.token == token  # the links that people have go on working
        until(lambda: alerts.of_the_supervisor() != [], DAEMON_SECONDS)
        it.process.terminate()
        assert it.ends() == 0, it.said()
        assert "Traceback" not in it.said()
    until(lambda: not left_behind(home), 5)
    assert len(alerts.of_the_supervisor()) == 1


RUNS = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"


def import_runs(it: Up) -> list[tuple[str, str]]:
    """Return state and kind of the sensor's runs, oldest first."""
    found = []
    for run in reversed(it.ask(RUNS)["runsOrError"]["results"]):
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        if tags.get("daybreak/started_by") == "sensor":
            found.append((str(run["status"]), "repeated" if "dagster/retry_number" in tags else "first"))
    return found


def test_a_run_that_is_lost_with_the_daemon_is_marked_as_failed_and_repeated(
    home: Path, tmp_path: Path, alerts: Alerts
) -> None:
    with running(home, tmp_path) as it:
        with psycopg.connect(database(home).conninfo()) as holder:
            holder.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
            change(tmp_path)
            until(lambda: waits_for_documents(database(home)), 120)
            os.kill(child(it, DAEMON), signal.SIGKILL)
            until(lambda: ("FAILURE", "first") in import_runs(it), 60)
        until(lambda: ("SUCCESS", "repeated") in import_runs(it), REPEATED_SECONDS)
        assert import_runs(it) == [("FAILURE", "first"), ("SUCCESS", "repeated")]
        lost = next(
            str(run["runId"])
            for run in it.ask(RUNS)["runsOrError"]["results"]
            if {"key": "dagster/will_retry", "value": "true"} in run["tags"]
        )
        until(lambda: alerts.of_the_supervisor() != [], DAEMON_SECONDS)
    # The lost run is no alert of its own: it was repeated.
    assert [text for text in alerts.texts if lost in text] == []


def test_a_server_killed_under_a_run_loses_nothing_and_the_file_is_imported(
    home: Path, tmp_path: Path, alerts: Alerts
) -> None:
    with running(home, tmp_path) as it:
        rows = count(home)
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(database(home).conninfo()) as holder,
        ):
            holder.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
            change(tmp_path)
            until(lambda: waits_for_documents(database(home)), 120)
            os.kill(postmaster(home), signal.SIGKILL)
        until(lambda: answers(home), MOST_SECONDS)
        assert count(home) == rows
        until(lambda: count(home) == rows + 1, REPEATED_SECONDS)
        assert import_runs(it)[-1][0] in {"STARTED", "SUCCESS"}
        until(lambda: alerts.of_the_supervisor() != [], DAEMON_SECONDS)
    assert len(alerts.of_the_supervisor()) == 1


def change(tmp_path: Path) -> None:
    """Add a record to the export: a copy of one that is there, under an id of its own."""
    path = tmp_path / "export" / "documents.csv"
    records = path.read_text(encoding="utf-8").splitlines()
    added, found = re.subn(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(uuid.uuid4()), records[2])
    assert found == 1
    path.write_text("\n".join([*records, added]) + "\n", encoding="utf-8")


def count(home: Path) -> int:
    with psycopg.connect(database(home).conninfo()) as connection:
        row = connection.execute("SELECT count(*) FROM documents").fetchone()
    return int(row[0]) if row else 0


def test_a_server_killed_under_the_import_at_the_start_is_back_before_it_ends(
    home: Path, tmp_path: Path, alerts: Alerts
) -> None:
    export = one_file_export(tmp_path / "export")
    change(tmp_path)
    with server.serve(home) as settings:
        runner.upgrade(settings)
        roles.ensure(settings)  # what the import waits for is the import, and not a GRANT
        with psycopg.connect(settings.conninfo()) as holder:
            holder.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
            output = tmp_path / "output"
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [DAYBREAK, "up", "--port", str(free_port()), "--data-dir", export],
                    env=os.environ | {"DAYBREAK_HOME": str(home)},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            until(lambda: waits_for_documents(settings), START_SECONDS)
            os.kill(postmaster(home), signal.SIGKILL)
            holder.close()
    try:
        until(lambda: "the web UI is at" in output.read_text(), REPEATED_SECONDS)
        said = output.read_text()
        assert "the embedded server runs again, after " in said
        assert "Traceback" not in said
        # Skipped: the first try went on where the server was back in time.
        (status,) = (line.split()[1] for line in said.splitlines() if line.startswith("documents "))
        assert status in {"imported", "skipped"}, said
    finally:
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    assert len(alerts.of_the_supervisor()) == 1


def test_a_server_that_cannot_start_again_ends_it_with_one_line_and_code_2(
    home: Path, tmp_path: Path, alerts: Alerts
) -> None:
    with running(home, tmp_path) as it:
        data = data_directory.existing_data(home)
        assert data
        (data / "PG_VERSION").rename(data / "PG_VERSION.away")
        (data / "global" / "pg_control").rename(data / "global" / "pg_control.away")
        (data / "PG_VERSION.away").rename(data / "PG_VERSION")
        os.kill(postmaster(home), signal.SIGKILL)
        try:
            assert it.process.wait(120) == 2
        finally:
            (data / "global" / "pg_control.away").rename(data / "global" / "pg_control")
    last = it.said().splitlines()[-1]
    assert last.startswith("daybreak: the embedded server does not stay up: 6 starts in a row failed (")
    assert last.endswith("; see docs/runbooks/server-gone.md")
    assert "Traceback" not in it.said()
    assert len(alerts.of_the_supervisor()) == 2
    assert alerts.of_the_supervisor()[1].splitlines()[0] == "Daybreak: daybreak up has ended"
    until(lambda: not left_behind(home), 10)


def test_ctrl_c_while_something_is_being_started_again_stops_all(
    home: Path, tmp_path: Path, alerts: Alerts
) -> None:
    with running(home, tmp_path) as it:
        os.kill(child(it, WEB), signal.SIGKILL)
        os.kill(postmaster(home), signal.SIGKILL)
        until(lambda: "is gone: it is started again" in it.said(), 5)
        os.killpg(it.process.pid, signal.SIGINT)
        assert it.ends() == 0, it.said()
        assert "Traceback" not in it.said()
    until(lambda: not left_behind(home), 5)
    assert alone.present(home) is None
    assert alerts  # its webhook was set
