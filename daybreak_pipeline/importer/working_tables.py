"""The names of the working tables of one import, and the tablespace that they are in.

All of them are unlogged, live in the import's transaction and are dropped at its end. What is done with them is
in the phases' modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.wording import shown

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

SCHEMA = "ingest"
_MAY_CREATE = "SELECT has_tablespace_privilege(oid, 'CREATE') FROM pg_tablespace WHERE spcname = %s"


@contextmanager
def in_their_tablespace(connection: Connection) -> Iterator[None]:
    """Create tables, and what sorts and joins write to disk, in ``DAYBREAK_STAGING_TABLESPACE`` while the block runs.

    Raises:
        UsageError: the server has no such tablespace, or this user may not create tables in it.
    """
    name = settings.staging_tablespace()
    if name is None:
        yield
        return
    allowed = database.value(connection, _MAY_CREATE, [name])
    if not allowed:
        wrong = "the server has no such tablespace: create it"
        if allowed is False:
            wrong = f"user {connection.info.user} may not create tables in it: GRANT CREATE ON TABLESPACE to that user"
        msg = f"DAYBREAK_STAGING_TABLESPACE is {shown(name)}, but {wrong}"
        raise UsageError(msg)
    listed = sql.Identifier(name).as_string(connection)  # this one is a list of identifiers
    with database.local_settings(connection, default_tablespace=name, temp_tablespaces=listed):
        yield


@contextmanager
def in_the_databases_own(connection: Connection) -> Iterator[None]:
    """Create what stays, the indexes of the table itself, where it would be without the setting."""
    if settings.staging_tablespace() is None:
        yield
        return
    with database.local_settings(connection, default_tablespace=""):
        yield


@dataclass(frozen=True)
class WorkingTables:
    """What the working tables of an import into ``table_name`` are called."""

    table_name: str

    @property
    def outcomes(self) -> sql.Identifier:
        """One row for each record that is not settled: ``_record``, ``_outcome``, and typed columns that rules look at.

        ``_outcome`` is insert or update for what is to be loaded, and else a name of the ledger's.
        """
        return self._named("outcomes")

    @property
    def key_matches(self) -> sql.Identifier:
        """One row for each record, where the table has rows: ``_record``, ``id``, and ``_outcome`` as the key decides it.

        ``_newer`` is true for a record without a row if it is newer than its tombstone, or has none. Most
        records of an export that comes again are settled by that: unchanged, stale, duplicate.
        """
        return self._named("key_matches")

    @property
    def thinned(self) -> sql.Identifier:
        """The stage without the records that are settled."""
        return self._named("thinned")

    @property
    def rejections(self) -> sql.Identifier:
        """(record, code, column_name, detail): why records are refused."""
        return self._named("rejections")

    @property
    def issues(self) -> sql.Identifier:
        """(record, column_name, code, value): values that were repaired."""
        return self._named("issues")

    @property
    def missing(self) -> sql.Identifier:
        """The records with references that lead nowhere, while these are noted: the value of each column that has one."""
        return self._named("missing")

    @property
    def prepared_rows(self) -> sql.Identifier:
        """The rows of the records that are not settled, before defaults, with what ``outcomes`` needs to know of them."""
        return self._named("prepared_rows")

    @property
    def cast_errors(self) -> sql.Identifier:
        """(record, column_name, fault): the values that do not cast, of the columns that are lenient."""
        return self._named("cast_errors")

    @property
    def unlike(self) -> sql.Identifier:
        """The values that are to be tried one by one, while cast errors are looked for: ``_record``, ``name``, ``value``."""
        return self._named("unlike")

    @property
    def digests(self) -> sql.Identifier:
        """The digests of the staged records, a number of records in each row (``digests``)."""
        return self._named("digests")

    @property
    def listed_digests(self) -> sql.Identifier:
        """The digests of the rows whose records were passed over while staging, or those of the others."""
        return self._named("listed_digests")

    @property
    def unsealed(self) -> sql.Identifier:
        """The records of the quarantine that are tried again: ``id`` and ``record``, as one JSON object."""
        return self._named("unsealed")

    def _named(self, kind: str) -> sql.Identifier:
        return sql.Identifier(SCHEMA, f"{kind}_{self.table_name}")
