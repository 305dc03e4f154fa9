"""An analyst who wants to know more than is published: what can be reckoned from sums of cells that nobody shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
SMALLEST = 11
Cell = tuple[str, str, int]
"""Week, group and class, the finest there is; nobody is in two of them."""


@dataclass(frozen=True)
class Sum:
    """One published number: how many are in all cells of ``of`` together."""

    of: frozenset[Cell]
    number: int


def recovered(cells: Iterable[Cell], published: Iterable[Sum]) -> Iterator[frozenset[Cell]]:
    """Yield every group whose size follows from the published numbers by adding and subtracting.

    Groups are what somebody could ask for: any weeks, of any groups, in any classes.
    """
    places = {cell: place for place, cell in enumerate(sorted(cells))}
    sums = [_vector(places, one.of) for one in published]
    if not sums:
        return
    known = np.array(sums)
    onto = np.linalg.pinv(known) @ known
    weeks, groups, classes = (sorted({cell[axis] for cell in places}) for axis in range(3))
    asked = [
        frozenset(cell for cell in product(*chosen) if cell in places)
        for chosen in product(_some(weeks), _some(groups), _some(classes))
    ]
    wanted = np.array([_vector(places, group) for group in asked])
    follows = np.abs(wanted @ onto - wanted).max(axis=1) < 1e-8
    yield from (group for group, found in zip(asked, follows, strict=True) if group and found)


def bounds(cells: Iterable[Cell], published: Iterable[Sum]) -> dict[Cell, tuple[float, float]]:
    """Return the least and the most that each cell can have: nobody is fewer than none, and sums must come out right."""
    found: dict[Cell, tuple[float, float]] = dict.fromkeys(cells, (0.0, float("inf")))
    told = {one.of: one.number for one in published}
    equations = told | {
        larger - smaller: told[larger] - told[smaller]
        for larger, smaller in product(told, told)
        if smaller < larger
    }
    for _ in range(5):  # closer and closer: what is not settled by then hardly will be
        for of, number in equations.items():
            for cell in of:
                others = [found[other] for other in of if other != cell]
                low, high = found[cell]
                found[cell] = (
                    max(low, number - sum(most for _, most in others)),
                    min(high, number - sum(least for least, _ in others)),
                )
    return found


def _vector(places: dict[Cell, int], of: Iterable[Cell]) -> npt.NDArray[np.float64]:
    vector = np.zeros(len(places))
    for cell in of:
        vector[places[cell]] = 1
    return vector


def _some(values: list[T]) -> list[tuple[T, ...]]:
    return list(chain.from_iterable(combinations(values, number) for number in range(1, len(values) + 1)))
