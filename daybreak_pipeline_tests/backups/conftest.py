"""A server with backups, in a home of its own, with the real pgBackRest. Without that these tests are skipped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import listing, make
from daybreak_pipeline.backups.listing import Backup, Kind
from daybreak_pipeline.embedded_postgres import pgbackrest, server
from daybreak_pipeline.embedded_postgres.archiving import Agent
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export
from daybreak_pipeline_tests.homes import server_home

PATIENTS = "patients_and_guardians"
needs_pgbackrest = pytest.mark.skipif(
    pgbackrest.program() is None, reason="pgBackRest is not installed (make install, as root)"
)


@dataclass(frozen=True)
class Site:
    """A home with backups turned on."""

    home: Path

    @property
    def agent(self) -> Agent:
        return listing.embedded_agent()

    @contextmanager
    def up(self) -> Iterator[DatabaseSettings]:
        with server.serve(self.home) as db:
            yield db

    @contextmanager
    def up_with_people(self, directory: Path, *people: dict[str, str | None]) -> Iterator[DatabaseSettings]:
        """Run a server into which people were imported, from a file in a new directory, and that has a full backup."""
        directory.mkdir()
        with self.up() as db:
            runner.upgrade(db)
            with database.connect(db, key=keys.load(), autocommit=True) as session:
                Export(directory, session).write(PATIENTS, *people)
                import_table(session, PATIENTS, directory)
            self.backup(db)
            yield db

    def backup(self, db: DatabaseSettings, kind: Kind = "full") -> Backup:
        with psycopg.connect(db.conninfo(), autocommit=True) as connection:
            return make.make(self.agent, connection, kind)

    def set(self, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)


def ask(db: DatabaseSettings, query: str) -> Any:
    with psycopg.connect(db.conninfo(), autocommit=True) as connection:
        found = connection.execute(query.encode()).fetchone()
    return found and found[0]


def do(db: DatabaseSettings, *statements: str) -> None:
    with psycopg.connect(db.conninfo(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@contextmanager
def small_disk_in(home: Path) -> Iterator[Path]:
    """Yield a disk on which one backup of an empty server fits, and not much more."""
    directory = home / "disk"
    directory.mkdir(mode=0o711)
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m,mode=711", "daybreak-test", str(directory)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk to fill up")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with server_home() as home:
        monkeypatch.setenv("DAYBREAK_HOME", str(home))
        monkeypatch.delenv("DAYBREAK_BACKUP_REPO")
        yield Site(home)
