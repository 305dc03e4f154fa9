"""Old files of the home go, only those whose names we give, and never what is in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres import server_log
from daybreak_pipeline.maintenance import home_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    for name in ("reports", "errors", "postgres", "postgres-log", "dagster"):
        (tmp_path / name).mkdir()
    return tmp_path


def old(path: Path, days: float = 400, text: str = "x" * 10) -> Path:
    path.write_text(text, encoding="utf-8")
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_old_reports_traces_logs_and_left_overs_go_and_all_else_stays(home: Path) -> None:
    gone = [
        old(home / "reports" / "2024-01-01T050000Z-0a1b2c3d.html"),
        old(home / "errors" / "2024-01-01T050000.000001Z-77.txt"),
        old(home / "postgres-log" / "postgres-2024-01-01_000000.log"),
        old(home / "reports" / ".latest.html.4711", days=2),
        old(home / "postgres.password.new", days=2),
    ]
    kept = [
        old(home / "reports" / "2024-01-02T050000Z-0a1b2c3d.html"),  # the newest there is
        old(home / "reports" / "latest.html"),
        old(home / "reports" / "for the board.html"),
        old(home / "errors" / "notes.txt"),
        old(home / "encryption.key"),
        old(home / "postgres.password"),
        old(home / "postgres-log" / "postgres-2024-01-02_000000.log"),  # the newest is in use
        old(home / ".latest.html.4712", days=0.5),
        old(home / "dagster" / "dagster.yaml"),
    ]
    foretold = home_files.prune(home, dry_run=True)
    assert all(path.exists() for path in gone)
    done = home_files.prune(home, dry_run=False)
    assert done == foretold
    assert {one.step: (one.rows, one.bytes) for one in done} == {
        "reports": (1, 10),
        "traces of errors": (1, 10),
        "left-over files": (2, 20),
        "server log": (1, 10),
    }
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_the_log_of_a_given_server_is_not_ours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (1, 2):
        old(home / "postgres-log" / f"postgres-2024-01-0{day}_000000.log")
    monkeypatch.setenv("DB_HOST", "db.example.org")
    assert home_files.prune(home, dry_run=False)[-1].rows == 0
    assert len(server_log.files(home / "postgres")) == 2


def test_a_home_that_is_new_has_nothing_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    assert {(one.rows, one.note) for one in home_files.prune(tmp_path / "home", dry_run=False)} == {(0, "")}


def test_the_periods_are_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (1, 2, 3):
        old(home / "errors" / f"2024-01-0{day}T050000.000001Z-77.txt", days=10 * day)
    monkeypatch.setenv("DAYBREAK_REPORTS_DAYS", "25")
    assert home_files.prune(home, dry_run=False)[1].rows == 1
