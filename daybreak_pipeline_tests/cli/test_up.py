"""``daybreak up`` from start to stop: what the web UI shows meanwhile, and that nothing stays behind.

It runs in a home of its own, with the embedded server that it starts itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from daybreak_pipeline.cli.up import _until_it_ends
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.monitoring.thresholds import ASSETS
from daybreak_pipeline.orchestration import webserver
from daybreak_pipeline.orchestration.assets.numbers import NUMBERS
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings, web
from daybreak_pipeline.supervision.supervisor import Supervisor
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.embedded_postgres.test_programs import script
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.orchestration.web.raw_http import call
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer

DAYBREAK = Path(sys.executable).with_name("daybreak")
START_SECONDS = 120
STOP_SECONDS = 30

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield a home that every user may enter, so that root's server keeps its data in there."""
    with server_home() as directory:
        try:
            yield directory
        finally:
            # If a test failed with the server running, this is the last user of it, and stops it.
            with server.serve(directory):
                pass


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with temporary_home() as directory:
        yield directory


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A home that no other test has imported into."""
    with temporary_home() as directory:
        yield directory


def one_file_export(directory: Path) -> Path:
    """Make an export of which only one file is there: quickly read, and all other tables fail."""
    directory.mkdir()
    shutil.copy(PROJECT_ROOT / "data" / "sample" / "documents.csv", directory)
    return directory


@pytest.fixture
def small_export(tmp_path: Path) -> Path:
    return one_file_export(tmp_path / "export")


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


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


def listening(home: Path) -> set[str]:
    """Return the addresses, in hex as the kernel tells them, on which the home's processes listen."""
    sockets = set()
    for process in left_behind(home):
        for descriptor in Path("/proc", process.split()[0], "fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in Path("/proc/net").glob("tcp*"):
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.add(fields[1])
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

    @property
    def link(self) -> str:
        """The link that was printed, which logs in."""
        found = re.search(r"the web UI is at (\S+)", self.said())
        assert found
        return found[1]

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]

    @property
    def login(self) -> dict[str, str]:
        """The header by which a program logs in."""
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=self.login)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
            return json.load(answer)

    def ask(self, query: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json", **self.login},
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


NODES = "{ assetNodes { assetKey { path } isMaterializable assetMaterializations(limit: 1) { runId } } }"
SCHEDULES = """
{ schedulesOrError(repositorySelector: {repositoryLocationName: "daybreak_pipeline", repositoryName: "__repository__"})
  { ... on Schedules { results { name pipelineName scheduleState { status } } } } }
"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
RUNS_OF_OUR_LOCATION = """
{ runsOrError(filter: {pipelineName: "import_all",
                       tags: [{key: ".dagster/repository", value: "__repository__@daybreak_pipeline"}]})
  { ... on Runs { results { repositoryOrigin { repositoryName repositoryLocationName } } } } }
"""
RUNS = "{ runsOrError { ... on Runs { results { jobName status } } } }"


@pytest.mark.slow
def test_the_sample_is_in_the_web_ui_until_ctrl_c(home: Path, port: int, tmp_path: Path) -> None:
    with up(home, port, tmp_path / "output") as running:
        said = running.said()
        assert f"the web UI is at http://127.0.0.1:{port}" in said
        assert "The sample has planted faults" in said
        assert all(name in said for name in TABLES)
        assert running.get("/server_info")["dagster_version"].startswith("1.")

        # No other machine may reach the web UI, nor anything else that runs.
        addresses = listening(home)
        assert f"0100007F:{port:04X}" in addresses
        assert {address.split(":")[0] for address in addresses} == {"0100007F"}

        nodes = running.ask(NODES)["assetNodes"]
        materialised = {
            "/".join(node["assetKey"]["path"]): len(node["assetMaterializations"])
            for node in nodes
            if node["isMaterializable"]
        }
        imported = dict.fromkeys((*TABLES, *SUMMARIES, *NUMBERS, "data_quality_report"), 1)
        assert {name: materialised[name] for name in imported} == imported
        assert materialised.keys() - imported == {"maintenance", "database_backup", "backup_drill", *ASSETS}
        assert len(nodes) == len(materialised) + len(TABLES) + len({"application_tables"})
        runs = running.ask(RUNS)["runsOrError"]["results"]
        assert [run for run in runs if run["jobName"] in {"import_all", "report_data_quality"}] == [
            {"jobName": "report_data_quality", "status": "SUCCESS"},
            {"jobName": "import_all", "status": "SUCCESS"},
        ]
        # So do the page of a job and the overview ask for runs.
        found = running.ask(RUNS_OF_OUR_LOCATION)["runsOrError"]["results"]
        assert [run["repositoryOrigin"] for run in found] == [
            {"repositoryName": "__repository__", "repositoryLocationName": "daybreak_pipeline"}
        ]
        schedules = running.ask(SCHEDULES)["schedulesOrError"]["results"]
        assert sorted(schedules, key=lambda one: str(one["name"])) == [
            {"name": name, "pipelineName": job, "scheduleState": {"status": "RUNNING"}}
            for name, job in (
                ("daily_backup", "back_up"),
                ("daily_import", "import_all"),
                ("daily_maintenance", "maintain"),
                ("restore_drill", "restore_drill"),
                ("server_monitoring", "monitor_server"),
                ("weekly_full_backup", "back_up"),
            )
        ]

        def scheduler_is_well() -> bool:
            statuses = running.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
            return {s["daemonType"]: s["healthy"] for s in statuses}["SCHEDULER"] is True

        until(scheduler_is_well, 60)
        assert f"the tables as a graph are at http://127.0.0.1:{port}/asset-groups?expanded=" in said
        assert f"the report is at http://127.0.0.1:{port}/report?token={running.token}\n" in said
        as_a_browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with as_a_browser.open(f"http://127.0.0.1:{port}/report?token={running.token}", timeout=30) as report:
            assert report.url == f"http://127.0.0.1:{port}/report"
            assert "Can I trust today" in report.read().decode()
        assert places_of(running.token, home) == []
        assert places_of(str(home), home) != []
        assert writable_sockets(home) == []
        # A second command shares the server, and does not stop it on its way out.
        assert psql(home, "SELECT count(*) > 0 FROM kinships") == "t\n"
        assert running.process.poll() is None
        assert len(left_behind(home)) > 5  # the programs that must be gone in the end

        os.killpg(running.process.pid, signal.SIGINT)  # Ctrl-C reaches the whole foreground
        until(lambda: "stopping" in running.said(), 5)
        os.killpg(running.process.pid, signal.SIGINT)  # from somebody who is in a hurry
        assert running.ends() == 0, running.said()
        assert "daybreak: it is stopping already" in running.said()
        assert "Traceback" not in running.said()
        until(lambda: not left_behind(home), 5)
    log = (home / "web.log").read_text(encoding="utf-8")
    assert "heartbeat" not in log
    assert " - DEBUG - " not in log  # every event of every run, which its page has too
    assert "fork_posix" not in log


@needs_pgbouncer
@pytest.mark.slow
def test_an_application_connects_through_the_pgbouncer_that_runs_beside_it(
    home: Path, port: int, tmp_path: Path, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "DAYBREAK_APP_PASSWORD": "an application's",
        "DAYBREAK_PGBOUNCER_CERT": "self-signed",
        "DAYBREAK_PGBOUNCER_PORT": str(free_port()),
    }.items():
        monkeypatch.setenv(name, value)
    with up(home, port, tmp_path / "output", "--pgbouncer", "--data-dir", small_export) as running:
        told = re.search(r"applications connect through PgBouncer: (.*)", running.said())
        assert told
        with psycopg.connect(told[1], password="an application's", prepare_threshold=None) as client:
            assert client.execute("SELECT current_user").fetchone() == ("daybreak_app",)
        assert [line for line in left_behind(home) if "pgbouncer.ini" in line]
        assert places_of("an application's", home / "pgbouncer") == []
        running.process.terminate()
        assert running.ends() == 0, running.said()
        assert "Traceback" not in running.said()
        until(lambda: not left_behind(home), 5)

    with up(home, port, tmp_path / "output", "--pgbouncer", "--data-dir", small_export) as running:
        (process,) = [line for line in left_behind(home) if "pgbouncer.ini" in line]
        running.process.kill()
        running.process.wait()
        # On Linux it does not outlive its parent, which would keep the port.
        until(lambda: process not in left_behind(home), 10)


def places_of(secret: str, home: Path) -> list[str]:
    """Return the files of a home, and the arguments and environments of its processes, that a secret is in."""
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    processes = [Path("/proc", process.split()[0]) for process in left_behind(home)]
    places = [*files, *(process / name for process in processes for name in ("cmdline", "environ"))]
    found = []
    for place in places:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the server is at work
            if secret.encode() in place.read_bytes():
                found.append(str(place))
    return found


def writable_sockets(home: Path) -> list[str]:
    """Return the sockets in the file system on which the home's code servers listen, and to which others may write."""
    commands = [process.split() for process in left_behind(home)]
    sockets = [command[command.index("--socket") + 1] for command in commands if "--socket" in command]
    assert len(sockets) == 2  # of the web server and of the daemon
    return [path for path in sockets if Path(path).stat().st_mode & 0o022]


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


@pytest.mark.slow
def test_sigterm_ends_it_as_well_and_a_second_one_says_where_the_first_is(
    empty_home: Path, port: int, tmp_path: Path, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = empty_home
    shown = tmp_path / "shown"
    browser = script(tmp_path / "browser", f'echo "$@" > {shown}; cat "${{1#file://}}" >> {shown}')
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with up(home, port, tmp_path / "output", "--open", "--data-dir", small_export) as running:
        assert re.search(r"^documents +imported", running.said(), re.MULTILINE)
        # The link is in the page that the browser is shown, and not in its arguments, which everybody can see.
        until(lambda: shown.exists() and "</html>" in shown.read_text(), 10)
        arguments, _, page = shown.read_text().partition("\n")
        assert arguments == (home / "web-ui.html").as_uri()
        assert f'content="0; url={running.link}"' in page
        second = subprocess.run(
            [DAYBREAK, "up", "--data-dir", small_export],
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
        assert told[0] == (
            f"daybreak: daybreak up runs already with {home} (process {running.process.pid}): the web UI is at "
            f"http://127.0.0.1:{port}. Stop that one, or set DAYBREAK_HOME to another directory"
        )
        assert "Traceback" not in second.stderr
        assert "documents" not in second.stdout
        assert running.get("/server_info")

        running.process.terminate()
        assert running.ends() == 0, running.said()
        assert "Traceback" not in running.said()
        until(lambda: not left_behind(home), 5)
        assert not (home / "web-ui.html").exists()


def test_a_port_that_another_program_has_is_named_before_anything_is_done(
    home: Path, port: int, small_export: Path
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [DAYBREAK, "up", "--port", str(port), "--data-dir", small_export],
            env=os.environ | {"DAYBREAK_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"daybreak: port {port} is in use: stop what uses it, or leave out --port\n"


def test_a_command_leaves_no_process_behind(home: Path) -> None:
    assert psql(home, "SELECT current_database()") == "daybreak_health\n"
    assert left_behind(home) == []


def test_interrupted_while_it_imports_it_stops_what_it_started(tmp_path: Path, home: Path, port: int) -> None:
    output = tmp_path / "output"
    with server.serve(home) as settings, output.open("wb") as file:
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


@pytest.mark.parametrize(("auth", "warned"), [("token", False), ("proxy", False), ("none", True)])
def test_that_everybody_is_let_in_is_said(
    auth: str, warned: bool, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAYBREAK_WEB_AUTH", auth)
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example")

    class Interrupted(Supervisor):
        def watch(self) -> None:
            raise KeyboardInterrupt

    _until_it_ends(webserver.WebUi(port, web()), Interrupted([], print, print), show=False)
    assert ("every account and every program on this machine" in capsys.readouterr().err) is warned


# --- Files that arrive while it runs ---------------------------------------------------------------------

BIG_BYTES = 50_000_000
COPY_SECONDS = 20
IMPORTED = "SELECT started_at, rows_read, run_id FROM ingest.imports WHERE table_name = %s AND status = 'imported' ORDER BY id"
"""A table's imports."""


@pytest.mark.slow
def test_a_changed_file_is_imported_within_a_minute_and_once_and_a_slow_copy_when_it_is_complete(
    home: Path, port: int, tmp_path: Path, small_export: Path
) -> None:
    record = (
        f'{{number:08d}}-0000-4000-8000-000000000000,2025-01-01,"[""onsite_care""]","[""{"x" * 900}""]"\n'
    )
    records = BIG_BYTES // len(record.format(number=0))
    with (
        server.serve(home) as settings,
        up(home, port, tmp_path / "out", "--data-dir", small_export) as running,
    ):

        def imported(table: str) -> list[tuple[Any, ...]]:
            with psycopg.connect(settings.conninfo()) as connection:
                return connection.execute(IMPORTED, [table]).fetchall()

        before, earlier = len(imported("documents")), imported("contracts")  # of the tests above
        with (small_export / "documents.csv").open("a", encoding="utf-8") as file:
            line = (
                (PROJECT_ROOT / "data" / "sample" / "documents.csv")
                .read_text(encoding="utf-8")
                .splitlines()[1]
            )
            file.write(f"{line}\n")
        dropped = time.monotonic()

        with (small_export / "contracts.csv").open("w", encoding="utf-8") as file:
            file.write("id,effective_date,services,terms\n")
            for number in range(records):
                file.write(record.format(number=number))
                ahead = COPY_SECONDS * number / records - (time.monotonic() - dropped)
                if ahead > 0.05:
                    file.flush()
                    time.sleep(ahead)
            assert imported("contracts") == earlier
        complete = datetime.now(UTC)

        until(lambda: len(imported("documents")) > before, 60 - (time.monotonic() - dropped))
        until(lambda: imported("contracts") != earlier, 60)
        ((began, read, run_id),) = imported("contracts")[len(earlier) :]
        assert (began > complete, read) == (True, records)
        assert len(imported("documents")) == before + 1
        asked = [
            run
            for run in running.ask(RUNS_WITH_TAGS)["runsOrError"]["results"]
            if {"key": "daybreak/started_by", "value": "sensor"} in run["tags"]
        ]
        assert {run["runId"] for run in asked} == {run_id, imported("documents")[-1][2]}
        assert {"daybreak/content", "daybreak/export"} <= {
            tag["key"] for run in asked if run["runId"] == run_id for tag in run["tags"]
        }


@pytest.mark.slow
def test_what_a_user_of_the_proxy_imports_is_in_the_audit_trail_under_their_name(
    home: Path, port: int, tmp_path: Path, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_WEB_AUTH", "proxy")
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example")
    launched = """
        SELECT c.launched_by FROM audit.changes c JOIN ingest.imports i ON i.id = c.import_id
        WHERE i.run_id = %s AND i.table_name = 'documents'
    """
    launch = """mutation { launchRun(executionParams: {
        selector: {repositoryLocationName: "daybreak_pipeline", repositoryName: "__repository__", jobName: "import_all",
                   assetSelection: [{path: ["documents"]}]}
        runConfigData: "ops: {documents: {config: {full: true}}}"
    }) { __typename ... on LaunchRunSuccess { run { runId } } } }"""
    with (
        server.serve(home) as settings,
        up(home, port, tmp_path / "out", "--data-dir", small_export) as running,
    ):
        assert running.link == "https://daybreak.example/"
        with psycopg.connect(settings.conninfo()) as connection:
            connection.execute("TRUNCATE documents")  # so that reading the file again changes rows
        answer = call(
            port,
            "POST",
            "/graphql",
            "Content-Type: application/json",
            "Origin: https://daybreak.example",
            "X-Forwarded-User: alice",
            body=json.dumps({"query": launch}),
        )
        run_id = answer.json()["data"]["launchRun"]["run"]["runId"]

        def recorded() -> list[tuple[str]]:
            with psycopg.connect(settings.conninfo()) as connection:
                return connection.execute(launched, [run_id]).fetchall()

        until(lambda: recorded() != [], 60)
        assert recorded() == [("alice",)]


RUNS_WITH_TAGS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"


@pytest.mark.slow
def test_a_run_of_a_killed_command_is_marked_as_canceled_at_the_next_start(
    home: Path, port: int, tmp_path: Path, small_export: Path
) -> None:
    with server.serve(home) as settings:
        runner.upgrade(settings)
        with psycopg.connect(settings.conninfo()) as holder:
            holder.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
            process = subprocess.Popen(
                [DAYBREAK, "import", "--data-dir", small_export, "--full", "--only", "documents"],
                env=os.environ | {"DAYBREAK_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                until(lambda: waits_for_documents(settings), START_SECONDS)
            finally:
                process.kill()
                process.wait()
        with up(home, port, tmp_path / "output", "--data-dir", small_export) as running:
            runs = running.ask(RUNS_WITH_TAGS)["runsOrError"]["results"]
            assert "STARTED" not in {run["status"] for run in runs}
            assert [run["status"] for run in runs].count("CANCELED") == 1


def waits_for_documents(settings: DatabaseSettings) -> bool:
    """Return whether an import asks for the table again and again: it does not wait in the lock."""
    with psycopg.connect(settings.conninfo()) as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND state LIKE 'idle in transaction%' AND query ~ '^(ROLLBACK TO|LOCK TABLE|SAVEPOINT|RELEASE)' "
            "AND query NOT LIKE '%ACCESS EXCLUSIVE%' AND xact_start < now() - interval '0.5 s')"
        ).fetchone()
    return bool(row and row[0])
