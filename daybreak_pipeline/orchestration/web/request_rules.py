"""Which requests the web UI accepts, and from where: no other site's page can make a browser change anything here.

A request that only reads may come from anywhere as a page navigation, and in every other form from our own pages. A
request that may change something must be a POST of JSON, or of a form where the path is a form's, or a WebSocket, from our own
pages; a program that sends its token need not state its origin. Whether GraphQL by GET only reads is decided by its document.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from graphql import (
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    parse,
)
from starlette.requests import HTTPConnection

from daybreak_pipeline.orchestration.web.login import Person

FORM = "/report/finding"
"""The path of the one page with a form: pages that run no script cannot send JSON."""
_MOST_TOKENS = 10_000
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    why: str


_METHOD = Refusal(405, "only GET, HEAD and POST are served")
_BY_GET = Refusal(405, "GraphQL by GET may be a query only: send everything else by POST")
_JSON, _FIELDS = "application/json", "application/x-www-form-urlencoded"
_NOT_JSON = Refusal(415, f"a POST must be of type {_JSON}")
_NOT_FIELDS = Refusal(415, f"a POST of this form must be of type {_FIELDS}")
_OF_OTHERS = Refusal(403, "a page of another origin may not ask for this")
_FROM_NOWHERE = Refusal(
    403, "the request does not say where it comes from: it has neither Origin nor Sec-Fetch-Site"
)


def origin_of(url: str) -> str:
    """Return the origin of a URL as browsers write it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    default = parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)}
    return f"{parts.scheme}://{host}{'' if default else f':{parts.port}'}"


def refusal(connection: HTTPConnection, person: Person, public_origin: str) -> Refusal | None:
    """Return why a logged-in user may not make this request; None if they may.

    Args:
        connection: a request or a WebSocket; its Host is one of ours.
        person: who asks.
        public_origin: the origin under which people know this server, besides its Host.
    """
    if connection.scope["type"] == "websocket":
        return _unless_ours(connection, person, public_origin)
    match connection.scope["method"]:
        case "GET" | "HEAD":
            if _embedded_by_others(connection):
                return _OF_OTHERS
            return None if _only_reads(connection) else _BY_GET
        case "POST":
            types = [
                value.partition(";")[0].strip().lower()
                for value in connection.headers.getlist("content-type")
            ]
            wanted, otherwise = (
                (_FIELDS, _NOT_FIELDS) if connection.scope["path"] == FORM else (_JSON, _NOT_JSON)
            )
            return _unless_ours(connection, person, public_origin) if types == [wanted] else otherwise
        case _:
            return _METHOD


def _unless_ours(connection: HTTPConnection, person: Person, public_origin: str) -> Refusal | None:
    sites, origins = (connection.headers.getlist(name) for name in ("sec-fetch-site", "origin"))
    ours = {f"http://{connection.headers['host']}", public_origin}
    if set(sites) - {"same-origin"} or set(origins) - ours:
        return _OF_OTHERS
    return _FROM_NOWHERE if person.by_browser and not sites and not origins else None


def _embedded_by_others(connection: HTTPConnection) -> bool:
    """Return whether another origin's page embeds the response: as an image, a frame, a script."""
    if set(connection.headers.getlist("sec-fetch-site")) <= {"same-origin", "none"}:
        return False
    how = (connection.headers.get("sec-fetch-mode"), connection.headers.get("sec-fetch-dest"))
    return how != ("navigate", "document")


def _only_reads(connection: HTTPConnection) -> bool:
    """Return whether a GET cannot change anything. Every path that looks like GraphQL's is treated as GraphQL's."""
    if "graphql" not in connection.scope["path"].lower():
        return True
    return all(map(_is_query, connection.query_params.getlist("query")))


def _is_query(text: str) -> bool:
    try:
        document = parse(text, no_location=True, max_tokens=_MOST_TOKENS)
    except (GraphQLError, RecursionError):
        return False
    return all(
        isinstance(part, FragmentDefinitionNode)
        or (isinstance(part, OperationDefinitionNode) and part.operation is OperationType.QUERY)
        for part in document.definitions
    )
