"""HTTP as bytes on a socket: what a client library would refuse to send, or would put right."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What a server said, with the names of headers in lower case."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str:
        """Return the one value of a header."""
        (value,) = self.all(name)
        return value

    def json(self) -> Any:
        return json.loads(self.body)

    def text(self) -> str:
        return self.body.decode()


def raw(port: int, request: bytes) -> Answer:
    """Send bytes, and return the one answer; the connection must be one that the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            if upgraded(received):
                break
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    if ("transfer-encoding", "chunked") in headers:
        body = _joined(body)
    return Answer(int(status.split()[1]), headers, body)


def upgraded(received: bytes) -> bool:
    """Return whether the server has accepted a WebSocket, which it does not close."""
    return received.startswith(b"HTTP/1.1 101 ") and b"\r\n\r\n" in received


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        body, chunks = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def request(  # noqa: PLR0913 - the parts of a request
    port: int,
    method: str,
    target: str,
    *headers: str,
    body: str | bytes = b"",
    host: str | None = None,
    version: str = "1.1",
) -> bytes:
    """Return a request as bytes, with the right Host unless another, or none (``""``), is given."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {target} HTTP/{version}"]
    if host != "":
        lines.append(f"Host: {host or f'127.0.0.1:{port}'}")
    lines += ["Connection: close"] if not any("upgrade" in header.lower() for header in headers) else []
    lines += headers
    lines += [f"Content-Length: {len(content)}"] if content else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def call(port: int, method: str, target: str, *headers: str, body: str | bytes = b"") -> Answer:
    """Send a request and return the answer."""
    return raw(port, request(port, method, target, *headers, body=body))


def cookies(answer: Answer) -> SimpleCookie:
    """Return what the answer has a browser keep."""
    kept = SimpleCookie()
    for line in answer.all("set-cookie"):
        kept.load(line)
    return kept


def token_of(link: str) -> str:
    """Return the token at the end of the link that ``daybreak up`` prints; empty where there is none."""
    found = re.search(r"[?&]token=([\w-]+)", link)
    return found[1] if found else ""


def login(port: int, token: str) -> str:
    """Open the link as a browser does, and return the header with the cookie; empty where there is no login."""
    if not token:
        return "X-Nothing: to log in with"
    kept = cookies(call(port, "GET", f"/?token={token}", "Accept: text/html"))
    return "Cookie: " + "; ".join(f"{name}={one.value}" for name, one in kept.items())
