"""``daybreak report``, and the report that imports and checks of the command line leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daybreak_pipeline_tests.cli.test_main import export_dir, given, one_line  # noqa: F401 - fixtures
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.report.pages import Page


def read(path: Path) -> Page:
    return Page.read(path.read_text(encoding="utf-8"))


def latest(environment: Environment) -> Path:
    return Path(environment["DAYBREAK_HOME"]) / "reports" / "latest.html"


def test_it_writes_the_state_of_the_database_and_says_where(given: Environment) -> None:  # noqa: F811 - fixture
    done = daybreak(given, "report")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{latest(given)}\n", "")
    assert "nothing has been imported yet" in read(latest(given)).verdict()


def test_it_writes_where_it_is_told_to(given: Environment, tmp_path: Path) -> None:  # noqa: F811 - fixture
    done = daybreak(given, "report", "--out", tmp_path / "new" / "mine.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'new' / 'mine.html'}\n")
    assert "nothing has been imported yet" in read(tmp_path / "new" / "mine.html").verdict()
    assert not latest(given).exists()


def test_the_page_about_the_server_is_beside_it_and_they_lead_to_each_other(given: Environment) -> None:  # noqa: F811 - fixture
    server = latest(given).with_name("server.html")
    done = daybreak(given, "report", "--server")
    assert (done.returncode, done.stdout) == (0, f"{server}\n")
    assert "never imported" in read(server).one("section", id="wrong").text
    assert [link for link in links(server) if not link.startswith("#")] == []
    for options in ([], ["--server"]):
        daybreak(given, "report", *options)
    assert links(server) >= {"latest.html", "trends.html"}
    assert links(latest(given)) >= {"trends.html", "server.html"}


def test_the_trends_are_made_with_the_report_and_by_themselves(given: Environment, tmp_path: Path) -> None:  # noqa: F811 - fixture
    trends = latest(given).with_name("trends.html")
    daybreak(given, "report")
    assert "Too early to say" in read(trends).verdict()
    assert "latest.html" in links(trends)
    trends.unlink()
    assert daybreak(given, "report", "--trends").stdout == f"{trends}\n"
    assert daybreak(given, "report", "--trends", "--out", tmp_path / "mine.html").returncode == 0
    assert [link for link in links(tmp_path / "mine.html") if not link.startswith("#")] == []


def links(path: Path) -> set[str]:
    return {element.attributes["href"] for element in read(path).all("a")}


def test_without_a_display_it_says_so_instead_of_opening_anything(given: Environment) -> None:  # noqa: F811 - fixture
    done = daybreak(given | {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}, "report", "--open")
    assert (done.returncode, done.stdout) == (0, f"{latest(given)}\n")
    assert "no browser here" in done.stderr


def test_with_a_browser_it_is_opened(given: Environment, tmp_path: Path) -> None:  # noqa: F811 - fixture
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n', encoding="utf-8")
    browser.chmod(0o755)
    done = daybreak(given | {"BROWSER": f"{browser} %s"}, "report", "--open")
    assert (done.returncode, done.stderr) == (0, "")
    assert opened.read_text(encoding="utf-8").strip() == latest(given).as_uri()


def test_a_file_that_cannot_be_written_is_one_line(given: Environment, tmp_path: Path) -> None:  # noqa: F811 - fixture
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = daybreak(given, "report", "--out", tmp_path / "file" / "report.html")
    assert "cannot write the report" in one_line(done)


@pytest.mark.parametrize("arguments", [("import", "--only", "documents", "--json"), ("check", "--json")])
def test_imports_and_checks_leave_a_report_and_keep_their_output(
    given: Environment,  # noqa: F811 - fixture
    export_dir: Path,  # noqa: F811 - fixture
    arguments: tuple[str, ...],
) -> None:
    where = ("--data-dir", str(export_dir)) if arguments[0] == "import" else ()
    done = daybreak(given, *arguments, *where)
    assert "run_id" in json.loads(done.stdout)
    assert done.stderr.splitlines()[-1] == f"data-quality report: {latest(given)}"
    # The page for analysts is made again only where rows have changed.
    numbers = {"numbers.html"} if arguments[0] == "import" else set[str]()
    written = {path.name for path in latest(given).parent.iterdir()}
    assert written >= {"latest.html", "trends.html"} | numbers
    assert len(written) == 3 + len(numbers)


def test_an_import_stands_although_there_can_be_no_report(
    given: Environment,  # noqa: F811 - fixture
    export_dir: Path,  # noqa: F811 - fixture
) -> None:
    latest(given).parent.parent.mkdir()
    latest(given).parent.write_text("in the way", encoding="utf-8")
    done = daybreak(given, "import", "--only", "documents", "--data-dir", export_dir)
    assert done.returncode == 0
    assert "no data-quality report: cannot write the report" in done.stderr
    assert "documents" in done.stdout


def test_a_dry_run_leaves_no_report(
    given: Environment,  # noqa: F811 - fixture
    export_dir: Path,  # noqa: F811 - fixture
) -> None:
    done = daybreak(given, "import", "--dry-run", "--only", "documents", "--data-dir", export_dir)
    assert done.returncode == 0
    assert not latest(given).exists()
