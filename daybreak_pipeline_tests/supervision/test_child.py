"""A child process that is started again: how it ended, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.supervision import child
from daybreak_pipeline.supervision.child import Child
from daybreak_pipeline.supervision.supervisor import GaveUpError, Supervisor


def python(code: str, **options: object) -> Child:
    return Child("the program", [sys.executable, "-c", code], dict(os.environ), **options)  # type: ignore[arg-type]  # as they come


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("", "ended with code 0"),
        ("import os; os.kill(os.getpid(), 9)", "was killed (SIGKILL)"),
        ("import os; os.kill(os.getpid(), 40)", "was killed (signal 40)"),
    ],
)
def test_how_it_ended_is_said(code: str, how: str) -> None:
    it = python(code)
    assert it.ending() is None
    it.start()
    until(lambda: it.ending() is not None)
    assert it.ending() == how


LEAVES = """
import os, subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(left.pid))
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("how", ["it dies", "it is killed", "it is stopped"])
def test_what_it_started_ends_with_it(tmp_path: Path, how: str) -> None:
    note = tmp_path / "note"
    it = python(LEAVES)
    it.command = [*it.command, str(note)]
    it.start()
    until(lambda: note.exists() and note.read_text() != "")
    left = int(note.read_text())
    assert lives(left)
    assert it.process
    if how == "it dies":
        os.kill(it.process.pid, signal.SIGKILL)
        until(lambda: it.ending() is not None)
    elif how == "it is killed":
        it.kill()
    else:
        child.stop([it])
    until(lambda: not lives(left))
    it.kill()  # a second time does no harm, whoever has the number by then


def test_it_starts_again_with_its_secret_its_socket_and_its_log(tmp_path: Path) -> None:
    prepared: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "log").open("ab") as log:
        code = f"import os; os.fstat({listener.fileno()}); print(input())"
        it = python(
            code, log=log, listener=listener, secret="the-secret\n", prepare=lambda: prepared.append(1)
        )
        for _ in range(2):
            it.start()
            until(lambda: it.ending() is not None)
            assert it.ending() == "ended with code 0"
        assert (tmp_path / "log").read_text() == "the-secret\nthe-secret\n"
        assert len(prepared) == 2
        listener.getsockname()  # it stays open here
    assert "the-secret" not in repr(it)


def test_a_program_that_is_not_there_is_one_sentence() -> None:
    it = Child("the program", ["/nowhere/program"], {})
    with pytest.raises(UsageError, match="cannot run /nowhere/program: No such file or directory"):
        it.start()


def test_one_that_dies_at_once_again_and_again_is_given_up_and_said_once() -> None:
    said: list[str] = []
    it = python("raise SystemExit(3)", settles=5.0)
    it.start()
    supervisor = Supervisor([it], said.append, lambda _text: None, pauses=[0.0] * 3)
    with pytest.raises(GaveUpError, match=r"3 starts in a row failed \(ended with code 3\)"):
        supervisor.watch()
    assert said == ["the program ended with code 3: it is started again"]


def test_one_that_stays_up_is_ready_after_a_while() -> None:
    it = python("import time; time.sleep(600)", settles=0.3)
    it.start()
    assert not it.is_ready()
    until(it.is_ready)
    it.kill()
