"""``make install``: what it says while it works, and that its failure is pip's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres import bootstrap
from daybreak_pipeline_tests.embedded_postgres.test_programs import script

PIP = """
[ "$3" = --version ] && exit 0
echo "Collecting dagster==1.13.0 (from -r constraints.txt)"
echo "  Downloading dagster-1.13.0-py3-none-any.whl (2.1 MB)"
echo "  Installing build dependencies: finished with status 'done'"
echo "Collecting click"
echo "Installing collected packages: click, dagster"
exit {code}
"""


def environment(tmp_path: Path, code: int) -> Path:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "python", PIP.format(code=code))
    return tmp_path


def test_installing_says_what_it_does_while_it_does_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "_SECONDS_BETWEEN_LINES", 0)
    assert bootstrap.main(environment(tmp_path, 0), "--editable", ".") == 0
    assert capsys.readouterr().out.splitlines() == [
        "installing Python packages: a minute, or a few on a slow line …",
        "  1 package so far: looking for dagster …",
        "  1 package so far: downloading dagster-1.13.0-py3-none-any.whl …",
        "  2 packages so far: looking for click …",
        "  2 packages so far: installing all of them …",
    ]


def test_an_install_that_fails_ends_as_pip_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.main(environment(tmp_path, 3), "--editable", ".") == 3
    # Between lines there are seconds: a log is not filled with them.
    assert len(capsys.readouterr().out.splitlines()) == 2
