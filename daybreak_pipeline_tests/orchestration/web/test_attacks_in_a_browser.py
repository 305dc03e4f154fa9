"""Attacks by pages of others in a real browser, in which somebody has opened the link of a running ``daybreak up``.

The pages are of another site, and of another port of this machine, which for a browser is the same site: it sends the
cookie along. Each tries to launch a run that carries the name of the attack.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from daybreak_pipeline.cli import browser as shown_in
from daybreak_pipeline_tests.browser import CHROMIUM, SANDBOX_OFF, needs_chromium
from daybreak_pipeline_tests.cli.test_up import free_port, one_file_export, temporary_home, up
from daybreak_pipeline_tests.conftest import forget_settings
from daybreak_pipeline_tests.orchestration.web.test_attacks import LAUNCH, Target

pytestmark = [pytest.mark.slow, needs_chromium]

PATIENCE_MS = 30_000
NAMES_OF_OTHERS = "--host-resolver-rules=MAP *.example 127.0.0.1"
SITES = ("http://evil.example:{}", "http://127.0.0.1:{}", "http://localhost:{}")

ATTACKS = {
    "image": "new Image().src = get",
    "script": "document.head.append(Object.assign(document.createElement('script'), {src: get}))",
    "style": "document.head.append(Object.assign(document.createElement('link'), {rel: 'stylesheet', href: get}))",
    "frame": "document.body.append(Object.assign(document.createElement('iframe'), {src: get}))",
    "object": "document.body.append(Object.assign(document.createElement('object'), {data: get}))",
    "fetch GET": "fetch(get, {mode: 'no-cors', credentials: 'include'})",
    "fetch GET with CORS": "fetch(get, {credentials: 'include'})",
    "fetch text": "fetch(get, {method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x'})",
    "fetch form": "fetch(get, {method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams({query})})",
    "fetch files": """
        const files = new FormData(); files.append('query', query)
        fetch(get, {method: 'POST', mode: 'no-cors', credentials: 'include', body: files})""",
    "fetch text that names JSON": """
        fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include', body: json,
                    headers: {'Content-Type': 'text/plain; x=application/json'}})""",
    "fetch JSON": """
        fetch(url, {method: 'POST', credentials: 'include', body: json, headers: {'Content-Type': 'application/json'}})""",
    "beacon": "navigator.sendBeacon(get, 'x')",
    "beacon of JSON": "navigator.sendBeacon(url, new Blob([json], {type: 'application/json'}))",
    "keepalive": "fetch(get, {method: 'POST', mode: 'no-cors', credentials: 'include', keepalive: true})",
    "form": "submit(get, 'application/x-www-form-urlencoded', '_self')",
    "form of text": "submit(get, 'text/plain', '_self')",
    "form of text in a frame": """
        document.body.append(Object.assign(document.createElement('iframe'), {name: 'inside'}))
        submit(get, 'text/plain', 'inside')""",
    "form of files": "submit(get, 'multipart/form-data', '_self')",
    "form by GET": "submit(url, '', '_self', 'GET')",
    "link": "location.href = get",
    "window": "window.open(get)",
}
"""JavaScript by name. ``get`` is the address with the mutation in it, ``url`` without; ``json`` is what the UI would send."""

PAGE_OF_OTHERS = """
([url, query]) => {
  const get = url + '?query=' + encodeURIComponent(query), json = JSON.stringify({query})
  const submit = (action, enctype, target, method = 'POST') => {
    const form = Object.assign(document.createElement('form'), {action, enctype, target, method})
    form.append(Object.assign(document.createElement('input'), {name: 'query', value: query}))
    document.body.append(form)
    form.submit()
  }
  ATTACK
  return null
}
"""
LAUNCH_AS_THE_UI_DOES = """
query => fetch('/graphql', {
  method: 'POST', body: JSON.stringify({query}), headers: {'Content-Type': 'application/json'}
}).then(answer => answer.status)
"""
OPEN_WEBSOCKET = """
url => new Promise(resolve => {
  const socket = new WebSocket(url, 'graphql-ws')
  socket.onopen = () => resolve('open')
  socket.onerror = () => resolve('refused')
})
"""
READ = "url => fetch(url, {credentials: 'include'}).then(answer => answer.text(), () => 'nothing')"
SEND_THE_FORM = """
action => {
  const form = Object.assign(document.createElement('form'), {action, method: 'POST'})
  for (const [name, value] of [['do', 'accept'], ['table', 'documents'], ['check', 'orphans'], ['why', '']])
    form.append(Object.assign(document.createElement('input'), {name, value}))
  document.body.append(form)
  form.submit()
}
"""
FRAME = """
url => new Promise(resolve => {
  const frame = Object.assign(document.createElement('iframe'), {src: url, onload: () => resolve(null)})
  document.body.append(frame)
})
"""


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!DOCTYPE html><title>of others</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server has it
        """Say nothing."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The web UI of a whole ``daybreak up``, and its link as it was printed."""
    directory = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch, temporary_home() as home:
        forget_settings(patch)
        export = one_file_export(directory / "export")
        with up(home, free_port(), directory / "output", "--data-dir", export) as running:
            yield Target(running.port, running.link)


