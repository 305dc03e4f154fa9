"""Backups of the embedded server: that its log is archived, what is kept and closed, and what failures say."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline.backups import health, listing, make
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.embedded_postgres import archiving, data_directory, pgbackrest
from daybreak_pipeline.embedded_postgres.pgbackrest import Answer, BackupError
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import Site, ask, do, needs_pgbackrest, until

pytestmark = needs_pgbackrest


def archived(db: DatabaseSettings) -> int:
    return int(ask(db, "SELECT archived_count FROM pg_stat_archiver"))


def switch(db: DatabaseSettings) -> None:
    do(
        db,
        "CREATE TABLE IF NOT EXISTS written (n int)",
        "INSERT INTO written VALUES (1)",
        "SELECT pg_switch_wal()",
    )


def judged(db: DatabaseSettings) -> health.Health:
    with psycopg.connect(db.conninfo(), autocommit=True) as connection:
        return health.judge(connection)


def test_a_server_archives_from_its_first_start(site: Site) -> None:
    with site.up() as db:
        switch(db)
        until(lambda: archived(db) >= 1)
        assert "no backup yet: daybreak backup makes one" in judged(db).text


def test_what_is_kept_is_encrypted_and_closed(site: Site) -> None:
    with site.up() as db:
        do(
            db,
            "CREATE TABLE secrets AS SELECT 'a fact that nobody may read' AS fact FROM generate_series(1, 9000)",
        )
        made = site.backup(db)
    assert made.type == "full"
    state = archiving.state_directory(data_directory.existing_data(site.home) or Path())
    files = [path for path in state.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in (state, *state.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not [path for path in files if b"that nobody may read" in path.read_bytes()]
    key = site.home / archiving.KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (state / "repository" / "backup" / "daybreak" / "backup.info").read_bytes().startswith(b"Salted__")


@pytest.mark.slow
def test_the_second_backup_has_what_changed(site: Site) -> None:
    with site.up() as db:
        assert make.is_full_due(site.agent)
        first = site.backup(db)
        do(db, "CREATE TABLE more AS SELECT 1 AS n")
        second = site.backup(db, "diff")
        assert not make.is_full_due(site.agent)
    assert (first.type, second.type) == ("full", "differential")
    assert second.stored < first.stored / 2
    assert [one.label for one in listing.read(site.agent)] == [
        first.label,
        second.label,
    ]  # the server is down


@pytest.mark.slow
def test_a_home_without_an_archive_gets_one_at_its_next_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setenv("DAYBREAK_BACKUP_REPO", "none")
        with site.up() as db:
            do(db, "CREATE TABLE old AS SELECT 1 AS n")
            assert ask(db, "SHOW archive_mode") == "off"
            with pytest.raises(UsageError, match="turned off"):
                listing.embedded_agent()
    with site.up() as db:
        assert ask(db, "SHOW archive_mode") == "on"
        assert site.backup(db).type == "full"


def test_without_the_program_a_server_keeps_no_log_for_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgbackrest, "program", lambda: None)
    with site.up() as db:
        assert ask(db, "SHOW archive_mode") == "off"
        assert judged(db).text.startswith("pgBackRest is not installed")
        assert judged(db).good
        monkeypatch.setenv("DAYBREAK_ENV", "production")
        assert not judged(db).good
    with pytest.raises(UsageError, match="apt-get install pgbackrest"):
        listing.embedded_agent()


def test_a_server_that_was_started_without_is_told_apart(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setenv("DAYBREAK_BACKUP_REPO", "none")
        with site.up() as db:
            before.delenv("DAYBREAK_BACKUP_REPO")
            with pytest.raises(UsageError, match="start it again"):
                site.backup(db)


@pytest.mark.slow
def test_a_lost_key_is_not_made_again_and_the_server_runs(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with site.up() as db:
        site.backup(db)
    (site.home / archiving.KEY_FILE).rename(site.home / "elsewhere")
    with site.up() as db:
        assert ask(db, "SHOW archive_mode") == "off"
        assert not judged(db).good
        assert "put it back" in judged(db).text
    assert "nothing is backed up" in caplog.text
    assert not (site.home / archiving.KEY_FILE).exists()
    (site.home / "elsewhere").rename(site.home / archiving.KEY_FILE)
    with site.up() as db:
        assert site.backup(db, "diff").type == "differential"


@pytest.mark.slow
def test_another_key_does_not_open_the_repository(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.up() as db:
        site.backup(db)
    monkeypatch.setenv("DAYBREAK_BACKUP_KEY", "0f" * 32)
    with site.up() as db:
        assert ask(db, "SHOW archive_mode") == "off"
        text = judged(db).text
        assert text.isascii()
        assert "another key" in text
    with pytest.raises(BackupError) as caught:
        listing.read(site.agent)
    assert str(caught.value).isprintable()
    assert "lost-key" in str(caught.value)


def test_what_was_read_with_a_wrong_key_is_never_passed_on() -> None:
    found = pgbackrest.problem(Answer(25, "", "ERROR: [025]: invalid \x1b[31m section \ufffd"))
    assert "this key" in str(found)
    assert "section" not in str(found)


@pytest.mark.slow
def test_the_repository_of_another_server_is_left_alone(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
    data = data_directory.existing_data(site.home)
    assert data is not None
    data.rename(data.with_name("elsewhere"))
    with site.up() as db:  # a new server, as after the loss of the data
        assert ask(db, "SHOW archive_mode") == "off"
        assert "daybreak restore --to latest" in judged(db).text
    assert len(listing.read(site.agent)) == 1


@pytest.mark.slow
def test_a_log_that_the_repository_does_not_take_is_kept_then_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_BACKUP_QUEUE", "64")
    with site.up() as db:
        site.backup(db)
        agent = site.agent
        assert isinstance(agent.repository, Path)
        moved = agent.repository.rename(agent.repository.with_name("moved"))
        agent.repository.write_text("a file where the repository was")
        switch(db)
        until(lambda: "takes no write-ahead log" in judged(db).text)
        assert not judged(db).good
        for _ in range(8):
            switch(db)
        until(lambda: "given up" in judged(db).text, 90)
        agent.repository.unlink()
        moved.rename(agent.repository)
        site.backup(db)
        until(lambda: judged(db).good, 90)


@pytest.mark.slow
def test_the_commands_say_what_there_is_and_where(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.up():
        assert run("backups") == 0
        assert "no backup yet" in capsys.readouterr().out
        assert run("backup") == 0
        said = capsys.readouterr().out
        assert "the same disk as the data: no protection against its loss" in said
        assert ": full, " in said
        assert run("backups", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["same_disk"] is True
        assert [one["type"] for one in found["backups"]] == ["full"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return int(left.value.code or 0)
