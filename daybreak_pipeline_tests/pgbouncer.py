"""The real PgBouncer in front of a test's server, with the configuration that the project writes for it."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres.programs import server_account
from daybreak_pipeline.pooler import configuration, process, programs
from daybreak_pipeline.settings import DatabaseSettings, PoolerSettings

needs_pgbouncer = pytest.mark.skipif(
    programs.find() is None, reason="PgBouncer is not installed (make pooler)"
)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def pooled(
    db: DatabaseSettings, *, size: int = 5, clients: int = 100, self_signed: bool = False
) -> Iterator[tuple[DatabaseSettings, Path]]:
    """Yield the database as seen through a pool of so many connections for each login, and PgBouncer's log."""
    directory = Path(tempfile.mkdtemp(prefix="daybreak-pool-"))
    directory.chmod(0o711)
    wanted = PoolerSettings(
        "127.0.0.1", free_port(), port_given=True, size=size, clients=clients, self_signed=self_signed
    )
    account = server_account()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "DAYBREAK_HOME", str(directory / "home")
        )  # where it is noted which directories follow the roles
        written = configuration.write(db, wanted, directory / "pgbouncer", account)
    running = process.start(written, account)
    try:
        yield written.through, running.log
    finally:
        process.stop(running.process)
        shutil.rmtree(directory)
