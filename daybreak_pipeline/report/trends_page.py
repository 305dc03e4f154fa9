"""The page about how it went, day by day: is it getting better? With plots that tell their numbers, and who was alerted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

from daybreak_pipeline.report import render, store
from daybreak_pipeline.report.plots import LARGE, SMALL, Chart, Line, Size, chart
from daybreak_pipeline.report.trends import SHOWN_ALERTS, WEEKS, ByDay, Numbers, Trends, latest

if TYPE_CHECKING:
    from markupsafe import Markup

Answer = Literal["better", "worse", "mixed", "the same", "too early to say"]
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Change:
    """A number on the last day that has it, and on a day a week before, or on the first where that is later.

    ``before`` is None where there is one day only.
    """

    now: float
    before: float | None
    since: date

    def says(self, of: Callable[[float], str]) -> str:
        """Return the number with its change in words."""
        if self.before is None:
            return of(self.now)
        change = self.now - self.before
        how = f"{abs(change):,.0f} {'more' if change > 0 else 'fewer'} than" if change else "as many as"
        return f"{of(self.now)}, {how} on {self.since:%Y-%m-%d}"


def html(trends: Trends, *, beside: Collection[str] = ()) -> str:
    """Return the page as one HTML file that needs no other; it leads to the pages that are beside it."""
    total = trends.total
    changes = {
        "checks": _change(trends.days, _failing(total)),
        "quarantined": _change(trends.days, total.quarantined),
    }
    says = {
        "checks": _counted("failing check"),
        "quarantined": _counted("record in quarantine", "records in quarantine"),
    }
    return render.page(
        "trends.html.j2",
        store.TRENDS,
        beside,
        trends=trends,
        at=trends.at,
        weeks=WEEKS,
        shown_alerts=SHOWN_ALERTS,
        answer=answer(*changes.values()),
        changes=[one.says(says[name]) for name, one in changes.items() if one],
        accepted=int(latest(total.accepted) or 0),
        charts=_charts(trends.days, total, LARGE),
        tables=[(one, [plot for _, plot in _charts(trends.days, one, SMALL)]) for one in trends.tables],
        numbers=_numbers(trends),
    )  # fmt: skip


def answer(*changes: Change | None) -> Answer:
    """Say how it went, by numbers of which fewer is better."""
    steps = [one.now - one.before for one in changes if one and one.before is not None]
    if not steps:
        return "too early to say"
    if all(step == 0 for step in steps):
        return "the same"
    if all(step <= 0 for step in steps):
        return "better"
    return "worse" if all(step >= 0 for step in steps) else "mixed"


def _change(days: tuple[date, ...], numbers: Numbers) -> Change | None:
    known = [(day, value) for day, value in zip(days, numbers, strict=True) if value is not None]
    if not known:
        return None
    last, now = known[-1]
    earlier = [one for one in known if one[0] <= last - _WEEK][-1:] or known[:1]
    since, before = earlier[0]
    return Change(now, None if since == last else before, since)


def _failing(of: ByDay) -> Numbers:
    return tuple(
        None if errors is None or warnings is None else errors + warnings
        for errors, warnings in zip(of.errors, of.warnings, strict=True)
    )


def _counted(one: str, many: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:,.0f} {one if value == 1 else many or f'{one}s'}"


def _charts(days: tuple[date, ...], of: ByDay, size: Size) -> list[tuple[str, Markup]]:
    """Return the plots of one table, or of all together, with their titles."""
    found = (
        Line(of.errors, _counted("error"), "ERROR"),
        Line(of.warnings, _counted("warning"), "WARN"),
        *([Line(of.accepted, _counted("accepted", "accepted"), "accepted")] if any(of.accepted) else []),
    )
    failed = tuple(f"{_counted('import')(number)} failed" if number else "" for number in of.failed)
    nothing = ("",) * len(days)
    shown = [
        Chart("Failing checks", days, found, nothing, gap="no check"),
        Chart("Records in quarantine", days, (Line(of.quarantined, _counted("record")),), nothing),
        Chart("Records in the files", days, (Line(of.read, _counted("record")),), failed),
        Chart(
            "Duration of imports, in seconds",
            days,
            (Line(of.seconds, render.seconds),),
            failed,
            gap="no file was read",
        ),
    ]
    return [(one.label, chart(one, size)) for one in shown]


def _numbers(trends: Trends) -> list[tuple[date, list[float | None]]]:
    """Return what the plots of all tables show, the newest day first."""
    of = trends.total
    columns = (of.errors, of.warnings, of.accepted, of.quarantined, of.read, of.seconds, of.failed)
    return [(day, list(line)) for day, *line in zip(trends.days, *columns, strict=True)][::-1]
