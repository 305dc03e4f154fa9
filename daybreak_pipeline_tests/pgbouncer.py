"""The real PgBouncer in front of a test's server, in transaction mode with its default settings.

``python -m daybreak_pipeline_tests.pgbouncer`` installs it where that is possible; without it its tests are skipped.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline.embedded_postgres.bootstrap import install_package
from daybreak_pipeline.settings import DatabaseSettings

PACKAGE = "pgbouncer"
_ACCOUNTS = ("postgres", "nobody")


def program() -> str | None:
    """Return PgBouncer's path, if it is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


needs_pgbouncer = pytest.mark.skipif(program() is None, reason="PgBouncer is not installed (make pooler)")


def main() -> None:
    """Install PgBouncer where that is possible, and say what its tests will do."""
    if program() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stdout.write(f"installing the package {PACKAGE} with apt-get …\n")
        install_package(PACKAGE)
    if program() is None:
        sys.stdout.write(f"no PgBouncer, so its tests are skipped: install the package {PACKAGE}\n")


@contextmanager
def pooled(
    db: DatabaseSettings, *, size: int = 5, users: Mapping[str, str] | None = None
) -> Iterator[tuple[DatabaseSettings, Path]]:
    """Yield the database as seen through a pool of so many connections, and PgBouncer's log.

    Args:
        db: the server, by the login of the tables' owner.
        size: the connections of each user to the server.
        users: further logins: passwords by name.
    """
    found = program()
    assert found is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="daybreak-pool-"))
    directory.chmod(0o755)
    log = directory / "pgbouncer.log"
    passwords = {db.user: db.password, **(users or {})}
    (directory / "users.txt").write_text(
        "".join(
            f'"{name}" "{password.replace(chr(34), chr(34) * 2)}"\n' for name, password in passwords.items()
        )
    )
    (directory / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host={db.host} port={db.port}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = scram-sha-256
        auth_file = {directory}/users.txt
        pool_mode = transaction
        stats_users = {db.user}
        default_pool_size = {size}
        logfile = {log}
        """.replace("        ", "")
    )
    account = next(name for name in _ACCOUNTS if name in {entry.pw_name for entry in pwd.getpwall()})
    as_root = os.geteuid() == 0
    if as_root:  # PgBouncer refuses to run as root
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, account)
    process = subprocess.Popen(
        [found, str(directory / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account if as_root else None,
    )
    through = replace(db, host="127.0.0.1", port=port)
    try:
        _wait(through, process)
        yield through, log
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory)


def _wait(db: DatabaseSettings, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            psycopg.connect(db.conninfo()).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "PgBouncer ended by itself"
            assert time.monotonic() < deadline, "PgBouncer does not answer"
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
