"""The newest data-quality report as a page of the web UI."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from daybreak_pipeline.report import store

PATH = "/report"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The report is one page with its style in it and plots as SVG: it runs no script and loads nothing."""
_NONE_YET = "There is no data-quality report yet: it is made after every import and every check.\n"


def newest_report(_request: Request) -> Response:
    """Return the newest report, or 404 and a sentence where there is none."""
    path = store.directory() / store.LATEST
    try:
        page = path.read_bytes()
    except FileNotFoundError:
        return PlainTextResponse(_NONE_YET, 404)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})
