"""The login of the web UI, on the process that serves it: links and cookies, a proxy's users, and everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from starlette.requests import HTTPConnection
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from daybreak_pipeline.orchestration.web.login import Login
from daybreak_pipeline.settings import WebSettings
from daybreak_pipeline_tests.conftest import forget_settings
from daybreak_pipeline_tests.orchestration.web.raw_http import call, cookies, raw, request
from daybreak_pipeline_tests.orchestration.web.serving import JOB, OURS, Served, served, started
from daybreak_pipeline_tests.orchestration.web.test_attacks import handshake

pytestmark = pytest.mark.slow

HTML = "Accept: text/html,application/xhtml+xml"
JSON = "Content-Type: application/json"
PUBLIC = "https://daybreak.example"
AS_ALICE = ("X-Forwarded-User: alice", f"Origin: {PUBLIC}")
ASKED = '{"query": "{ version }"}'
LAUNCHED_BY = "daybreak/launched_by"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.TempPathFactory]:
    with pytest.MonkeyPatch.context() as patch:
        forget_settings(patch)
        yield tmp_path_factory


@pytest.fixture(scope="module")
def behind_proxy(homes: pytest.TempPathFactory) -> Iterator[Served]:
    """A web UI whose login is a proxy's."""
    with served(homes.mktemp("proxy") / "home", DAYBREAK_WEB_AUTH="proxy", DAYBREAK_WEB_URL=PUBLIC) as it:
        yield it


@pytest.fixture(scope="module")
def open_to_all(homes: pytest.TempPathFactory) -> Iterator[Served]:
    """A web UI without a login."""
    with served(homes.mktemp("none") / "home", DAYBREAK_WEB_AUTH="none") as it:
        yield it


# --- The link -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_link_is_exchanged_for_a_cookie_and_leads_to_the_page_without_the_token(
    ui: Served, method: str
) -> None:
    answer = call(ui.port, method, f"/runs/x%20y?a=1&token={ui.ui.token}&b=%26&a=2", HTML)
    assert (answer.status, answer.header("location")) == (303, "/runs/x%20y?a=1&b=%26&a=2")
    assert answer.header("cache-control") == "no-store"
    (name, cookie), *others = cookies(answer).items()
    assert (name, others) == (f"daybreak-{ui.port}", [])
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True,
        "strict",
        "/",
        "",
    )
    assert (cookie["expires"], cookie["max-age"]) == ("", "")  # as long as the browser is open
    assert ui.ui.token not in str(answer)
    assert ui.get("/", HTML, f"Cookie: {name}={cookie.value}").status == 200


def test_the_cookie_does_not_give_the_token_away_and_the_token_is_no_cookie(ui: Served) -> None:
    name, _, value = ui.cookie.removeprefix("Cookie: ").partition("=")
    assert ui.get("/", f"Cookie: {name}={ui.ui.token}").status == 401
    assert ui.get(f"/?token={value}").status == 401
    assert ui.get("/", f"Authorization: Bearer {value}").status == 401


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/?token={token}",
        "///evil.example?token={token}",
        "/\\evil.example/?token={token}",
        "/%5Cevil.example/?token={token}",
        "/%2Fevil.example/?token={token}",
        "/%09/evil.example/?token={token}",
        "http://evil.example/?token={token}",
        "https:evil.example?token={token}",
        "javascript:alert(1)?token={token}",
        "/%0d%0aSet-Cookie:%20a=b?token={token}",
        "/?token={token}&a=%0d%0aSet-Cookie:%20a=b",
    ],
)
def test_the_link_leads_nowhere_else(ui: Served, target: str) -> None:
    answer = ui.get(target.format(token=ui.ui.token))
    assert answer.status == 303
    assert re.match(r"/(?![/\\])[!-~]*$", answer.header("location"))
    assert len(answer.all("set-cookie")) == 1


@pytest.mark.parametrize(
    "target",
    [
        "/?token=",
        "/?token=wrong",
        "/?token={token}x",
        "/?token={token}&token={token}",
        "/?token={token}&token=",
        "/?token=%20{token}",
        "/?Token={token}",
        "/?token[]={token}",
        "/?token=%00{token}",
        "/?token=%ff",
        "/?a=1;token={token}",
        "/token={token}",
        "/?x=%3Ftoken={token}",
    ],
)
def test_a_wrong_link_lets_nobody_in(ui: Served, target: str) -> None:
    answer = ui.get(target.format(token=ui.ui.token), HTML)
    assert (answer.status, answer.all("set-cookie")) == (401, [])


