"""The second page of the report: is the server healthy, and how long will it last? For people without Grafana."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from daybreak_pipeline.monitoring import thresholds
from daybreak_pipeline.monitoring.metrics import METRICS
from daybreak_pipeline.monitoring.thresholds import ASSETS
from daybreak_pipeline.report import render, store
from daybreak_pipeline.report.facts import Streak
from daybreak_pipeline.report.plots import Trend, sparkline

if TYPE_CHECKING:
    from markupsafe import Markup

    from daybreak_pipeline.monitoring.metrics import Measurement
    from daybreak_pipeline.monitoring.survey import Health
    from daybreak_pipeline.monitoring.thresholds import Judgement

_TABLES = 12
_FAR = 3650
"""Days: what lasts ten years longer is not given a date."""
_PLOTS = {
    "database_bytes": "Size of {database}",
    "disk_free_bytes": "Free on the disk",
    "wal_bytes_total": "WAL written per day",
    "temporary_bytes_total": "Temporary files per day",
    "connections_used": "Connections",
}
_TITLES = {
    thresholds.SESSIONS: "Sessions",
    thresholds.STORAGE: "Storage",
    thresholds.TABLES: "Tables and indexes",
    thresholds.WAL: "WAL and archive",
    thresholds.DATA: "Imports and backups",
}


@dataclass(frozen=True)
class Plot:
    """How one number went: what it is called, what it is now, by the day, and its curve."""

    title: str
    now: str
    by_day: str
    curve: Markup


@dataclass(frozen=True)
class TableLine:
    """One of the biggest tables. What is not known is None. ``empty`` says how much of it is, and by what."""

    name: str
    size: float
    growth: float | None
    rows: float
    dead: float
    empty: str


def html(health: Health, *, beside: Collection[str] = ()) -> str:
    """Return the page as one HTML file that needs no other; it leads to the pages that are beside it."""
    failing = health.failing()
    errors = sum(one.state == "ERROR" for one in failing)
    answer = "no" if errors else "yes, but" if failing else "yes"
    return render.page(
        "server.html.j2",
        store.SERVER,
        beside,
        health=health,
        at=health.at,
        answer=answer,
        failing=failing,
        errors=errors,
        symbols=render.SYMBOLS,
        answers=render.ANSWERS,
        lasts=lasts(health),
        in_short=in_short,
        found=_found,
        figures=_figures(health),
        groups=[
            (_TITLES[asset], asset, what, [one for one in health.judgements if one.threshold.asset == asset])
            for asset, what in ASSETS.items()
        ],
        streaks={check: Streak(since, 2) for check, since in health.past.since.items()},
        plots=_plots(health),
        tables=_tables(health),
        connections=sorted(health.of("connections"), key=lambda m: -(m.value or 0)),
        role_limits={
            m.labels["role"]: thresholds.count(m.value)
            for m in health.of("role_connections_limit")
            if m.value is not None
        },
        size=thresholds.size,
        share=thresholds.share,
        unknown=_unknown(health),
        metrics=METRICS,
    )  # fmt: skip


def in_short(judgement: Judgement) -> str:
    """Return what was found, the worst of several, without limit and remedy: a check's name does not say what is wrong."""
    return re.split(r", limit |; |: (?=as an administrator)", _found(judgement), maxsplit=1)[0]


def _found(judgement: Judgement) -> str:
    threshold = judgement.threshold
    return judgement.summary.replace(f": {threshold.remedy}; {threshold.runbook.see}", "")


def lasts(health: Health) -> str:
    """Return how long the server lasts, in one sentence: until the disk is full."""
    found = next(iter(health.of("disk_full_days")), None)
    if found is None or (found.value is None and found.note == "not visible"):
        return "How long the disk will last is not visible from here: watch it where the server is"
    if found.value is None and found.note.startswith("never"):
        return "The disk is not filling"
    if found.value is None:
        return f"How long the disk will last is not known yet ({found.note})"
    if found.value > _FAR:
        return "The disk lasts for more than ten years, at this rate"
    return f"The disk will be full in {thresholds.days(found.value)}, on {_date(health.at, found.value)}, at this rate"


def _date(at: datetime, days: float) -> str:
    return f"{at + timedelta(days=days):%Y-%m-%d}"


def _figures(health: Health) -> list[tuple[str, str]]:
    """Return the numbers under the verdict, and what each is of; those that are not known are left out."""
    size = next(
        (m.value for m in health.of("database_bytes") if m.labels.get("database") == health.database), None
    )
    growth = next(
        (
            m.value
            for m in health.of("database_growth_bytes_per_day")
            if m.labels.get("database") == health.database
        ),
        None,
    )
    used, most = health.value("connections_used"), health.value("connections_limit")
    free, uptime = health.value("disk_free_bytes"), health.value("server_uptime_seconds")
    found: list[tuple[str, str | None]] = [
        ("of data", thresholds.size(size) if size is not None else None),
        ("more each day", thresholds.size(growth) if growth is not None else None),
        ("free on the disk", thresholds.size(free) if free is not None else None),
        (
            f"of {most:,.0f} connections" if most else "connections",
            f"{used:,.0f}" if used is not None else None,
        ),
        ("since the server was started", thresholds.duration(uptime) if uptime is not None else None),
    ]
    return [(what, number) for what, number in found if number is not None]


def _plots(health: Health) -> list[Plot]:
    """Return what is plotted, in the order of ``_PLOTS``; a curve needs two days."""
    return [
        _plot(health, metric, series.labels, series.values)
        for metric in _PLOTS
        for series in sorted(health.past.series, key=lambda one: sorted(one.labels.items()))
        if series.metric == metric
    ]


def _plot(health: Health, metric: str, labels: dict[str, str], values: list[float]) -> Plot:
    show = thresholds.count if metric == "connections_used" else thresholds.size
    title = _PLOTS[metric].format(**labels)
    growth = next(
        (
            m
            for m in health.of("database_growth_bytes_per_day")
            if m.labels == labels and metric == "database_bytes"
        ),
        None,
    )
    by_day = ""
    if growth is not None:
        by_day = growth.note if growth.value is None else thresholds.size(growth.value)
    trend = Trend(title, tuple(values), over="day", number=show)
    return Plot(title, show(values[-1]), by_day, sparkline(trend))


def _tables(health: Health) -> list[TableLine]:
    def by_table(metric: str) -> dict[str, float]:
        return {
            m.labels["table"]: m.value
            for m in health.of(metric)
            if m.value is not None and "table" in m.labels
        }

    sizes, rows, dead = by_table("table_bytes"), by_table("table_rows"), by_table("table_dead_rows")
    growth = by_table("table_growth_bytes_per_day")
    empty = {
        m.labels["table"]: m.note if m.value is None else f"{thresholds.size(m.value)} by {m.labels['by']}"
        for m in health.of("table_bloat_bytes")
        if "table" in m.labels
    }
    biggest = sorted(sizes, key=lambda name: (-sizes[name], name))[:_TABLES]
    return [
        TableLine(
            name, sizes[name], growth.get(name), rows.get(name, 0), dead.get(name, 0), empty.get(name, "")
        )
        for name in biggest
    ]


def _unknown(health: Health) -> list[tuple[str, str]]:
    """Return what has no value with its meaning, by reason; of what has several values, once."""
    reasons: dict[str, Measurement] = {}
    for one in health.measurements:
        if one.value is None:
            reasons.setdefault(one.metric, one)
    return sorted((one.note, METRICS[name].meaning) for name, one in reasons.items())
