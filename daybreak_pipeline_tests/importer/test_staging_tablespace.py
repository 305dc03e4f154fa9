"""``DAYBREAK_STAGING_TABLESPACE``: what an import keeps in plain while it runs is there, and nothing that stays."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer import bulk_load, working_tables
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record

STEPS = ("classify", "validate", "quarantine", "merge")  # before them, COPY keeps the connection busy
NAME = 'Encrypted "disk"'
VARIABLE = "DAYBREAK_STAGING_TABLESPACE"
PLACES = """
    SELECT DISTINCT coalesce(t.spcname, 'the database') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
    WHERE c.relkind IN ('r', 'i') AND c.relpersistence = %s
      AND c.relnamespace IN ('ingest'::regnamespace, 'public'::regnamespace)
"""


@pytest.fixture(scope="module")
def tablespace(server: DatabaseSettings) -> Iterator[str]:
    """A tablespace of the server, in a directory of the user that the server runs as."""
    with psycopg.connect(server.conninfo(), autocommit=True) as administrator:
        found = administrator.execute("SHOW data_directory").fetchone()
        assert found
        owner = Path(found[0]).stat()
        directory = Path(tempfile.mkdtemp(prefix="daybreak-tablespace-", dir="/tmp"))
        directory.chmod(0o700)
        shutil.chown(directory, owner.st_uid, owner.st_gid)
        try:
            administrator.execute(
                sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(
                    sql.Identifier(NAME), sql.Literal(str(directory))
                )
            )
            yield NAME
            administrator.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(NAME)))
        finally:
            shutil.rmtree(directory)


def places(connection: Connection, persistence: str) -> set[str]:
    return {place for (place,) in connection.execute(PLACES, [persistence])}


def test_working_tables_are_in_the_tablespace_and_all_that_stays_is_not(
    export: Export, tablespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, tablespace)
    monkeypatch.setattr(bulk_load, "FEWEST_RECORDS", 1)  # keys and indexes of the table are built again
    seen: dict[str, set[str]] = {}

    def look(step: str, _size: int) -> None:
        if step in STEPS:
            seen[step] = places(export.connection, "u")

    export.write("documents", record("documents"), record("documents", "bad", version="x"))
    import_table(export.connection, "documents", export.directory, progress=look)
    assert seen == {step: {tablespace} for step in STEPS}
    assert places(export.connection, "u") == set()
    assert places(export.connection, "p") == {"the database"}


def test_records_of_the_quarantine_are_unsealed_there(
    export: Export, tablespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.add_parents()
    export.load("referral_members", record("referral_members", referral_id="late"))
    monkeypatch.setenv(VARIABLE, tablespace)
    export.load("referrals", record("referrals", "late"))
    seen: dict[str, set[str]] = {}

    def look(step: str, _size: int) -> None:
        if step in STEPS:
            seen[step] = places(export.connection, "u")

    import_table(export.connection, "referral_members", export.directory, progress=look)
    assert export.rows("referral_members", "id")
    assert seen == {step: {tablespace} for step in STEPS}


def test_what_sorts_and_joins_write_to_disk_goes_there_and_settings_are_put_back(
    export: Export, tablespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, tablespace)
    export.write("documents", record("documents"))
    seen: dict[str, list[str]] = {}

    def settings() -> list[str]:
        names = ("default_tablespace", "temp_tablespaces")
        return [
            str(database.value(export.connection, "SELECT current_setting(%s)", [name])) for name in names
        ]

    def look(step: str, _size: int) -> None:
        if step in STEPS:
            seen[step] = settings()

    with export.connection.transaction():
        export.connection.execute("SET LOCAL temp_tablespaces = pg_default, pg_default")
        before = settings()
        import_table(export.connection, "documents", export.directory, progress=look)
        assert settings() == before == ["", "pg_default, pg_default"]
    assert seen["classify"] == [tablespace, '"Encrypted ""disk"""']


def test_a_tablespace_that_others_alone_may_use_fails_in_one_line_that_says_so(
    export: Export, tablespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, tablespace)
    export.connection.execute("SET ROLE pg_monitor")
    with (
        pytest.raises(UsageError, match=r"user .* may not create tables in it: GRANT CREATE ON TABLESPACE"),
        working_tables.in_their_tablespace(export.connection),
    ):
        pass


def test_a_tablespace_that_is_not_there_fails_before_anything_is_staged(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "nowhere")
    with pytest.raises(
        UsageError,
        match="DAYBREAK_STAGING_TABLESPACE is nowhere, but the server has no such tablespace: create it",
    ):
        export.load("documents", record("documents"))
    assert export.rows("documents", "id") == []
