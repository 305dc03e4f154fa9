"""VACUUM where autovacuum lags, and REINDEX where an index is mostly empty: for one database, one statement at a time.

None of it keeps anybody from reading or writing. All of it is estimates from the server's own statistics, so that
finding out costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.maintenance import giving_way
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.monitoring import bloat

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.maintenance.giving_way import Watch

SCHEMAS = ("public", "ingest", "privacy", "audit", "migrations")
LAGGING_ROWS = 10_000
"""From how many rows on it matters that they are dead, or not in the statistics."""
BLOATED_BYTES = 10 << 20
"""How large an index must be before it matters that half of it is empty."""
_LOCKED = "55P03"  # lock_not_available, here as a warning
_NOT_OURS = "user {} does not own {}: its owner or an administrator must do that"


@dataclass(frozen=True)
class _Lagging:
    schema: str
    table: str
    dead: int
    ours: bool

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class _Index:
    schema: str
    index: str
    size: int
    ours: bool
    waste: int = 0

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.index}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.index)


def drop_half_built(connection: Connection, watch: Watch, *, dry_run: bool) -> Freed:
    """Drop the indexes that a killed REINDEX CONCURRENTLY left behind."""
    found = database.every(connection, _Index, _query("half_built"), {"schemas": list(SCHEMAS)})
    dropped, note = _each(
        connection,
        watch,
        found,
        sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}"),
        dry_run=dry_run,
    )
    return Freed(
        "half-built indexes", bytes=sum(one.size for one in dropped), names=_names(dropped), note=note
    )


def vacuum(connection: Connection, watch: Watch, *, dry_run: bool, also: Sequence[str] = ()) -> Freed:
    """Vacuum and analyze the tables where autovacuum lags, and others that are named: those that much was deleted from."""
    found = database.every(
        connection, _Lagging, _query("lagging"), {"schemas": list(SCHEMAS), "rows": LAGGING_ROWS}
    )
    names = {one.name for one in found}
    found += [_Lagging(*_split(name), 0, True) for name in also if name not in names]
    before = _bytes(connection, found)
    done: list[_Lagging] = []
    locked: list[_Lagging] = []
    for one in found:
        if one.ours:
            free = dry_run or _vacuumed(connection, watch, one)
            (done if free else locked).append(one)
    notes = [f"{one.name} was left: somebody holds a lock on it" for one in locked]
    not_ours = _not_ours(connection, [one.name for one in found if not one.ours])
    return Freed(
        "vacuum",
        sum(one.dead for one in done),
        max(0, before - _bytes(connection, found)),
        tuple(one.name for one in done),
        "; ".join([*notes, *filter(None, [not_ours])]),
    )


def _vacuumed(connection: Connection, watch: Watch, one: _Lagging) -> bool:
    """Vacuum a table and return whether that was possible: one that somebody has locked is not waited for."""
    target = sql.Identifier(one.schema, one.table)
    statement = sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED) {}").format(target)
    return _LOCKED not in giving_way.execute(watch, connection, statement)


def reindex(connection: Connection, watch: Watch, *, dry_run: bool) -> Freed:
    """Build the indexes again that are mostly empty, while everybody goes on using them."""
    found = [
        _Index(one.schema, one.index, one.size, one.ours, one.empty)
        for one in bloat.indexes(connection, BLOATED_BYTES)
        if one.schema in SCHEMAS and one.empty is not None and one.empty > one.size / 2
    ]
    done, note = _each(connection, watch, found, sql.SQL("REINDEX INDEX CONCURRENTLY {}"), dry_run=dry_run)
    waste = sum(one.waste for one in done)
    if not dry_run:
        waste = sum(one.size for one in done) - _index_bytes(connection, done)
    return Freed("reindex", bytes=max(0, waste), names=_names(done), note=note)


def _split(name: str) -> tuple[str, str]:
    schema, _, table = name.partition(".")
    return schema, table


def _each(
    connection: Connection, watch: Watch, found: Iterable[_Index], statement: sql.SQL, *, dry_run: bool
) -> tuple[list[_Index], str]:
    """Run a statement for each index that is ours; return those that it was run for, and what was left and why."""
    done, notes, not_ours = [], [], []
    for one in found:
        if not one.ours:
            not_ours.append(one.name)
            continue
        try:
            if not dry_run:
                giving_way.execute(watch, connection, statement.format(one.identifier))
        except giving_way.LongWaitError as error:
            notes.append(f"{one.name} was left: {error}")
        except psycopg.errors.UndefinedTable:
            continue  # gone meanwhile
        else:
            done.append(one)
    return done, "; ".join([*notes, *filter(None, [_not_ours(connection, not_ours)])])


def _not_ours(connection: Connection, names: Sequence[str]) -> str:
    return _NOT_OURS.format(connection.info.user, ", ".join(names)) if names else ""


def _names(indexes: Iterable[_Index]) -> tuple[str, ...]:
    return tuple(one.name for one in indexes)


def _bytes(connection: Connection, tables: Sequence[_Lagging]) -> int:
    return _size(connection, [sql.Identifier(one.schema, one.table) for one in tables])


def _index_bytes(connection: Connection, indexes: Sequence[_Index]) -> int:
    return _size(connection, [one.identifier for one in indexes])


def _size(connection: Connection, names: Sequence[sql.Identifier]) -> int:
    texts = [name.as_string(connection) for name in names]
    query = "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::bigint FROM unnest(%s::text[]) AS name"
    return int(database.value(connection, query, [texts]))


def _query(name: str) -> bytes:
    return (files(__package__) / "sql" / f"{name}.sql").read_bytes()
