"""Sparklines: how a count went over the last imports, as SVG that takes its colours from the page.

Matplotlib works out the geometry; its styles, ids and metadata are left out, so that a page can hold many plots and
decides itself about light and dark.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree as ET

from markupsafe import Markup

_WIDTH, _HEIGHT = 1.4, 0.36
"""Inches; an inch is 72 units of the SVG."""
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
    drawn = ET.fromstring(_drawn(trend.values))  # noqa: S314 - written by matplotlib, from numbers
    width, height = _WIDTH * 72, _HEIGHT * 72
    svg = ET.Element(
        "svg",
        {
            "class": "spark",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "role": "img",
            "aria-label": trend.text,
        },
    )
    ET.SubElement(svg, "title").text = trend.text
    for group in drawn.iter(f"{_SVG}g"):
        kind = group.get("id", "")
        if kind.startswith("spark-"):
            for path in group.iter(f"{_SVG}path"):
                # A class names the kind; ids must be unique in a page, and matplotlib's are not.
                line = " ".join((path.get("d") or "").split())
                ET.SubElement(svg, "path", {"class": kind.rsplit(".", 1)[0], "d": line})
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - made of an escaped text and of paths


@lru_cache(maxsize=64)
def _drawn(values: tuple[float | None, ...]) -> str:
    from matplotlib.figure import Figure  # takes a third of a second, which only a report needs

    places = range(len(values))
    line = [float("nan") if value is None else value for value in values]
    known = [value for value in values if value is not None]
    # The axis begins at 0 unless all values are far above it: a small change in a big table must show.
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low < 0.9 * high or low == high:
        low = 0.0
    span = (high - low) or 1.0

    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-0.9, max(len(values) - 1, 1) + 0.9)
    axes.set_ylim(low - _MARGIN * span, high + _MARGIN * span if high > low else low + span)
    axes.plot(places, line, gid="spark-line", clip_on=False)
    for number, place in enumerate(p for p in places if values[p] is None):
        axes.plot([place, place], axes.get_ylim(), gid=f"spark-failed.{number}", clip_on=False)
    if values[-1] is not None:
        axes.plot([places[-1]] * 2, [values[-1]] * 2, gid="spark-last", clip_on=False)
    written = io.StringIO()
    figure.savefig(written, format="svg")
    return written.getvalue()
