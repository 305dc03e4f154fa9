"""The picture docs/images/schema.svg: the tables with their keys and references, for light and dark screens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from daybreak_pipeline.documentation import layout, ways
from daybreak_pipeline.documentation.layout import (
    BOTTOM,
    GROUP_TITLE,
    GROUPS,
    MARGIN,
    ROW,
    TITLE,
    WIDTH,
    Arrow,
    Box,
    Row,
)
from daybreak_pipeline.documentation.relations import Relation
from daybreak_pipeline.documentation.ways import Lane
from daybreak_pipeline.tables import TABLES

_LANE = 12
_BESIDE = 26
"""From a lane to the table beside it: there is room for an arrow."""
_HEAD = 64
_EDGE = 10
_COLORS = (
    ("#0969da", "#58a6ff"),
    ("#bc4c00", "#f0883e"),
    ("#1a7f37", "#3fb950"),
    ("#8250df", "#bc8cff"),
    ("#bf3989", "#f778ba"),
    ("#0f7b83", "#39c5cf"),
    ("#9a6700", "#d29922"),
    ("#57606a", "#8b949e"),
)
"""Of the lines to each table that others refer to: on a light screen and on a dark one."""
_STYLE = {
    ".paper": ("fill:#ffffff", "fill:#0d1117"),
    ".group": ("fill:#f6f8fa", "fill:#161b22"),
    ".box": ("fill:#ffffff;stroke:#d0d7de", "fill:#0d1117;stroke:#3d444d"),
    ".rule": ("stroke:#d0d7de", "stroke:#3d444d"),
    "text": ("fill:#1f2328", "fill:#e6edf3"),
    ".muted": ("fill:#59636e", "fill:#9198a1"),
    ".plain": ("stroke:#59636e", "stroke:#9198a1"),
}
_SHORT = {"timestamp with time zone": "timestamptz", "character varying": "varchar"}
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"


def svg(relations: Sequence[Relation]) -> str:
    """Return the picture of the plan's tables."""
    arrows = [
        Arrow(table.name, reference.column, target, reference.target_column, reference.enforced)
        for table in TABLES.values()
        for reference in table.references
        for target in reference.tables
    ]
    rows = {
        relation.name: _rows(relation, arrows)
        for relation in relations
        if relation.schema == "public" and relation.name in TABLES
    }
    boxes = layout.placed({name: rows[name] for name in TABLES}, arrows)
    return _Drawing(boxes, ways.lanes_of(boxes, arrows)).text()


def _rows(relation: Relation, arrows: Sequence[Arrow]) -> tuple[Row, ...]:
    references = {arrow.column for arrow in arrows if arrow.table == relation.name}
    targets = {arrow.target_column for arrow in arrows if arrow.target == relation.name}
    columns = [column for column in relation.columns if not column.is_internal]
    shown = [
        Row(
            column.name,
            _SHORT.get(column.sql_type, column.sql_type.replace("character varying", "varchar")),
            "key"
            if column.name in relation.primary_key
            else "reference"
            if column.name in references
            else "column",
        )
        for column in columns
        if column.name in {*relation.primary_key, *references, *targets}
    ]
    return (*shown, Row(f"and {len(columns) - len(shown)} more", "", "rest"))


