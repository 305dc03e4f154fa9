"""/health: alive or not for everybody, why and the verdict for who is logged in, and never anything else for strangers."""

from __future__ import annotations

import pytest

from daybreak_pipeline.database import Connection
from daybreak_pipeline.orchestration.web import health_page
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.orchestration.web.raw_http import call
from daybreak_pipeline_tests.orchestration.web.serving import Served

pytestmark = pytest.mark.slow


def test_strangers_learn_whether_all_is_alive_and_nothing_else(ui: Served) -> None:
    answer = ui.get("/health")
    assert (answer.status, answer.json()) == (200, {"alive": True})
    assert answer.header("cache-control") == "no-store"
    assert call(ui.port, "HEAD", "/health").status == 200
    for header in ("Authorization: Bearer wrong", f"Cookie: daybreak-{ui.port}=wrong", "Accept: text/html"):
        assert ui.get("/health", header).json() == {"alive": True}


def test_who_is_logged_in_learns_the_verdict(ui: Served) -> None:
    assert ui.get("/health", ui.cookie).json() == {
        "alive": True,
        "answer": "no",
        "why": "nothing has been imported yet",
    }


@pytest.mark.parametrize("path", ["/health/", "/health/x", "//health", "/HEALTH", "/report", "/%68ealth/.."])
def test_no_other_path_is_open(ui: Served, path: str) -> None:
    assert ui.get(path).status == 401


def test_nothing_can_be_sent_to_it(ui: Served) -> None:
    body = ("Content-Type: application/json", ui.origin)
    assert call(ui.port, "POST", "/health", *body, body="{}").status == 401


@pytest.fixture
def pulse(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> health_page._Pulse:
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    return health_page._Pulse()


def test_a_database_that_is_away_is_not_alive_and_strangers_cost_it_nothing(
    pulse: health_page._Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pulse.why_not() == ""
    monkeypatch.setenv("DB_PORT", "9")
    assert pulse.why_not() == ""  # looked at a moment ago
    pulse.looked_at -= 10
    assert "cannot connect" in pulse.why_not()


def test_a_sensor_that_does_not_look_is_not_alive(pulse: health_page._Pulse, session: Connection) -> None:
    session.execute(
        "INSERT INTO ingest.processes (kind, host, pid, started_at) VALUES ('web', 'far', 1, now() - interval '1 h')"
    )
    session.commit()
    assert "changed_files does not look at the export" in pulse.why_not()
    session.execute("INSERT INTO ingest.processes (kind, host, pid) VALUES ('sensor', 'far', 1)")
    session.commit()
    pulse.looked_at -= 10
    assert pulse.why_not() == ""
