"""Plots as SVG that takes its colours from the page: sparklines over imports, and charts over days with their numbers.

Matplotlib works out the geometry; its styles, ids and metadata are left out, so that a page can hold many plots and
decides itself about light and dark.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 1.4, 0.36
"""Inches; an inch is 72 units of the SVG."""
_POINTS = 72
_MARGIN = 0.12
_SVG = "{http://www.w3.org/2000/svg}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


@dataclass(frozen=True)
class Trend:
    """Values over imports, oldest first; None where the import failed. ``over`` is what they are over instead of imports.

    ``number`` writes a value, in another form than as a plain number.
    """

    label: str
    values: tuple[float | None, ...]
    unit: str = ""
    over: str = "import"
    number: Callable[[float], str] = _number

    @property
    def known(self) -> list[float]:
        """The values of the imports that did not fail."""
        return [value for value in self.values if value is not None]

    @property
    def text(self) -> str:
        """What the plot shows, in words."""
        failed = len(self.values) - len(self.known)
        failures = f"; {failed} failed" if failed else ""
        imports = f"{len(self.values)} {self.over}{'' if len(self.values) == 1 else 's'}"
        if not self.known:
            return f"{self.label} over {imports}: all failed"
        low, high, last = (self.number(v) for v in (min(self.known), max(self.known), self.known[-1]))
        return (
            f"{self.label} over {imports}: from {low} to {high}{self.unit}, last {last}{self.unit}{failures}"
        )


def sparkline(trend: Trend) -> Markup:
    """Return an inline SVG with a text for those who do not see it; nothing where there is nothing to plot."""
    if not trend.values:
        return Markup("")
    width, height = _WIDTH * _POINTS, _HEIGHT * _POINTS
    svg = _svg("spark", width, height, trend.text)
    svg.set("width", f"{width:g}")
    svg.set("height", f"{height:g}")
    ET.SubElement(svg, "title").text = trend.text
    for kind, path in _sparkline_paths(trend.values):
        ET.SubElement(svg, "path", {"class": kind, "d": path})
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - made of an escaped text and of paths


def _svg(kind: str, width: float, height: float, text: str) -> ET.Element:
    """Return an empty plot, with what it shows in words."""
    box = {"class": kind, "viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": text}
    return ET.Element("svg", box)


@lru_cache(maxsize=64)
def _sparkline_paths(values: tuple[float | None, ...]) -> tuple[tuple[str, str], ...]:
    places = range(len(values))
    low, high = _range([value for value in values if value is not None])
    span = (high - low) or 1.0
    figure = _figure(_WIDTH * _POINTS, _HEIGHT * _POINTS)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-0.9, max(len(values) - 1, 1) + 0.9)
    axes.set_ylim(low - _MARGIN * span, high + _MARGIN * span if high > low else low + span)
    axes.plot(places, _with_gaps(values), gid="spark-line", clip_on=False)
    for number, place in enumerate(p for p in places if values[p] is None):
        axes.plot([place, place], axes.get_ylim(), gid=f"spark-failed.{number}", clip_on=False)
    if values[-1] is not None:
        axes.plot([places[-1]] * 2, [values[-1]] * 2, gid="spark-last", clip_on=False)
    return tuple(_paths(figure, "spark-"))


def _figure(width: float, height: float) -> Figure:
    """Return an empty plot, whose pixels are the units of its SVG."""
    from matplotlib.figure import Figure  # takes a third of a second, which only a report needs

    return Figure(figsize=(width / _POINTS, height / _POINTS), dpi=_POINTS)


def _with_gaps(values: tuple[float | None, ...]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _range(known: list[float]) -> tuple[float, float]:
    """Return where an axis begins and ends: at 0 unless all is far above it, as a small change in much must show."""
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    return (0.0 if low < 0.9 * high or low == high else low), high


def _paths(figure: Figure, prefix: str | tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield kind and line of what was plotted under an id with the prefix."""
    written = io.StringIO()
    figure.savefig(written, format="svg")
    for group in ET.fromstring(written.getvalue()).iter(f"{_SVG}g"):  # noqa: S314 - written by matplotlib, from numbers
        kind = group.get("id", "")
        if kind.startswith(prefix):
            for path in group.iter(f"{_SVG}path"):
                # A class names the kind; ids must be unique in a page, and matplotlib's are not.
                yield kind.rsplit(".", 1)[0], " ".join((path.get("d") or "").split())


