"""While a command is being imported, it can be stopped and it can fail: one line and an exit code, as later.

Stand-in commands take the place of Dagster, whose import takes too short a time to hit. They load in a process of their own.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from daybreak_pipeline import settings

PROGRAM = """
from daybreak_pipeline.cli.main import COMMANDS, main
COMMANDS["slow"] = ("slow_to_load:command", "Load for a long time.")
COMMANDS["broken"] = ("broken_package:command", "Fail to load.")
main(prog_name="daybreak")
"""
SLOW = "import sys, time; print('loading', flush=True); time.sleep(60)"
BROKEN = "import a_package_that_is_not_installed"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    (tmp_path / "broken_package.py").write_text(BROKEN)
    return tmp_path


def start(
    commands: Path,
    *arguments: str,
    before: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=settings.child_environment(
            PYTHONPATH=str(commands), DAYBREAK_HOME=str(commands), **(variables or {})
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509 - the child only sets how it takes a signal
    )


def run(commands: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    process = start(commands, *arguments, variables=variables)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def as_a_background_job_of_a_shell() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("number", "before"),
    [
        (signal.SIGINT, None),
        (signal.SIGTERM, None),
        (signal.SIGINT, as_a_background_job_of_a_shell),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGINT to a background job"],
)
def test_who_stops_a_command_that_loads_gets_one_line(
    commands: Path, number: signal.Signals, before: Callable[[], None] | None
) -> None:
    process = start(commands, "slow", before=before)
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert errors == "daybreak: interrupted; what was being written was rolled back\n"
    assert process.returncode == 130


def test_a_package_that_cannot_be_imported_is_one_line_that_names_it(commands: Path) -> None:
    code, output, errors = run(commands, "broken")
    assert (code, output) == (2, "")
    assert errors == (
        "daybreak: the Python package a_package_that_is_not_installed is not installed: run make install\n"
    )


def test_a_command_that_does_not_exist_says_which_was_meant(commands: Path) -> None:
    code, _, errors = run(commands, "impor")
    assert code == 2
    assert "Did you mean 'import'" in errors


def test_completing_a_name_in_the_shell_loads_no_command(commands: Path) -> None:
    code, output, errors = run(
        commands, _DAYBREAK_COMPLETE="bash_complete", COMP_WORDS="daybreak st", COMP_CWORD="1"
    )
    assert (code, errors) == (0, "")
    assert output.split() == ["plain,status"]