def test_an_old_link_does_not_log_out_who_is_logged_in(ui: Served) -> None:
    answer = ui.get("/runs?token=of-yesterday&x=1", HTML, ui.cookie)
    assert (answer.status, answer.header("location")) == (303, "/runs?x=1")
    assert answer.all("set-cookie") == []


def test_the_token_in_the_url_is_no_login_for_anything_but_a_page(ui: Served) -> None:
    target = f"/graphql?token={ui.ui.token}"
    assert call(ui.port, "POST", target, JSON, ui.origin, body=ASKED).status == 401
    assert handshake(ui.port, ui.origin, target=target).status == 401


# --- Who is not logged in -------------------------------------------------------------------------------


def test_a_person_gets_a_page_that_says_where_the_link_is(ui: Served) -> None:
    answer = ui.get("/runs/abc", HTML)
    assert (answer.status, answer.header("content-type")) == (401, "text/html; charset=utf-8")
    page = answer.text()
    assert "daybreak up" in page
    assert "Links in alerts do not log in" in page
    assert "<script" not in page
    assert "default-src 'none'" in answer.all("content-security-policy")
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize("headers", [(), ("Accept: application/json",), ("Accept: */*", JSON)])
def test_a_program_gets_json(ui: Served, headers: tuple[str, ...]) -> None:
    answer = ui.get("/graphql?query={version}", *headers)
    assert (answer.status, answer.header("content-type")) == (401, "application/json")
    assert answer.json()["error"].startswith("not logged in")
    assert answer.header("www-authenticate").startswith("Bearer ")


def test_who_comes_from_another_site_is_sent_on_once_as_strict_cookies_need_it(ui: Served) -> None:
    came = ui.get("/runs/abc?a=1&b=%22%3E%3Cscript%3E", HTML, "Sec-Fetch-Site: cross-site").text()
    assert '<meta http-equiv="refresh" content="0; url=?a=1&amp;b=%22%3E%3Cscript%3E">' in came
    assert "refresh" not in ui.get("/runs/abc?a=1", HTML, "Sec-Fetch-Site: same-origin").text()
    assert "refresh" not in ui.get("/runs/abc?a=1", HTML).text()


# --- What is told to browsers ---------------------------------------------------------------------------


def test_every_answer_forbids_frames_guesses_and_referrers(ui: Served) -> None:
    cookie = ui.cookie
    answers = {
        "the UI": ui.get("/", HTML, cookie),
        "a file of it": ui.get("/favicon.png", cookie),
        "GraphQL": ui.graphql("{ version }", cookie, ui.origin),
        "no report": ui.get("/report", cookie),
        "no login": ui.get("/"),
        "a link": ui.get(f"/?token={ui.ui.token}"),
        "another name": raw(ui.port, request(ui.port, "GET", "/", host="evil.example")),
        "another origin": ui.graphql("{ version }", cookie, "Origin: http://evil.example"),
        "another method": call(ui.port, "DELETE", "/", cookie),
        "a WebSocket that is refused": handshake(ui.port, "Origin: http://evil.example"),
    }
    for name, answer in answers.items():
        assert answer.header("x-frame-options") == "DENY", name
        assert answer.header("x-content-type-options") == "nosniff", name
        assert answer.header("referrer-policy") == "no-referrer", name
        assert answer.header("cross-origin-resource-policy") == "same-origin", name
        assert answer.header("cross-origin-opener-policy") == "same-origin", name
        assert "frame-ancestors 'none'" in answer.all("content-security-policy"), name
        assert "uvicorn" not in answer.all("server"), name
        assert [header for header, _ in answer.headers if header.startswith("access-control-")] == [], name


def test_dagsters_own_policy_stays(ui: Served) -> None:
    policies = ui.get("/", HTML, ui.cookie).all("content-security-policy")
    assert any("'nonce-" in policy for policy in policies)


# --- Without the cookie ---------------------------------------------------------------------------------


def test_a_program_with_the_token_need_not_say_where_it_comes_from_but_must_not_come_from_elsewhere(
    ui: Served,
) -> None:
    bearer = f"Authorization: Bearer {ui.ui.token}"
    assert ui.graphql("{ version }", bearer).status == 200
    assert ui.graphql("{ version }", f"authorization: bearer {ui.ui.token}").status == 200
    assert ui.graphql("{ version }", bearer, ui.origin).status == 200
    assert ui.graphql("{ version }", bearer, "Origin: http://evil.example").status == 403


def test_a_forwarded_port_works(ui: Served) -> None:
    """With ssh -L 8080:127.0.0.1:3000 the browser knows the server under another port."""
    headers = (ui.cookie, JSON, "Origin: http://localhost:8080")
    asked = request(ui.port, "POST", "/graphql", *headers, body=ASKED, host="localhost:8080")
    assert raw(ui.port, asked).status == 200


