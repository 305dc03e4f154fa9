"""Small groups are in nothing that is published, and cannot be reckoned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.schema.small_groups import SMALLEST, Cell, Sum, bounds, recovered

Published = list[tuple[date, date, str, str | None, list[int | None]]]
MONDAY = date(2025, 3, 3)
WEEKS = [str(MONDAY + timedelta(days=7 * number)) for number in range(4)]


@pytest.fixture(scope="module")
def connection(databases: Databases, template: DatabaseSettings) -> Iterator[Connection]:
    """For what only calls functions."""
    with databases.copy(template.name) as given, database.connect(given, autocommit=True) as opened:
        yield opened


def publish(
    connection: Connection, cells: Mapping[Cell, int], classes: int, people: Mapping[Cell, int] | None = None
) -> Published:
    """Publish cells; each member is a person of their own unless it is said how many people they are at least."""
    lines = [
        (week, grp or None, of, n, (people or cells)[week, grp, of])
        for (week, grp, of), n in cells.items()
        if n
    ]
    return connection.execute(
        "SELECT p.* FROM reporting.publishable((SELECT array_agg(ROW(week, grp, class, members, people)::reporting.cell)"
        " FROM unnest(%s::date[], %s::text[], %s::int[], %s::bigint[], %s::bigint[]) AS t (week, grp, class, members, people)),"
        " %s) p ORDER BY first_week, scope, grp",
        [*([line[column] for line in lines] for column in range(5)), classes],
    ).fetchall()


def sums(cells: Mapping[Cell, int], published: Published) -> list[Sum]:
    """Return each published number with the cells that it is the sum of, and check that it is."""
    found = []
    named = Counter((first, grp) for first, _, scope, grp, _ in published if scope == "group")
    for first, last, scope, grp, reached in published:
        for least, number in enumerate(reached, start=1):
            if number is None:
                continue
            of = frozenset(
                cell
                for cell in cells
                if str(first) <= cell[0] <= str(last)
                and cell[2] >= least
                and (
                    scope == "all"
                    or (cell[1] == grp if scope == "group" else not named[first, cell[1] or None])
                )
            )
            assert number == sum(cells[cell] for cell in of)
            found.append(Sum(of, number))
    return found


def weekly(*lines: dict[str, int | tuple[int, ...]]) -> dict[Cell, int]:
    """Return cells, from one line a week with the numbers of each group, by class where there are several."""
    cells: Counter[Cell] = Counter()
    for week, line in zip(WEEKS, lines, strict=False):
        for grp, numbers in line.items():
            for of, number in enumerate(numbers if isinstance(numbers, tuple) else (numbers,), start=1):
                cells[week, grp, of] += number
    return cells


def shown(published: Published) -> list[tuple[str, int, str, list[int | None]]]:
    return [
        (str(first), (last - first).days // 7 + 1, grp or scope, reached)
        for first, last, scope, grp, reached in published
    ]


A, B, C, D = WEEKS


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (weekly(), []),
        (weekly({"one": 10}), []),
        (weekly({"one": 11}), [(A, 1, "all", [11]), (A, 1, "one", [11])]),
        # What is left of the total is as small as what is hidden.
        (weekly({"one": 20, "two": 3}), [(A, 1, "all", [23])]),
        (
            weekly({"one": 30, "two": 20, "three": 3}),
            [(A, 1, "all", [53]), (A, 1, "one", [30]), (A, 1, "other", [23])],
        ),
        (weekly({"one": 20, "two": 6, "": 5}), [(A, 1, "all", [31]), (A, 1, "one", [20]), (A, 1, "other", [11])]),
        # A week of few joins the one after it; at the end, the one before it.
        (
            weekly({"one": 4}, {"one": 9}, {"one": 30}),
            [(A, 2, "all", [13]), (A, 2, "one", [13]), (C, 1, "all", [30]), (C, 1, "one", [30])],
        ),
        (weekly({"one": 15}, {"one": 2}), [(A, 2, "all", [17]), (A, 2, "one", [17])]),
        # A class of few, here the second of three, is shown together with its neighbour.
        (weekly({"one": (12, 4, 30)}), [(A, 1, "all", [46, None, 30]), (A, 1, "one", [46, None, 30])]),
        # Fewer than 11 are not where the others are.
        (weekly({"one": (12, 5)}), [(A, 1, "all", [17, None]), (A, 1, "one", [17, None])]),
        (weekly({"one": (12, 0)}), [(A, 1, "all", [12, 0]), (A, 1, "one", [12, 0])]),
        (
            weekly({"one": (40, 40), "two": (50, 5)}),
            [(A, 1, "all", [135, 45]), (A, 1, "one", [80, None]), (A, 1, "two", [55, None])],
        ),
    ],
)  # fmt: skip
def test_what_is_published(
    connection: Connection, cells: dict[Cell, int], expected: list[tuple[str, int, str, list[int | None]]]
) -> None:
    classes = max((cell[2] for cell in cells), default=1)
    assert shown(publish(connection, cells, classes)) == expected


def test_members_of_few_people_are_a_small_group(connection: Connection) -> None:
    cells = weekly({"one": 40, "two": 40})
    few = {cell: 10 if cell[1] == "two" else 40 for cell in cells}
    assert shown(publish(connection, cells, 1, few)) == [(A, 1, "all", [80])]


def test_a_class_that_stays_small_does_not_hide_the_weeks_for_ever(connection: Connection) -> None:
    """After 13 weeks it is shown together with its neighbour."""
    cells: dict[Cell, int] = {}
    for number in range(15):
        week = str(MONDAY + timedelta(days=7 * number))
        cells |= {(week, "one", 1): 20, (week, "one", 2): int(number == 0)}
    found = [line for line in shown(publish(connection, cells, 2)) if line[2] == "all"]
    assert [(weeks, reached) for _, weeks, _, reached in found] == [
        (13, [261, None]),
        (1, [20, 0]),
        (1, [20, 0]),
    ]


_NUMBERS = some.one_of(some.integers(0, 14), some.integers(0, 60))
_TABLES = some.dictionaries(
    some.tuples(
        some.sampled_from(WEEKS), some.sampled_from(["one", "two", "three", ""]), some.integers(1, 3)
    ),
    _NUMBERS,
    min_size=1,
    max_size=24,
)


@given(given_cells=_TABLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_small_group_can_be_reckoned_from_all_that_is_published(
    connection: Connection, given_cells: dict[Cell, int]
) -> None:
    every = {(week, grp, of) for week in WEEKS for grp in ("one", "two", "three", "") for of in (1, 2, 3)}
    cells = dict.fromkeys(every, 0) | given_cells
    published = publish(connection, cells, 3)
    told = sums(cells, published)
    for group in recovered(cells, told):
        size = sum(cells[cell] for cell in group)
        assert size == 0 or size >= SMALLEST, f"{sorted(group)} are {size}"
    for cell, (least, most) in bounds(cells, told).items():
        assert least < most or not 0 < cells[cell] < SMALLEST, f"{cell} can only be {least:g}"
    if sum(cells.values()) >= SMALLEST:  # and nothing is lost
        assert sum(reached[0] or 0 for _, _, scope, _, reached in published if scope == "all") == sum(
            cells.values()
        )


def test_the_attack_would_find_a_cell_that_is_merely_left_out() -> None:
    cells: dict[Cell, int] = {(A, "one", 1): 20, (A, "two", 1): 3, (B, "one", 1): 15, (B, "two", 1): 40}
    told = [
        Sum(frozenset({(A, "one", 1), (A, "two", 1)}), 23),
        Sum(frozenset({(A, "one", 1)}), 20),
        Sum(frozenset({(B, "one", 1), (B, "two", 1)}), 55),
    ]
    assert frozenset({(A, "two", 1)}) in set(recovered(cells, told))
    assert bounds(cells, told)[A, "two", 1] == (3, 3)
