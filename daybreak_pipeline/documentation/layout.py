"""Where the tables are in the diagram. Numbers only: ``ways`` leads the lines between them, ``diagram`` draws both.

Tables are in three columns, those of people in the middle, since most references lead there. Within a column they are in the
order that makes lines short. Nothing depends on a font or a library, so the picture is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

from daybreak_pipeline.tables import TABLES

GROUPS = (
    ("organizations", "referrals"),
    ("people", "supporting"),
    ("insurance", "scheduling", "assessments"),
)
"""The groups of tables in each column. One that is not named here is in the middle."""
WIDTH = 300
ROW = 20
TITLE = 28
BOTTOM = 8
MARGIN = 12
GROUP_TITLE = 20
_BETWEEN_TABLES = 16
_BETWEEN_GROUPS = 24
_PASSES = 3


@dataclass(frozen=True)
class Row:
    """A row of a table in the picture. The rest of its columns are in one row that has their number."""

    text: str
    type: str
    mark: Literal["key", "reference", "column", "rest"]


@dataclass(frozen=True)
class Arrow:
    """A reference: from a column to a column of another table, or of the same."""

    table: str
    column: str
    target: str
    target_column: str
    enforced: bool


@dataclass(frozen=True)
class Box:
    """A table in the picture: its column, how far down it begins, and its rows."""

    table: str
    column: int
    y: float
    rows: tuple[Row, ...]

    @property
    def height(self) -> float:
        """How high it is."""
        return _height(self.rows)

    def middle_of(self, text: str) -> float:
        """Return how far down the middle of a row is."""
        return self.y + TITLE + ROW * ([row.text for row in self.rows].index(text) + 0.5)


Order = tuple[tuple[str, ...], ...]
"""The tables of a column, by group."""


def placed(rows: Mapping[str, tuple[Row, ...]], arrows: Sequence[Arrow]) -> dict[str, Box]:
    """Return the boxes of all tables."""
    orders: list[Order] = [next(_orders(column, rows)) for column in range(len(GROUPS))]
    for column in [*range(len(GROUPS))] * _PASSES:
        tried = [[*orders[:column], order, *orders[column + 1 :]] for order in _orders(column, rows)]
        orders = min(tried, key=lambda orders: _length(_boxes(orders, rows), arrows))
    return _boxes(orders, rows)


def group_of(table: str) -> str:
    """Return the group of a table."""
    return TABLES[table].group


def _column_of(group: str) -> int:
    return next((column for column, groups in enumerate(GROUPS) if group in groups), 1)


def _orders(column: int, rows: Mapping[str, tuple[Row, ...]]) -> Iterator[Order]:
    """Yield every order of a column's groups, and of the tables in each."""
    groups: dict[str, list[str]] = {}
    for table in rows:
        if _column_of(group_of(table)) == column:
            groups.setdefault(group_of(table), []).append(table)
    for order in permutations(groups.values()):
        yield from product(*(permutations(tables) for tables in order))


def _boxes(orders: Sequence[Order], rows: Mapping[str, tuple[Row, ...]]) -> dict[str, Box]:
    """Return boxes in an order, each column as high as the highest."""
    heights = [_natural_height(order, rows) for order in orders]
    boxes: dict[str, Box] = {}
    for column, order in enumerate(orders):
        spare = (max(heights) - heights[column]) / max(1, sum(map(len, order)) - 1)
        y = 0.0
        for tables in order:
            y += GROUP_TITLE + MARGIN
            for table in tables:
                boxes[table] = Box(table, column, round(y), rows[table])
                y += _height(rows[table]) + _BETWEEN_TABLES + spare
            y += MARGIN + _BETWEEN_GROUPS - _BETWEEN_TABLES
    return boxes


def _natural_height(order: Order, rows: Mapping[str, tuple[Row, ...]]) -> float:
    tables = [table for tables in order for table in tables]
    inside = sum(_height(rows[table]) for table in tables) + _BETWEEN_TABLES * (len(tables) - len(order))
    return inside + len(order) * (GROUP_TITLE + 2 * MARGIN) + _BETWEEN_GROUPS * (len(order) - 1)


def _height(rows: tuple[Row, ...]) -> float:
    return TITLE + ROW * len(rows) + BOTTOM


def _length(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> float:
    """Return how far up or down all lines have to run."""
    return sum(
        abs(boxes[arrow.table].middle_of(arrow.column) - boxes[arrow.target].middle_of(arrow.target_column))
        for arrow in arrows
    )
