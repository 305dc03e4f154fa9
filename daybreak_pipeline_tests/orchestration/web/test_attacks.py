"""Attacks on the web UI, on the process that serves it: each tries to launch a run, and none may.

As raw bytes, since a client library would not send most of these. A run that an attack has launched carries its name
as a tag.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from daybreak_pipeline_tests.orchestration.web.raw_http import Answer, call, login, raw, request, token_of
from daybreak_pipeline_tests.orchestration.web.serving import Served

pytestmark = pytest.mark.slow

Attack = Callable[["Target", str], bytes]

LAUNCH = """
mutation {{ launchRun(executionParams: {{
  selector: {{repositoryLocationName: "daybreak_pipeline", repositoryName: "__repository__", jobName: "observe_export_files"}}
  executionMetadata: {{tags: [{{key: "attack", value: "{name}"}}]}}
}}) {{ __typename }} }}
"""
RUNS = "{ runsOrError { ... on Runs { results { tags { key value } } } } }"
JSON = "Content-Type: application/json"
REFUSED = {400, 401, 403, 404, 405, 415}


class Target:
    """A web UI that is served, and a login to it by the link that people get."""

    def __init__(self, port: int, link: str) -> None:
        self.port = port
        self.link = link
        self.token = token_of(link)
        self.origin = f"Origin: http://127.0.0.1:{port}"
        self.cookie = login(port, self.token)

    def attacks_that_worked(self) -> set[str]:
        """Return the names of the attacks that have launched a run."""
        asked = json.dumps({"query": RUNS})
        answer = call(self.port, "POST", "/graphql", JSON, f"Authorization: Bearer {self.token}", body=asked)
        runs = answer.json()["data"]["runsOrError"]["results"]
        return {tag["value"] for run in runs for tag in run["tags"] if tag["key"] == "attack"}


@pytest.fixture(scope="module")
def target(ui: Served) -> Target:
    return Target(ui.port, ui.ui.link())


def post(  # noqa: PLR0913 - what an attack varies
    *headers: str,
    cookie: bool = True,
    origin: bool = True,
    kind: str = JSON,
    host: str | None = None,
    target: str = "/graphql",
    version: str = "1.1",
) -> Attack:
    """Launch a run by POST, as the UI does it but for what is given."""

    def attack(on: Target, name: str) -> bytes:
        query = LAUNCH.format(name=name)
        return request(
            on.port,
            "POST",
            target.format(port=on.port, query=quote(query)),
            *([on.cookie] if cookie else []),
            *([on.origin] if origin else []),
            *([kind] if kind else []),
            *(header.format(port=on.port) for header in headers),
            body=json.dumps({"query": query}),
            host=host and host.format(port=on.port),
            version=version,
        )

    return attack


def get(target: str = "/graphql?query={query}", *headers: str, cookie: bool = True) -> Attack:
    """Launch a run by GET, as a link or an image in a page of others would."""

    def attack(on: Target, name: str) -> bytes:
        query = quote(LAUNCH.format(name=name))
        where = target.format(port=on.port, query=query)
        return request(on.port, "GET", where, *([on.cookie] if cookie else []), *headers)

    return attack


def event(cookie: bool, *headers: str) -> Attack:
    """Write a materialization that never happened, through the endpoint for other programs."""

    def attack(on: Target, _name: str) -> bytes:
        login = [on.cookie] if cookie else []
        return request(on.port, "POST", "/report_asset_materialization/documents", *login, *headers)

    return attack


PATHS = (
    "//graphql",
    "/graphql/",
    "/GRAPHQL",
    "/GraphQL",
    "/./graphql",
    "/x/../graphql",
    "/%67raphql",
    "/graphql;x",
    "/graphql%00",
    "/graphql%2f",
    "/graphql%3f",
    "\\graphql",
    "http://127.0.0.1:{port}/graphql",
    "http://evil.example/graphql",
    "HTTP://EVIL.EXAMPLE//graphql",
    "evil.example:80",
    "*",
)
ATTACKS: dict[str, Attack] = {
    # Any program of another user on this machine.
    "post without login": post(cookie=False),
    "get without login": get(cookie=False),
    "get without login, for a page": get("/graphql?query={query}", "Accept: text/html", cookie=False),
    "HTTP/1.0 without Host": post(cookie=False, host="", version="1.0"),
    "an event without login": event(False, "Origin: http://127.0.0.1"),
    "token: wrong in the URL": post(cookie=False, target="/graphql?token=wrong"),
    "token: empty in the URL": post(cookie=False, target="/graphql?token="),
    "token: wrong as Bearer": post("Authorization: Bearer wrong", cookie=False),
    "token: empty Bearer": post("Authorization: Bearer ", cookie=False),
    "token: not ASCII": post("Authorization: Bearer é", cookie=False),
    "token: wrong cookie": post("Cookie: daybreak-{port}=wrong", cookie=False),
    "token: empty cookie": post("Cookie: daybreak-{port}=", cookie=False),
    "a user's name without a proxy": post("X-Forwarded-User: alice", cookie=False),
    "a name of our own making": post("X-Daybreak-User: alice", cookie=False),
    **{f"post to {path}": post(cookie=False, target=path) for path in PATHS},
    **{f"get {path}": get(f"{path}?query={{query}}", cookie=False) for path in PATHS},
    # A page of others in the browser of somebody who has logged in: the cookie comes along.
    "get": get(),
    "get with a query beside it": get("/graphql?query={{__typename}}&query={query}"),
    "get with the query first": get("/graphql?query={query}&query={{__typename}}"),
    "get with a chosen operation": get(
        "/graphql?operationName=b&query=query%20a%20%7B__typename%7D%20{query}"
    ),
    "get that claims to be JSON": get("/graphql?query={query}", JSON),
    "head": lambda on, name: get()(on, name).replace(b"GET ", b"HEAD ", 1),
    "put": lambda on, name: post()(on, name).replace(b"POST ", b"PUT ", 1),
    "a method in lower case": lambda on, name: post()(on, name).replace(b"POST ", b"post ", 1),
    **{f"get {path}, logged in": get(f"{path}?query={{query}}") for path in PATHS},
    "text/plain with the query in the URL": post(
        kind="Content-Type: text/plain", target="/graphql?query={query}"
    ),
    "a form with the query in the URL": post(
        kind="Content-Type: application/x-www-form-urlencoded", target="/graphql?query={query}"
    ),
    "no type with the query in the URL": post(kind="", target="/graphql?query={query}"),
    "text/plain that names JSON": post(kind="Content-Type: text/plain; x=application/json"),
    "JSON among others": post(kind="Content-Type: text/plain, application/json"),
    "two types": post("Content-Type: text/plain", target="/graphql?query={query}"),
    "application/graphql": post(kind="Content-Type: application/graphql", target="/graphql?query={query}"),
    "no origin": post(origin=False),
    "origin: null": post("Origin: null", origin=False),
    "origin: empty": post("Origin:", origin=False),
    "origin: another": post("Origin: http://evil.example", origin=False),
    "origin: another port": post("Origin: http://127.0.0.1:1", origin=False),
    "origin: no port": post("Origin: http://127.0.0.1", origin=False),
    "origin: another scheme": post("Origin: https://127.0.0.1:{port}", origin=False),
    "origin: ours as the beginning": post("Origin: http://127.0.0.1:{port}.evil.example", origin=False),
    "origin: ours as the end": post("Origin: http://evil.example/http://127.0.0.1:{port}", origin=False),
    "origin: ours and another": post("Origin: http://evil.example"),
    "origin: another name of this machine": post("Origin: http://localhost:{port}", origin=False),
    "only a referrer": post("Referer: http://127.0.0.1:{port}/", origin=False),
    "fetched by another site": post("Sec-Fetch-Site: cross-site"),
    "fetched by another port": post("Sec-Fetch-Site: same-site"),
    "fetched by another site, no origin": post("Sec-Fetch-Site: cross-site", origin=False),
    "navigated to, no origin": post("Sec-Fetch-Site: none", origin=False),
    "an event without a type": event(True, "Origin: http://127.0.0.1:1"),
    # A name that leads to this machine (DNS rebinding): the origin is the page's own.
    "host: another": post("Origin: http://evil.example:{port}", origin=False, host="evil.example:{port}"),
    "host: another, our origin": post(host="evil.example:{port}"),
    "host: ours as the beginning": post(
        "Origin: http://127.0.0.1.evil.example:{port}", origin=False, host="127.0.0.1.evil.example:{port}"
    ),
    "host: ours as a user": post(host="127.0.0.1:{port}@evil.example"),
    "host: ours as a port": post(host="evil.example:127.0.0.1"),
    "host: none": post(host=""),
    "host: two": post("Host: 127.0.0.1:{port}", host="evil.example"),
    "host: any address": post(
        "Origin: http://0.0.0.0:{port}",
        origin=False,
        host="0.0.0.0:{port}",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_launches_a_run(target: Target, name: str) -> None:
    answer = raw(target.port, ATTACKS[name](target, name))
    if "logged in" not in name:  # other paths lead a person who has logged in to the UI's own page
        assert answer.status in REFUSED, answer
    assert name not in target.attacks_that_worked()


def test_what_the_attacks_vary_does_launch_a_run(target: Target) -> None:
    answer = raw(target.port, post()(target, "none"))
    assert answer.json() == {"data": {"launchRun": {"__typename": "LaunchRunSuccess"}}}
    assert "none" in target.attacks_that_worked()


def test_a_login_is_of_one_request_and_not_of_the_connection(target: Target) -> None:
    first = request(target.port, "GET", "/server_info", target.cookie).replace(b"Connection: close\r\n", b"")
    answers = raw(target.port, first + post(cookie=False)(target, "second on a connection"))
    assert answers.status == 200
    assert b"HTTP/1.1 401" in answers.body
    assert "second on a connection" not in target.attacks_that_worked()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/runs",
        "/graphql",
        "/server_info",
        "/dagit_info",
        "/report",
        "/favicon.png",
        "/robots.txt",
        "/index.html",
        "/_next/static/x",
        "/logs/x/y.out",
        "/notebook?path=x.ipynb&repoLocName=x",
        "/download_debug/x",
        "/graphql?query={__typename}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_nothing_at_all_is_open_without_the_login(target: Target, method: str, path: str) -> None:
    assert call(target.port, method, path, target.origin).status == 401


def handshake(port: int, *headers: str, target: str = "/graphql") -> Answer:
    """Ask for a WebSocket, and return the answer."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    subprotocol = (f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: graphql-ws")
    return raw(port, request(port, "GET", target, *upgrade, *subprotocol, *headers))


@pytest.mark.parametrize(
    ("logged_in", "headers"),
    [
        (False, ("Origin: http://127.0.0.1:{port}",)),
        (False, ("Origin: http://127.0.0.1:{port}", "Cookie: daybreak-{port}=wrong")),
        (False, ("Origin: http://127.0.0.1:{port}", "Authorization: Bearer wrong")),
        (False, ()),
        (True, ()),
        (True, ("Origin: null",)),
        (True, ("Origin: http://evil.example",)),
        (True, ("Origin: http://127.0.0.1:1",)),
        (True, ("Origin: https://127.0.0.1:{port}",)),
        (True, ("Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-site")),
    ],
)
def test_no_websocket_opens_without_the_login_or_for_another_origin(
    target: Target, logged_in: bool, headers: tuple[str, ...]
) -> None:
    given = [header.format(port=target.port) for header in headers]
    answer = handshake(target.port, *([target.cookie] if logged_in else []), *given)
    assert answer.status in REFUSED, answer


def test_the_websocket_of_the_ui_opens(target: Target) -> None:
    assert handshake(target.port, target.cookie, target.origin).status == 101
