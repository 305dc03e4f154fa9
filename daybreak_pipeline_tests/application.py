"""An application as the plan has it: a login of its own, directly or through the real PgBouncer in transaction mode.

Each unit of work is a transaction that begins with the key, as through a pooler it must be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.privacy.test_roles import login

REFUSED = (
    psycopg.IntegrityError,
    psycopg.DataError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidAuthorizationSpecification,
)


class Application:
    """A connection of a role, and what people call adding, changing and reading rows."""

    def __init__(self, db: DatabaseSettings, role: str, *, key: str | None = KEY) -> None:
        self.connection = psycopg.connect(login(db, role).conninfo(), prepare_threshold=None, autocommit=True)
        self.notices: list[str] = []
        self.connection.add_notice_handler(lambda found: self.notices.append(found.message_primary or ""))
        self._key = key

    @contextmanager
    def work(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Run the block as one unit of work: all of it is committed, or nothing."""
        with self.connection.transaction():
            if self._key:
                self.connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [self._key])
            yield self.connection

    def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.work() as work:
            return work.execute(query.encode(), values).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        """Return the one value of the one row of a query, or its values."""
        [row] = self.all(query, *values)
        return row[0] if len(row) == 1 else row

    def add(self, table: str, **values: Any) -> Any:
        """Insert one row in a unit of work of its own, and return its id."""
        with self.work() as work:
            return add(work, table, **values)

    def change(self, table: str, row_id: Any, **values: Any) -> None:
        """Change columns of one row, which must be there."""
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(
            sql.Identifier(*table.split(".")), assignments
        )
        with self.work() as work:
            assert work.execute(statement, [*map(adapted, values.values()), row_id]).rowcount == 1

    def delete(self, table: str, row_id: Any) -> None:
        """Delete one row, which must be there."""
        statement = sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(*table.split(".")))
        with self.work() as work:
            assert work.execute(statement, [row_id]).rowcount == 1


def add(work: psycopg.Connection[tuple[Any, ...]], table: str, **values: Any) -> Any:
    """Insert one row in the unit of work that is open, and return its id."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )
    row = work.execute(statement, [adapted(value) for value in values.values()]).fetchone()
    assert row is not None
    return row[0]


def adapted(value: Any) -> Any:
    """Return a value as psycopg takes it: an object, or a list of objects, is JSON; a list of texts an array."""
    is_json = isinstance(value, dict) or (
        isinstance(value, list) and not all(isinstance(v, str) for v in value)
    )
    return Jsonb(value) if is_json else value


@contextmanager
def refused(state: str, *, column: str | None = None, table: str | None = None) -> Iterator[None]:
    """Make sure that the block is refused, by the server's code, and for the column and table that are named."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    diagnosis = caught.value.diag
    assert diagnosis.sqlstate == state, diagnosis.message_primary
    if column:
        assert column in f"{diagnosis.column_name} {diagnosis.constraint_name}"
    if table:
        assert diagnosis.table_name == table


MISSING_VALUE, NO_SUCH_ROW, NOT_UNIQUE, BAD_CODE = "23502", "23503", "23505", "23514"
NO_JSON, NO_KEY, NOT_ALLOWED = "22P02", "28000", "42501"
NOBODY = UUID(int=0xDEAD)