@pytest.fixture(scope="module")
def others() -> Iterator[int]:
    """The port of a server with an empty page at every path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[SANDBOX_OFF, NAMES_OF_OTHERS])
        yield opened
        opened.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    opened = chromium.new_context()
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, target: Target) -> Page:
    """A tab of somebody who has logged in."""
    opened = context.new_page()
    opened.goto(target.link)
    in_the_ui(opened)
    return opened


def in_the_ui(page: Page) -> None:
    """Wait until a page shows the UI."""
    expect(page.get_by_role("link", name="Lineage")).to_be_visible(timeout=PATIENCE_MS)


def ui(target: Target) -> str:
    return f"http://127.0.0.1:{target.port}"


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", ATTACKS)
def test_no_page_of_others_launches_a_run(
    target: Target, page: Page, others: int, site: str, name: str
) -> None:
    called = f"{name} from {site.partition('//')[2].partition(':')[0]}"
    page.goto(f"{site.format(others)}/")
    attack = PAGE_OF_OTHERS.replace("ATTACK", ATTACKS[name])
    with page.context.expect_event("request", lambda asked: asked.url.startswith(ui(target))) as asked:
        page.evaluate(attack, [f"{ui(target)}/graphql", LAUNCH.format(name=called)])
    answer = asked.value.response()
    assert answer is None or answer.status in {400, 401, 403, 405, 415}
    assert called not in target.attacks_that_worked()


def test_what_the_attacks_vary_does_launch_a_run(target: Target, page: Page) -> None:
    assert page.evaluate(LAUNCH_AS_THE_UI_DOES, LAUNCH.format(name="of our own page")) == 200
    assert "of our own page" in target.attacks_that_worked()


def test_no_page_of_others_sends_the_form_that_accepts_a_finding(
    target: Target, page: Page, others: int
) -> None:
    url = f"{ui(target)}/report/finding"
    for site, allowed in ((ui(target), True), *((site.format(others), False) for site in SITES)):
        page.goto(f"{site}/report/finding?table=documents&check=orphans" if allowed else f"{site}/")
        with page.context.expect_event("response", lambda one: one.url == url) as answered:
            page.evaluate(SEND_THE_FORM, url)
        page.wait_for_url(url)  # or what it leads to would end the next visit
        assert answered.value.status in ({400} if allowed else {401, 403}), (
            site
        )  # 400: there is no reason in it


def test_no_page_of_others_opens_a_websocket(target: Target, page: Page, others: int) -> None:
    url = f"ws://127.0.0.1:{target.port}/graphql"
    assert page.evaluate(OPEN_WEBSOCKET, url) == "open"
    for site in SITES:
        page.goto(f"{site.format(others)}/")
        assert page.evaluate(OPEN_WEBSOCKET, url) == "refused", site


def test_no_page_of_others_reads_or_frames_anything(target: Target, page: Page, others: int) -> None:
    for site in SITES:
        page.goto(f"{site.format(others)}/")
        for path in ("/", "/report", "/graphql?query={version}", "/server_info"):
            assert page.evaluate(READ, f"{ui(target)}{path}") == "nothing", (site, path)
        page.evaluate(FRAME, f"{ui(target)}/")
        (frame,) = [one for one in page.frames if one != page.main_frame]
        while not frame.url:  # the page of the error comes a moment after the load
            page.wait_for_timeout(20)
        assert frame.url.startswith("chrome-error:")


def test_a_name_that_leads_to_this_machine_shows_nothing(target: Target, page: Page) -> None:
    """DNS rebinding: to the browser the page and what it asks for are of one origin."""
    answer = page.goto(f"http://rebound.example:{target.port}/")
    assert answer
    assert answer.status == 400
    assert page.evaluate(LAUNCH_AS_THE_UI_DOES, LAUNCH.format(name="rebound")) == 400
    assert "rebound" not in target.attacks_that_worked()


# --- And yet it can be used -----------------------------------------------------------------------------


def test_the_link_is_not_in_the_address_bar_and_not_on_the_way_back(target: Target, page: Page) -> None:
    assert target.token not in page.url
    page.goto(f"{ui(target)}/runs")
    page.go_back()
    assert target.token not in page.url


def test_who_is_logged_in_may_come_from_a_page_of_others(target: Target, page: Page, others: int) -> None:
    """An alert in a web mail, say: the browser keeps a strict cookie back at first."""
    page.goto(f"http://mail.example:{others}/")
    page.evaluate("url => { location.href = url }", f"{ui(target)}/runs?view=all")
    in_the_ui(page)
    assert page.url.startswith(f"{ui(target)}/runs")


def test_who_is_not_is_told_where_the_link_is_and_the_page_stays(
    target: Target, context: BrowserContext, others: int
) -> None:
    stranger = context.new_page()
    asked: list[str] = []
    stranger.on("request", lambda request: asked.append(request.url))
    stranger.goto(f"http://mail.example:{others}/")
    stranger.evaluate("url => { location.href = url }", f"{ui(target)}/runs")
    expect(stranger.get_by_text("You are not logged in")).to_be_visible()
    expect(stranger.get_by_text("daybreak up")).to_be_visible()
    stranger.wait_for_timeout(1000)
    assert len([url for url in asked if url.startswith(ui(target))]) <= 3  # it, once again, perhaps an icon


@pytest.mark.parametrize("by", ["a page of others", "the file that up shows"])
def test_the_link_logs_in_wherever_it_is_opened(  # noqa: PLR0913, PLR0917 - fixtures
    target: Target,
    context: BrowserContext,
    others: int,
    by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    opened = context.new_page()
    with shown_in.page_that_leads_to(target.link) as file:
        if by == "a page of others":
            opened.goto(f"http://terminal.example:{others}/")
            opened.evaluate("url => { location.href = url }", target.link)
        else:
            assert file.stat().st_mode & 0o777 == 0o600
            opened.goto(file.as_uri())
        in_the_ui(opened)
    assert not file.exists()
    assert target.token not in opened.url


def test_the_report_works_under_its_policy_and_runs_no_script(target: Target, page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{ui(target)}/report")
    expect(page.get_by_role("heading", name="Can I trust today’s data?")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.heat')).tableLayout") == "fixed"
    page.locator("#overview a[href^='#']").first.click()
    assert "#" in page.url
    assert said == []
    ran = page.evaluate(
        """() => {
          document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))
          return window.ran === true
        }"""
    )
    assert ran is False
    assert "Content Security Policy" in said[0]
