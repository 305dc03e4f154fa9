"""Imports that do not fit onto the server's disk: small disks in memory are really filled up."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record

pytestmark = pytest.mark.slow

MEGABYTE = 1 << 20
DISK = 64


@dataclass
class Disk:
    """A small disk in memory."""

    path: Path

    def resize(self, megabytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.path], check=True)

    def leave(self, megabytes: int) -> None:
        """Leave so much room beside what is on the disk now."""
        self.resize(shutil.disk_usage(self.path).used // MEGABYTE + megabytes)


def unmount(directory: Path) -> None:
    """Unmount a disk, which a process of the server that has just closed its files can keep busy for a moment."""
    deadline = time.monotonic() + 30
    while (
        done := subprocess.run(["umount", directory], check=False, capture_output=True, text=True)
    ).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


@pytest.fixture
def disk() -> Iterator[Disk]:
    directory = Path(tempfile.mkdtemp(prefix="daybreak-disk-"))
    directory.chmod(0o755)
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "daybreak-test", directory]
    try:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small disk to fill up")
        mounted = subprocess.run(command, check=False, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"cannot mount a small disk to fill up: {mounted.stderr.strip()}")
        try:
            yield Disk(directory)
        finally:
            unmount(directory)
    finally:
        directory.rmdir()


def write_large(export: Export, megabytes: int) -> None:
    """Write documents of one megabyte each, which PostgreSQL cannot compress, and one that changes a row."""
    export.write(
        "documents",
        record("documents", "there", label="new"),
        *(
            record("documents", f"large {n}", checkboxes=b64encode(os.urandom(MEGABYTE * 3 // 4)).decode())
            for n in range(megabytes)
        ),
    )


def working_tables(connection: Connection) -> list[tuple[str]]:
    return connection.execute(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'ingest'::regnamespace ORDER BY 1"
    ).fetchall()


@pytest.fixture
def on_small_disk(
    server: DatabaseSettings, template: DatabaseSettings, disk: Disk
) -> Iterator[DatabaseSettings]:
    """A migrated database whose tables, though not their log, are on the small disk."""
    settings = replace(server, name="on_small_disk")
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as administrator:
        row = administrator.execute("SHOW data_directory").fetchone()
        assert row
        owner = Path(row[0]).stat()
        os.chown(disk.path, owner.st_uid, owner.st_gid)
        administrator.execute(
            sql.SQL("CREATE TABLESPACE small_disk LOCATION {}").format(sql.Literal(str(disk.path)))
        )
        try:
            administrator.execute(
                sql.SQL("CREATE DATABASE on_small_disk TEMPLATE {} TABLESPACE small_disk").format(
                    sql.Identifier(template.name)
                )
            )
            yield settings
        finally:
            administrator.execute("DROP DATABASE IF EXISTS on_small_disk WITH (FORCE)")
            administrator.execute("DROP TABLESPACE small_disk")


@pytest.mark.parametrize(
    ("megabytes", "full_in"), [(DISK, "stage"), (DISK // 2, "classify"), (DISK // 8, "merge")]
)
def test_a_full_disk_fails_the_import_in_one_line_and_the_next_one_with_room_repairs(
    tmp_path: Path, on_small_disk: DatabaseSettings, disk: Disk, megabytes: int, full_in: str
) -> None:
    with database.connect(on_small_disk, key=KEY) as connection:
        export = Export(tmp_path, connection)
        export.load("documents", record("documents", "there", label="old"))
        tables = working_tables(connection)
        connection.commit()
        write_large(export, megabytes)
        phases: list[str] = []

        def note(phase: str, _: int) -> None:
            phases.append(phase)
            if phase == full_in == "merge":  # which takes less room than what came before
                disk.leave(megabytes // 2)

        with pytest.raises(ImportFailedError) as caught:
            export.load("documents", progress=note)
        assert phases[-1] == full_in
        assert str(caught.value).startswith(
            "documents: the server's disk is full; nothing was changed. Make room"
        )
        assert "\n" not in str(caught.value)
        assert export.rows("documents", "label") == [("old",)]
        assert working_tables(connection) == tables
        ledger = connection.execute("SELECT status, error FROM ingest.imports ORDER BY id").fetchall()
        assert ledger == [("imported", None), ("failed", str(caught.value))]
        connection.commit()
        disk.resize(5 * DISK)
        counts = {"status": "imported", "read": megabytes + 1, "inserted": megabytes, "updated": 1}
        assert export.load("documents") == counts


def test_a_full_disk_of_the_write_ahead_log_stops_the_server_and_the_next_import_with_room_repairs(
    tmp_path: Path, disk: Disk, home: Path
) -> None:
    with embedded_server.serve(home) as settings:
        runner.upgrade(settings)
        with database.connect(settings, key=KEY) as connection:
            export = Export(tmp_path, connection)
            export.load("documents", record("documents", "there", label="old"))
            row = connection.execute("SHOW data_directory").fetchone()
    assert row
    move(Path(row[0]) / "pg_wal", disk.path)
    write_large(export, DISK)
    with embedded_server.serve(home) as settings, database.connect(settings, key=KEY) as connection:
        # Which process of the server meets the full disk first, and ends all others, is not settled.
        with pytest.raises(
            ImportFailedError, match=r"disk is full|connection .* was lost .*a full disk"
        ) as caught:
            Export(tmp_path, connection).load("documents")
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="No space left on device"), embedded_server.serve(home):
        pass
    disk.resize(5 * DISK)
    with embedded_server.serve(home) as settings, database.connect(settings, key=KEY) as connection:
        export = Export(tmp_path, connection)
        assert export.rows("documents", "label") == [("old",)]
        assert connection.execute("SELECT status FROM ingest.imports").fetchall() == [("imported",)]
        assert export.load("documents") == {
            "status": "imported", "read": DISK + 1, "inserted": DISK, "updated": 1,
        }  # fmt: skip


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for a server of the test's own."""
    directory = Path(tempfile.mkdtemp(prefix="daybreak-disk-full-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def move(directory: Path, place: Path) -> None:
    """Move a stopped server's directory into another, and leave a link to it."""
    subprocess.run(["cp", "-a", f"{directory}/.", place], check=True)
    shutil.rmtree(directory)
    directory.symlink_to(place)
