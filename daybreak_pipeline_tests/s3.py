"""A real S3 service, reached by https as pgBackRest wants it: moto, in a process of its own, behind a few lines of TLS.

moto's own TLS closes connections in a way that pgBackRest takes for an error, so it serves http to this process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from daybreak_pipeline.pooler import certificate
from daybreak_pipeline.settings import PROJECT_ROOT

BUCKET = "backups-of-tests"
needs_moto = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None, reason="moto is not installed (make install)"
)


@dataclass
class Service:
    """A running service: its certificate, its host name and port."""

    authority: Path
    endpoint: str
    process: subprocess.Popen[str]

    @property
    def settings(self) -> dict[str, str]:
        """The variables with which the project finds it."""
        return {
            "DAYBREAK_BACKUP_REPO": f"s3://{BUCKET}/of/ours",
            "DAYBREAK_BACKUP_S3_ENDPOINT": self.endpoint,
            "DAYBREAK_BACKUP_S3_USER": "who",
            "DAYBREAK_BACKUP_S3_PASSWORD": "a secret of tests",
            "DAYBREAK_BACKUP_S3_CA": str(self.authority),
        }


@contextmanager
def served(directory: Path) -> Iterator[Service]:
    """Yield a service with an empty bucket; its certificate is in a directory that others may enter."""
    authority, _key = certificate.provide(directory)
    authority.chmod(0o644)  # the server's user reads it too
    command = [sys.executable, "-m", __name__, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT)
    try:
        assert process.stdout
        yield Service(authority, f"localhost:{int(process.stdout.readline())}", process)
    finally:
        process.kill()
        process.communicate()


async def _serve(directory: Path, port: int) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / certificate.CERTIFICATE, directory / certificate.KEY)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))

    listening = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=tls)
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await listening.serve_forever()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await source.read(1 << 16):
            sink.write(block)
            await sink.drain()
    sink.close()


def main(directory: Path) -> None:
    """Serve until killed; the port is the first line of the output."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with contextlib.closing(http.client.HTTPConnection(host, port)) as connection:
        connection.request("PUT", f"/{BUCKET}")
        connection.getresponse().read()
    asyncio.run(_serve(directory, port))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
