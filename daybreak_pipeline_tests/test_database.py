"""Connections and what they are set to."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from psycopg.pq import TransactionStatus

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection


class Pair(NamedTuple):
    first: int
    second: int


def setting(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    return str(row[0]) if row else ""


def test_rows_are_matched_by_the_names_of_their_columns(connection: Connection) -> None:
    found = database.one(connection, dict[str, int], "SELECT 2 AS second, 1 AS first")
    assert found == {"first": 1, "second": 2}
    assert database.every(connection, Pair, "SELECT 2 AS second, 1 AS first") == [Pair(first=1, second=2)]
    with pytest.raises(TypeError):
        database.one(connection, Pair, "SELECT 1 AS first, 2 AS third")


def test_settings_of_a_block_are_afterwards_as_they_were_before_it(connection: Connection) -> None:
    connection.execute("SET LOCAL work_mem = '256MB'; SET LOCAL enable_nestloop = on")
    with database.local_settings(connection, work_mem="8MB", enable_nestloop=False):
        assert (setting(connection, "work_mem"), setting(connection, "enable_nestloop")) == ("8MB", "off")
        with database.local_settings(connection, work_mem="64kB"):
            assert setting(connection, "work_mem") == "64kB"
        assert setting(connection, "work_mem") == "8MB"
    assert (setting(connection, "work_mem"), setting(connection, "enable_nestloop")) == ("256MB", "on")


def test_a_setting_that_the_block_was_given_in_another_unit_is_restored_too(connection: Connection) -> None:
    connection.execute("SET LOCAL lock_timeout = 5000")
    with database.local_settings(connection, lock_timeout=0):
        assert setting(connection, "lock_timeout") == "0"
    assert setting(connection, "lock_timeout") == "5s"


def test_no_settings_are_no_work(connection: Connection) -> None:
    with database.local_settings(connection):
        pass
    assert connection.info.transaction_status == TransactionStatus.IDLE, (
        "a statement would have begun a transaction"
    )
