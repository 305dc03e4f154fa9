"""What goes wrong together: a full repository, a server killed during an import, a backup while an import writes.

Those that measure print what they measured: ``pytest -rP`` shows it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import checksums, drill, in_place, points
from daybreak_pipeline.embedded_postgres.pgbackrest import BackupError
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import runner
from daybreak_pipeline_tests.backups.conftest import (
    Site,
    ask,
    do,
    needs_pgbackrest,
    small_disk_in,
    until,
)
from daybreak_pipeline_tests.backups.test_making import judged, switch
from daybreak_pipeline_tests.backups.test_restoring import aim, all_archived, kill, sums
from daybreak_pipeline_tests.exports import Export, record

pytestmark = [needs_pgbackrest, pytest.mark.slow]
MANY = 3000


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """A disk on which one backup fits, and not much more."""
    with small_disk_in(site.home) as directory:
        yield directory


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))


def documents(directory: Path, session: database.Connection, number: int) -> None:
    directory.mkdir(exist_ok=True)
    Export(directory, session).write("documents", *(record("documents", f"word{n}") for n in range(number)))


def test_imports_go_on_while_the_repository_is_full(
    site: Site, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", str(small_disk / "repository"))
    with site.up() as db:
        runner.upgrade(db)
        site.backup(db)
        filler = small_disk / "filler"
        with contextlib.suppress(OSError):
            fill(filler)
        switch(db)
        until(lambda: "takes no write-ahead log" in judged(db).text)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            documents(tmp_path / "export", session, 10)
            assert import_table(session, "documents", tmp_path / "export").accounting.inserted == 10
        with pytest.raises(BackupError, match=r"does not reach the repository|kB free"):
            site.backup(db)
        filler.unlink()
        site.backup(db, "diff")
        until(lambda: judged(db).good, 90)
        assert drill.run(site.agent, db, keys.load()).problems == []


def test_a_backup_during_an_import_is_as_of_one_moment(site: Site, tmp_path: Path) -> None:
    with site.up() as db:
        runner.upgrade(db)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            documents(tmp_path / "export", session, MANY)
        imported = threading.Event()

        def import_again_and_again() -> None:
            with database.connect(db, key=keys.load(), autocommit=True) as session:
                while not imported.is_set():
                    import_table(session, "documents", tmp_path / "export", full=True)

        importing = threading.Thread(target=import_again_and_again)
        importing.start()
        try:
            site.backup(db)
        finally:
            imported.set()
            importing.join()
        assert drill.run(site.agent, db, keys.load()).problems == []


def test_a_server_killed_during_an_import_comes_back_without_it_even_if_its_data_are_deleted(
    site: Site, tmp_path: Path
) -> None:
    with site.up() as db:
        runner.upgrade(db)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            documents(tmp_path / "first", session, 5)
            import_table(session, "documents", tmp_path / "first")
            documents(tmp_path / "second", session, MANY)
        site.backup(db)
        all_archived(db)
        before = sums(db)

        with database.connect(db, key=keys.load(), autocommit=True) as session:
            points.before_import(session, "abababab")
            killed = _import_until_killed(session, tmp_path / "second", site)
        assert killed
        data = site.agent.data
    shutil.rmtree(data)
    begun = time.monotonic()
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        back = time.monotonic() - begun
        assert checksums.differences(before, sums(db)) == []
    sys.stdout.write(f"back after {back:.1f} s\n")


def _import_until_killed(session: database.Connection, directory: Path, site: Site) -> bool:
    """Import, and kill the whole server as soon as rows have been read."""
    backend = session.info.backend_pid

    def dies(phase: str, _amount: int) -> None:
        if phase not in {"fingerprint", "stage"}:
            kill(site)
            subprocess.run(["kill", "-9", str(backend)], check=False)

    try:
        import_table(session, "documents", directory, progress=dies)
    except (DaybreakError, psycopg.Error):
        return True
    return False


def test_what_is_lost_with_the_disk_is_less_than_the_last_minute(site: Site) -> None:
    """A row a second is committed; nobody switches files but the server's own clock."""
    with site.up() as db:
        site.backup(db)
        do(db, "CREATE TABLE ticks (at timestamptz)")
        begun = time.monotonic()
        while time.monotonic() - begun < 75:
            do(db, "INSERT INTO ticks VALUES (clock_timestamp())")
            time.sleep(1)
        last = ask(db, "SELECT max(at) FROM ticks")
        shutil.rmtree(kill(site))
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        lost = (last - ask(db, "SELECT max(at) FROM ticks")).total_seconds()
    sys.stdout.write(f"lost: {lost:.1f} s\n")
    assert lost < 70
