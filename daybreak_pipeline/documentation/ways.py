"""The ways of the lines in the diagram: through the channels beside the columns, each in a lane.

All references that lead to one column of a table on one side share a lane, as on a bus. Lanes are ordered so that as few
lines as possible cross. Channel 0 is left of the first column, channel 1 right of it, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations
from typing import Literal

from daybreak_pipeline.documentation.layout import GROUPS, Arrow, Box

_BETWEEN = 6
"""What lines that meet one row from one side are apart."""
_LEFT, _RIGHT = -1, 1
_NEAR = 4


@dataclass(frozen=True)
class End:
    """Where a line leaves a lane: to the left or the right (``side``), and how far down.

    It ``begins`` at a column, ``arrives`` at one, or goes ``across`` to the next channel.
    """

    side: int
    y: float
    kind: Literal["begins", "arrives", "across"]


@dataclass(frozen=True)
class Lane:
    """A lane of a channel: to which table it leads, and where lines join and leave it. ``place`` counts from the left."""

    channel: int
    target: str
    enforced: bool
    ends: tuple[End, ...]
    place: int = 0

    @property
    def top(self) -> float:
        """Where it begins."""
        return min(end.y for end in self.ends)

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return max(end.y for end in self.ends)


def lanes_of(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> list[Lane]:
    """Return the lanes of every channel, in order."""
    lanes: dict[tuple[object, ...], Lane] = {}
    for arrow in arrows:
        start, goal = boxes[arrow.table], boxes[arrow.target]
        channel, last = _channels(start.column, goal.column)
        begins = End(_side(channel, start.column), start.middle_of(arrow.column), "begins")
        arrives = End(_side(last, goal.column), goal.middle_of(arrow.target_column), "arrives")
        if channel == last:
            _join(lanes, arrow, channel, begins, arrives)
        else:
            y = _gap(boxes, min(channel, last), (begins.y + arrives.y) / 2)
            onward = _RIGHT if last > channel else _LEFT
            _join(lanes, arrow, channel, begins, End(onward, y, "across"), "across")
            _join(lanes, arrow, last, End(-onward, y, "across"), arrives, "across")
    apart = _apart(list(lanes.values()))
    return [
        lane
        for channel in range(len(GROUPS) + 1)
        for lane in _ordered([lane for lane in apart if lane.channel == channel])
    ]


def _channels(start: int, goal: int) -> tuple[int, int]:
    """Return the channel beside the start's column and that beside the goal's, which are the same unless a column is between."""
    if start == goal:
        beside = len(GROUPS) if start == len(GROUPS) - 1 else start
        return beside, beside
    return (start + 1, goal) if goal > start else (start, goal + 1)


def _side(channel: int, column: int) -> int:
    """Return on which side of a channel a column is."""
    return _LEFT if channel > column else _RIGHT


def _join(
    lanes: dict[tuple[object, ...], Lane], arrow: Arrow, channel: int, begins: End, ends: End, *more: str
) -> None:
    key = (channel, arrow.target, arrow.target_column, arrow.enforced, *more)
    lane = lanes.get(key, Lane(channel, arrow.target, arrow.enforced, ()))
    lanes[key] = replace(lane, ends=tuple(dict.fromkeys((*lane.ends, begins, ends))))


def _gap(boxes: Mapping[str, Box], column: int, wanted: float) -> float:
    """Return the middle of the gap between two tables of a column that is nearest."""
    inside = sorted((box.y, box.y + box.height) for box in boxes.values() if box.column == column)
    gaps = [(above[1] + below[0]) / 2 for above, below in pairwise(inside)]
    return min(gaps, key=lambda y: abs(y - wanted))


def _apart(lanes: list[Lane]) -> list[Lane]:
    """Return lanes of which no two begin or arrive at one point."""
    meeting: dict[tuple[int, End], list[int]] = {}
    for number, lane in enumerate(lanes):
        for end in lane.ends:
            if end.kind != "across":
                meeting.setdefault((lane.channel, end), []).append(number)
    for (_, end), numbers in meeting.items():
        for place, number in enumerate(numbers):
            moved = replace(end, y=end.y + _BETWEEN * (place - (len(numbers) - 1) / 2))
            lane = lanes[number]
            lanes[number] = replace(lane, ends=tuple(moved if other == end else other for other in lane.ends))
    return lanes


def _ordered(lanes: list[Lane]) -> list[Lane]:
    """Return the lanes of a channel from left to right, with as few crossings as can be."""
    best = min(permutations(lanes), key=_crossings)
    return [replace(lane, place=place) for place, lane in enumerate(best)]


def _crossings(lanes: Sequence[Lane]) -> int:
    return sum(
        other.top - _NEAR < end.y < other.bottom + _NEAR
        for place, lane in enumerate(lanes)
        for end in lane.ends
        for other in (lanes[:place] if end.side == _LEFT else lanes[place + 1 :])
    )
