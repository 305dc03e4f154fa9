"""The web UI: who is let in, and under which address people know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import variables

WebAuth = Literal["token", "proxy", "none"]
_SHORTEST_TOKEN = 20


@dataclass(frozen=True)
class WebSettings:
    """Who is let into the web UI: ``token``, ``proxy`` or ``none``, and in which header a proxy names the user.

    ``metrics_token`` lets a program read /metrics, and nothing else; empty where there is none.
    """

    auth: WebAuth
    proxy_header: str
    metrics_token: str = field(default="", repr=False)


def web() -> WebSettings:
    """Return what ``DAYBREAK_WEB_AUTH``, ``DAYBREAK_WEB_PROXY_HEADER`` and ``DAYBREAK_METRICS_TOKEN`` say.

    Raises:
        UsageError: a variable cannot be used, or the proxy's public address is not set.
    """
    auth = cast("WebAuth", variables.WEB_AUTH.value())
    if auth == "proxy" and variables.WEB_URL.given() is None:
        msg = "DAYBREAK_WEB_AUTH is proxy, DAYBREAK_WEB_URL is not set: set it to the address at which people reach the proxy"
        raise UsageError(msg)
    token = variables.METRICS_TOKEN.given() or ""
    if token and len(token) < _SHORTEST_TOKEN:
        msg = f"DAYBREAK_METRICS_TOKEN has fewer than {_SHORTEST_TOKEN} characters: set it to a random one"
        raise UsageError(msg)
    return WebSettings(auth, variables.WEB_PROXY_HEADER.value(), token)


def web_url(default: str = variables.DEFAULT_WEB_URL) -> str:
    """Return what links to the web UI begin with: ``DAYBREAK_WEB_URL``, or the default.

    Raises:
        UsageError: the variable is not a URL.
    """
    return (variables.WEB_URL.given() or default).rstrip("/")
