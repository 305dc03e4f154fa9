"""The newest report at /report, on the process that serves it. That it works in a browser, the tests of attacks show."""

from __future__ import annotations

import pytest

from daybreak_pipeline_tests.orchestration.web.raw_http import call
from daybreak_pipeline_tests.orchestration.web.serving import Served

pytestmark = pytest.mark.slow


def test_the_newest_report_is_served_to_who_is_logged_in_and_a_sentence_where_there_is_none(
    ui: Served,
) -> None:
    cookie = ui.cookie
    none = ui.get("/report", cookie)
    assert (none.status, none.header("content-type")) == (404, "text/plain; charset=utf-8")
    assert (
        none.text() == "There is no data-quality report yet: it is made after every import and every check.\n"
    )

    latest = ui.home / "reports" / "latest.html"
    latest.parent.mkdir()
    for page in ("<p>ä</p>", "<p>newer</p>"):
        latest.write_text(page, encoding="utf-8")
        answer = ui.get("/report", cookie)
        assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
        assert answer.text() == page
        assert answer.header("cache-control") == "no-store"
        policies = answer.all("content-security-policy")
        assert any("default-src 'none'" in policy and "script" not in policy for policy in policies)
    assert ui.get("/report").status == 401
    assert call(ui.port, "HEAD", "/report", cookie).body == b""


@pytest.mark.parametrize(
    ("page", "about"), [("server", "the server"), ("trends", "trends"), ("numbers", "numbers for analysts")]
)
def test_the_other_pages_are_below_the_report_and_they_lead_to_each_other(
    ui: Served, page: str, about: str
) -> None:
    cookie = ui.cookie
    assert ui.get(f"/report/{page}").status == 401
    none = ui.get(f"/report/{page}", cookie)
    assert (none.status, none.text().split(":")[0]) == (404, f"There is no page about {about} yet")
    reports = ui.home / "reports"
    reports.mkdir(exist_ok=True)
    links = '<a href="latest.html"><a href="trends.html"><a href="server.html"><a href="numbers.html">'
    for name in (page, "latest"):
        (reports / f"{name}.html").write_text(links, encoding="utf-8")
    found = ui.get(f"/report/{page}", cookie)
    assert (found.status, found.text()) == (
        200,
        '<a href="../report"><a href="../report/trends"><a href="../report/server"><a href="../report/numbers">',
    )
    assert any("default-src 'none'" in policy for policy in found.all("content-security-policy"))
    newest = '<a href="report"><a href="report/trends"><a href="report/server"><a href="report/numbers">'
    assert ui.get("/report", cookie).text() == newest


@pytest.mark.parametrize(
    "path", ["/report/../../key", "/report%2f..%2f..%2fweb.log", "/report/web.log", "/web.log"]
)
def test_no_other_file_is_served(ui: Served, path: str) -> None:
    answer = ui.get(path, ui.cookie)
    assert "<title" in answer.text()  # the UI's page, as for every path that it does not know
