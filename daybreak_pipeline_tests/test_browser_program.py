"""How `make browser` gets Chromium, with made-up programs and package managers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daybreak_pipeline_tests import browser
from daybreak_pipeline_tests.embedded_postgres.test_programs import script


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which programs are looked for."""
    directory = tmp_path / "path"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.mark.parametrize("name", browser.PROGRAMS)
def test_a_browser_that_is_there_is_taken_and_nothing_installed(
    path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = path / "apt.log"
    script(path / "apt-get", f"echo called > {log}")
    program = script(path / name, "")
    assert browser.main() == 0
    assert capsys.readouterr().out == f"the browser is there: {program}\n"
    assert not log.exists()


def test_root_gets_the_package_and_its_lists_are_updated_only_when_they_do_not_know_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    log, lists = path / "apt.log", path / "lists"
    source = script(path.parent / "source", "")
    script(
        path / "apt-get",
        f'PATH=/usr/bin:/bin; echo "$@" >> {log}\n'
        f'case "$*" in *update) touch {lists};; *) [ -e {lists} ] && cp {source} {path}/chromium;; esac',
    )
    assert browser.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "installing the package chromium with apt-get …",
        f"the browser is there: {path}/chromium",
    ]
    calls = [line.split()[3:] for line in log.read_text(encoding="utf-8").splitlines()]
    install = ["install", "-y", "--no-install-recommends", "chromium"]
    assert calls == [install, ["update"], install]

    (path / "chromium").unlink()
    log.unlink()
    assert browser.main() == 0
    assert [line.split()[3] for line in log.read_text(encoding="utf-8").splitlines()] == ["install"]


@pytest.mark.parametrize("outcome", ["exit 100", "exit 0"])
def test_a_package_that_brings_no_browser_is_one_line_and_no_failure(
    path: Path, outcome: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    script(path / "apt-get", outcome)
    assert browser.main() == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "apt-get did not provide a browser: its tests are skipped"
    ]


@pytest.mark.parametrize(("user", "apt"), [(1000, True), (0, False)])
def test_who_cannot_install_it_is_told_how_to_get_it(
    path: Path, user: int, apt: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    log = path / "apt.log"
    if apt:
        script(path / "apt-get", f"echo called > {log}")
    assert browser.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "apt-get install chromium" in line
    assert not log.exists()
