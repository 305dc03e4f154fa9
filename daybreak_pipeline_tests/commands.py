"""The ``daybreak`` command in a process of its own, forked from one that has imported Dagster already.

Starting Python and importing Dagster and matplotlib takes longer than what most commands do then. A server of Python's
``multiprocessing`` does that once for each process of tests, and forks itself for each command. What concerns the
start itself (the installed script, imports that a command may not make, signals, terminals) is tested with the script.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from daybreak_pipeline.cli.main import COMMANDS, main

DAYBREAK = Path(sys.executable).with_name("daybreak")
"""The installed script."""

Environment = dict[str, str]
Done = subprocess.CompletedProcess[str]

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        __name__,
        *sorted({where.partition(":")[0] for where, _help in COMMANDS.values()}),
        # What is imported late, and what Dagster imports for an instance.
        "alembic.command",
        "alembic.config",
        "dagster._core.storage.event_log.sqlite",
        "dagster._core.storage.runs.sqlite",
        "dagster._core.storage.schedules.sqlite",
        "dagster_postgres",
        "matplotlib.figure",
        "pandas",
        "daybreak_pipeline_tests.frozen",
    ]
)


def daybreak(environment: Mapping[str, str], *arguments: str | Path) -> Done:
    """Run the command without a terminal, with the environment of the tests and what is given."""
    with tempfile.TemporaryDirectory() as directory:
        written = Path(directory, "stdout"), Path(directory, "stderr")
        command = [str(DAYBREAK), *map(str, arguments)]
        process = _FORKED.Process(target=_run, args=(command, os.environ | environment, written))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, 120)
        return Done(command, process.exitcode, *(path.read_bytes().decode() for path in written))


def _run(command: list[str], environment: Mapping[str, str], written: tuple[Path, Path]) -> None:
    """Be the command, in a process that has done nothing yet. Its standard input is empty already."""
    for descriptor, path in enumerate(written, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.umask(0o022)  # as people usually have it
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    try:
        main(prog_name="daybreak")
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing ends without
