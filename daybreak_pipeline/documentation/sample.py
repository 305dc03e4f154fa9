"""A scratch server with the schema and the sample: what documents are made from, so that they are the same everywhere."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.importer import find, names
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import SAMPLE, own_environment
from daybreak_pipeline.tables import TABLES, import_order

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

_KEY = "00" * 32
"""The sample is nobody's data, and the server is gone after a few seconds."""


@dataclass(frozen=True)
class TableFacts:
    """What the sample shows of a table. ``columns`` are those of its file that the table has, ``others`` the file's others.

    ``empty`` is in how many of the rows a column holds nothing; of a sealed one that is its encrypted twin.
    """

    file: str
    columns: frozenset[str]
    others: tuple[str, ...]
    rows: int
    empty: dict[str, int]


@contextmanager
def scratch_server() -> Iterator[DatabaseSettings]:
    """Yield a server of our own, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="daybreak-docs-")).resolve()
    home.chmod(0o711)  # as root the server runs as another user, who may pass
    try:
        with own_environment(DAYBREAK_BACKUP_REPO="none"), server.serve(home) as settings:
            yield settings
    finally:
        shutil.rmtree(home)


def load(db: DatabaseSettings) -> None:
    """Bring schema and sample into an empty database."""
    runner.upgrade(db, key=_KEY)
    with database.connect(db, key=_KEY) as connection:
        for table in import_order():
            import_table(connection, table, SAMPLE)


def facts(connection: Connection) -> dict[str, TableFacts]:
    """Return what the sample shows of each table, once it is loaded."""
    return {name: _facts(connection, name) for name in TABLES}


def _facts(connection: Connection, name: str) -> TableFacts:
    catalog = catalogs.read(connection, name)
    source = find.find(SAMPLE, TABLES[name])
    columns = [column.name for column in catalog.columns]
    stored = [f"{column}_encrypted" if column in catalog.sealed else column for column in columns]
    counted = sql.SQL(", ").join(sql.SQL("count(*) - count({})").format(sql.Identifier(c)) for c in stored)
    query = sql.SQL("SELECT count(*), {} FROM {}").format(counted, sql.Identifier("public", name))
    [(rows, *empty)] = connection.execute(query).fetchall()
    return TableFacts(
        source.path.name,
        frozenset(source.header) & frozenset(columns),
        names.unknown(source.header, catalog.expected),
        rows,
        dict(zip(columns, empty, strict=True)),
    )