def test_a_mutation_over_the_websocket_changes_nothing(ui: Served) -> None:
    """Dagster takes every operation there for a subscription; this would notice if a release did not."""
    launch = f"mutation {{ launchRun(executionParams: {{selector: {{{JOB}}}}}) {{ __typename }} }}"
    before = ui.runs()
    with connect(
        f"ws://127.0.0.1:{ui.port}/graphql",
        origin=Origin(ui.ui.url),
        additional_headers={"Cookie": ui.cookie.removeprefix("Cookie: ")},
        subprotocols=[Subprotocol("graphql-ws")],
        proxy=None,
    ) as opened:
        opened.send(json.dumps({"type": "connection_init"}))
        assert json.loads(opened.recv(10))["type"] == "connection_ack"
        opened.send(json.dumps({"type": "start", "id": "1", "payload": {"query": launch}}))
        answer = json.loads(opened.recv(10))
    assert "LaunchRunSuccess" not in str(answer)
    assert ui.runs() == before


# --- Who launched a run ---------------------------------------------------------------------------------


def test_with_one_login_for_all_a_run_says_that_it_is_of_the_web_ui_whatever_it_claims(ui: Served) -> None:
    claimed = ui.launch(ui.cookie, ui.origin, daybreak__launched_by="alice")
    named = ui.launch(ui.cookie, ui.origin, "X-Daybreak-User: alice", "X-Forwarded-User: alice")
    assert {ui.runs()[run][LAUNCHED_BY] for run in (claimed, named)} == {"web UI"}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("X-Forwarded-User: alice", "alice"),
        ("x-forwarded-user:  Alice B. <alice@example.org> ", "Alice B. <alice@example.org>"),
        ("X-Forwarded-User: " + "Zoë".encode().decode("latin-1"), "Zoë"),
        ("X-Forwarded-User: Zo\xeb", "Zoë"),
        ("X-Forwarded-User: 100%25", "100%25"),
    ],
)
def test_a_run_carries_the_name_that_the_proxy_gives(behind_proxy: Served, header: str, name: str) -> None:
    run = behind_proxy.launch(header, f"Origin: {PUBLIC}", daybreak__launched_by="bob", mine="kept")
    tags = behind_proxy.runs()[run]
    assert (tags[LAUNCHED_BY], tags["mine"]) == (name, "kept")


def test_a_client_cannot_name_itself_to_what_is_behind_the_guard(behind_proxy: Served) -> None:
    run = behind_proxy.launch(*AS_ALICE, "X-Daybreak-User: bob", "x-daybreak-user: bob")
    assert behind_proxy.runs()[run][LAUNCHED_BY] == "alice"


def test_a_run_that_is_run_again_carries_the_name_of_who_did_that(behind_proxy: Served) -> None:
    first = behind_proxy.launch(*AS_ALICE)
    cancel = """
        mutation ($run: String!) {
          terminateRun(runId: $run, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename }
        }"""
    again = """
        mutation ($run: String!) {
          launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS, useParentRunTags: true})
          { __typename ... on LaunchRunSuccess { run { runId } } }
        }"""
    behind_proxy.graphql(cancel, *AS_ALICE, run=first)
    answer = behind_proxy.graphql(again, "X-Forwarded-User: bob", f"Origin: {PUBLIC}", run=first)
    second = answer.json()["data"]["launchRunReexecution"]["run"]["runId"]
    runs = behind_proxy.runs()
    assert (runs[first][LAUNCHED_BY], runs[second][LAUNCHED_BY]) == ("alice", "bob")


# --- Behind a proxy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("X-Forwarded-User:",),
        ("X-Forwarded-User:   ",),
        ("X-Forwarded-User: alice", "X-Forwarded-User: bob"),
        ("X-Forwarded-User: alice", "x-forwarded-user: alice"),
        ("X-Forwarded-User: " + "a" * 201,),
        ("X-Forwarded-User: a\tb",),
        ("X-Forwarded-User: \u00a0",),
        ("X-Forwarded-User: a\u0085b",),
        ("X_Forwarded_User: alice",),
        ("X-Forwarded-User-Name: alice",),
        ("X-Daybreak-User: alice",),
        ("Authorization: Basic YWxpY2U6YWxpY2U=",),
    ],
)
def test_whom_the_proxy_does_not_name_is_not_let_in(behind_proxy: Served, headers: tuple[str, ...]) -> None:
    answer = behind_proxy.get("/server_info", *headers)
    assert answer.status == 401
    assert "proxy" in answer.json()["error"]


