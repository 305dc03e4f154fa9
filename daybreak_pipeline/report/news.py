"""What is new since yesterday: a problem that was not there a day ago, or that has grown since.

The day on which the first results came has no yesterday: nothing is called new then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from daybreak_pipeline.report.facts import Facts

if TYPE_CHECKING:
    from daybreak_pipeline.report.verdict import Problem

DAY = timedelta(days=1)


def first(problems: Iterable[Problem], facts: Facts) -> tuple[Problem, ...]:
    """Return problems with the new ones marked and put first; else they stay in their order."""
    known = any(check.known_yesterday for table in facts.tables for check in table.checks)
    marked = [replace(problem, is_new=known and _is_new(problem, facts)) for problem in problems]
    return tuple(sorted(marked, key=lambda problem: not problem.is_new))


def tables(problems: Iterable[Problem]) -> list[str]:
    """Return the tables that have new problems, each once."""
    return list(dict.fromkeys(problem.table for problem in problems if problem.is_new and problem.table))


def _is_new(problem: Problem, facts: Facts) -> bool:
    table = next((table for table in facts.tables if table.name == problem.table), None)
    check = table.check(problem.check) if table else None
    began = problem.streak is not None and problem.streak.since > facts.at - DAY
    return began or (check is not None and check.more > 0)
