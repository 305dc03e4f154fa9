"""Who may use the web UI: holders of the link's token, users that a reverse proxy names, or everybody.

A browser exchanges the token for a cookie and a URL without the token. The cookie holds another secret: neither of the
two reveals the other.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from daybreak_pipeline.orchestration.attribution import SOMEBODY
from daybreak_pipeline.settings import WebSettings

METRICS = "/metrics"
"""The path of the metrics for Prometheus."""
SCRAPER = "Prometheus"
TOKEN = "token"  # noqa: S105 - the name of the parameter
_LONGEST_NAME = 200
_HOW = {
    "token": "Open the link that `daybreak up` (or `make up`) has printed in its terminal: it ends with ?token=… and is a new "
    "one after each start. Links in alerts do not log in: log in first, then open them again.",
    "proxy": "This address is for the reverse proxy: use the one that it has for you.",
    "none": "",
}


@dataclass(frozen=True)
class Person:
    """A logged-in user.

    Runs that this person launches carry ``name``. ``by_browser`` means that a browser sends the credentials by itself,
    whatever page makes it do so; only then must a request state its origin.
    """

    name: str
    by_browser: bool


@dataclass(frozen=True)
class Login:
    """Who may use one web UI. ``port`` is in the cookie's name: browsers have one jar for all ports of a machine."""

    settings: WebSettings
    port: int
    token: str = field(repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return f"daybreak-{self.port}"

    def person(self, connection: HTTPConnection) -> Person | None:
        """Return who sends the request, None for somebody who may not."""
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self.token):
            return Person(SOMEBODY, by_browser=False)
        if scheme.lower() == "bearer" and self._scrapes(connection, given.strip()):
            return Person(SCRAPER, by_browser=False)
        if self.settings.auth == "none":
            return Person(SOMEBODY, by_browser=True)
        if self.settings.auth == "proxy":
            name = self._named_by_proxy(connection)
            return Person(name, by_browser=True) if name else None
        if _same(connection.cookies.get(self.cookie, ""), self.session):
            return Person(SOMEBODY, by_browser=True)
        return None

    def exchange(self, connection: HTTPConnection) -> Response | None:
        """Return the response to a link with a token: a cookie, and a redirect to the same URL without the token.

        None if it is not such a link, or if the token is wrong and the request does not log in otherwise.
        """
        if connection.scope["type"] != "http" or connection.scope["method"] not in {"GET", "HEAD"}:
            return None
        given = connection.query_params.getlist(TOKEN)
        if self.settings.auth != "token" or not given:
            return None
        right = len(given) == 1 and _same(given[0], self.token)
        if not right and self.person(connection) is None:
            return None
        answer = RedirectResponse(_without_token(connection), 303, {"Cache-Control": "no-store"})
        if right:
            answer.set_cookie(self.cookie, self.session, path="/", httponly=True, samesite="strict")
        return answer

    def unauthorized(self, connection: HTTPConnection) -> Response:
        """Return 401: a page that says where the link is, or JSON for a program."""
        headers = {"WWW-Authenticate": 'Bearer realm="daybreak"', "Cache-Control": "no-store"}
        how = _HOW[self.settings.auth]
        if "text/html" not in connection.headers.get("accept", ""):
            return JSONResponse({"error": f"not logged in. {how}"}, 401, headers)
        # A browser withholds a strict cookie when another site's page leads here, such as an alert in a web mail. A
        # request from our own page has it.
        led_here = connection.headers.get("sec-fetch-site") == "cross-site"
        same = escape(quote(connection.scope["query_string"], safe="=&%+"))
        page = _PAGE.format(again=_AGAIN.format(same=same) if led_here else "", how=how)
        return HTMLResponse(page, 401, headers | {"Content-Security-Policy": "default-src 'none'"})

    def _scrapes(self, connection: HTTPConnection, given: str) -> bool:
        """Return whether a program reads the metrics, with the token that is good for that alone."""
        right = _same(given, self.settings.metrics_token) and bool(self.settings.metrics_token)
        scope = connection.scope
        return (
            right
            and scope["type"] == "http"
            and scope["path"] == METRICS
            and scope["method"] in {"GET", "HEAD"}
        )

    def _named_by_proxy(self, connection: HTTPConnection) -> str:
        """Return the user that a proxy on this machine names; empty where none does, or more than one is named."""
        if connection.client is None or not is_loopback(connection.client.host):
            return ""
        names = connection.headers.getlist(self.settings.proxy_header)
        if len(names) != 1:
            return ""
        name = _as_utf8(names[0]).strip()
        return name if name.isprintable() and len(name) <= _LONGEST_NAME else ""


_AGAIN = '<meta http-equiv="refresh" content="0; url=?{same}">'
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark">{again}<title>Daybreak: log in</title></head>
<body>
<h1>You are not logged in</h1>
<p>This is the web UI of the Daybreak pipeline. {how}</p>
<p>If you have done that in this browser: <a href="">show the page</a>.</p>
</body>
</html>
"""


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode(), secret.encode())


def _as_utf8(header: str) -> str:
    """Return what a proxy wrote into a header: most write UTF-8, which servers take for Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _without_token(connection: HTTPConnection) -> str:
    """Return path and parameters of a URL without its token: of this server, whatever the path begins with."""
    others = [(name, value) for name, value in connection.query_params.multi_items() if name != TOKEN]
    path = "/" + quote(connection.scope["path"].lstrip("/"))
    return f"{path}?{urlencode(others)}" if others else path