def test_behind_a_proxy_the_link_is_no_login(behind_proxy: Served) -> None:
    answer = behind_proxy.get(f"/?token={behind_proxy.ui.token}", HTML)
    assert (answer.status, answer.all("set-cookie")) == (401, [])


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        (None, PUBLIC, 200),  # the proxy asks under the name of this machine, as nginx does by default
        ("daybreak.example", PUBLIC, 200),
        (None, "http://evil.example", 403),
        ("daybreak.example", "https://evil.daybreak.example", 403),
        ("daybreak.example", "https://daybreak.example:8443", 403),
        ("evil.example", PUBLIC, 400),
        ("evil.daybreak.example", PUBLIC, 400),
    ],
)
def test_the_proxys_address_is_ours_and_no_other(
    behind_proxy: Served, host: str | None, origin: str, status: int
) -> None:
    headers = ("X-Forwarded-User: alice", JSON, f"Origin: {origin}")
    asked = request(behind_proxy.port, "POST", "/graphql", *headers, body=ASKED, host=host)
    assert raw(behind_proxy.port, asked).status == status


@pytest.mark.parametrize(
    ("client", "let_in"),
    [
        (("127.0.0.1", 1), True),
        (("127.8.8.8", 1), True),
        (("::1", 1), True),
        (("192.0.2.1", 1), False),
        (("::ffff:192.0.2.1", 1), False),
        (("localhost", 1), False),
        (None, False),
    ],
)
def test_only_a_proxy_on_this_machine_is_believed(client: tuple[str, int] | None, let_in: bool) -> None:
    login = Login(WebSettings("proxy", "X-Email"), 3000, "token")
    scope = {"type": "http", "client": client, "headers": [(b"x-email", b"alice")]}
    assert (login.person(HTTPConnection(scope)) is not None) is let_in


def test_where_a_request_comes_from_is_not_asked_of_the_client(behind_proxy: Served) -> None:
    """uvicorn would believe X-Forwarded-For of a local proxy, and then this proxy were not local any more."""
    answer = behind_proxy.get("/server_info", "X-Forwarded-User: alice", "X-Forwarded-For: 192.0.2.1")
    assert answer.status == 200


def test_a_dagster_of_others_that_would_lose_the_names_is_refused(homes: pytest.TempPathFactory) -> None:
    others = "telemetry: {enabled: false}\n"
    home = homes.mktemp("others") / "home"
    with started(home, dagster=others, DAYBREAK_WEB_AUTH="proxy", DAYBREAK_WEB_URL=PUBLIC) as it:
        assert it.server.process
        assert it.server.process.wait(60) == 2
    assert re.fullmatch(r"DAYBREAK_WEB_AUTH is proxy, but .*class AttributedRuns\n", it.log)
    assert "AttributedRuns" in OURS


# --- Without a login ------------------------------------------------------------------------------------


def test_without_a_login_everybody_is_let_in_but_no_page_of_others(open_to_all: Served) -> None:
    assert open_to_all.get("/", HTML).status == 200
    assert open_to_all.graphql("{ version }", open_to_all.origin).status == 200
    assert open_to_all.graphql("{ version }").status == 403
    assert open_to_all.graphql("{ version }", "Origin: http://evil.example").status == 403
    rebound = request(open_to_all.port, "GET", "/", host=f"evil.example:{open_to_all.port}")
    assert raw(open_to_all.port, rebound).status == 400
    assert handshake(open_to_all.port, "Origin: http://evil.example").status == 403
    assert handshake(open_to_all.port, open_to_all.origin).status == 101


def test_without_a_login_no_other_machine_is_served(homes: pytest.TempPathFactory) -> None:
    home = homes.mktemp("everywhere") / "home"
    with started(home, host="0.0.0.0", DAYBREAK_WEB_AUTH="none") as it:  # noqa: S104 - what is refused
        assert it.server.process
        assert it.server.process.wait(60) == 2
    assert (
        it.log
        == "DAYBREAK_WEB_AUTH is none, and 0.0.0.0 can be reached from other machines: use token or proxy\n"
    )


# --- What is kept of it ---------------------------------------------------------------------------------


def test_no_secret_is_in_the_log_or_in_any_file(ui: Served) -> None:
    """After all of the above: links, wrong links, refused requests, and such that are no HTTP."""
    raw(ui.port, f"GET /?token={ui.ui.token} NONSENSE\r\n\r\n".encode())
    raw(ui.port, f"GET /?token={ui.ui.token}{'x' * 70_000} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    ui.get(f"/graphql?query=%7Bnobody%7D&x={ui.ui.token}", ui.cookie)
    session = ui.cookie.partition("=")[2]
    assert len(session) == 43
    for path in ui.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert ui.ui.token.encode() not in content, path
            assert session.encode() not in content, path
