"""The statements that take most of the server's time, from pg_stat_statements where the server has it.

Its texts are normalised: ``$1`` stands where a value was. Not every one is: utility statements keep their literals
(``CREATE ROLE … PASSWORD '…'``), and comments stay as they were. Such a text is not shown, and no text is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import measure
from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED, Measurement, of_group
from daybreak_pipeline.wording import shown

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

WITHHELD = "(not shown: the text may hold a value)"
MOST = 20
_LONGEST = 300
_SCHEMA = """
    SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""
_QUERY = """
    SELECT coalesce(s.queryid::text, '') AS id, min(s.query) AS text, sum(s.calls)::bigint AS calls,
           sum(s.total_exec_time)::float8 / 1000 AS seconds, sum(s.rows)::bigint AS rows
    FROM {}.pg_stat_statements s
    WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY s.queryid ORDER BY seconds DESC LIMIT {}
"""
_HIDDEN = "<insufficient privilege>"
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_NORMALISED = re.compile(r"\(*\s*(?:select|insert|update|delete|merge|with|values|table)\b", re.IGNORECASE)
_LITERAL = re.compile(r"'|\$\w*\$|(?<![\w$.])\d{4,}|/\*|--")
_IDENTIFIER = re.compile(r'"((?:[^"]|"")*)"')
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


@dataclass(frozen=True)
class Statement:
    """One statement, whoever ran it: how often, for how long in all, and how many rows."""

    id: str
    text: str
    calls: int
    seconds: float
    rows: int

    @property
    def mean(self) -> float:
        """Seconds of one call."""
        return self.seconds / self.calls if self.calls else 0.0


@dataclass(frozen=True)
class Statements:
    """The slowest, in all, first; or a note that says why there are none."""

    slowest: tuple[Statement, ...] = ()
    note: str = ""

    def measurements(self) -> list[Measurement]:
        """Return calls and seconds by the statement's id; never its text."""
        if self.note:
            return [Measurement(metric.name, None, note=self.note) for metric in of_group("statements")]
        return [
            Measurement(metric, value, {"statement": one.id})
            for one in self.slowest
            for metric, value in (
                ("statement_calls_total", one.calls),
                ("statement_seconds_total", one.seconds),
            )
        ]


def read(connection: Connection) -> Statements:
    """Return the slowest statements in this database.

    Args:
        connection: not in a transaction.
    """
    try:
        with connection.transaction(), database.local_settings(connection, **measure.LIMITS):
            schema = database.value(connection, _SCHEMA)
            if schema is None:
                return Statements(note="pg_stat_statements is not installed")
            query = sql.SQL(_QUERY).format(sql.Identifier(str(schema)), sql.Literal(MOST))
            found = database.every(connection, Statement, query)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return Statements(note="pg_stat_statements is not in shared_preload_libraries")
    except psycopg.Error as error:
        return Statements(note=measure.attempt("statements", error)[0].note)
    if any(one.text == _HIDDEN for one in found):
        return Statements(note=NOT_PERMITTED)
    return Statements(
        tuple(Statement(one.id, showable(one.text), one.calls, one.seconds, one.rows) for one in found)
    )


def showable(text: str) -> str:
    """Return a statement's text in one line without comments; ``WITHHELD`` where it may hold a value."""
    bare = " ".join(_COMMENT.sub(" ", text).split())
    names = _IDENTIFIER.findall(bare)
    if (
        not _NORMALISED.match(bare)
        or _LITERAL.search(_IDENTIFIER.sub("", bare))
        or not all(_PLAIN_NAME.fullmatch(name) for name in names)
    ):
        return WITHHELD
    return shown(bare, _LONGEST)
