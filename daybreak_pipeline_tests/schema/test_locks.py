"""The pipeline's locks: nobody else can take them, and who waits says for whom and gives up."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.run import ImportInterruptedError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import locks
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.privacy.test_roles import APP, READONLY, apply_with_passwords, login

LOCKS_OF_OLD = (
    "SELECT pg_advisory_lock(hashtext('daybreak.key'), 0), pg_advisory_lock(hashtext('daybreak.roles')), "
    "pg_advisory_lock(hashtext('daybreak.audit')), pg_advisory_lock(hashtext('daybreak.migrations')), "
    "pg_advisory_lock(hashtext('daybreak.import'), hashtext('documents')), "
    "pg_advisory_lock(hashtext('daybreak.presence'), hashtext('web')), pg_advisory_lock(hashtext('daybreak.rotation'), 0)"
)


@pytest.fixture
def told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is told for whom after a moment, not after five seconds."""
    monkeypatch.setattr(locks, "_SECONDS_UNTIL_TOLD", 0.3)


@pytest.fixture
def holder(migrated: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(migrated, application_name="the holder") as opened:
        opened.execute("SELECT 1")  # in a transaction from here on
        yield opened
        opened.rollback()


@pytest.mark.parametrize("role", [READONLY, APP])
def test_nobody_who_can_log_in_can_keep_an_import_waiting(
    export: Export, migrated: DatabaseSettings, role: str
) -> None:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, role), autocommit=True) as attacker:
        attacker.execute(LOCKS_OF_OLD)
        for statement in (
            "SELECT FROM ingest.locks FOR UPDATE",
            "SELECT FROM ingest.locks FOR SHARE",
            "INSERT INTO ingest.locks VALUES ('import documents')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attacker.execute(statement.encode())
        export.connection.execute("SET statement_timeout = '20s'")
        assert export.load("documents", record("documents"))["inserted"] == 1
        apply_with_passwords(migrated)


@pytest.mark.usefixtures("told_soon")
def test_who_waits_says_for_whom_and_gives_up(session: Connection, holder: Connection) -> None:
    locks.take(holder, "import documents")
    told: list[str] = []
    with session.transaction(), pytest.raises(locks.LockedError) as error:
        locks.take(session, "import documents", tell=told.append, seconds=1)
    assert re.fullmatch(
        r"gave up after 1 s of waiting for the holder \(server process \d+.*\), at work since \d\d:\d\d:\d\d UTC; "
        r"nothing was changed",
        str(error.value),
    )
    assert told[0].startswith("waits for the holder (server process ")


def test_a_lock_is_free_when_its_transaction_ends(session: Connection, holder: Connection) -> None:
    locks.take(holder, "import documents")
    holder.rollback()
    told: list[str] = []
    with session.transaction():
        locks.take(session, "import documents", tell=told.append, seconds=1)
    assert told == []


def test_a_lock_that_was_never_used_is_made(session: Connection, holder: Connection) -> None:
    locks.take(holder, "import something new")
    holder.commit()
    holder.execute("SELECT 1")
    locks.take(holder, "import something new")
    with session.transaction(), pytest.raises(locks.LockedError):
        locks.take(session, "import something new", seconds=1)


def test_the_key_is_shared_by_imports_and_not_by_a_rotation(
    session: Connection, migrated: DatabaseSettings
) -> None:
    keys.verify(session)
    session.commit()
    with (
        database.connect(migrated, key=KEY, autocommit=True) as one,
        database.connect(migrated, key=KEY, autocommit=True) as other,
        one.transaction(),
        other.transaction(),
    ):
        keys.hold(one)
        keys.hold(other)
        assert database.value(session, keys.TRY_ALONE) is None
    session.rollback()
    assert database.value(session, keys.TRY_ALONE) is True


@pytest.mark.usefixtures("told_soon")
def test_a_second_import_of_a_table_waits_and_then_goes_on(export: Export, holder: Connection) -> None:
    locks.take(holder, "import documents")
    heard: list[str] = []

    def progress(phase: str, _amount: int) -> None:
        heard.append(phase)
        if phase.startswith("waits for"):
            threading.Timer(0.1, holder.rollback).start()

    export.write("documents", record("documents"))
    result = export.load("documents", progress=progress)
    assert result["inserted"] == 1
    assert heard[0].startswith("waits for the holder (server process ")


def test_an_import_that_gives_up_says_so_in_one_line(
    export: Export, holder: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_LOCK_SECONDS", "1")
    locks.take(holder, "import documents")
    with pytest.raises(locks.LockedError, match=r"documents: gave up after 1 s of waiting for the holder"):
        export.load("documents", record("documents"))


@pytest.fixture
def application(migrated: DatabaseSettings) -> Iterator[Connection]:
    apply_with_passwords(migrated)
    with database.connect(login(migrated, APP), application_name="the application") as opened:
        yield opened
        opened.rollback()


@pytest.mark.usefixtures("told_soon")
def test_an_import_names_the_application_that_has_locked_its_table(
    export: Export, application: Connection
) -> None:
    application.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
    heard: list[str] = []

    def progress(phase: str, _amount: int) -> None:
        heard.append(phase)
        if phase.startswith("waits for"):
            threading.Timer(0.1, application.rollback).start()

    export.write("documents", record("documents"))
    assert export.load("documents", progress=progress)["inserted"] == 1
    assert re.fullmatch(
        r"waits for the application \(server process \d+.*\), which has locked documents, "
        r"at work since \d\d:\d\d:\d\d UTC",
        heard[0],
    )


def test_an_import_gives_up_on_a_table_that_an_application_has_locked(
    export: Export, application: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_LOCK_SECONDS", "1")
    export.connection.execute("SET statement_timeout = '20s'")  # instead of hanging, as it did
    export.connection.commit()
    application.execute("LOCK TABLE documents IN EXCLUSIVE MODE")
    with pytest.raises(
        locks.LockedError,
        match=r"^documents: gave up after 1 s of waiting for the application .* locked documents",
    ):
        export.load("documents", record("documents"))


def test_an_import_gives_up_on_a_row_that_an_application_has_locked(
    export: Export, application: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_LOCK_SECONDS", "1")
    first = record("documents", updated_at="2025-01-01 00:00:00")
    export.load("documents", first)
    export.connection.execute("SET statement_timeout = '20s'")
    export.connection.commit()
    application.execute("SELECT FROM documents FOR UPDATE")
    with pytest.raises(ImportInterruptedError, match="another session held a lock"):
        export.load("documents", first | {"updated_at": "2025-02-01 00:00:00", "label": "another"})
