"""Whether all of this is alive, at /health: for load balancers and watchdogs.

Without a login the answer is one word, and never anything about the data. Who is logged in is told why, and what the verdict
on the data is. The code is 200, or 503 where something is not alive: nobody has to read the answer.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.report import troubles
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.report.verdict import judge

PATH = "/health"
_SECONDS = 5.0
"""For how long an answer is good: strangers who ask again and again cost the database nothing."""
_PATIENCE = 3
"""Seconds to wait for a database that does not answer."""


@dataclass
class _Pulse:
    """What was found at the last look, and when."""

    reason: str = ""
    looked_at: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)

    def why_not(self) -> str:
        """Return what is not alive; empty where all is."""
        with self.lock:
            if time.monotonic() - self.looked_at > _SECONDS:
                self.reason, self.looked_at = _look(), time.monotonic()
            return self.reason


_PULSE = _Pulse()


def is_asked(connection: HTTPConnection) -> bool:
    """Return whether a request asks for this, and does nothing else."""
    scope = connection.scope
    return scope["type"] == "http" and scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}


async def for_strangers() -> Response:
    """Return only whether all is alive."""
    return _answer(alive=not await run_in_threadpool(_PULSE.why_not))


def for_people(_request: Request) -> Response:
    """Return whether all is alive and why not, and the verdict on the data. Starlette runs this in a thread."""
    reason = _PULSE.why_not()
    if reason:
        return _answer(alive=False, why=reason)
    try:
        with database.serving() as db:
            verdict = judge(gather(db))
    except (DaybreakError, psycopg.Error):
        return _answer(alive=True)
    return _answer(alive=True, answer=verdict.answer, why=verdict.why)


def _answer(*, alive: bool, **more: str) -> Response:
    return JSONResponse(
        {"alive": alive, **more}, 200 if alive else 503, headers={"Cache-Control": "no-store"}
    )


def _look() -> str:
    try:
        given = settings.given_database()
        if given is None:  # ``daybreak up`` always gives one
            return ""
        with database.connect(given, autocommit=True, connect_timeout=_PATIENCE) as connection:
            return next((trouble.sentence for trouble in troubles.watch(connection)), "")
    except DaybreakError as error:
        return str(error)
    except psycopg.Error:
        return "the database does not answer"
