"""``daybreak up`` as systemd runs it: an environment from a file and nothing else, a notify socket, a journal, SIGTERM."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from daybreak_pipeline.supervision import alone, service
from daybreak_pipeline.supervision.service import Service
from daybreak_pipeline.supervision.units import environment_file
from daybreak_pipeline_tests.cli.test_up import (
    DAYBREAK,
    START_SECONDS,
    STOP_SECONDS,
    free_port,
    left_behind,
    one_file_export,
    temporary_home,
    until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc"),
]


def test_it_says_when_it_is_ready_logs_to_the_journal_and_stops_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SYSTEM_SETTINGS", tmp_path)
    export = one_file_export(tmp_path / "export")
    journal = tmp_path / "journal"
    with temporary_home() as home, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(STOP_SECONDS)
        (tmp_path / "daybreak.env").write_text(
            environment_file({"DAYBREAK_HOME": str(home), "DAYBREAK_EXPORT_DIR": str(export)})
        )
        port = free_port()
        with journal.open("wb") as stream:
            status = journal.stat()
            process = subprocess.Popen(
                [
                    *("sh", "-c", 'set -a; . "$0"; exec "$@"', tmp_path / "daybreak.env"),
                    *(DAYBREAK, "up", "--no-open", "--port", str(port)),
                ],
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "NOTIFY_SOCKET": str(tmp_path / "notify"),
                    "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
                },
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        try:
            until(
                lambda: "the web UI is at" in journal.read_text() or process.poll() is not None, START_SECONDS
            )
            said = journal.read_text()
            assert process.poll() is None, said
            assert systemd.recv(1000) == b"READY=1\nSTATUS=importing"
            assert systemd.recv(1000) == f"STATUS=web UI at http://127.0.0.1:{port}".encode()
            page = home / "web-ui.html"
            assert (
                f"the web UI is at http://127.0.0.1:{port}: open the page {page}, which logs you in" in said
            )
            found = re.search(r"token=([\w-]{43})", page.read_text())
            assert found
            assert page.stat().st_mode & 0o077 == 0
            assert found[1] not in said  # others may read the journal
            assert not (home / "web.log").exists()
            here = service.present(Service())
            assert here == alone.Presence(process.pid, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0
        assert systemd.recv(1000) == b"STOPPING=1"
        assert "Traceback" not in journal.read_text()
        assert found[1] not in journal.read_text()
        assert not page.exists()
        until(lambda: not left_behind(home), 5)
