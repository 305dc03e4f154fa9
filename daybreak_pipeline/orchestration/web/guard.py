"""Guards the web application: checks the user, the server name and the origin of a request, and limits browsers.

Plain ASGI, so that requests and WebSockets pass the same way. Nothing is public but whether all is alive
(``health_page``): no other path is looked at before the login.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daybreak_pipeline.orchestration import attribution
from daybreak_pipeline.orchestration.web import health_page
from daybreak_pipeline.orchestration.web.login import Login
from daybreak_pipeline.orchestration.web.request_rules import Refusal, origin_of, refusal

_NAMES = ("127.0.0.1", "localhost")
_ALWAYS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NO_FRAMES = "frame-ancestors 'none'"


def guarded(app: ASGIApp, login: Login, public_url: str) -> ASGIApp:
    """Return the application behind all its guards.

    Args:
        app: what is served.
        login: who may use it.
        public_url: the address under which people know it, besides that of this machine.
    """
    public = urlsplit(public_url).hostname or ""
    names = [*_NAMES, f"[{public}]" if ":" in public else public]
    inside = _Guard(app, login, origin_of(public_url))
    return _SecurityHeaders(TrustedHostMiddleware(inside, names, www_redirect=False))


class _Guard:
    """Admits only users who may use the application, and only requests that are allowed."""

    def __init__(self, app: ASGIApp, login: Login, public_origin: str) -> None:
        self.app = app
        self.login = login
        self.public_origin = public_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        exchanged = self.login.exchange(connection)
        if exchanged:
            await exchanged(scope, receive, send)
            return
        person = self.login.person(connection)
        if person is None:
            if health_page.is_asked(connection):
                await (await health_page.for_strangers())(scope, receive, send)
                return
            await self.login.unauthorized(connection)(scope, receive, send)
            return
        refused = refusal(connection, person, self.public_origin)
        if refused:
            await _answer(connection, refused)(scope, receive, send)
            return
        await self.app(attribution.signed(scope, person.name), receive, send)


def _answer(connection: HTTPConnection, refused: Refusal) -> Response:
    headers = {"Allow": "GET, HEAD, POST"} if refused.status == 405 else None  # noqa: PLR2004 - as RFC 9110 wants it
    if "text/html" in connection.headers.get("accept", ""):
        return PlainTextResponse(refused.why, refused.status, headers)
    return JSONResponse({"error": refused.why}, refused.status, headers)


class _SecurityHeaders:
    """Restricts browsers in every response: no frames, no guessed types, no referrers, nothing for other origins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = MutableHeaders(scope=message)
                headers.update(_ALWAYS)
                headers.append("Content-Security-Policy", _NO_FRAMES)  # besides the page's own: both apply
            await send(message)

        await self.app(scope, receive, with_headers)