# --- Charts over days ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of a chart: a number for each day, None where there is none, and how such a number is said.

    ``kind`` is the class by which the page colours it.
    """

    values: tuple[float | None, ...]
    says: Callable[[float], str]
    kind: str = "plain"


@dataclass(frozen=True)
class Chart:
    """Lines over days. ``marked`` has what is said of days that stand out, such as those with failed imports.

    ``over`` is what they are over instead of days, of which ``days`` has the first; ``called``, what each is called then.
    """

    label: str
    days: tuple[date, ...]
    lines: tuple[Line, ...]
    marked: tuple[str, ...]
    gap: str = "no import"
    over: str = "day"
    called: tuple[str, ...] = ()

    def says(self, place: int) -> str:
        """Return the numbers of a day in words."""
        known = [
            line.says(value)
            for line in self.lines
            if place < len(line.values) and (value := line.values[place]) is not None
        ]
        told = [", ".join(known) or self.gap, *filter(None, [self.marked[place]])]
        name = self.called[place] if self.called else f"{self.days[place]:%Y-%m-%d}"
        return f"{name}: {'; '.join(told)}"

    @property
    def text(self) -> str:
        """What the chart shows, in words."""
        known = [
            place
            for place in range(len(self.days))
            if any(line.values[place] is not None for line in self.lines)
        ]
        if not known:
            return f"{self.label}: no {self.over} with a number"
        days = f"{len(known)} {self.over}{'' if len(known) == 1 else 's'}"
        first = f", first {self.says(known[0])}" if len(known) > 1 else ""
        return f"{self.label}, {days} with a number{first}, last {self.says(known[-1])}"


@dataclass(frozen=True)
class Size:
    """How large a chart is, in units of its SVG. ``top`` is for the numbers of a day, ``left`` and ``bottom`` for the scales."""

    width: int
    height: int
    top: int
    left: int
    bottom: int


LARGE = Size(600, 200, 32, 48, 22)
SMALL = Size(220, 60, 20, 0, 4)


def chart(shown: Chart, size: Size = LARGE) -> Markup:
    """Return an inline SVG that tells the numbers of the day that is pointed at, else of the last; no script."""
    figure, axes = _axes(shown, size)
    for number, line in enumerate(shown.lines):
        axes.plot(range(len(shown.days)), _with_gaps(line.values), gid=f"line-{line.kind}.{number}")
        for place, value in _alone(line.values):
            axes.plot([place] * 2, [value] * 2, gid=f"dot-{line.kind}.{place}", clip_on=False)
    for place in (place for place, what in enumerate(shown.marked) if what):
        axes.plot([place] * 2, axes.get_ylim(), gid=f"line-failed.{place}")

    svg = _svg("chart", size.width, size.height, shown.text)
    if size.left:
        _add_scales(svg, shown, size, axes)
    for kind, path in _paths(figure, ("line-", "dot-")):
        ET.SubElement(svg, "path", {"class": kind, "d": path})
    for place in range(len(shown.days)):
        (left, _), (right, _) = (axes.transData.transform((place + side, 0)) for side in (-0.5, 0.5))
        day = ET.SubElement(svg, "g", {"class": "day"})
        box = {"x": f"{left:.1f}", "y": "0", "width": f"{right - left:.1f}", "height": f"{size.height}"}
        ET.SubElement(day, "rect", box)
        ET.SubElement(day, "text", {"x": "0", "y": "15"}).text = shown.says(place)
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - ElementTree has escaped what is text


def _axes(shown: Chart, size: Size) -> tuple[Figure, Axes]:
    """Return matplotlib's axes, which count from the bottom, with room for all values."""
    low, high = _range([value for line in shown.lines for value in line.values if value is not None])
    figure = _figure(size.width, size.height)
    inner = size.height - size.top - size.bottom
    left, bottom = size.left / size.width, size.bottom / size.height
    axes = figure.add_axes((left, bottom, 1.0 - left, inner / size.height))
    axes.set_axis_off()
    axes.set_xlim(-0.5, len(shown.days) - 0.5)
    span = (high - low) or high or 1.0
    axes.set_ylim(low - 0.02 * span, max(high, low + span) + 0.05 * span)
    return figure, axes


def _alone(values: tuple[float | None, ...]) -> Iterator[tuple[int, float]]:
    """Yield places and values that a line would not show, as there is none beside them, and the last one."""
    known = {place: value for place, value in enumerate(values) if value is not None}
    for place, value in known.items():
        if place == max(known) or not {place - 1, place + 1} & known.keys():
            yield place, value


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _add_scales(svg: ET.Element, shown: Chart, size: Size, axes: Axes) -> None:
    """Add lines with their numbers, and the first, the middle and the last day."""
    low, high = axes.get_ylim()
    axes.locator_params(axis="y", nbins=3)
    for tick in axes.get_yticks():
        if low <= tick <= high:
            y = size.height - axes.transData.transform((0, tick))[1]
            ET.SubElement(svg, "path", {"class": "grid", "d": f"M {size.left} {y:.1f} H {size.width}"})
            where = {"class": "scale", "x": f"{size.left - 6}", "y": f"{y + 4:.1f}", "text-anchor": "end"}
            ET.SubElement(svg, "text", where).text = _short(float(tick))
    last = len(shown.days) - 1
    for place in sorted({0, last // 2, last}):
        anchor = "middle" if not last else {0: "start", last: "end"}.get(place, "middle")
        x = axes.transData.transform((place, 0))[0]
        where = {"class": "scale", "x": f"{x:.1f}", "y": f"{size.height - 4}", "text-anchor": anchor}
        ET.SubElement(svg, "text", where).text = f"{shown.days[place]:%Y-%m-%d}"
