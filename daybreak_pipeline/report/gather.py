"""Gathers everything that the verdict depends on, in one place: for the report, ``daybreak status``, alerts and the web UI.

The tables themselves (``queries``), what was delivered and is not in them (``operations.deliveries``), and what is wrong
around them (``troubles``). All of it as it is now: what is over leaves nothing here. It needs no encryption key, and works where
migrations are missing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.operations import deliveries
from daybreak_pipeline.operations.deliveries import Deliveries
from daybreak_pipeline.report import queries, troubles
from daybreak_pipeline.report.facts import Facts, Trouble
from daybreak_pipeline.schema import runner

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

_OLDER_SCHEMA = (
    UsageError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
)


def gather(db: DatabaseSettings, *, for_report: bool = False) -> Facts:
    """Return all facts of a database and of what is around it, as they are now.

    Args:
        db: the database.
        for_report: whether they go into a report, which shows how many rows there are, and does not say that there is none.

    Raises:
        UsageError: there is no schema at all, or the login is refused.
        ServerUnavailableError: the server does not answer.
    """
    with database.connect(db, autocommit=True) as connection:
        if runner.current_revision(connection) is None:
            runner.require_newest(connection)
        schema = list(troubles.schema(connection))
        try:
            facts = queries.read(connection, counted=for_report)
            delivered = deliveries.look(connection)
        except _OLDER_SCHEMA:
            if not schema:
                raise
            return _unreadable(connection, tuple(schema))
        found = (
            *schema,
            *troubles.export(delivered.problem),
            *troubles.watch(connection),
            *troubles.runs(connection, db, of_reports=not for_report),
        )
    return replace(_with_deliveries(facts, delivered), troubles=found)


def _with_deliveries(facts: Facts, delivered: Deliveries) -> Facts:
    """Return the facts with what the directory says: a file that is there again is not absent."""
    tables = tuple(
        replace(
            table,
            waiting=delivered.waiting.get(table.name),
            unread=delivered.unread.get(table.name, ()),
            absent_since=None if table.name in delivered.there else table.absent_since,
        )
        for table in facts.tables
    )
    directory = delivered.directory
    export = "" if directory in {None, settings.export_dir()} else str(directory)
    return replace(facts, tables=tables, export=export)


def _unreadable(connection: Connection, found: tuple[Trouble, ...]) -> Facts:
    """Return the facts of a database that lacks too many migrations to say anything of its tables."""
    at: datetime = database.value(connection, "SELECT now()")
    name = str(database.value(connection, "SELECT current_database()"))
    return Facts(at, name, settings.environment(), (), (), found)
