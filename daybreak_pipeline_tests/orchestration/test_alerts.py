"""Who hears of failed runs and failed checks, what they are told, and that it is told once."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest

from daybreak_pipeline.definitions import defs
from daybreak_pipeline.operations import notifications
from daybreak_pipeline.orchestration import alerts as alerts_module
from daybreak_pipeline.settings import DatabaseSettings, NotifierSettings
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory


class Receiver(BaseHTTPRequestHandler):
    """Takes what is posted; answers with the codes that it was given first, then 200."""

    posted: ClassVar[list[dict[str, Any]]] = []
    codes: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append(
            {"path": self.path, "type": self.headers["Content-Type"], "body": json.loads(body)}
        )
        self.send_response(self.codes.pop(0) if self.codes else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[str]:
    Receiver.posted.clear()
    Receiver.codes.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/services/SECRET"
    server.shutdown()
    thread.join()
    server.server_close()


class Alerts:
    """The alerting sensors, evaluated as the daemon does."""

    def __init__(self, dagster: dg.DagsterInstance) -> None:
        self.dagster = dagster
        self.cursors: dict[str, str | None] = {}
        self.tick()  # the first tick begins at what has happened by then

    def tick(self) -> None:
        for name in ("tell_of_failed_runs", "tell_of_failed_checks"):
            with dg.build_sensor_context(
                instance=self.dagster, cursor=self.cursors.get(name), repository_def=defs.get_repository_def()
            ) as context:
                reactions = defs.resolve_sensor_def(name).evaluate_tick(context)
            self.cursors[name] = reactions.cursor or self.cursors.get(name)
            problems = [r.error for r in reactions.dagster_run_reactions or [] if r.error]
            assert problems == []


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setattr(notifications.deliver, "__kwdefaults__", {"waits": (0.0, 0.0)})
    for name, value in migrated.environment().items():  # as the daemon has it
        monkeypatch.setenv(name, value)
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


@pytest.fixture
def alerts(runs: Runs, webhook: str, monkeypatch: pytest.MonkeyPatch) -> Alerts:
    monkeypatch.setenv("DAYBREAK_WEBHOOK_URL", webhook)
    monkeypatch.setenv("DAYBREAK_WEB_URL", "https://daybreak.example/")
    return Alerts(runs.dagster)


@pytest.fixture
def export(tmp_path: Path, connection: Any) -> Export:
    return Export(tmp_path, connection)


def texts() -> list[str]:
    return [posted["body"]["text"] for posted in Receiver.posted]


def kept(runs: Runs) -> list[tuple[Any, ...]]:
    """Return who was told what, as it is kept."""
    return runs.query("SELECT run_id, message, told, not_told FROM ingest.alerts ORDER BY id")


def test_a_failed_run_is_told_once_with_its_tables_and_a_link(
    runs: Runs, alerts: Alerts, export: Export, caplog: pytest.LogCaptureFixture
) -> None:
    export.write_bytes("organizations", b"id,Canarylast,Canarylast\n")
    export.write("documents", record("documents"))
    outcome = runs.load(export.directory, only=["organizations", "documents", "org_contracts"])
    with caplog.at_level(logging.WARNING):
        alerts.tick()
    alerts.tick()
    assert outcome.run_id
    (text,) = texts()
    assert text.splitlines() == [
        f"Daybreak: run {outcome.run_id[:8]} of import_all failed",
        "not imported: organizations",
        "see docs/runbooks/import-fails.md",
        f"https://daybreak.example/runs/{outcome.run_id}",
    ]
    assert kept(runs) == [(outcome.run_id, "\n".join(text.splitlines()[:-1]), ["webhook"], [])]
    assert Receiver.posted[0]["type"] == "application/json"
    assert set(Receiver.posted[0]["body"]) == {"text"}
    assert "Daybreak: run" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_lost_run_is_told_only_when_it_is_not_repeated(runs: Runs, alerts: Alerts) -> None:
    for again, told in (("true", 0), ("false", 1)):
        job = defs.resolve_job_def("import_all")
        run = runs.dagster.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        runs.dagster.add_run_tags(run.run_id, {"dagster/will_retry": again})
        runs.dagster.report_run_failed(run)
        alerts.tick()
        assert len(texts()) == told


def test_all_events_of_a_run_are_looked_at_however_many_there_are(
    runs: Runs, alerts: Alerts, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts_module, "_PAGE", 1)
    for table in ("organizations", "documents"):
        export.write_bytes(table, b"id,id\n")
    runs.load(export.directory, only=["organizations", "documents"])
    alerts.tick()
    (text,) = texts()
    assert (
        "not imported: organizations, documents" in text or "not imported: documents, organizations" in text
    )


def test_failed_checks_of_a_run_that_succeeds_are_one_message(
    runs: Runs, alerts: Alerts, export: Export
) -> None:
    export.write(
        "organizations",
        *(record("organizations", f"school {number}") for number in range(50)),
        record("organizations", "wrong", kind="3", name="Canarylast"),
        record("organizations", "unnamed", name=None),
    )
    outcome = runs.load(export.directory, only=["organizations"])
    assert outcome.exit_code == 0
    alerts.tick()
    assert outcome.run_id
    (text,) = texts()
    assert text.splitlines() == [
        f"Daybreak: run {outcome.run_id[:8]} of import_all succeeded, but 2 checks failed",
        "organizations.valid_enums: 1 record",
        "organizations.required_values: 1 record",
        "see docs/runbooks/import-fails.md",
        f"https://daybreak.example/runs/{outcome.run_id}",
    ]


def test_absent_files_of_a_run_that_succeeds_are_one_message(
    runs: Runs, alerts: Alerts, export: Export
) -> None:
    for table in ("organizations", "documents"):
        export.write(table, record(table))
    runs.load(export.directory, only=["organizations", "documents"])
    (export.directory / "orgs.csv").unlink()
    outcome = runs.load(export.directory, only=["organizations", "documents"])
    # Of a partial export it is what was said.
    runs.load(export.directory, only=["organizations", "documents"], partial=True)
    alerts.tick()
    assert outcome.run_id
    (text,) = texts()
    assert text.splitlines() == [
        f"Daybreak: run {outcome.run_id[:8]} of import_all succeeded, but 1 file absent",
        "file absent, rows kept: organizations",
        "see docs/runbooks/import-fails.md",
        f"https://daybreak.example/runs/{outcome.run_id}",
    ]


def test_warnings_and_good_runs_are_not_told(runs: Runs, alerts: Alerts, export: Export) -> None:
    export.write("kinships", record("kinships"))  # its people are unknown: WARN
    export.write("documents", record("documents"))
    outcome = runs.load(export.directory, only=["kinships", "documents"])
    assert {c.severity for c in outcome.checks["kinships"].values() if not c.passed} == {"WARN"}
    alerts.tick()
    assert texts() == []


def test_a_run_of_somebody_elses_job_is_not_told(alerts: Alerts) -> None:
    @dg.op
    def fail() -> None:
        raise RuntimeError

    @dg.job
    def another() -> None:
        fail()

    assert not another.execute_in_process(instance=alerts.dagster, raise_on_error=False).success
    alerts.tick()
    assert texts() == []


def test_a_webhook_that_is_out_of_order_is_tried_again(webhook: str) -> None:
    Receiver.codes[:] = [500, 503]
    assert notifications.deliver("text", NotifierSettings("", webhook), waits=(0.0, 0.0)) == []
    assert texts() == ["text"] * 3


@pytest.mark.parametrize("codes", [[500, 500, 500, 500], [404, 404, 404, 404]])
def test_a_webhook_that_stays_out_of_order_is_logged_without_its_url(
    webhook: str, caplog: pytest.LogCaptureFixture, codes: list[int]
) -> None:
    Receiver.codes[:] = codes
    assert notifications.deliver("text", NotifierSettings("", webhook), waits=(0.0, 0.0)) == ["webhook"]
    assert len(texts()) == 3
    assert f"the webhook did not take the message (HTTP {codes[0]}), and is not tried again" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_receiver_that_is_not_there_does_not_fail_the_sensor(
    runs: Runs,
    alerts: Alerts,
    export: Export,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DAYBREAK_WEBHOOK_URL", "http://127.0.0.1:9/SECRET")
    export.write_bytes("documents", b"id\n")
    runs.load(export.directory, only=["documents"])
    with caplog.at_level(logging.WARNING):
        alerts.tick()
    assert "did not take the message" in caplog.text
    assert [told[2:] for told in kept(runs)] == [([], ["webhook"])]
    caplog.clear()
    alerts.tick()
    assert caplog.text == ""  # it is over with


def test_settings_that_cannot_be_used_leave_the_log(
    runs: Runs,
    alerts: Alerts,
    export: Export,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DAYBREAK_WEBHOOK_URL", "ftp://SECRET")
    export.write_bytes("documents", b"id\n")
    runs.load(export.directory, only=["documents"])
    with caplog.at_level(logging.WARNING):
        alerts.tick()
    assert "DAYBREAK_WEBHOOK_URL is not a URL" in caplog.text
    assert [told[2:] for told in kept(runs)] == [([], [])]  # nobody
    assert "not imported: documents" in caplog.text
    assert "SECRET" not in caplog.text


def test_an_alert_is_sent_although_it_cannot_be_kept(  # noqa: PLR0913, PLR0917 - fixtures
    runs: Runs,
    alerts: Alerts,
    export: Export,
    migrated: DatabaseSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    export.write_bytes("documents", b"id\n")
    runs.execute("DROP TABLE ingest.alerts")
    for port in (9, migrated.port):
        runs.load(export.directory, only=["documents"])
        monkeypatch.setenv("DB_PORT", str(port))
        with caplog.at_level(logging.WARNING):
            alerts.tick()
        assert "was sent, but not kept" in caplog.text
        caplog.clear()
    assert len(texts()) == 2
