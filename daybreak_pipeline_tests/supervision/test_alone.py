"""One ``daybreak up`` for each home: who is there, and what is left of one that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.supervision import alone
from daybreak_pipeline.supervision.alone import Presence

HOLD = """
import sys, time
from pathlib import Path
from daybreak_pipeline.supervision import alone
with alone.held(Path(sys.argv[1])) as place:
    place.say("http://127.0.0.1:3000")
    print(flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_where_the_first_is(tmp_path: Path) -> None:
    with alone.held(tmp_path) as place:
        with (
            pytest.raises(
                UsageError, match=r"its web UI is not there yet\. Stop that one, or set DAYBREAK_HOME"
            ),
            alone.held(tmp_path),
        ):
            pass
        place.say("http://127.0.0.1:3007")
        with (
            pytest.raises(
                UsageError, match=rf"process {os.getpid()}\): the web UI is at http://127\.0\.0\.1:3007\."
            ),
            alone.held(tmp_path),
        ):
            pass
        assert alone.present(tmp_path) == Presence(os.getpid(), "http://127.0.0.1:3007")
    assert alone.present(tmp_path) is None
    with alone.held(tmp_path):
        pass


def test_a_killed_one_is_gone_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as first:
        assert first.stdout
        first.stdout.readline()
        assert alone.present(tmp_path) == Presence(first.pid, "http://127.0.0.1:3000")
        first.send_signal(signal.SIGKILL)
    assert alone.present(tmp_path) is None
    with alone.held(tmp_path):
        assert alone.present(tmp_path) == Presence(os.getpid())


def test_somebody_who_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    for _ in range(50):
        with alone.held(tmp_path):
            assert alone.present(tmp_path)
        assert alone.present(tmp_path) is None


def test_others_may_not_read_it_and_a_home_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    with alone.held(tmp_path / "new" / "home"):
        assert (tmp_path / "new" / "home" / alone.LOCK_FILE).stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="set DAYBREAK_HOME to a directory that can be written"),
        alone.held(tmp_path / "file"),
    ):
        pass
    (tmp_path / alone.LOCK_FILE).symlink_to("elsewhere")
    with pytest.raises(UsageError, match=r"up\.lock"), alone.held(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1, "port": 2}'])
def test_a_file_that_is_just_being_written_is_no_error(tmp_path: Path, text: str) -> None:
    with alone.held(tmp_path):
        (tmp_path / alone.LOCK_FILE).write_text(text)
        assert alone.present(tmp_path) == Presence(0)
