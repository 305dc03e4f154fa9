"""The page with the numbers for analysts: how many reach care, and how fast? With plots that tell their numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from daybreak_pipeline import database, settings
from daybreak_pipeline.report import numbers, render, store
from daybreak_pipeline.report.numbers import FRAMES, Frame
from daybreak_pipeline.report.plots import Chart, Line, chart

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from daybreak_pipeline.database import Connection

SHOWN = 13
"""How many periods a table has at the most; the command has all."""
_DISTRICTS = 20
_KINDS = ("plain", "two", "three")
_PLOTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "funnel": {"Referrals": ("referred", "onboarding_completed", "enrolled")},
    "time-to-care": {"Median days": ("days_to_care", "days_to_onboarding")},
    "coverage": {"Patients": ("patients", "insured", "eligible")},
    "capacity": {"Hours": ("hours",), "Clinicians": ("clinicians",)},
}
"""What is plotted of all together, by frame and title: at most three numbers a plot."""
_ALL = "all"


@dataclass(frozen=True)
class Numbers:
    """The frames as of ``at``, by name."""

    at: datetime
    database: str
    environment: str
    frames: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Table:
    """Rows of a frame: what each is about, and its numbers."""

    caption: str
    heading: str
    rows: list[tuple[str, list[int | None]]]


@dataclass(frozen=True)
class Part:
    """What the page shows of a frame. ``plots`` have a title, what each line is (kind, words), and the plot."""

    frame: Frame
    periods: int
    plots: list[tuple[str, list[tuple[str, str]], Markup]]
    by_week: list[Table]
    by_group: list[Table]


def read(connection: Connection) -> Numbers:
    """Return the frames as they are now.

    Raises:
        UsageError: the login may not read them, or they are not there.
    """
    with connection.transaction():
        at: datetime = database.value(connection, "SELECT now()")
        name = str(database.value(connection, "SELECT current_database()"))
    frames = {frame.name: numbers.read(connection, frame) for frame in FRAMES.values()}
    return Numbers(at, name, settings.environment(), frames)


def html(shown: Numbers, *, beside: Collection[str] = ()) -> str:
    """Return the page as one HTML file that needs no other; it leads to the pages that are beside it."""
    return render.page(
        "numbers.html.j2",
        store.NUMBERS,
        beside,
        at=shown.at,
        numbers=shown,
        parts=[_part(FRAMES[name], made) for name, made in shown.frames.items()],
    )


def whole(made: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of all together, the oldest week first."""
    return [row for row in numbers.records(made) if row["scope"] == _ALL]


def _part(frame: Frame, made: pd.DataFrame) -> Part:
    rows = whole(made)
    plots = [
        (title, list(zip(_KINDS, (frame.numbers[name] for name in names), strict=False)), _plot(frame, title, names, rows))
        for title, names in _PLOTS[frame.name].items()
        if rows
    ]  # fmt: skip
    return Part(frame, len(rows), plots, _by_week(frame, rows), _by_group(frame, numbers.records(made)))


def _plot(frame: Frame, title: str, names: tuple[str, ...], rows: list[dict[str, Any]]) -> Markup:
    days = tuple(row["week"] for row in rows)
    lines = tuple(
        Line(tuple(row[name] for row in rows), partial(_says, words=_words(frame, name)), kind)
        for kind, name in zip(_KINDS, names, strict=False)
    )
    nothing = ("",) * len(days)
    called = tuple(_period(row["week"], row["weeks"]) for row in rows)
    return chart(Chart(title, days, lines, nothing, gap="too few to show", over="period", called=called))


def _words(frame: Frame, name: str) -> str:
    return f"days {frame.numbers[name]}" if name.startswith("days_") else frame.numbers[name]


def _says(value: float, *, words: str) -> str:
    return f"{value:,.0f} {words}"


def _period(week: date, weeks: int) -> str:
    return f"{week:%Y-%m-%d}" if weeks == 1 else f"{week:%Y-%m-%d}, {weeks} weeks"


def _by_week(frame: Frame, rows: list[dict[str, Any]]) -> list[Table]:
    newest = rows[::-1][:SHOWN]
    if not newest:
        return []
    order = "next" if frame.view == "capacity_by_week" else "newest"
    if order == "next":
        newest = rows[:SHOWN]
    caption = f"All together, the {order} {len(newest)} of {len(rows)} periods."
    return [
        Table(caption, "week", [(_period(row["week"], row["weeks"]), _values(frame, row)) for row in newest])
    ]


def _by_group(frame: Frame, rows: list[dict[str, Any]]) -> list[Table]:
    """Return the newest period of which any group may be shown."""
    groups = [row for row in rows if row["scope"] != _ALL]
    if not groups:
        return []
    week = (min if frame.view == "capacity_by_week" else max)(row["week"] for row in groups)
    lines = [row for row in groups if row["week"] == week]
    first = next(iter(frame.numbers))
    lines.sort(key=lambda row: (row["scope"], -(row[first] or 0), row["district"] or ""))
    caption = f"{_period(week, lines[0]['weeks'])}, by district{' and by state' if frame.more else ''}"
    caption += f", the first {_DISTRICTS} of {len(lines)}." if len(lines) > _DISTRICTS else "."
    return [
        Table(
            caption,
            "district or state" if frame.more else "district",
            [
                (row["district"] or row.get("state") or row["scope"], _values(frame, row))
                for row in lines[:_DISTRICTS]
            ],
        )
    ]


def _values(frame: Frame, row: Mapping[str, Any]) -> list[int | None]:
    return [row[name] for name in frame.numbers]
