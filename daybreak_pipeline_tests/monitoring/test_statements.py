"""The slowest statements: from a server with pg_stat_statements, and never with a value in their texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.monitoring import statements
from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED
from daybreak_pipeline.monitoring.statements import WITHHELD, Statements, showable
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.homes import server_home


@pytest.fixture(scope="module")
def recording() -> Iterator[DatabaseSettings]:
    """A server that has the extension in a schema of its own, and records utility statements too, which ours must not."""
    with server_home() as home:
        with embedded_server.serve(home) as db, psycopg.connect(db.conninfo(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        with embedded_server.serve(home) as db:
            with psycopg.connect(db.conninfo(), autocommit=True) as connection:
                connection.execute("CREATE SCHEMA statistics")
                connection.execute("CREATE EXTENSION pg_stat_statements SCHEMA statistics")
            yield db


def read(db: DatabaseSettings) -> Statements:
    with database.connect(db, autocommit=True) as connection:
        return statements.read(connection)


@pytest.mark.slow
def test_the_slowest_statements_are_shown_without_any_value(recording: DatabaseSettings) -> None:
    with psycopg.connect(recording.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE people (name TEXT, born DATE)")
        connection.execute("INSERT INTO people VALUES ('Canaryfirst', '1987-06-05') /* for Canarylast */")
        connection.execute("INSERT INTO people VALUES ('Canarylast', '1987-06-05')")
        connection.execute(
            "SELECT count(*), pg_sleep(0.2) FROM people WHERE name = 'Canaryfirst' -- Canarylast"
        )
        connection.execute("CREATE ROLE canary PASSWORD 'Canarysecret'")
        connection.execute("COMMENT ON TABLE people IS 'Canaryfirst'")
        connection.execute("""SELECT name AS "of Canaryfirst" FROM people""")
    found = read(recording)
    texts = {one.text for one in found.slowest}
    assert "SELECT count(*), pg_sleep($1) FROM people WHERE name = $2" in texts
    assert "INSERT INTO people VALUES ($1, $2)" in texts
    assert WITHHELD in texts
    assert "anary" not in repr(found)
    slept = next(one for one in found.slowest if "pg_sleep" in one.text)
    assert found.slowest[0] == slept
    assert (slept.calls, slept.rows) == (1, 1)
    assert 0.2 <= slept.mean < 60


@pytest.mark.slow
def test_only_numbers_and_ids_become_metrics(recording: DatabaseSettings) -> None:
    found = read(recording).measurements()
    assert {m.metric for m in found} == {"statement_calls_total", "statement_seconds_total"}
    assert all(m.labels["statement"].lstrip("-").isdecimal() for m in found)


@pytest.mark.slow
def test_a_role_that_may_not_see_them_is_told_so(recording: DatabaseSettings) -> None:
    with psycopg.connect(recording.conninfo(), autocommit=True) as connection:
        connection.execute("SELECT 1")
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        login = replace(recording, user="plain", password="plain")
        assert read(login) == Statements(note=NOT_PERMITTED)
        connection.execute("GRANT USAGE ON SCHEMA statistics TO plain")
        assert read(login) == Statements(note=NOT_PERMITTED)
        connection.execute("GRANT pg_monitor TO plain")
        assert read(login).slowest


def test_a_server_without_the_extension_says_so(empty: DatabaseSettings) -> None:
    assert read(empty) == Statements(note="pg_stat_statements is not installed")
    with psycopg.connect(empty.conninfo(), autocommit=True) as connection:
        loaded = connection.execute("SHOW shared_preload_libraries").fetchone()
        if loaded != ("",):
            pytest.skip("this server loads it")
        connection.execute(sql.SQL("CREATE EXTENSION pg_stat_statements"))
    assert read(empty) == Statements(note="pg_stat_statements is not in shared_preload_libraries")


@pytest.mark.parametrize(
    "text",
    [
        "CREATE ROLE x PASSWORD $1",
        "SELECT 'Anna'",
        "SELECT $$Anna$$",
        "SELECT $of$Anna$of$",
        "SELECT E'Anna'",
        "SELECT n FROM t WHERE phone = 8185550142",
        'SELECT n AS "Anna Lee" FROM t',
        'SELECT n AS "anna@example.org" FROM t',
        "SELECT '/* x' , 'Anna */'",
        "SELECT $1 /* Anna",
        "COPY t FROM STDIN",
        "EXPLAIN SELECT $1",
        "",
    ],
)
def test_a_text_that_may_hold_a_value_is_withheld(text: str) -> None:
    assert showable(text) == WITHHELD


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT  $1,\n $2", "SELECT $1, $2"),
        ("/* Anna */ SELECT $1 -- Lee", "SELECT $1"),
        ('WITH a AS (SELECT "t"."n") SELECT $12345', 'WITH a AS (SELECT "t"."n") SELECT $12345'),
        ("(SELECT 1) UNION SELECT $1", "(SELECT 1) UNION SELECT $1"),
    ],
)  # fmt: skip
def test_a_normalised_text_is_shown_in_one_line(text: str, shown: str) -> None:
    assert showable(text) == shown
