"""/metrics on the process that serves the web UI: who may read it, and that its token is good for nothing else."""

from __future__ import annotations

import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline_tests.orchestration.web.raw_http import call
from daybreak_pipeline_tests.orchestration.web.serving import SCRAPERS_TOKEN, Served

pytestmark = pytest.mark.slow

SCRAPER = f"Authorization: Bearer {SCRAPERS_TOKEN}"


def test_metrics_are_for_the_scrapers_token_and_for_who_is_logged_in(ui: Served) -> None:
    for header in (SCRAPER, ui.cookie, f"Authorization: Bearer {ui.ui.token}"):
        answer = ui.get("/metrics", header)
        assert answer.status == 200
        assert answer.header("content-type").startswith("text/plain; version=0.0.4")
        assert answer.header("cache-control") == "no-store"
        assert "\ndaybreak_up 1.0\n" in answer.text()
    assert call(ui.port, "HEAD", "/metrics", SCRAPER).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Accept: */*",
        "Authorization: Bearer wrong",
        "Authorization: Bearer ",
        f"Authorization: Basic {SCRAPERS_TOKEN}",
    ],
)
def test_nobody_else_reads_them(ui: Served, header: str) -> None:
    assert ui.get("/metrics", header).status == 401


@pytest.mark.parametrize(
    "path",
    ["/", "/report", "/graphql?query={version}", "/metrics/", "/metrics/x", "//metrics", "/server_info"],
)
def test_the_scrapers_token_is_good_for_nothing_else(ui: Served, path: str) -> None:
    assert ui.get(path, SCRAPER).status == 401
    assert ui.get(f"/?token={SCRAPERS_TOKEN}").status == 401


def test_the_scrapers_token_changes_nothing(ui: Served) -> None:
    assert (
        call(ui.port, "POST", "/metrics", SCRAPER, "Content-Type: application/json", body="{}").status == 401
    )


def test_without_a_token_of_its_own_an_empty_one_lets_nobody_in() -> None:
    assert settings.web().metrics_token == ""


def test_a_short_token_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_METRICS_TOKEN", "SECRET")
    with pytest.raises(UsageError, match="fewer than 20 characters") as caught:
        settings.web()
    assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("DAYBREAK_METRICS_TOKEN", SCRAPERS_TOKEN)
    assert SCRAPERS_TOKEN not in repr(settings.web())
