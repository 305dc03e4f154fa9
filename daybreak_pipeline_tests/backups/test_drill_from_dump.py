"""The drill from a dump: of a server that is reached through the network alone, as the ordinary owner of the tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import checksums, drill_from_dump, drilling, dumped
from daybreak_pipeline.definitions import build_defs
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.orchestration.backup_events import DRILL, RESTORABLE
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import PATIENTS, do
from daybreak_pipeline_tests.backups.test_making import judged
from daybreak_pipeline_tests.conftest import KEY, _administer, forget_settings
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.pgbouncer import needs_pgbouncer, pooled
from daybreak_pipeline_tests.privacy.test_roles_installation import owned

SECRET_NAME = "Zoroaster"


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory, server: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database with a few rows of people on a server of somebody else, by the login of its owner, who is nobody special."""
    directory = tmp_path_factory.mktemp("managed")
    with pytest.MonkeyPatch.context() as patch:
        forget_settings(patch)
        _administer(server, "CREATE DATABASE {}", "managed")
        whole = DatabaseSettings(
            server.host, server.port, "managed", server.user, server.password, server.sslmode
        )
        owner = owned(whole, "CREATEROLE")
        try:
            runner.upgrade(owner)
            roles.apply(owner)
            with database.connect(owner, key=KEY, autocommit=True) as session:
                people = [
                    record(PATIENTS, word, email=f"{word}@example.org", first_name=SECRET_NAME) for word in ("zoe", "yan")
                ]  # fmt: skip
                Export(directory, session).write(PATIENTS, *people)
                import_table(session, PATIENTS, directory)
            yield owner
        finally:
            _administer(server, "DROP DATABASE {} WITH (FORCE)", "managed")
            for role in (*(one.name for one in roles.ROLES), owner.user):
                _administer(server, "DROP ROLE IF EXISTS {}", role)


