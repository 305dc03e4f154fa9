"""Runs the statements of an import, each under a name, so that they can be seen.

A name says the step and the rule (``validate: missing_required``). It stands as a comment before the statement, on the
server too (``pg_stat_activity``). Every statement goes to the logger ``daybreak.sql`` as it is composed, at level DEBUG. It
holds names of tables and columns, and the importer's own numbers; what comes from a record is always a parameter, and
parameters are not logged.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from psycopg import sql

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection, Cursor

LOGGER = logging.getLogger("daybreak.sql")

Parameters = Mapping[str, Any]


@contextmanager
def written(write: Callable[[str], None]) -> Iterator[None]:
    """Have every statement written as it is run, in the order in which the server gets them."""
    handler = _Writer(write)
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)


class _Writer(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(f"{record.getMessage()};\n")


def from_file(name: str) -> str:
    """Return a whole statement that needs no composing: file ``name.sql`` of the folder ``sql``."""
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def execute(
    connection: Connection,
    name: str,
    template: str,
    parameters: Parameters | None = None,
    binary: bool = False,  # noqa: FBT001, FBT002 - a keyword could be the name of a part
    /,
    **parts: sql.Composable,
) -> Cursor:
    """Run one statement under a name, and let it be seen.

    Args:
        connection: in the import's transaction.
        name: the step and the rule.
        template: SQL, a literal of this package.
        parameters: the values of its placeholders, which nobody sees.
        binary: whether values come as bytes.
        parts: what it is composed of.
    """
    if parameters is not None:
        parts = {key: database.verbatim(connection, part) for key, part in parts.items()}
    return connection.execute(composed(connection, name, template, **parts), parameters, binary=binary)


def value(
    connection: Connection,
    name: str,
    template: str,
    parameters: Parameters | None = None,
    /,
    **parts: sql.Composable,
) -> Any:
    """Run one statement, as ``execute`` does. Returns the one value of its one row; None where it has no row."""
    row = execute(connection, name, template, parameters, **parts).fetchone()
    return row[0] if row else None


def composed(
    connection: Connection, name: str, template: str, /, **parts: sql.Composable
) -> sql.SQL | sql.Composed:
    """Log one statement, and return it with its name before it."""
    text = sql.SQL(f"-- {name}\n{textwrap.dedent(template).strip()}")
    statement = text.format(**parts) if parts else text
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug("%s", statement.as_string(connection))
    return statement


@dataclass
class Statements:
    """Runs the statements of one import; its working tables are at hand in them by ``names``."""

    connection: Connection
    names: Callable[[], Mapping[str, sql.Composable]]

    def run(
        self, name: str, template: str, parameters: Parameters | None = None, /, **parts: sql.Composable
    ) -> int:
        """Run one statement. Returns how many rows it touched."""
        return self.query(name, template, parameters, **parts).rowcount

    def query(
        self, name: str, template: str, parameters: Parameters | None = None, /, **parts: sql.Composable
    ) -> Cursor:
        """Run one statement. Returns its cursor."""
        return execute(self.connection, name, template, parameters, **{**self.names(), **parts})

    def query_bytes(self, name: str, template: str, /, **parts: sql.Composable) -> Cursor:
        """Run one statement whose values come as bytes: as text they would take twice the memory."""
        return execute(self.connection, name, template, None, True, **{**self.names(), **parts})

    def run_whole(
        self, name: str, template: str, parameters: Parameters | None = None, /, **parts: sql.Composable
    ) -> int:
        """Run one statement that joins working tables, and join them whole.

        Most have no index, and the planner's estimate of how few records are refused may be out of date: a nested
        loop would then compare every record with every other.
        """
        with database.local_settings(self.connection, enable_nestloop=False):
            return self.run(name, template, parameters, **parts)

    def attempt(self, name: str, template: str, **parts: sql.Composable) -> int | None:
        """Run one statement of casts; None, and nothing done, where a value does not fit its type."""
        text = composed(self.connection, name, template, **{**self.names(), **parts}).as_string(
            self.connection
        )
        touched: int | None = database.value(self.connection, "SELECT ingest.attempt(%s)", [text])
        return touched

    def count(self, name: str, table: sql.Composable) -> int:
        """Count the rows of a table."""
        names = {**self.names(), "table": table}
        return int(value(self.connection, name, "SELECT count(*) FROM {table}", **names))

    def analyze(self, table: sql.Composable) -> None:
        """Let the planner know a working table: roughly, which takes a tenth of the time and is all that it needs."""
        with database.local_settings(self.connection, default_statistics_target=10):
            self.run("statistics", "ANALYZE {table}", table=table)
