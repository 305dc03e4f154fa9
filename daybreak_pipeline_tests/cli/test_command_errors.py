"""Whatever goes wrong in a command: one line, with its place, exit code 2; and a closed pipe is nobody's fault."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner, Result

from daybreak_pipeline.cli.common import Command
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.orchestration.assets import imported_tables
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import SAMPLE, environment_of
from daybreak_pipeline_tests.commands import DAYBREAK, daybreak
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.homes import server_home
from daybreak_pipeline_tests.orchestration.test_runs import in_memory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def failing(error: Exception) -> Result:
    """Run a command that raises an error."""

    @click.command(cls=Command)
    def broken() -> None:
        raise error

    return CliRunner().invoke(broken)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            KeyError("Geheimnis"),
            r"an error in the pipeline itself \(KeyError at cli/common.py:\d+\), please report it",
        ),
        (
            ValueError("not a number: Geheimnis"),
            r"an error in the pipeline itself \(ValueError at cli/common.py:\d+\)",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b"),
            r"No space left on device \(/a/b\), at cli/common",
        ),
        (
            OSError(errno.EACCES, os.strerror(errno.EACCES), "/a\x1b"),
            r"Permission denied \(/a\\u001b\), at cli/common",
        ),
        (psycopg.errors.QueryCanceled("Geheimnis"), "the server stopped a statement"),
        (psycopg.OperationalError("the connection is closed"), "the connection to the server was lost"),
        (UsageError("no such file: \x1b[2J"), r"no such file: \\u001b\[2J"),
    ],
)
def test_any_error_is_one_line_without_a_value_and_exit_code_2(
    home: Path, error: Exception, words: str
) -> None:
    done = failing(error)
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 2
    assert re.match(f"daybreak: {words}", line), line
    assert "Geheimnis" not in line
    traces = list((home / "errors").glob("*")) if home.exists() else []
    assert len(traces) == ("pipeline itself" in line)
    assert all(str(trace) in line for trace in traces)


def test_debugging_shows_the_trace_and_no_value(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_DEBUG", "1")
    done = failing(KeyError("Geheimnis"))
    assert done.stderr.startswith("builtins.KeyError\n  File ")
    assert "in broken\n    raise error\n" in done.stderr
    assert "Geheimnis" not in done.stderr
    assert home.exists()


def test_where_no_trace_can_be_kept_the_line_says_how_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "file"))
    assert failing(KeyError("x")).stderr.endswith("please report it; DAYBREAK_DEBUG=1 shows its trace\n")


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(
    export: Export, migrated: DatabaseSettings, tmp_path: Path
) -> None:
    export.load("documents", *(record("documents", f"n{n}", label=None) for n in range(5)))
    export.connection.commit()
    for arguments in (["quarantine", "list"], ["quarantine", "list", "--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [DAYBREAK, *arguments],
            env=os.environ | environment_of(migrated, tmp_path / "home"),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")


# --- The server goes away while Dagster writes its own events -------------------------------------------


@pytest.fixture
def own_home() -> Iterator[Path]:
    with server_home() as directory:
        yield directory


@pytest.mark.slow
def test_a_server_killed_during_a_run_is_one_line_and_the_next_import_repairs(own_home: Path) -> None:
    environment = {"DAYBREAK_HOME": str(own_home)}
    command = ("import", "--data-dir", SAMPLE)
    with server.serve(own_home) as settings:
        assert daybreak(environment, "migrate", "up").returncode == 0
        running = subprocess.Popen(
            [DAYBREAK, *command],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        kill_once(settings, "SELECT count(*) > 2 FROM ingest.imports")
        output, complaints = running.communicate(timeout=200)
    assert (running.returncode, output) == (2, ""), complaints
    lines = [line for line in complaints.splitlines() if line.startswith("daybreak: ")]
    assert len(lines) == 1
    assert "Traceback" not in complaints
    assert "the server went away while Dagster wrote its records" in lines[0]
    done = daybreak(environment, *command)
    assert done.returncode == 0, done
    assert "daybreak: " not in done.stderr


def kill_once(settings: DatabaseSettings, condition: str) -> None:
    """Kill the whole server, once a condition holds."""
    deadline = time.monotonic() + 100
    with psycopg.connect(settings.conninfo(), autocommit=True) as onlooker:
        row = onlooker.execute("SHOW data_directory").fetchone()
        assert row
        postmaster = int((Path(row[0]) / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        while onlooker.execute(condition.encode()).fetchone() != (True,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="utf-8").split()
    for process in (postmaster, *map(int, children)):
        os.kill(process, signal.SIGKILL)


# --- In a run of Dagster --------------------------------------------------------------------------------


def test_a_fault_of_our_own_in_a_step_is_one_line_without_a_value(
    migrated: DatabaseSettings, export: Export, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("Geheimnis")  # noqa: EM101 - as a dictionary does

    monkeypatch.setattr(imported_tables, "import_table", broken)
    with in_memory(migrated, monkeypatch) as runs:
        export.write("documents", record("documents"))
        outcome = runs.load(export.directory, only=["documents"])
        reason = outcome.tables["documents"].reason
        assert re.match(
            r"an error in the pipeline itself \(KeyError at orchestration/assets/imported_tables.py:\d+\), please report",
            reason,
        )
        assert "Geheimnis" not in runs.told().replace('raise KeyError(\\"Geheimnis\\")', "")
    assert len(list((home / "errors").iterdir())) == 1


@pytest.mark.parametrize(
    ("kind", "file", "words"),
    [
        (
            "KeyError",
            imported_tables.__file__,
            "an error in the pipeline itself (KeyError at orchestration/assets/imported_tables.py:7), please report it",
        ),
        ("psycopg2.OperationalError", "x.py", "the server went away while Dagster wrote its records"),
        ("dagster.DagsterError", "x.py", "dagster.DagsterError, see the run's log"),
    ],
)
def test_of_a_step_that_did_not_say_why_it_failed_kind_and_place_are_told(
    kind: str, file: str, words: str
) -> None:
    assert explanations.explain_stack(kind, f'  File "{file}", line 7, in load\n').startswith(words)
