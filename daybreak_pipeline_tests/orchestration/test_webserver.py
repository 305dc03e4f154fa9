"""What web server and daemon are told. That they run, and stop, ``cli/test_up`` shows."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import webserver
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.webserver import WebUi
from daybreak_pipeline.settings import DatabaseSettings, WebSettings
from daybreak_pipeline.supervision.child import Child
from daybreak_pipeline_tests.conftest import KEY

INSTALLATION = Installation(
    DatabaseSettings("127.0.0.1", 5433, "name", "user", "word"),
    KEY,
    export_dir=Path("/export"),
    dagster_home=Path("/dagster"),
    dagster_url="postgresql+psycopg2://user:word@127.0.0.1/dagster",
)
TOKEN = "the-token"
UI = WebUi(3007, WebSettings("token", "X-Forwarded-User"), TOKEN)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Child]:
    """The children that are started, which do nothing."""
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    children: list[Child] = []
    start = Child.start

    def started(child: Child) -> None:
        children.append(replace(child))
        child.command = [sys.executable, "-c", ""]
        start(child)

    monkeypatch.setattr(Child, "start", started)
    monkeypatch.setattr(webserver, "wait_until_up", lambda _server: None)
    return children


def test_web_server_and_daemon_are_told_the_installation(started: list[Child]) -> None:
    before = dict(os.environ)
    with webserver.serving(INSTALLATION, UI, webserver.listen(3007)):
        pass
    told = INSTALLATION.environment() | {
        "DAYBREAK_WEB_URL": "http://127.0.0.1:3007",
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "900",
        "PYTHONUNBUFFERED": "1",
        "GRPC_VERBOSITY": "ERROR",
    }
    assert [child.environment for child in started] == [before | told] * 2
    assert os.environ == before


def test_the_token_is_the_web_servers_alone_and_in_no_command_and_no_environment(
    started: list[Child],
) -> None:
    with webserver.serving(INSTALLATION, UI, webserver.listen(3007)):
        pass
    assert [child.secret for child in started] == [TOKEN, ""]
    assert TOKEN not in str([(child.command, child.environment) for child in started])
    assert TOKEN not in repr(UI)


def test_what_the_environment_says_of_the_web_ui_stands(
    started: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example/")
    monkeypatch.setenv("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "60")
    with webserver.serving(INSTALLATION, UI, webserver.listen(3007)):
        pass
    told = [child.environment for child in started]
    assert {one["DAYBREAK_WEB_URL"] for one in told} == {"https://daybreak.example"}
    assert {one["DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS"] for one in told} == {"60"}


def test_an_installation_of_which_others_configured_dagster_names_no_storage() -> None:
    assert "DAYBREAK_DAGSTER_URL" in INSTALLATION.environment()
    assert "DAYBREAK_DAGSTER_URL" not in replace(INSTALLATION, dagster_url="").environment()


def test_every_ui_has_a_token_of_its_own() -> None:
    tokens = {WebUi(3000, UI.settings).token for _ in range(10)}
    assert len(tokens) == 10
    assert {len(token) for token in tokens} == {43}  # 32 bytes in base64


@pytest.mark.parametrize(
    ("auth", "link"),
    [
        ("token", "http://127.0.0.1:3007/report?token=the-token"),
        ("proxy", "https://daybreak.example/report"),
        ("none", "http://127.0.0.1:3007/report"),
    ],
)
def test_a_person_is_told_what_to_open(auth: str, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example/")
    monkeypatch.setenv("DAYBREAK_WEB_AUTH", auth)
    ui = replace(UI, settings=settings.web())
    assert ui.link("/report") == link


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with webserver.listen() as one:
        yield one


def test_a_port_that_listens_is_nobody_elses(listener: socket.socket) -> None:
    """Who took it before the web server does would be told the token."""
    port = listener.getsockname()[1]
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="in use"):
                thief.bind((webserver.HOST, port))
    assert webserver.free_port(port) != port


def test_all_ports_in_use_is_one_sentence(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webserver, "_PORTS_TRIED", 1)
    with pytest.raises(UsageError, match="are all in use: give another with --port"):
        webserver.listen(listener.getsockname()[1])


def test_a_proxy_for_the_outside_is_not_told_the_token(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    thread = threading.Thread(target=answer)
    thread.start()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert replace(UI, port=listener.getsockname()[1]).ask("/server_info", seconds=10) == {}
    thread.join()
    assert b"Bearer the-token" in heard[0]
