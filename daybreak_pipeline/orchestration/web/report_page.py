"""The newest data-quality report, and the page about the server, as pages of the web UI."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from daybreak_pipeline.report import store

PATH = "/report"
SERVER_PATH = f"{PATH}/server"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The report is one page with its style in it and plots as SVG: it runs no script and loads nothing."""
_NONE_YET = "There is no data-quality report yet: it is made after every import and every check.\n"


_NO_SERVER_PAGE_YET = (
    "There is no page about the server yet: it is made every few minutes, by the job monitor_server.\n"
)
_LINKS = {
    f'href="{store.SERVER}"'.encode(): f'href="{SERVER_PATH.removeprefix("/")}"'.encode(),
    f'href="{store.LATEST}"'.encode(): f'href="..{PATH}"'.encode(),
}
"""The pages lead to each other as files; here they have other addresses."""


def newest_report(_request: Request) -> Response:
    """Return the newest report, or 404 and a sentence where there is none."""
    return _page(store.LATEST, _NONE_YET)


def server_page(_request: Request) -> Response:
    """Return the newest page about the server, or 404 and a sentence where there is none."""
    return _page(store.SERVER, _NO_SERVER_PAGE_YET)


def _page(name: str, otherwise: str) -> Response:
    try:
        page = (store.directory() / name).read_bytes()
    except FileNotFoundError:
        return PlainTextResponse(otherwise, 404)
    for file, address in _LINKS.items():
        page = page.replace(file, address)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})
