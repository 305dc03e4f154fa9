"""Keeps measurements by time, and computes from them what one look cannot tell: rates, growth, how long it will last.

Where there is too little history for a number, the measurement says so instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import measure
from daybreak_pipeline.monitoring.metrics import METRICS, Measurement
from daybreak_pipeline.wording import age

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

LEAST_SECONDS = 900
"""A rate by the hour needs this much history."""
LEAST_FIT_SECONDS = 3 * 86_400
"""Growth by the day needs this much: a server that imports once a day grows in steps."""
_DAY = 86_400
_KEEP = """
    INSERT INTO ingest.server_measurements (at, metric, labels, value)
    SELECT %(at)s, m.metric, m.labels, m.value
    FROM unnest(%(metrics)s::text[], %(labels)s::jsonb[], %(values)s::float8[]) AS m (metric, labels, value)
    ON CONFLICT DO NOTHING
"""
_RATES = {
    "deadlocks_total": "deadlocks_last_hour",
    "temporary_bytes_total": "temporary_bytes_per_hour",
    "wal_bytes_total": "wal_bytes_per_hour",
    "checkpoints_requested_total": "checkpoints_requested_per_hour",
}
_GROWTH = {"database_bytes": "database_growth_bytes_per_day", "table_bytes": "table_growth_bytes_per_day"}
_LEAST_BLOCKS = 100_000
"""A hit rate says nothing of an hour with fewer blocks than these: 800 MB."""


@dataclass(frozen=True)
class _Trend:
    kind: str
    metric: str
    labels: dict[str, str]
    value: float | None
    seconds: float


def keep(connection: Connection, at: datetime, measurements: Iterable[Measurement]) -> None:
    """Write down what trends are computed from, and which thresholds are crossed."""
    wanted = [(m, float(m.value)) for m in measurements if m.value is not None and _is_kept(m)]
    parameters = {
        "at": at,
        "metrics": [m.metric for m, _ in wanted],
        "labels": [Jsonb(dict(m.labels)) for m, _ in wanted],
        "values": [value for _, value in wanted],  # an array has one type: not some whole numbers
    }
    with connection.transaction():
        connection.execute(_KEEP, parameters)


def _is_kept(measurement: Measurement) -> bool:
    if measurement.metric == "check_state":
        return (measurement.value or 0) > 0
    return METRICS[measurement.metric].kept


def trends(connection: Connection, at: datetime, now: Iterable[Measurement]) -> list[Measurement]:
    """Return what history and the present tell together.

    Args:
        connection: not in a transaction.
        at: the end of the history that is looked at.
        now: what was measured at that time.
    """
    kept = [metric.name for metric in METRICS.values() if metric.kept]
    parameters = {
        "at": at,
        "counters": [name for name in kept if METRICS[name].is_counter],
        "sizes": [*_GROWTH, "disk_free_bytes"],
        "lasting": ["index_unused_bytes"],
    }
    try:
        with connection.transaction():
            found = database.every(connection, _Trend, measure.statement("trends", 0), parameters)
    except psycopg.Error as error:
        return measure.attempt("trends", error)
    return [*_by_hour(found), *_growth(found), *_disk(found, now), *_unused(found, now)]


def _by_hour(found: list[_Trend]) -> list[Measurement]:
    counted = {trend.metric: trend for trend in found if trend.kind == "last_hour"}
    longest = max((trend.seconds for trend in counted.values()), default=0.0)
    if longest < LEAST_SECONDS:
        note = _too_little(longest, LEAST_SECONDS)
        return [Measurement(name, None, note=note) for name in (*_RATES.values(), "cache_hit_ratio")]
    rates = [
        Measurement(rate, (trend.value or 0) * (1 if rate.endswith("last_hour") else 3600 / max(trend.seconds, 1)))
        for counter, rate in _RATES.items()
        if (trend := counted.get(counter))
    ]  # fmt: skip
    hits, reads = (
        (counted[name].value or 0) if name in counted else 0
        for name in ("block_hits_total", "block_reads_total")
    )
    if hits + reads < _LEAST_BLOCKS:
        return [
            *rates,
            Measurement("cache_hit_ratio", None, note="too little was read in the last hour to tell"),
        ]
    return [*rates, Measurement("cache_hit_ratio", hits / (hits + reads))]


def _growth(found: list[_Trend]) -> list[Measurement]:
    fits = [trend for trend in found if trend.kind == "by_day" and trend.metric in _GROWTH]
    return [_fit(_GROWTH[trend.metric], trend) for trend in fits] or [
        Measurement(metric, None, note=_too_little(0, LEAST_FIT_SECONDS)) for metric in _GROWTH.values()
    ]


def _fit(metric: str, trend: _Trend) -> Measurement:
    if trend.value is None or trend.seconds < LEAST_FIT_SECONDS:
        return Measurement(metric, None, trend.labels, _too_little(trend.seconds, LEAST_FIT_SECONDS))
    return Measurement(metric, trend.value, trend.labels)


def _disk(found: list[_Trend], now: Iterable[Measurement]) -> list[Measurement]:
    """Return in how many days the disk is full: the free space, and the line that fits how it went."""
    free = next((m for m in now if m.metric == "disk_free_bytes"), None)
    if free is None or free.value is None:
        return [Measurement("disk_full_days", None, note=free.note if free else "not measured")]
    trend = next((t for t in found if t.kind == "by_day" and t.metric == "disk_free_bytes"), None)
    fit = _fit("disk_full_days", trend) if trend else None
    if fit is None or fit.value is None:
        return [
            Measurement("disk_full_days", None, note=fit.note if fit else _too_little(0, LEAST_FIT_SECONDS))
        ]
    if fit.value >= 0:
        return [
            Measurement("disk_full_days", None, note="never at this rate: the free space does not shrink")
        ]
    return [Measurement("disk_full_days", free.value / -fit.value)]


def _unused(found: list[_Trend], now: Iterable[Measurement]) -> list[Measurement]:
    """Return for how long the indexes are known to be unused that are so now."""
    since = {
        _key(t.labels): t.seconds for t in found if t.kind == "since" and t.metric == "index_unused_bytes"
    }
    return [
        Measurement("index_unused_days", since.get(_key(m.labels), 0.0) / _DAY, m.labels)
        for m in now
        if m.metric == "index_unused_bytes" and m.value is not None
    ]


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _too_little(seconds: float, least: float) -> str:
    return f"too little history: {age(int(seconds))} of {age(int(least))}"


_EARLIER = """
    SELECT DISTINCT labels ->> 'check' FROM ingest.server_measurements
    WHERE metric = 'check_state' AND value = 2 AND at < %(at)s AND at >= %(at)s - interval '1 hour'
      AND at >= date_trunc('day', %(at)s)
