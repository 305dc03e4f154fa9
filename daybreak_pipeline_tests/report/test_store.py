"""Where reports are kept, and how many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.report import store

FIRST = datetime(2026, 1, 1, 5, tzinfo=UTC)
RUN = "0a1b2c3d-0000-4000-8000-000000000000"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_last_30_are_kept_and_the_latest_under_a_name_that_stays(home: Path) -> None:
    for day in range(33):
        store.keep(f"page {day}", FIRST + timedelta(days=day), RUN)
    names = sorted(path.name for path in (home / "reports").iterdir())
    assert len(names) == 31
    assert names[0] == "2026-01-04T050000Z-0a1b2c3d.html"
    assert names[-1] == "latest.html"
    assert (home / "reports" / "latest.html").read_text(encoding="utf-8") == "page 32"
    assert (home / "reports" / names[-2]).read_text(encoding="utf-8") == "page 32"


def test_what_somebody_else_keeps_there_stays(home: Path) -> None:
    other = home / "reports" / "2020-before-the-migration.html"
    other.parent.mkdir(parents=True)
    other.write_text("mine", encoding="utf-8")
    for day in range(31):
        store.keep("page", FIRST + timedelta(days=day), RUN)
    assert other.exists()


def test_nothing_unfinished_is_left_behind(home: Path) -> None:
    store.keep("page", FIRST, RUN)
    assert [path.name for path in (home / "reports").iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot write the report .*file/report\.html"):
        store.write(file / "report.html", "page")
