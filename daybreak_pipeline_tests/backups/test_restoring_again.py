"""Restoring what was restored before, and restores that are cut off: what a second attempt in the same night meets."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline.backups import drill, in_place, listing, restore, timelines
from daybreak_pipeline.embedded_postgres import archiving, data_directory
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline_tests.backups.conftest import (
    Site,
    ask,
    do,
    needs_pgbackrest,
    small_disk_in,
    until,
)
from daybreak_pipeline_tests.backups.test_restoring import COUNT, NUMBERS, aim, all_archived, kill, point

pytestmark = [needs_pgbackrest, pytest.mark.slow]
LATER = "SELECT to_regclass('later') IS NOT NULL"


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    with small_disk_in(site.home) as directory:
        yield directory


def test_after_an_undo_past_a_backup_all_there_is_can_still_be_restored(site: Site) -> None:
    with site.up() as db:
        first = site.backup(db)
        before = point(db, "aaaaaaaa")
        do(db, NUMBERS)
        abandoned = site.backup(db, "diff")
        all_archived(db)
    in_place.restore(site.home, aim(site, before))
    with site.up() as db:
        do(db, "CREATE TABLE later AS SELECT 1 AS n")
        all_archived(db)
        assert aim(site, "latest").backup == first
        assert drill.run(site.agent, db, keys.load()).problems == []
        kill(site)
    shutil.rmtree(site.agent.data)
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        assert ask(db, LATER)
        assert ask(db, "SELECT to_regclass('numbers') IS NULL")
        assert site.backup(db, "diff").type == "differential"
        assert aim(site, "latest").backup.label != abandoned.label


def test_a_moment_before_a_wrong_restore_is_still_there(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        too_early = datetime.now(UTC)
        time.sleep(0.2)
        do(db, NUMBERS)
        right = datetime.now(UTC)
        time.sleep(0.2)
        do(db, "DROP TABLE numbers")
        all_archived(db)
    in_place.restore(site.home, aim(site, too_early.isoformat()))
    with site.up() as db:
        do(db, "CREATE TABLE later AS SELECT 1 AS n")
        all_archived(db)
        time.sleep(1.1)  # the repository knows to the second when the branch began
        after = datetime.now(UTC)
        time.sleep(0.2)
        do(db, "INSERT INTO later VALUES (2)")
        all_archived(db)
    in_place.restore(site.home, aim(site, right.isoformat()))
    with site.up() as db:
        assert ask(db, COUNT) == 100
        assert not ask(db, LATER)
        all_archived(db)
    in_place.restore(site.home, aim(site, after.isoformat()))
    with site.up() as db:
        assert ask(db, "SELECT count(*) FROM later") == 1
    agent = site.agent
    assert len(timelines.read(agent, listing.read(agent)).begun) == 3


@pytest.mark.parametrize("there", [True, False], ids=["with data", "without data"])
def test_a_restore_that_is_killed_leaves_the_server_as_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    with site.up() as db:
        site.backup(db)
        do(db, NUMBERS)
        all_archived(db)
    data = site.agent.data
    if not there:
        shutil.rmtree(data)

    def die(*_arguments: object) -> None:
        (data / "half").mkdir(parents=True)
        os.kill(os.getpid(), signal.SIGKILL)

    target = aim(site, "latest")
    with monkeypatch.context() as patched:
        patched.setattr(in_place, "fetch", die)
        killed = os.fork()
        if killed == 0:
            in_place.restore(site.home, target)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
    if there:
        with site.up() as db:
            assert ask(db, COUNT) == 100
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        assert ask(db, COUNT) == 100
    assert not (data / "half").exists()


def test_a_home_that_was_used_before_the_restore_gets_in_afterwards(site: Site) -> None:
    """Somebody started a server on the new machine first: it has another password, and another key."""
    with site.up() as db:
        site.backup(db)
        moment = datetime.now(UTC)
        time.sleep(0.2)
        do(db, NUMBERS)
        all_archived(db)
    agent = site.agent
    assert isinstance(agent.repository, Path)
    saved = site.home / "saved"
    agent.repository.rename(saved)
    key = (site.home / archiving.KEY_FILE).read_text()
    for path in site.home.iterdir():
        if path != saved:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with site.up() as db:
        assert ask(db, "SELECT to_regclass('numbers') IS NULL")
    (site.home / archiving.KEY_FILE).write_text(key)
    shutil.rmtree(agent.repository)
    saved.rename(agent.repository)
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        assert ask(db, COUNT) == 100
        all_archived(db)
        with (
            restore.scratch(site.agent, "table") as data,
            restore.recovered(site.agent, aim(site, moment.isoformat()), data) as copy,
        ):
            assert ask(copy, "SELECT to_regclass('numbers') IS NULL")


def test_two_drills_at_once_wait_for_each_other(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        found: list[drill.Drill] = []
        both = [
            threading.Thread(target=lambda: found.append(drill.run(site.agent, db, keys.load())))
            for _ in range(2)
        ]
        for one in both:
            one.start()
        for one in both:
            one.join()
        assert [one.problems for one in found] == [[], []]


def test_a_drill_and_a_second_backup_during_a_backup(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        do(
            db,
            "CREATE TABLE large AS SELECT repeat(md5(n::text), 20) AS t FROM generate_series(1, 200000) AS n",
        )
        backing_up = threading.Thread(target=lambda: site.backup(db))
        backing_up.start()
        until(
            lambda: bool(
                ask(db, "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'pgBackRest%'")
            )
        )
        with pytest.raises(UsageError, match="another backup or restore is running"):
            site.backup(db, "diff")
        assert drill.run(site.agent, db, keys.load()).problems == []
        backing_up.join()
        assert [one.type for one in listing.read(site.agent)] == ["full", "full"]


def test_a_copy_runs_beside_whatever_the_administrator_set(site: Site) -> None:
    with site.up() as db:
        do(db, f"ALTER SYSTEM SET port = {db.port}", "ALTER SYSTEM SET listen_addresses = 'localhost'")
        site.backup(db)
        assert drill.run(site.agent, db, keys.load()).problems == []


def test_a_home_may_have_any_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    home = site.home / 'Anna\'s home, 100%s of "it" $HOME'
    home.mkdir()
    monkeypatch.setenv("DAYBREAK_HOME", str(home))
    named = Site(home)
    with named.up() as db:
        named.backup(db)
        do(db, NUMBERS)
        assert drill.run(named.agent, db, keys.load()).problems == []
        with pytest.raises(psycopg.errors.DuplicateTable):
            do(db, NUMBERS)
        kill(named)
    shutil.rmtree(data_directory.existing_data(home) or "")
    in_place.restore(home, aim(named, "latest"))
    with named.up() as db:
        assert ask(db, COUNT) == 100


def test_a_disk_without_room_is_told_apart_from_a_repository_without(
    site: Site, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.up() as db:
        site.backup(db)
        copy = small_disk / "copy"
        with pytest.raises(UsageError, match=r"has .*MB free and the restored data need .*disk-full"):
            restore.into(site.agent, aim(site, "latest"), copy)
        target = aim(site, "latest")
        with monkeypatch.context() as patched:
            patched.setattr(restore, "require_room", lambda _data, _target: None)
            with pytest.raises(UsageError) as caught:
                restore.into(site.agent, target, copy)
        assert "disk-full" in str(caught.value)
        assert str(site.agent.repository) not in str(caught.value)
        assert not copy.exists()
        with monkeypatch.context() as patched:
            patched.setattr(restore, "_ROOM", 1e9)
            assert "free and the restored data need" in str(drill.run(site.agent, db, keys.load()))
