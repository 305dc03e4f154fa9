"""The report's pages as pages of the web UI: the newest report, the trends, the server, and numbers for analysts."""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from daybreak_pipeline.orchestration.web.request_rules import FORM
from daybreak_pipeline.report import store

PATHS = {
    store.LATEST: "/report",
    store.TRENDS: "/report/trends",
    store.SERVER: "/report/server",
    store.NUMBERS: "/report/numbers",
}
"""Where each page is; among files it has the name that it is kept under."""
_LINKED = PATHS | {store.FINDING: FORM}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action {forms}"
"""A page has its style in it and plots as SVG: it runs no script and loads nothing."""
_NONE_YET = {
    store.LATEST: "There is no data-quality report yet: it is made after every import and every check.\n",
    store.TRENDS: "There is no page about trends yet: it is made with every data-quality report.\n",
    store.SERVER: "There is no page about the server yet: it is made every few minutes, by the job monitor_server.\n",
    store.NUMBERS: "There is no page about numbers for analysts yet: it is made after every import that changes rows.\n",
}


def routes() -> list[Route]:
    """Return what serves each page."""
    return [Route(path, _endpoint(name)) for name, path in PATHS.items()]


def _endpoint(name: str) -> Callable[[Request], Response]:
    def newest(_request: Request) -> Response:
        """Return the newest page of this name, or 404 and a sentence where there is none."""
        try:
            page = (store.directory() / name).read_bytes()
        except FileNotFoundError:
            return PlainTextResponse(_NONE_YET[name], 404)
        return shown(page, below=name != store.LATEST)

    return newest


def shown(page: bytes, status: int = 200, *, below: bool, has_form: bool = False) -> HTMLResponse:
    """Return a page as it is served: its links lead to where pages are here, and it shows what only works here.

    Args:
        page: the page, as it would be a file.
        status: of the response.
        below: whether its path is one below the report's.
        has_form: whether it has a form.
    """
    # Relative, as a proxy may have put all of it below a path of its own.
    up = "../" if below else ""
    for file, path in _LINKED.items():
        page = re.sub(
            rf'href="{re.escape(file)}(?=["?#])'.encode(),
            f'href="{up}{path.removeprefix("/")}'.encode(),
            page,
        )
    page = page.replace(b'<body class="file">', b'<body class="served">', 1)
    policy = _POLICY.format(forms="'self'" if has_form else "'none'")
    return HTMLResponse(page, status, {"Content-Security-Policy": policy, "Cache-Control": "no-store"})
