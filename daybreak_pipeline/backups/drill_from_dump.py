"""The drill for a server whose backups are its provider's: dumps it, restores the dump beside, and compares every table.

It proves that the data of now can be dumped and come back whole, with the key of now. It proves nothing of the provider's
backups: those one can only restore there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import checksums, drill, dumped
from daybreak_pipeline.backups.drill import Drill
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daybreak_pipeline.backups.checksums import Checksum
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

_PROVEN = "dump-proven-at"
_PATIENCE_SECONDS = 600
_PAUSE_SECONDS = 10
_FACTS = """
    SELECT pg_database_size(current_database()) AS bytes,
           (SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()) AS owner,
           ARRAY(SELECT extname::text FROM pg_extension ORDER BY 1) AS extensions,
           ARRAY(SELECT rolname::text FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') ORDER BY 1) AS roles,
           ARRAY(SELECT name FROM pg_settings WHERE name IN
                 ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')) AS limits
"""
_AVAILABLE = "SELECT name FROM pg_available_extensions"
_CLOSED = """
    SELECT format('%I.%I', schema, name) FROM unnest(%s::text[], %s::text[]) AS given (schema, name)
    WHERE NOT has_schema_privilege(schema, 'USAGE') OR NOT has_table_privilege(format('%I.%I', schema, name), 'SELECT')
    ORDER BY 1
""".replace("%I", "%%I")


@dataclass(frozen=True)
class _Facts:
    bytes: int
    owner: str
    extensions: list[str]
    roles: list[str]
    limits: list[str]


@dataclass(frozen=True)
class _Tables:
    """What is compared, by schema and name, and the server's limits of time that must not cut that off."""

    names: list[tuple[str, str]]
    limits: list[str]


def run(db: DatabaseSettings, key: str) -> Drill:
    """Dump the server, restore the dump beside, and say whether it is the same. Leaves nothing behind."""
    return drill.carried_out(
        Drill(datetime.now(UTC), of_dump=True), lambda found: _run(found, db, key), _proof()
    )


def proven_at() -> datetime | None:
    """Return when a drill last proved that a dump of then can be restored; None where none did."""
    return drill.noted(_proof())


def _proof() -> Path:
    return settings.home() / _PROVEN


def _run(found: Drill, db: DatabaseSettings, key: str) -> None:
    source = _itself(db)
    # The connection is idle while the others work: what is between here and the server must not take it for dead.
    with database.connect(source, keepalives_idle=30) as reader:
        facts = database.one(reader, _Facts, _FACTS)
        assert facts is not None  # noqa: S101 - a query without FROM has one row
        tables = _Tables(_readable(reader), facts.limits)
        tools = dumped.tools(reader.info.server_version // 10_000)
        reader.rollback()
        with dumped.scratch(tools, facts.bytes) as scratch:
            only = _prepare(found, scratch, facts)
            there = _copied(
                found, reader, tables, partial(dumped.copy, tools, source, target=scratch, only=only)
            )
            _compare(found, there, scratch, key)


def _copied(
    found: Drill, reader: Connection, tables: _Tables, copy: Callable[..., None]
) -> dict[str, Checksum]:
    """Have everything copied as of one snapshot, and return the source's checksums as of the same.

    Nobody may change a table's structure meanwhile. Who wants to would wait for us, and the dump for them: so all of it is
    given up within seconds, and tried again.

    Raises:
        LockedError: somebody kept a table locked for too long.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        begun = time.monotonic()
        try:
            with database.snapshot(reader):
                snapshot = _freeze(reader, tables)
                copy(snapshot=snapshot, meanwhile=lambda: _stay_awake(reader))
                found.restore_seconds = time.monotonic() - begun
                return checksums.of_every_table(reader)
        except dumped.LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


def _itself(db: DatabaseSettings) -> DatabaseSettings:
    """Return the server itself: pg_dump sets what a pooler would leave to its next client."""
    with database.connect(db) as connection:
        if not database.is_pooled(connection):
            return db
    there = settings.dagster_database(db)
    return replace(db, host=there.host, port=there.port)


def _readable(reader: Connection) -> list[tuple[str, str]]:
    """Return every table.

    Raises:
        UsageError: there are some that the role may not read, so that nobody can tell whether they come back.
    """
    names = checksums.tables(reader)
    schemas, tables = [schema for schema, _ in names], [name for _, name in names]
    closed = [str(name) for (name,) in reader.execute(_CLOSED, [schemas, tables])]
    if closed:
        msg = (
            f"{reader.info.user} may not read {', '.join(closed[:3])}{f' and {len(closed) - 3} more' if closed[3:] else ''}: "
            f"grant it SELECT, or move them into another database; {Runbook.BACKUPS_FAIL.see}"
        )
        raise UsageError(msg)
    return names


def _prepare(found: Drill, scratch: DatabaseSettings, facts: _Facts) -> list[str]:
    """Make the roles that grants and policies name, as nobody's logins; return the extensions to restore, if not all."""
    with database.connect(scratch) as connection:
        there = {str(name) for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        for role in facts.roles:
            if role not in there:
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        # Its rights in the database are the owner's of the schema public too.
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*map(sql.Identifier, (scratch.name, facts.owner)))
        )
        known = {str(name) for (name,) in connection.execute(_AVAILABLE)}
    found.left_out = [name for name in facts.extensions if name not in known]
    return [name for name in facts.extensions if name in known] if found.left_out else []


def _freeze(reader: Connection, tables: _Tables) -> str:
    """Keep everybody from changing the tables' structure, begin the snapshot that all of it is of, and return its name.

    Raises:
        LockedError: somebody has locked a table.
    """
    # None of these begins the snapshot, as a query would: it must not be older than the locks.
    for name, value in [
        *((limit, "0") for limit in tables.limits),
        ("lock_timeout", f"{dumped.LOCK_SECONDS}s"),
    ]:
        reader.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    try:
        if tables.names:
            listed = sql.SQL(", ").join(sql.Identifier(*name) for name in tables.names)
            reader.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(listed))
    except psycopg.errors.LockNotAvailable:
        msg = f"somebody keeps a table locked: repeat the drill when that has ended; {Runbook.SLOW_OR_STUCK.see}"
        raise dumped.LockedError(msg) from None
    return str(database.value(reader, "SELECT pg_export_snapshot()"))


def _stay_awake(reader: Connection) -> None:
    reader.execute("SELECT")


def _compare(found: Drill, there: dict[str, Checksum], scratch: DatabaseSettings, key: str) -> None:
    with database.connect(scratch, key=key, autocommit=True) as connection:
        with database.snapshot(connection):
            here = checksums.of_every_table(connection)
        found.tables, found.rows = len(here), sum(one.rows for one in here.values())
        found.problems += checksums.differences(there, here)
        connection.execute("ANALYZE")  # a restored dump has no statistics, and checks would take for ever
        drill.use(found, connection)
