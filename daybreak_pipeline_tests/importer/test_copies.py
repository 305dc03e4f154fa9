"""A large file is copied by several connections at once: the outcome is the same, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import ServerUnavailableError
from daybreak_pipeline.importer import copies, parts
from daybreak_pipeline.importer import stage as stages
from daybreak_pipeline.importer.copies import Copies
from daybreak_pipeline.importer.encoding import Text
from daybreak_pipeline.importer.reader import Segment
from daybreak_pipeline.importer.run import ImportFailedError, import_table
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, uuid

RECORDS = 400
COPYING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%COPY %\\_2\"%' "
    "AND pid <> pg_backend_pid()"
)
WATCHING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_xact_status(%' "
    "AND pid <> pg_backend_pid()"
)
LEFT = "SELECT relname::text FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relkind = 'r' AND relpersistence = 'u'"


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files of a few kilobytes for large."""
    monkeypatch.setattr(copies, "LARGE", 4000)
    monkeypatch.setattr(copies, "CHUNK", 1000)
    monkeypatch.setattr(parts, "Text", partial(Text, block=1000))


@pytest.fixture
def session(migrated: DatabaseSettings) -> Iterator[Connection]:
    """A connection as Dagster's assets have it."""
    with database.connect(migrated, key=KEY, autocommit=True) as opened:
        yield opened


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many other connections each import had."""
    numbers: list[int] = []
    really = database.others

    def others(connection: Connection, *, most: int) -> list[Connection]:
        found = really(connection, most=most)
        numbers.append(len(found))
        return found

    monkeypatch.setattr(database, "others", others)
    return numbers


def write(export: Export, *, faults: bool = False) -> None:
    """Write documents; with faults, some are malformed, and some come twice."""
    export.write("documents", *(record("documents", f"{n}", label=f"label {n}") for n in range(RECORDS)))
    if faults:
        path = export.directory / "documents.csv"
        lines = path.read_text().splitlines()
        lines[300] = f'{lines[300]}"'
        lines[150] += ",one too many"
        lines[350] = lines[20]
        path.write_text("\n".join(lines) + "\n")


def loaded(export: Export, *names: str) -> list[tuple[Any, ...]]:
    return export.rows("documents", "_record_number", "id", "label", *names)


@pytest.mark.parametrize("connections", ["1", "2", "5"])
def test_every_record_is_loaded_once_under_its_number(
    export: Export, monkeypatch: pytest.MonkeyPatch, opened: list[int], connections: str
) -> None:
    monkeypatch.setenv("DAYBREAK_STAGING_CONNECTIONS", connections)
    write(export)
    assert export.load("documents") == {"status": "imported", "read": RECORDS, "inserted": RECORDS}
    assert opened == [int(connections) - 1]
    assert [(number, str(key), label) for number, key, label in loaded(export)] == [
        (n + 1, uuid(f"{n}"), f"label {n}") for n in range(RECORDS)
    ]


def test_faults_between_are_refused_under_their_numbers_as_by_one_connection(
    export: Export, monkeypatch: pytest.MonkeyPatch, opened: list[int]
) -> None:
    write(export, faults=True)
    told = {}
    for connections in ("1", "2"):
        monkeypatch.setenv("DAYBREAK_STAGING_CONNECTIONS", connections)
        export.connection.execute("TRUNCATE documents, ingest.quarantine")
        counts = export.load("documents", full=True)
        told[connections] = (counts, loaded(export), export.refused("documents"))
    assert opened == [0, 1]
    assert told["1"] == told["2"]
    assert [number for number, _ in told["2"][2]] == [150, 300]


def test_a_changed_file_is_compared_as_a_whole(export: Export) -> None:
    write(export)
    export.load("documents")
    with (export.directory / "documents.csv").open("a") as file:
        file.write(
            (export.directory / "documents.csv").read_text().splitlines()[1].replace("label 0", "other")
        )
    counts = export.load("documents")
    assert counts["read"] == RECORDS + 1
    assert counts["duplicate"] == 1


SEGMENTS = st.lists(
    st.tuples(st.booleans(), st.lists(st.text("ab\x1f", max_size=9), min_size=1, max_size=9)), max_size=20
)


@given(given_segments=SEGMENTS, large=st.integers(0, 60), chunk=st.integers(1, 40))
@hypothesis_settings(max_examples=25, deadline=None)
def test_several_connections_stage_what_one_stages(
    template: DatabaseSettings, given_segments: list[tuple[bool, list[str]]], large: int, chunk: int
) -> None:
    """Of whatever sizes and forms the segments are, and wherever the file becomes a large one."""
    staged = []
    with pytest.MonkeyPatch.context() as patch, database.connect(template, autocommit=True) as importing:
        patch.setattr(copies, "LARGE", large)
        patch.setattr(copies, "CHUNK", chunk)
        for connections in ("1", "3"):
            patch.setenv("DAYBREAK_STAGING_CONNECTIONS", connections)
            with importing.transaction(force_rollback=True):
                stage = stages.create(importing, "documents", ("label",), frozenset({"label"}))
                work = Copies(importing, stage)
                for numbered, cells in given_segments:
                    columns = [stages.RECORD, *stage.columns] if numbered else stage.columns
                    number = stage.read + 1
                    lines = [
                        f'{number + place},"{cell}"' if numbered else f'"{cell}"'
                        for place, cell in enumerate(cells)
                    ]
                    data = "".join(f"{line}\n" for line in lines).encode()
                    for _ in work.take(columns, [Segment(data, len(cells), numbered)]):
                        pass
                work.finish()
                assert stage.read == stage.records
                rows = importing.execute(
                    sql.SQL("SELECT _record, label FROM {} ORDER BY 1").format(stage.table)
                ).fetchall()
                staged.append((rows, stage.may_hold_separator))
            assert importing.execute(LEFT).fetchall() == []
    assert staged[0] == staged[1]
    texts = [text or None for _, part in given_segments for text in part]
    assert staged[1][0] == list(enumerate(texts, 1))


def test_where_the_server_takes_no_other_connection_one_does_it_all(
    export: Export, monkeypatch: pytest.MonkeyPatch, opened: list[int]
) -> None:
    def full(*_: object, **__: object) -> Connection:
        msg = "too many connections"
        raise ServerUnavailableError(msg)

    monkeypatch.setattr(database, "connect", full)
    write(export)
    assert export.load("documents")["inserted"] == RECORDS
    assert opened == [0]


def test_where_others_commits_would_not_be_seen_one_does_it_all(export: Export, opened: list[int]) -> None:
    write(export)
    export.connection.execute("SET default_transaction_isolation = 'repeatable read'")
    assert export.load("documents")["inserted"] == RECORDS
    assert opened == []


def test_a_transaction_around_several_imports_gets_other_connections_once(
    export: Export, opened: list[int]
) -> None:
    write(export)
    with export.connection.transaction(force_rollback=True):  # as a dry run has it
        export.load("documents")
        export.load("documents", full=True)
    assert opened == [1, 0]
    assert export.connection.execute(LEFT).fetchall() == []


def test_an_import_that_fails_leaves_nothing(export: Export) -> None:
    write(export)
    export.connection.execute("ALTER TABLE documents ADD CHECK (label <> 'label 399')")
    export.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(ImportFailedError):
        import_table(export.connection, "documents", export.directory)
    assert export.connection.execute(LEFT).fetchall() == []


def slow_chunks(monkeypatch: pytest.MonkeyPatch, until: threading.Event) -> None:
    """Have the reader wait before its last chunks, while the other connection is at work."""
    really = Copies._chunks

    def chunks(self: Copies, segments: Iterator[Segment]) -> Iterator[Any]:
        for place, chunk in enumerate(really(self, segments)):
            if place == 5:
                until.wait(20)
            yield chunk

    monkeypatch.setattr(Copies, "_chunks", chunks)


def test_a_session_that_is_ended_while_it_copies_fails_the_import_and_the_next_one_succeeds(
    export: Export, migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(export)
    ended = threading.Event()
    slow_chunks(monkeypatch, ended)

    def end_it() -> None:
        with psycopg.connect(migrated.conninfo(), autocommit=True) as administrator:
            ended_one = False
            deadline = time.monotonic() + 20
            while not ended_one and time.monotonic() < deadline:
                for (pid,) in administrator.execute(COPYING).fetchall():
                    ended_one = True
                    administrator.execute("SELECT pg_terminate_backend(%s)", [pid])
        ended.set()

    thread = threading.Thread(target=end_it)
    thread.start()
    with pytest.raises(ImportFailedError, match="nothing was changed"):
        import_table(export.connection, "documents", export.directory)
    thread.join()
    assert export.rows("documents", "id") == []
    assert export.connection.execute(LEFT).fetchall() == []
    assert export.load("documents")["inserted"] == RECORDS


def test_a_table_left_by_a_crash_is_dropped_by_the_next_large_import(export: Export) -> None:
    export.connection.execute("CREATE UNLOGGED TABLE ingest.stage_documents_2 (label text)")
    write(export)
    assert export.load("documents")["inserted"] == RECORDS
    assert export.connection.execute(LEFT).fetchall() == []


KILLED = """
    import sys
    from functools import partial
    from pathlib import Path
    from daybreak_pipeline import database
    from daybreak_pipeline.importer import classify, copies, parts
    from daybreak_pipeline.importer.run import import_table
    from daybreak_pipeline.settings import DatabaseSettings

    copies.LARGE, copies.CHUNK = 4000, 1000
    parts.Text = partial(parts.Text, block=1000)

    def stop(work):
        print("staged", flush=True)
        sys.stdin.read()

    classify.classify = stop
    settings = DatabaseSettings(**eval(sys.argv[1]))
    with database.connect(settings, key=sys.argv[2], autocommit=True) as connection:
        import_table(connection, "documents", Path(sys.argv[3]))
"""


def test_killed_after_it_has_staged_the_server_drops_everything_by_itself(
    export: Export, migrated: DatabaseSettings
) -> None:
    write(export)
    arguments = [
        sys.executable,
        "-c",
        textwrap.dedent(KILLED),
        repr(asdict(migrated)),
        KEY,
        str(export.directory),
    ]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ, cwd=Path.cwd()
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"staged\n"
        assert export.connection.execute(LEFT).fetchall() == [("stage_documents_2",)]
        assert len(export.connection.execute(WATCHING).fetchall()) == 1
        process.kill()
    deadline = time.monotonic() + 20
    while export.connection.execute(LEFT).fetchall() or export.connection.execute(WATCHING).fetchall():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert export.load("documents")["inserted"] == RECORDS
