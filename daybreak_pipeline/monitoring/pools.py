"""What PgBouncer says of its pools: on its admin console, where the settings name one. It is asked by its own commands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED, Measurement, of_group
from daybreak_pipeline.pooler import console

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings

_MICRO = 1e-6
_BY_POOL = {
    "cl_active": "pool_clients_active",
    "cl_waiting": "pool_clients_waiting",
    "sv_active": "pool_servers_active",
    "sv_idle": "pool_servers_idle",
}
_BY_DATABASE = {"total_xact_count": "pool_transactions_total", "total_query_count": "pool_queries_total"}


def read(pooler: DatabaseSettings | None) -> list[Measurement]:
    """Return how its pools are; nothing where there is no pooler.

    Args:
        pooler: where it listens, and the login of one of its ``stats_users``.
    """
    if pooler is None:
        return []
    admin = replace(pooler, name=console.NAME)
    try:
        pools, totals = _rows(admin, "POOLS"), _rows(admin, "STATS")
    except psycopg.OperationalError as error:
        return _unknown(
            NOT_PERMITTED
            if "not allowed" in str(error)
            else "the pooler does not let us in, or does not answer"
        )
    except psycopg.Error:
        return _unknown(NOT_PERMITTED)
    return [*_pools(pools), *_totals(totals)]


def _rows(admin: DatabaseSettings, what: Literal["POOLS", "STATS"]) -> list[dict[str, Any]]:
    return [row for row in console.show(admin, what) if row["database"] != console.NAME]


def _pools(rows: list[dict[str, Any]]) -> list[Measurement]:
    return [
        measurement
        for row in rows
        for labels in [{"database": str(row["database"]), "role": str(row["user"])}]
        for measurement in (
            *(Measurement(metric, float(row[column]), labels) for column, metric in _BY_POOL.items()),
            Measurement("pool_wait_seconds", row["maxwait"] + row["maxwait_us"] * _MICRO, labels),
        )
    ]


def _totals(rows: list[dict[str, Any]]) -> list[Measurement]:
    return [
        Measurement(metric, float(row[column]), {"database": str(row["database"])})
        for row in rows
        for column, metric in _BY_DATABASE.items()
    ]


def _unknown(note: str) -> list[Measurement]:
    return [Measurement(metric.name, None, note=note) for metric in of_group("pools")]
