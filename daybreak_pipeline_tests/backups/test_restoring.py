"""Restoring the embedded server: to the end of its log, a time, a restore point; over what is there, or beside it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import checksums, in_place, points, restore, targets
from daybreak_pipeline.backups.checksums import Checksum
from daybreak_pipeline.backups.targets import Target
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.embedded_postgres import archiving, data_directory, server_log
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import Site, ask, do, needs_pgbackrest, until
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record

pytestmark = [needs_pgbackrest, pytest.mark.slow]
NUMBERS = "CREATE TABLE numbers AS SELECT n FROM generate_series(1, 100) AS n"
COUNT = "SELECT count(*) FROM numbers"


def sums(db: DatabaseSettings) -> dict[str, Checksum]:
    with database.connect(db) as connection:
        return checksums.of_every_table(connection)


def aim(site: Site, to: str) -> Target:
    agent = site.agent
    agent.write()
    return targets.aim(agent, to)


def point(db: DatabaseSettings, run: str) -> str:
    with database.connect(db, autocommit=True) as connection:
        assert points.before_import(connection, run)
    return f"before-import-{run}"


def kill(site: Site) -> Path:
    """Kill the server as a lost machine would, and return its data directory."""
    data = data_directory.existing_data(site.home)
    assert data is not None
    pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    os.kill(pid, signal.SIGKILL)
    return data


def all_archived(db: DatabaseSettings) -> None:
    wanted = ask(db, "SELECT pg_walfile_name(pg_switch_wal())")
    until(lambda: (ask(db, "SELECT last_archived_wal FROM pg_stat_archiver") or "") >= wanted)


def test_an_import_is_undone_exactly_after_a_table_was_dropped(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "export"
    directory.mkdir()
    with site.up() as db:
        runner.upgrade(db)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            export = Export(directory, session)
            export.write("organizations", record("organizations", "a"))
            import_table(session, "organizations", directory)
            site.backup(db)
            import_table(session, "organizations", directory)  # nothing has changed but the ledger
            before = sums(db)
            export.write("organizations", record("organizations", "a"), record("organizations", "b"))
            import_table(
                session,
                "organizations",
                directory,
                before_change=lambda: points.before_import(session, "abcdef0123"),
            )
        assert sums(db)["public.organizations"].rows == 2
        do(db, "DROP TABLE public.documents CASCADE")
    done = in_place.restore(site.home, aim(site, "before-import-abcdef0123"))
    with site.up() as db:
        assert checksums.differences(before, sums(db)) == []
        assert before["public.organizations"].rows == 1
    assert done.kept is not None
    assert (done.kept / "PG_VERSION").exists()


def test_an_import_that_changes_nothing_writes_no_restore_point(site: Site, tmp_path: Path) -> None:
    written: list[str] = []
    directory = tmp_path / "export"
    directory.mkdir()
    with site.up() as db:
        runner.upgrade(db)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            Export(directory, session).write("organizations", record("organizations", "a"))
            import_table(session, "organizations", directory, before_change=lambda: written.append("first"))
            import_table(session, "organizations", directory, before_change=lambda: written.append("second"))
            import_table(
                session, "organizations", directory, full=True, before_change=lambda: written.append("full")
            )
    assert written == ["first", "full"]


def test_a_server_that_was_killed_loses_nothing_while_its_disk_is_there(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        do(db, NUMBERS)
        unfinished = psycopg.connect(db.conninfo())
        unfinished.execute("INSERT INTO numbers SELECT 1 FROM generate_series(1, 100000)")
        kill(site)
        unfinished.close()
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        assert ask(db, COUNT) == 100


def test_a_lost_data_directory_costs_what_was_not_archived(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        do(db, NUMBERS)
        all_archived(db)
        do(db, "INSERT INTO numbers VALUES (101)")
        shutil.rmtree(kill(site))
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        assert ask(db, COUNT) == 100
        assert site.backup(db, "diff")


def test_the_repository_and_the_keys_are_enough_on_an_empty_machine(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    repository = site.home / "elsewhere"
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", str(repository))
    with site.up() as db:
        runner.upgrade(db)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            keys.verify(session)
        site.backup(db)
    saved = {name: (site.home / name).read_text() for name in (archiving.KEY_FILE, "encryption.key")}
    for path in site.home.iterdir():
        if path != repository:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in saved.items():
        (site.home / name).write_text(text)
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db, database.connect(db, key=keys.load()) as session:
        assert keys.state(session).fits
        assert ask(db, "SHOW archive_mode") == "on"


def test_a_time_is_restored_to_the_second(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        time.sleep(1.1)
        do(db, NUMBERS)
        moment = datetime.now(UTC)
        time.sleep(0.5)
        do(db, "DELETE FROM numbers")
        all_archived(db)
    in_place.restore(site.home, aim(site, moment.isoformat()))
    with site.up() as db:
        assert ask(db, COUNT) == 100


def test_a_restore_that_fails_changes_nothing(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        do(db, NUMBERS)
    time.sleep(1.1)
    with pytest.raises(UsageError, match="does not reach this point"):
        in_place.restore(site.home, aim(site, datetime.now(UTC).isoformat()))
    with site.up() as db:
        assert ask(db, COUNT) == 100
    assert not list(site.home.glob("*before-restore*"))


def test_an_undo_can_be_undone(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        first = point(db, "aaaaaaaa")
        do(db, NUMBERS)
        second = point(db, "bbbbbbbb")
        do(db, "DROP TABLE numbers")
    in_place.restore(site.home, aim(site, first))
    with site.up() as db:
        assert ask(db, "SELECT to_regclass('numbers') IS NULL")
        do(db, "CREATE TABLE later AS SELECT 1 AS n")
        all_archived(db)
    in_place.restore(site.home, aim(site, second))
    with site.up() as db:
        assert ask(db, COUNT) == 100
        assert ask(db, "SELECT to_regclass('later') IS NULL")


def test_the_log_of_the_incident_is_kept(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(db.conninfo(password="a guess of the night"))
        data = data_directory.existing_data(site.home)
        assert data is not None
        until(lambda: "password authentication failed" in said(data))
    in_place.restore(site.home, aim(site, "latest"))
    assert "password authentication failed" in said(data)
    assert "archive recovery complete" in said(data)


def said(data: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in server_log.files(data))


def test_another_directory_gets_a_home_of_its_own_that_archives_nothing(site: Site, tmp_path: Path) -> None:
    beside = site.home / "beside"
    with site.up() as db:
        site.backup(db)
        do(db, NUMBERS)
        here = point(db, "cccccccc")
        do(db, "DROP TABLE numbers")
        all_archived(db)
        restore.into(site.agent, aim(site, here), beside)
        assert ask(db, "SELECT to_regclass('numbers') IS NULL")
        with Site(beside).up() as copy:
            assert copy.port != db.port
            assert ask(copy, COUNT) == 100
            assert ask(copy, "SHOW archive_mode") == "off"
        with pytest.raises(UsageError, match="is not empty"):
            restore.into(site.agent, aim(site, here), beside)
    assert not list(tmp_path.iterdir())


def test_what_does_not_exist_is_refused_before_anything_is_touched(site: Site) -> None:
    with site.up() as db:
        with pytest.raises(UsageError, match="there is no backup"):
            aim(site, "latest")
        made = site.backup(db)
        for wrong, says in (
            ("yesterday", "neither latest nor a time"),
            ("before-import-12345678", "there is no restore point before-import-12345678"),
            ((made.stop - timedelta(hours=1)).isoformat(), "no backup is older"),
            ((made.stop + timedelta(hours=1)).isoformat(), "in the future"),
        ):
            with pytest.raises(UsageError, match=says):
                aim(site, wrong)


def test_a_server_in_use_is_not_restored_and_a_person_is_asked(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with site.up() as db:
        site.backup(db)
        do(db, NUMBERS)
        holder = os.fork()
        if holder == 0:  # another process that uses the server
            with site.up():
                time.sleep(60)
            os._exit(0)
    try:
        time.sleep(1)
        with pytest.raises(SystemExit):
            main(["restore", "--to", "latest"])
        assert "repeat with --yes" in capsys.readouterr().err
        with pytest.raises(UsageError, match="other daybreak commands use the server"):
            in_place.restore(site.home, aim(site, "latest"))
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def test_the_command_says_whether_the_key_of_now_opens_the_data(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with site.up() as db:
        runner.upgrade(db)
        site.backup(db)
        with database.connect(db, key=keys.load(), autocommit=True) as session:
            keys.verify(session)
    main(["restore", "--to", "latest", "--yes"], standalone_mode=False)
    said = capsys.readouterr()
    assert "what was there before is kept in" in said.out
    assert "warning" not in said.err
    (site.home / "encryption.key").write_text(f"{KEY}\n")
    main(["restore", "--to", "latest", "--yes"], standalone_mode=False)
    assert "docs/runbooks/lost-key.md" in capsys.readouterr().err
