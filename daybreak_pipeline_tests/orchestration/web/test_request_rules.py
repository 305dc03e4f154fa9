"""What may be asked of the web UI by somebody who is logged in, on the process that serves it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from daybreak_pipeline.orchestration.web.request_rules import origin_of
from daybreak_pipeline_tests.orchestration.web.raw_http import call
from daybreak_pipeline_tests.orchestration.web.serving import Served

pytestmark = pytest.mark.slow

QUERY = "query a { version ...b } fragment b on Query { version }"


def test_graphql_by_get_may_be_a_query(ui: Served) -> None:
    answer = ui.get(f"/graphql?operationName=a&query={quote(QUERY)}", ui.cookie)
    assert answer.json()["data"]["version"].startswith("1.")


@pytest.mark.parametrize(
    "document",
    [
        "mutation { setNuxSeen }",
        "mutation a { setNuxSeen } query b { version }",
        "query b { version } mutation a { setNuxSeen }",
        "# query\nmutation\n{ setNuxSeen }",
        ",,,mutation,{setNuxSeen}",
        "\ufeffmutation { setNuxSeen }",
        "subscription { locationStateChangeEvents { __typename } }",
        "{ version ",
        "not GraphQL",
        "schema { query: Query }",
        "{" * 5000,
        "{ a(b: " + "[" * 4000 + "]" * 4000 + ") }",
        "{ " + "version " * 11_000 + "}",
        "",
    ],
    ids=range(14),
)
def test_graphql_by_get_may_be_nothing_else(ui: Served, document: str) -> None:
    target = f"/graphql?query={quote(document)}"
    for headers in ((), ("Accept: text/html",), ("Content-Type: application/json",)):
        assert ui.get(target, ui.cookie, *headers).status in {400, 405}


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("same-origin", "no-cors", "image", 200),
        ("none", "navigate", "document", 200),
        ("cross-site", "navigate", "document", 200),
        ("same-site", "navigate", "document", 200),
        ("cross-site", "navigate", "iframe", 403),
        ("same-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "image", 403),
        ("same-site", "no-cors", "script", 403),
        ("cross-site", "cors", "empty", 403),
        ("whatever", "no-cors", "image", 403),
    ],
)
def test_pages_of_others_may_lead_here_and_embed_nothing(
    ui: Served, site: str, mode: str, dest: str, status: int
) -> None:
    fetched = (f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {dest}")
    assert ui.get("/favicon.png", ui.cookie, *fetched).status == status


@pytest.mark.parametrize(
    "path", ["/report/finding/", "//report/finding", "/report/Finding", "/report", "/graphql", "/"]
)
def test_a_form_is_taken_at_one_path_and_from_our_own_pages(ui: Served, path: str) -> None:
    form = ("Content-Type: application/x-www-form-urlencoded", ui.cookie)
    assert call(ui.port, "POST", path, *form, ui.origin, body="a=b").status == 415
    for foreign in ("Origin: null", "Origin: http://evil.example", "Sec-Fetch-Site: same-site", "Referer: x"):
        assert call(ui.port, "POST", "/report/finding", *form, foreign, body="a=b").status == 403
    assert (
        call(ui.port, "POST", "/report/finding", *form, ui.origin, body="a=b").status == 404
    )  # no such finding


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://Daybreak.Example/path?a#b", "https://daybreak.example"),
        ("https://daybreak.example:443/", "https://daybreak.example"),
        ("http://daybreak.example:80", "http://daybreak.example"),
        ("http://daybreak.example:443", "http://daybreak.example:443"),
        ("https://user:word@daybreak.example:8443", "https://daybreak.example:8443"),
        ("http://[::1]:3000/", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert origin_of(url) == origin
