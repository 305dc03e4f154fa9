"""What web server and daemon are told. That they run, and stop, ``cli/test_up`` shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daybreak_pipeline.orchestration import webserver
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY

INSTALLATION = Installation(
    DatabaseSettings("127.0.0.1", 5433, "name", "user", "word"),
    KEY,
    export_dir=Path("/export"),
    dagster_home=Path("/dagster"),
    dagster_url="postgresql+psycopg2://user:word@127.0.0.1/dagster",
)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """The environments of the children that are started, which do nothing."""
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    environments: list[dict[str, str]] = []

    def start(_command: object, environment: dict[str, str], _log: object) -> subprocess.Popen[bytes]:
        environments.append(environment)
        return subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)

    monkeypatch.setattr(webserver, "_start", start)
    monkeypatch.setattr(webserver, "_wait_until_up", lambda _server, _port: None)
    return environments


def test_web_server_and_daemon_are_told_the_installation(started: list[dict[str, str]]) -> None:
    before = dict(os.environ)
    with webserver.serving(INSTALLATION, 3007):
        pass
    told = INSTALLATION.environment() | {
        "DAYBREAK_WEB_URL": "http://127.0.0.1:3007",
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "900",
        "PYTHONUNBUFFERED": "1",
    }
    assert started == [before | told] * 2
    assert os.environ == before


def test_what_the_environment_says_of_the_web_ui_stands(
    started: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example/")
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "60")
    with webserver.serving(INSTALLATION, 3007):
        pass
    assert {one["DAYBREAK_WEB_URL"] for one in started} == {"https://daybreak.example"}
    assert {one["DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS"] for one in started} == {"60"}


def test_an_installation_of_which_others_configured_dagster_names_no_storage() -> None:
    from dataclasses import replace

    assert "DAYBREAK_DAGSTER_URL" in INSTALLATION.environment()
    assert "DAYBREAK_DAGSTER_URL" not in replace(INSTALLATION, dagster_url="").environment()
