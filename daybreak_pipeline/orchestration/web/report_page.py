"""The report's pages as pages of the web UI: the newest report, the trends, and the page about the server."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from daybreak_pipeline.report import store

PATHS = {store.LATEST: "/report", store.TRENDS: "/report/trends", store.SERVER: "/report/server"}
"""Where each page is; among files it has the name that it is kept under."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""A page has its style in it and plots as SVG: it runs no script and loads nothing."""
_NONE_YET = {
    store.LATEST: "There is no data-quality report yet: it is made after every import and every check.\n",
    store.TRENDS: "There is no page about trends yet: it is made with every data-quality report.\n",
    store.SERVER: "There is no page about the server yet: it is made every few minutes, by the job monitor_server.\n",
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
        # Relative, as a proxy may have put all of it below a path of its own.
        up = "" if name == store.LATEST else "../"
        for file, path in PATHS.items():
            page = page.replace(f'href="{file}"'.encode(), f'href="{up}{path.removeprefix("/")}"'.encode())
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})

    return newest
