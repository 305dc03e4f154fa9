"""Files below the home are for who runs the pipeline alone, whoever writes them; what a person asks for elsewhere is theirs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline_tests import commands
from daybreak_pipeline_tests.homes import server_home

pytestmark = pytest.mark.slow

OPEN = stat.S_IRWXG | stat.S_IRWXO
EXIT_USAGE = 2


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home that somebody made beforehand, as directories are usually made."""
    with server_home() as directory:
        directory.chmod(0o755)
        yield directory


def daybreak(home: Path, *arguments: str | Path) -> str:
    """Run the command with the umask that people usually have, and return what it printed."""
    done = commands.daybreak({"DAYBREAK_HOME": str(home)}, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def errors_of(home: Path, *arguments: str | Path) -> str:
    """Run a command that is refused, and return what it says."""
    done = commands.daybreak({"DAYBREAK_HOME": str(home)}, *arguments)
    assert done.returncode == EXIT_USAGE, done.stdout
    return done.stderr


def open_to_others(directory: Path) -> list[str]:
    """Return what others may read, write or enter below a directory."""
    found = []
    for place, directories, files in os.walk(directory):
        for path in (Path(place, name) for name in (*directories, *files)):
            mode = path.lstat().st_mode
            if mode & OPEN and not stat.S_ISLNK(mode):
                found.append(f"{path.relative_to(directory)}: {stat.filemode(mode)}")
    return found


@pytest.fixture(scope="module")
def used(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That home, after commands of every kind."""
    export = tmp_path_factory.mktemp("export")
    shutil.copy(PROJECT_ROOT / "data" / "sample" / "documents.csv", export)
    daybreak(home, "import", "--data-dir", export, "--only", "documents")
    daybreak(home, "report")
    daybreak(home, "status")
    daybreak(home, "quarantine", "list")
    daybreak(home, "keys", "status")
    daybreak(
        home, "run", "--", "sh", "-c", 'mkdir -p "$DAYBREAK_HOME/mine"; date > "$DAYBREAK_HOME/mine/file"'
    )
    return home


def test_nothing_below_the_home_is_open_to_others(used: Path) -> None:
    assert open_to_others(used) == []
    kinds = {path.name for path in used.iterdir()}
    assert {"postgres", "postgres.password", "dagster", "reports", "mine"} <= kinds


def test_nothing_is_open_to_others_while_the_server_runs(used: Path) -> None:
    find = ["find", str(used), "-mindepth", "1", "!", "-type", "l", "-perm", "/077"]
    assert daybreak(used, "run", "--", *find) == ""


def test_the_home_keeps_its_own_mode(used: Path) -> None:
    assert stat.S_IMODE(used.stat().st_mode) == 0o755


def test_what_a_person_asks_for_elsewhere_is_made_as_they_make_files(used: Path, tmp_path: Path) -> None:
    daybreak(used, "report", "--out", tmp_path / "new" / "report.html")
    daybreak(used, "generate", "--patients", "5", "--out", tmp_path / "synthetic")
    daybreak(used, "psql", "-qc", f"\\o {tmp_path / 'answer'}", "-c", "SELECT 1")
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o644}
    assert {"report.html", "documents.csv", "answer"} <= {path.name for path in made}


def test_a_report_that_is_asked_for_below_the_home_is_closed(used: Path) -> None:
    daybreak(used, "report", "--out", used / "shared" / "report.html")
    assert open_to_others(used) == []


def test_dagsters_own_programs_close_their_files(tmp_path: Path) -> None:
    load = "import os; import daybreak_pipeline.definitions; print(oct(os.umask(0)))"
    done = subprocess.run(
        [sys.executable, "-c", load], cwd=tmp_path, capture_output=True, text=True, check=True, umask=0o022
    )
    assert done.stdout == "0o77\n"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_home_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """Or they could plant a key that they know, or a link for us to write through."""
    planted, link, theirs = tmp_path / "encryption.key", tmp_path / "web.log", tmp_path.with_suffix(".theirs")
    planted.write_text("5" * 64)
    link.symlink_to(theirs)
    tmp_path.chmod(mode)
    said = errors_of(tmp_path, "keys", "status")
    assert said == (
        f"daybreak: other users can write to {tmp_path}, and could replace the keys and files in it: "
        f"set DAYBREAK_HOME to a directory of your own, or take the right from them (chmod go-w {tmp_path})\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {planted.name, link.name}
    assert not theirs.exists()
