"""The server's numbers for Prometheus, at /metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from daybreak_pipeline.monitoring.exposition import CONTENT_TYPE, Exporter

_EXPORTER = Exporter()


def metrics(_request: Request) -> Response:
    """Return the metrics of now. Starlette runs this in a thread: it waits for the database."""
    return PlainTextResponse(
        _EXPORTER.answer(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    )
