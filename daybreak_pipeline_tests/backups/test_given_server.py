"""A server that somebody else runs: what is written for its machine works there, and nothing here pretends to back it up."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import listing, points
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.embedded_postgres import archiving, data_directory, pgbackrest, programs
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import Site, ask, do, needs_pgbackrest
from daybreak_pipeline_tests.backups.test_making import judged
from daybreak_pipeline_tests.homes import server_home


def use(monkeypatch: pytest.MonkeyPatch, db: DatabaseSettings) -> None:
    for name, value in db.environment().items():
        monkeypatch.setenv(name, value)


def test_a_given_server_is_told_apart_from_the_embedded_one(
    server: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    assert not listing.is_given()
    use(monkeypatch, server)
    assert listing.is_given()
    with pytest.raises(UsageError, match="daybreak backup config"):
        listing.embedded_agent()
    found = judged(server)
    assert found.good
    assert "provider" in found.text


@needs_pgbackrest
@pytest.mark.slow
def test_the_embedded_server_in_a_childs_environment_is_still_ours(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.up() as db:
        use(monkeypatch, db)
        assert not listing.is_given()
        assert site.backup(db).type == "full"


@needs_pgbackrest
@pytest.mark.slow
def test_what_is_written_for_a_second_server_works_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_home() as there, embedded_server.serve(there) as db:
        data = data_directory.existing_data(there)
        assert data is not None
        account = data_directory.account_for(there)
        repository = there / "repository"
        archiving.own_directory(repository, account)
        monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("DAYBREAK_BACKUP_REPO", str(repository))
        use(monkeypatch, db)
        main(["backup", "config"], standalone_mode=False)
        said = capsys.readouterr().out
        written = tmp_path / "home" / "server-backups"
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written.iterdir())
        key = (tmp_path / "home" / "backup.key").read_text().strip()
        assert key not in said
        assert key in (written / "pgbackrest.conf").read_text()

        # As its administrator would, but in a directory of its own in place of /etc.
        etc = there / "etc"
        archiving.own_directory(etc, account)
        program = pgbackrest.program()
        assert program is not None
        (there / "etc" / "password").write_text(f"*:*:*:{db.user}:{db.password}\n")
        (etc / "pgbackrest.conf").write_text(
            (written / "pgbackrest.conf")
            .read_text()
            .replace("[global]", f"[global]\nlog-path={etc}\nlock-path={etc}")
            + f"pg1-user={db.user}\n"
        )
        for path in etc.iterdir():
            path.chmod(0o600)
            data_directory.give_to(account, path)
        settings_file = (written / "postgresql.conf").read_text()
        for line in settings_file.splitlines()[1:]:
            name, _, value = line.partition(" = ")
            chosen = value.strip("'").replace("pgbackrest ", f"pgbackrest --config={etc}/pgbackrest.conf ", 1)
            do(db, f"ALTER SYSTEM SET {name} = '{chosen}'")
        subprocess.run(
            [programs.find() / "pg_ctl", "restart", "-D", data, "-w"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **account.popen(),
        )
        for step in ("stanza-create", "check", "backup --type=full"):
            assert f"pgbackrest --stanza=daybreak {step}" in said
            answer = pgbackrest.run(
                [program, f"--config={etc}/pgbackrest.conf", "--stanza=daybreak", *step.split()],
                account,
                PGPASSFILE=str(etc / "password"),
            )
            assert (answer.code, answer.errors) == (0, "")
        assert ask(db, "SHOW archive_mode") == "on"
        with database.connect(db, autocommit=True) as connection:
            assert points.before_import(connection, "ffffffff")


def test_restore_points_need_a_right_that_is_asked_for(
    server: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        assert points.write(connection, "not archived") is None
    assert not list(tmp_path.iterdir())
