"""A bucket behind a proxy that can be told to answer badly."""

from __future__ import annotations

import http.client
import importlib.util
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

if importlib.util.find_spec("moto") is None or importlib.util.find_spec("obstore") is None:
    collect_ignore_glob = ["test_*.py"]
    pytest.skip("moto or obstore is not installed (make install)", allow_module_level=True)

import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from daybreak_pipeline.locations import ObjectPath, storage

BUCKET = "exports-of-tests"
_PASSED_ON = {"content-type", "etag", "last-modified", "content-range", "accept-ranges", "location"}


@dataclass(frozen=True)
class Fault:
    """What is done to one answer: a status and a code of S3 instead of it, or only so many bytes of its body."""

    status: int = 200
    code: str = ""
    bytes: int | None = None


@dataclass
class Bucket:
    """A bucket, and what goes wrong with the next requests for objects or listings."""

    store: S3Store
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _path: None

    def place(self, prefix: str = "day") -> ObjectPath:
        return ObjectPath.parse(f"s3://{BUCKET}/{prefix}")

    def put(self, key: str, content: bytes) -> None:
        obstore.put(self.store, key, content)

    def upload(self, directory: Path, prefix: str = "day") -> None:
        for path in directory.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(directory)}", path.read_bytes())

    def gets(self, ending: str) -> list[str]:
        return [
            path for method, path in self.asked if method == "GET" and path.split("?")[0].endswith(ending)
        ]


@pytest.fixture(scope="session")
def service() -> Iterator[tuple[str, int]]:
    """Yield host and port of a running service with an empty bucket."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        yield moto.get_host_and_port()
    finally:
        moto.stop()


@pytest.fixture
def bucket(service: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Yield an empty bucket, which the project reaches through the proxy."""
    login = {
        "AWS_ACCESS_KEY_ID": "who",
        "AWS_SECRET_ACCESS_KEY": "a secret of tests",
        "AWS_REGION": "us-east-1",
    }
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*service))
    call(service, "PUT", f"/{BUCKET}")
    found = Bucket(S3Store(BUCKET))
    with _proxy(service, found) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        storage.of.cache_clear()
        yield found
    storage.of.cache_clear()
    call(service, "POST", "/moto-api/reset")


def call(service: tuple[str, int], method: str, path: str, body: bytes = b"") -> None:
    connection = http.client.HTTPConnection(*service)
    connection.request(method, path, body)
    connection.getresponse().read()
    connection.close()


class _proxy:  # noqa: N801 - a context manager, named as a function
    """Passes requests on to the service, but for the faults of a bucket."""

    def __init__(self, service: tuple[str, int], bucket: Bucket) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Print nothing."""

            def _pass_on(self) -> None:
                bucket.asked.append((self.command, self.path))
                bucket.before(self.path)
                fault = bucket.faults.pop(0) if bucket.faults and self.command == "GET" else Fault()
                connection = http.client.HTTPConnection(*service)
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                connection.request(self.command, self.path, body=sent, headers=dict(self.headers.items()))
                answer = connection.getresponse()
                body = answer.read()
                status = answer.status
                if fault.code:
                    status, body = fault.status, f"<Error><Code>{fault.code}</Code></Error>".encode()
                self.send_response(status)
                for name, value in answer.getheaders():
                    if name.lower() in _PASSED_ON or name.lower().startswith("x-amz"):
                        self.send_header(name, value)
                length = answer.getheader("content-length") if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body if fault.bytes is None else body[: fault.bytes])
                self.close_connection = self.close_connection or fault.bytes is not None

            do_GET = do_HEAD = do_PUT = do_POST = _pass_on  # noqa: N815 - as the library has it

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