@pytest.fixture
def home(tmp_path: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose settings ask for a drill from a dump of that server."""
    place = tmp_path / "home"
    for name, value in managed.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAYBREAK_HOME", str(place))
    monkeypatch.setenv("DAYBREAK_DRILL_FROM", "dump")
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    return place


def administrator(managed: DatabaseSettings, server: DatabaseSettings) -> DatabaseSettings:
    return DatabaseSettings(
        server.host, server.port, managed.name, server.user, server.password, server.sslmode
    )


def left(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()} - {"drill.lock"}


# --- What it proves ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_table_comes_back_and_nothing_is_left(home: Path, managed: DatabaseSettings) -> None:
    found = drilling.run(managed, KEY)
    assert found.problems == []
    assert found.tables > 16
    assert found.opened >= 2
    assert "a dump of the server could be restored" in str(found)
    assert "proves nothing of the provider's own backups" in str(found)
    assert left(home) == {"dump-proven-at"}
    assert drilling.proven_at() == found.begun
    known = surroundings.known_backups()
    assert known is not None
    assert (known.newest_at, known.proven_at) == (None, found.begun)


@pytest.mark.slow
def test_rows_that_come_back_differently_turn_it_red(
    home: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = dumped.copy

    def lossy(*arguments: Any, **more: Any) -> None:
        copy(*arguments, **more)
        do(
            more["target"],
            "ALTER TABLE patients_and_guardians DISABLE TRIGGER USER",
            "UPDATE patients_and_guardians SET email_encrypted = '\\x00' WHERE email_encrypted IS NOT NULL",
            "DELETE FROM ingest.imports",
        )

    monkeypatch.setattr(dumped, "copy", lossy)
    found = drilling.run(managed, KEY)
    assert "public.patients_and_guardians has other contents" in found.problems
    assert "ingest.imports has 0 rows, not 1" in found.problems
    assert "no sealed value of patients_and_guardians.email opens" in found.problems
    assert "cannot be restored" in str(found)
    assert "backups-fail" in str(found)
    assert left(home) == set()


@pytest.mark.slow
def test_another_encryption_key_turns_it_red(home: Path, managed: DatabaseSettings) -> None:
    found = drilling.run(managed, "f" * 64)
    assert any("does not open its personal values" in problem for problem in found.problems)
    assert left(home) == set()


@pytest.mark.slow
def test_what_is_written_meanwhile_does_not_matter(
    home: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dump and what it is compared with are of one snapshot, and whoever changes the structure goes first."""
    monkeypatch.setattr(dumped, "LOCK_SECONDS", 1)
    monkeypatch.setattr(drill_from_dump, "_PAUSE_SECONDS", 1)
    copy = dumped.copy
    times: list[float] = []
    change = "ALTER TABLE documents ADD COLUMN meanwhile integer"
    changed = threading.Thread(target=do, args=(managed, change))

    def during(*arguments: Any, **more: Any) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            do(managed, "INSERT INTO documents (label) VALUES ('consent')")
            changed.start()
            time.sleep(0.5)  # it waits for the drill, and pg_dump for it
        copy(*arguments, **more)

    monkeypatch.setattr(dumped, "copy", during)
    try:
        assert drilling.run(managed, KEY).problems == []
    finally:
        changed.join()
        do(managed, "ALTER TABLE documents DROP COLUMN meanwhile", "DELETE FROM documents")
    assert len(times) == 2
    assert left(home) == {"dump-proven-at"}


@pytest.mark.slow
def test_an_extension_that_this_machine_lacks_is_left_out_and_named(
    home: Path, managed: DatabaseSettings, server: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = administrator(managed, server)
    do(whole, "CREATE EXTENSION pageinspect")
    lacks = "SELECT name FROM pg_available_extensions WHERE name <> 'pageinspect'"
    monkeypatch.setattr(drill_from_dump, "_AVAILABLE", lacks)
    try:
        found = drilling.run(managed, KEY)
    finally:
        do(whole, "DROP EXTENSION pageinspect")
    assert found.problems == []
    assert "could be restored, without the extension pageinspect: " in str(found)
    assert left(home) == {"dump-proven-at"}


@pytest.mark.slow
@needs_pgbouncer
def test_behind_a_pooler_it_goes_to_the_server_itself(
    home: Path, managed: DatabaseSettings, server: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pooled(administrator(managed, server)) as (through, _):
        monkeypatch.setenv("DAYBREAK_DAGSTER_HOST", server.host)
        monkeypatch.setenv("DAYBREAK_DAGSTER_PORT", str(server.port))
        assert drill_from_dump.run(through, KEY).problems == []
    assert left(home) == {"dump-proven-at"}


@pytest.mark.slow
def test_the_job_reports_the_same_check(home: Path, managed: DatabaseSettings) -> None:
    with dg.instance_for_test() as instance:
        result = build_defs().resolve_job_def("restore_drill").execute_in_process(instance=instance)
    (proved,) = result.asset_materializations_for_node(DRILL)
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (RESTORABLE, True)
    assert proved.metadata["restored"].value == "a dump"
    assert left(home) == {"dump-proven-at"}
    assert "provider" in (check.description or "")
    assert managed.name


# --- What is in the way ------------------------------------------------------------------------------------


def refused(managed: DatabaseSettings) -> str:
    found = drill_from_dump.run(managed, KEY)
    assert not found.passed
    return str(found)


def test_a_table_that_the_role_may_not_read_is_named(
    home: Path, managed: DatabaseSettings, server: DatabaseSettings
) -> None:
    do(administrator(managed, server), "CREATE SCHEMA theirs", "CREATE TABLE theirs.numbers AS SELECT 1 AS n")
    try:
        assert "daybreak_importer may not read theirs.numbers: grant it SELECT" in refused(managed)
    finally:
        do(administrator(managed, server), "DROP SCHEMA theirs CASCADE")
    assert not home.exists()


def test_programs_that_are_too_old_are_named(
    home: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "version", lambda _directory: 13)
    assert "which cannot dump it: install PostgreSQL" in refused(managed)
    assert not home.exists()


def test_a_full_disk_is_found_out_before(
    home: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumped, "_ROOM", 1e9)
    assert "docs/runbooks/disk-full.md" in refused(managed)
    assert left(home) == set()


def test_two_at_once_are_one_too_many(home: Path, managed: DatabaseSettings) -> None:
    home.mkdir()
    with dumped._alone(home):
        assert "another drill runs already" in refused(managed)


def test_a_drill_that_was_killed_is_cleared_away(home: Path, managed: DatabaseSettings) -> None:
    home.mkdir()
    (home / "drill").mkdir()
    (home / "drill" / "rest").write_text("of a drill")
    assert managed.name
    with pytest.raises(UsageError, match="free"), dumped.scratch(dumped.tools(14), 1 << 60):
        pass
    assert left(home) == set()


def test_what_a_row_holds_is_not_passed_on() -> None:
    lines = (
        "pg_restore: while PROCESSING TOC:",
        "pg_restore: from TOC entry 3; 0 16385 TABLE DATA public people somebody",
        f'pg_restore: error: COPY failed for table "people": ERROR:  invalid input: "{SECRET_NAME}"',
    )
    error = dumped._failure("", "\n".join(lines), restored=False)
    assert (
        str(error)
        == f"the dump does not come back at TABLE DATA public people somebody; {Runbook.BACKUPS_FAIL.see}"
    )


def test_what_the_schema_lacks_is_passed_on() -> None:
    said = (
        "pg_restore: while PROCESSING TOC:\n"
        "pg_restore: from TOC entry 2; 3079 16385 EXTENSION mystery -\n"
        'pg_restore: error: could not execute query: ERROR:  extension "mystery" is not available\n'
        "Command was: CREATE EXTENSION mystery"
    )
    dump_said = "pg_dump: error: could not write to output file: Broken pipe\n"
    error = dumped._failure(dump_said, said, restored=False)
    assert (
        str(error)
        == f'the dump does not come back at EXTENSION mystery -: extension "mystery" is not available; {Runbook.BACKUPS_FAIL.see}'
    )


def test_a_dump_that_breaks_off_is_the_reason_whatever_the_restore_says() -> None:
    said = 'pg_dump: error: query failed: ERROR:  permission denied for table "numbers"\n'
    broken = dumped._failure(
        said, "pg_restore: error: could not read from input file: end of file\n", restored=False
    )
    assert (
        str(broken)
        == f'pg_dump failed: query failed: ERROR:  permission denied for table "numbers"; {Runbook.BACKUPS_FAIL.see}'
    )


# --- How it is chosen --------------------------------------------------------------------------------------


def test_a_given_server_has_no_drill_until_the_settings_say_so(
    home: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert drilling.is_expected()
    monkeypatch.delenv("DAYBREAK_DRILL_FROM")
    assert not drilling.is_expected()
    with pytest.raises(UsageError, match=r"DAYBREAK_DRILL_FROM=dump .*docs/runbooks/backups-fail\.md"):
        drilling.run(managed, KEY)
    assert not home.exists()


def test_doctor_says_whose_backups_count_and_what_the_drill_proves(
    home: Path, managed: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the drill works from a dump, and has never passed" in judged(managed).text
    home.mkdir()
    then = datetime.now(UTC) - timedelta(hours=3)
    (home / "dump-proven-at").write_text(then.isoformat())
    assert "the drill works from a dump, and has last passed 3 h ago" in judged(managed).text
    monkeypatch.delenv("DAYBREAK_DRILL_FROM")
    found = judged(managed)
    assert found.good
    assert "the provider's backups count" in found.text
    assert "set DAYBREAK_DRILL_FROM=dump" in found.text


def test_a_checksum_does_not_depend_on_the_servers_settings(managed: DatabaseSettings) -> None:
    with psycopg.connect(managed.conninfo()) as connection:
        before = checksums.of_every_table(connection)
        connection.execute("SET LOCAL bytea_output = escape")
        assert checksums.of_every_table(connection) == before


def test_programs_beside_the_servers_are_taken() -> None:
    assert Path(dumped.tools(14).dump).parent == programs.find(14)