class _Drawing:
    """The picture, once it is known where everything is."""

    def __init__(self, boxes: Mapping[str, Box], lanes: Sequence[Lane]) -> None:
        self.boxes = boxes
        self.lanes = lanes
        self.channels = [0.0] * (len(GROUPS) + 1)  # where the lanes of each begin
        self.columns = [0.0] * len(GROUPS)
        x = float(_EDGE)
        for channel in range(len(GROUPS) + 1):
            count = sum(lane.channel == channel for lane in lanes)
            inner = 0 < channel < len(GROUPS)
            before = _BESIDE + MARGIN if channel else 0
            self.channels[channel] = x + before
            x += before + _LANE * max(0, count - 1)
            x += (_BESIDE + MARGIN) if inner or channel == 0 else 0
            if channel < len(GROUPS):
                self.columns[channel] = x
                x += WIDTH
        self.width = x + _EDGE
        self.height = _HEAD + max(box.y + box.height for box in boxes.values()) + MARGIN + _EDGE
        targets = [name for name in TABLES if any(lane.target == name for lane in lanes)]
        self.colors = {name: number % len(_COLORS) for number, name in enumerate(targets)}

    def text(self) -> str:
        """Return it as SVG."""
        width, height = round(self.width), round(self.height)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
                f'role="img" aria-labelledby="title" font-family="{_FONT}" font-size="12">',
                '<title id="title">The tables and their references</title>',
                f"<style>{self._style()}</style>",
                f'<rect class="paper" width="{width}" height="{height}"/>',
                *self._legend(),
                *self._groups(),
                *(piece for lane in self.lanes for piece in self._lane(lane)),
                *self._across(),
                *(piece for box in self.boxes.values() for piece in self._box(box)),
                "</svg>",
                "",
            ]
        )

    def _style(self) -> str:
        rules = dict(_STYLE)
        for number in sorted(set(self.colors.values())):
            light, dark = _COLORS[number]
            rules[f".line{number}"] = (f"stroke:{light}", f"stroke:{dark}")
            rules[f".fill{number}"] = (f"fill:{light}", f"fill:{dark}")
        fixed = (
            ".line,.plain{fill:none;stroke-width:1.5}.loose{stroke-dasharray:5 3}.key,.name{font-weight:600}"
        )
        light, dark = (
            "".join(f"{selector}{{{rule[screen]}}}" for selector, rule in rules.items()) for screen in (0, 1)
        )
        return f"{fixed}{light}@media (prefers-color-scheme:dark){{{dark}}}"

    def _legend(self) -> Iterator[str]:
        lines = (("", "foreign key"), (" loose", "reference without a foreign key"))
        yield f'<text class="name" x="{_EDGE + MARGIN}" y="26" font-size="16">The tables and their references</text>'
        x = float(_EDGE + MARGIN)
        for kind, meaning in lines:
            yield f'<path class="plain{kind}" d="M{_n(x)} 44h36"/>'
            yield f'<text class="muted" x="{_n(x + 44)}" y="48">{meaning}</text>'
            x += 44 + 7.5 * len(meaning) + 28
        yield (
            f'<text class="muted" x="{_n(x)}" y="48">Lines of one color lead to one table; each arrow ends at the column '
            "that is referred to.</text>"
        )

    def _groups(self) -> Iterator[str]:
        for group in dict.fromkeys(map(layout.group_of, self.boxes)):
            inside = [box for name, box in self.boxes.items() if layout.group_of(name) == group]
            top = min(box.y for box in inside) - GROUP_TITLE - MARGIN
            bottom = max(box.y + box.height for box in inside) + MARGIN
            x = self.columns[inside[0].column] - MARGIN
            yield (
                f'<rect class="group" x="{_n(x)}" y="{_n(top + _HEAD)}" width="{WIDTH + 2 * MARGIN}" '
                f'height="{_n(bottom - top)}" rx="10"/>'
            )
            yield f'<text class="muted" x="{_n(x + MARGIN)}" y="{_n(top + _HEAD + 20)}">{escape(group)}</text>'

    def _lane(self, lane: Lane) -> Iterator[str]:
        number = self.colors[lane.target]
        x = self._x(lane)
        pieces = [f"M{_n(x)} {_n(lane.top + _HEAD)}V{_n(lane.bottom + _HEAD)}"]
        pieces += [
            f"M{_n(x)} {_n(end.y + _HEAD)}H{_n(self._edge(lane, end.side))}"
            for end in lane.ends
            if end.kind != "across"
        ]
        loose = "" if lane.enforced else " loose"
        yield f'<path class="line line{number}{loose}" d="{"".join(pieces)}"/>'
        for end in lane.ends:
            y = end.y + _HEAD
            if end.kind == "arrives":
                edge = self._edge(lane, end.side)
                back = edge - 8 * end.side
                yield (
                    f'<path class="fill{number}" d="M{_n(edge)} {_n(y)}L{_n(back)} {_n(y - 4)}V{_n(y + 4)}Z"/>'
                )
            if lane.top < end.y < lane.bottom:
                yield f'<circle class="fill{number}" cx="{_n(x)}" cy="{_n(y)}" r="2.5"/>'

    def _across(self) -> Iterator[str]:
        ends = [(lane, end) for lane in self.lanes for end in lane.ends if end.kind == "across"]
        for lane, end in ends:
            for other, met in ends:
                if other.channel == lane.channel + 1 and (other.target, met.y) == (lane.target, end.y):
                    loose = "" if lane.enforced else " loose"
                    yield (
                        f'<path class="line line{self.colors[lane.target]}{loose}" '
                        f'd="M{_n(self._x(lane))} {_n(end.y + _HEAD)}H{_n(self._x(other))}"/>'
                    )

    def _x(self, lane: Lane) -> float:
        return self.channels[lane.channel] + _LANE * lane.place

    def _edge(self, lane: Lane, side: int) -> float:
        """Return where the table beside a lane begins, or ends."""
        return self.columns[lane.channel] if side > 0 else self.columns[lane.channel - 1] + WIDTH

    def _box(self, box: Box) -> Iterator[str]:
        x, y = self.columns[box.column], box.y + _HEAD
        yield f'<rect class="box" x="{_n(x)}" y="{_n(y)}" width="{WIDTH}" height="{_n(box.height)}" rx="6"/>'
        if box.table in self.colors:
            yield (
                f'<path class="fill{self.colors[box.table]}" d="M{_n(x)} {_n(y + 6)}a6 6 0 0 1 6 -6h{WIDTH - 12}'
                f'a6 6 0 0 1 6 6v-1a6 6 0 0 0 -6 -1h-{WIDTH - 12}a6 6 0 0 0 -6 1z"/>'
            )
        yield f'<text class="name" x="{_n(x + 10)}" y="{_n(y + 19)}" font-size="13">{escape(box.table)}</text>'
        yield f'<path class="rule" d="M{_n(x)} {_n(y + TITLE)}h{WIDTH}"/>'
        for place, row in enumerate(box.rows):
            middle = y + TITLE + ROW * place + ROW / 2 + BOTTOM / 2
            kind = {"key": "key", "rest": "muted"}.get(row.mark, "row")
            yield f'<text class="{kind}" x="{_n(x + 10)}" y="{_n(middle)}">{escape(row.text)}</text>'
            if row.type:
                yield (
                    f'<text class="muted" x="{_n(x + WIDTH - 10)}" y="{_n(middle)}" text-anchor="end">{escape(row.type)}</text>'
                )


def _n(number: float) -> str:
    return f"{number:g}"