"""


def already_told(connection: Connection, at: datetime) -> set[str]:
    """Return the checks whose ERROR is no news: it was there within the last hour, on the same day (UTC).

    So an error is told once when it begins, and once each day while it lasts.
    """
    with connection.transaction():
        return {str(name) for (name,) in connection.execute(_EARLIER, {"at": at})}


@dataclass(frozen=True)
class Series:
    """What a metric was like, day by day, over the last four weeks at most."""

    metric: str
    labels: dict[str, str]
    values: list[float]


@dataclass(frozen=True)
class Past:
    """What the page shows of the past: plots, and since when checks have failed. Both empty where nothing was kept."""

    series: tuple[Series, ...] = ()
    since: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))


def past(connection: Connection, at: datetime) -> Past:
    """Return what there is to show of the time up to ``at``."""
    parameters = {
        "at": at,
        "sizes": ["database_bytes", "disk_free_bytes", "connections_used"],
        "counters": ["wal_bytes_total", "temporary_bytes_total"],
    }
    try:
        with connection.transaction():
            series = database.every(connection, Series, measure.statement("series", 0), parameters)
            since: dict[str, datetime] = dict(
                connection.execute(measure.statement("since", 0), parameters).fetchall()
            )
    except psycopg.errors.UndefinedTable:
        return Past()
    return Past(tuple(series), since)
