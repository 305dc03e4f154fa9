"""``daybreak up`` from start to stop: what the web UI shows meanwhile, and that nothing stays behind.

It runs in a home of its own, with the embedded server that it starts itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from daybreak_pipeline import local_postgres
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import TABLES

DAYBREAK = Path(sys.executable).with_name("daybreak")
START_SECONDS = 120
STOP_SECONDS = 30

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home that every user may enter, so that root's server keeps its data in there."""
    directory = Path(tempfile.mkdtemp(prefix="daybreak-up-")).resolve()
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        # If a test failed with the server running, this is the last user of it, and stops it.
        with local_postgres.serve(directory):
            pass
        shutil.rmtree(directory)


@pytest.fixture
def small_export(tmp_path: Path) -> Path:
    """An export of which only one file is there: quickly read, and all other tables fail."""
    directory = tmp_path / "export"
    directory.mkdir()
    shutil.copy(PROJECT_ROOT / "data" / "sample" / "documents.csv", directory)
    return directory


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def left_behind(home: Path) -> list[str]:
    """Return the processes that have to do with a home: by command line, environment or working directory."""
    mark = os.fsencode(home)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            places = os.fsencode((process / "cwd").readlink()), (process / "environ").read_bytes()
            if any(mark in place for place in (command, *places)):
                found.append(f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


class Up:
    """A running ``daybreak up``."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self.process = process
        self.port = port
        self.output = output

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.load(answer)

    def ask(self, query: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return json.load(answer)["data"]

    def ends(self) -> int:
        """Wait for the end that was asked for, and return the exit code."""
        return self.process.wait(STOP_SECONDS)


@contextmanager
def up(home: Path, port: int, output: Path, *arguments: str | Path) -> Iterator[Up]:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [DAYBREAK, "up", "--port", str(port), *arguments],
            env=os.environ | {"DAYBREAK_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Up(process, port, output)
    try:
        until(lambda: process.poll() is not None or "the web UI is at" in running.said(), START_SECONDS)
        assert process.poll() is None, running.said()
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            finally:
                process.kill()


ASSETS = "{ assetNodes { assetKey { path } isMaterializable assetMaterializations(limit: 1) { runId } } }"
SCHEDULES = """
{ schedulesOrError(repositorySelector: {repositoryLocationName: "daybreak_pipeline", repositoryName: "__repository__"})
  { ... on Schedules { results { name pipelineName scheduleState { status } } } } }
"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
RUNS = "{ runsOrError { ... on Runs { results { jobName status } } } }"


def test_the_sample_is_in_the_web_ui_until_ctrl_c(home: Path, port: int, tmp_path: Path) -> None:
    with up(home, port, tmp_path / "output") as running:
        said = running.said()
        assert f"the web UI is at http://127.0.0.1:{port}" in said
        assert "The sample has planted faults" in said
        assert all(name in said for name in TABLES)
        assert running.get("/server_info")["dagster_version"].startswith("1.")

        nodes = running.ask(ASSETS)["assetNodes"]
        materialised = {
            "/".join(node["assetKey"]["path"]): len(node["assetMaterializations"])
            for node in nodes
            if node["isMaterializable"]
        }
        assert materialised == dict.fromkeys((*TABLES, "data_quality_report"), 1)
        assert len(nodes) == 33
        assert running.ask(RUNS)["runsOrError"]["results"] == [
            {"jobName": "report_data_quality", "status": "SUCCESS"},
            {"jobName": "import_all", "status": "SUCCESS"},
        ]
        assert running.ask(SCHEDULES)["schedulesOrError"]["results"] == [
            {"name": "daily_import", "pipelineName": "import_all", "scheduleState": {"status": "RUNNING"}}
        ]

        def scheduler_is_well() -> bool:
            statuses = running.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
            return {s["daemonType"]: s["healthy"] for s in statuses}["SCHEDULER"] is True

        until(scheduler_is_well, 60)
        # A second command shares the server, and does not stop it on its way out.
        assert psql(home, "SELECT count(*) > 0 FROM kinships") == "t\n"
        assert running.process.poll() is None
        assert len(left_behind(home)) > 5  # the programs that must be gone in the end

        os.killpg(running.process.pid, signal.SIGINT)  # Ctrl-C reaches the whole foreground
        assert running.ends() == 0, running.said()
        assert "Traceback" not in running.said()
        until(lambda: not left_behind(home), 5)


def psql(home: Path, query: str) -> str:
    done = subprocess.run(
        [DAYBREAK, "psql", "-Atc", query],
        env=os.environ | {"DAYBREAK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_sigterm_ends_it_as_well_and_a_second_one_finds_the_port_taken(
    home: Path, port: int, tmp_path: Path, small_export: Path
) -> None:
    with up(home, port, tmp_path / "output", "--data-dir", small_export) as running:
        assert "failed clinicians: no file clinicians_anonymized.csv" in running.said()
        second = subprocess.run(
            [DAYBREAK, "up", "--port", str(port), "--data-dir", small_export],
            env=os.environ | {"DAYBREAK_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert second.returncode == 2
        told = [line for line in second.stderr.splitlines() if line.startswith("daybreak: ")]
        assert len(told) == 1
        assert f"port {port} is in use" in told[0]
        assert "Traceback" not in second.stderr
        # What cannot be served need not be imported first.
        assert "documents" not in second.stdout
        assert running.get("/server_info")

        running.process.terminate()
        assert running.ends() == 0, running.said()
        assert "Traceback" not in running.said()
        until(lambda: not left_behind(home), 5)


def test_a_command_leaves_no_process_behind(home: Path) -> None:
    assert psql(home, "SELECT current_database()") == "daybreak_health\n"
    assert left_behind(home) == []


def test_interrupted_while_it_imports_it_stops_what_it_started(tmp_path: Path, home: Path, port: int) -> None:
    output = tmp_path / "output"
    with local_postgres.serve(home) as settings, output.open("wb") as file:
        runner.upgrade(settings)
        before = imports(settings)
        process = subprocess.Popen(
            [DAYBREAK, "up", "--port", str(port)],
            env=os.environ | {"DAYBREAK_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            # The first of 16 tables is through: the others take seconds yet.
            until(lambda: imports(settings) > before, START_SECONDS)
            os.killpg(process.pid, signal.SIGINT)
            until(lambda: process.poll() is not None, STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
    assert process.returncode != 0
    said = output.read_text(encoding="utf-8")
    assert "the web UI is at" not in said
    assert "Traceback" not in said
    until(lambda: not left_behind(home), 5)


def imports(settings: DatabaseSettings) -> int:
    with psycopg.connect(settings.conninfo()) as connection:
        row = connection.execute("SELECT count(*) FROM ingest.imports").fetchone()
    return int(row[0]) if row else 0
