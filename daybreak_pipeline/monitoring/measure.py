"""Reads the measurements from the server's catalogs and statistics: one SQL file a group, each on its own.

A look must never be in anybody's way: it takes no lock that others wait for, waits for none itself, and gives up after a
few seconds. What the role may not see is said to be so, and is never 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from daybreak_pipeline import database
from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED, Measurement, of_group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daybreak_pipeline.database import Connection

GROUPS = (
    "sessions",
    "databases",
    "tables",
    "indexes",
    "checkpoints",
    "wal",
    "wal_directory",
    "archive_queue",
)
_SQL = Path(__file__).parent / "sql"
_MOST_SECONDS = 5
LIMITS = {"statement_timeout": f"{_MOST_SECONDS}s", "lock_timeout": "200ms"}
_REASONS = {
    psycopg.errors.InsufficientPrivilege: NOT_PERMITTED,
    psycopg.errors.LockNotAvailable: "not measured: somebody has locked it",
    psycopg.errors.QueryCanceled: f"not measured: it took longer than {_MOST_SECONDS} s",
    psycopg.errors.UndefinedTable: "not there yet: run daybreak migrate up",
}


def from_server(connection: Connection, *, dagster: str) -> list[Measurement]:
    """Return everything that the server itself knows.

    Args:
        connection: in autocommit mode or not in a transaction.
        dagster: the name of the database with Dagster's records.
    """
    version = connection.info.server_version // 10_000
    return [
        measurement
        for group in GROUPS
        for measurement in _measured(connection, group, version, dagster=dagster)
    ]


def attempt(group: str, error: psycopg.Error) -> list[Measurement]:
    """Return why the metrics of a group have no value, after an error that may come.

    Raises:
        psycopg.Error: the error itself, where it is of another kind.
    """
    reason = next((why for kind, why in _REASONS.items() if isinstance(error, kind)), None)
    if reason is None:
        raise error
    return [Measurement(metric.name, None, note=reason) for metric in of_group(group)]


def _measured(connection: Connection, group: str, version: int, **parameters: str) -> Iterable[Measurement]:
    try:
        with connection.transaction(), database.local_settings(connection, **LIMITS):
            return database.every(connection, _measurement, statement(group, version), parameters)
    except psycopg.Error as error:
        return attempt(group, error)


def statement(group: str, version: int) -> bytes:
    """Return a group's SQL: the file for the newest version of PostgreSQL that is not newer than the server's."""
    special = {int(path.stem.rpartition("_")[2]): path for path in _SQL.glob(f"{group}_[0-9][0-9].sql")}
    fitting = [number for number in special if number <= version]
    return (special[max(fitting)] if fitting else _SQL / f"{group}.sql").read_bytes()


def _measurement(metric: str, labels: dict[str, Any], value: float | None, note: str | None) -> Measurement:
    return Measurement(
        metric,
        None if value is None else float(value),
        {name: str(text) for name, text in labels.items()},
        note or "",
    )
