"""The web UI: who is let in, and under which address people know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import variables

WebAuth = Literal["token", "proxy", "none"]


@dataclass(frozen=True)
class WebSettings:
    """Who is let into the web UI: ``token``, ``proxy`` or ``none``, and in which header a proxy names the user."""

    auth: WebAuth
    proxy_header: str


def web() -> WebSettings:
    """Return what ``DAYBREAK_WEB_AUTH`` and ``DAYBREAK_WEB_PROXY_HEADER`` say.

    Raises:
        UsageError: a variable cannot be used, or the proxy's public address is not set.
    """
    auth = cast("WebAuth", variables.WEB_AUTH.value())
    if auth == "proxy" and variables.WEB_URL.given() is None:
        msg = "DAYBREAK_WEB_AUTH is proxy, DAYBREAK_WEB_URL is not set: set it to the address at which people reach the proxy"
        raise UsageError(msg)
    return WebSettings(auth, variables.WEB_PROXY_HEADER.value())


def web_url(default: str = variables.DEFAULT_WEB_URL) -> str:
    """Return what links to the web UI begin with: ``DAYBREAK_WEB_URL``, or the default.

    Raises:
        UsageError: the variable is not a URL.
    """
    return (variables.WEB_URL.given() or default).rstrip("/")
