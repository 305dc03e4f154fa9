"""Judges the facts: can the data be trusted, what is broken since when, and what is to be done about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daybreak_pipeline.checks.findings import Severity
from daybreak_pipeline.report.facts import CheckResult, Facts, Streak, TableFacts

Answer = Literal["yes", "yes, but", "no"]

IMPORT = "import"
"""Used like a check's name: whether the table was imported at all, and lately."""

_REASONS = {
    "orphans": "missing_parent",
    "valid_enums": "invalid_enum",
    "required_values": "missing_required",
    "duplicates": "duplicate_key",
}
"""Checks that look at what was quarantined for a reason of its own (``checks.rules``)."""

_NAMED_TABLES = 4


@dataclass(frozen=True)
class Action:
    """Something to copy and run: ``language`` is ``sh`` or ``sql``."""

    label: str
    text: str
    language: Literal["sh", "sql"] = "sh"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one table, and what to do. ``failed`` counts rows, records or values."""

    severity: Severity
    table: str
    check: str
    sentence: str
    streak: Streak | None = None
    failed: int = 0
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Clause:
    """A part of the verdict's sentence: words, then the tables that they are about."""

    words: str
    tables: tuple[str, ...] = ()
    more: int = 0


@dataclass(frozen=True)
class Verdict:
    """The answer and why, and everything that is wrong, worst first."""

    answer: Answer
    clauses: tuple[Clause, ...]
    problems: tuple[Problem, ...]


def judge(facts: Facts) -> Verdict:
    """Say whether the data can be trusted.

    *No*: an import failed, a table was never imported, or a check of severity ERROR fails. *Yes, but*: a check
    warns, a file is absent, imports are late, or a table was not checked since its last import.
    """
    problems = tuple(
        sorted(_problems(facts), key=lambda p: (p.severity, p.check != IMPORT, -p.failed, p.table))
    )
    tables = [table for table in facts.tables if table.known]
    if facts.empty:
        # Said once, not for each table.
        found = tuple(problem for problem in problems if problem.check != IMPORT)
        return Verdict("no", (Clause("nothing has been imported yet"),), found)
    wrong = _errors(facts, problems)
    if wrong:
        broken = {problem.table for problem in problems if problem.severity == "ERROR"}
        sound = sum(table.name not in broken and not _unchecked(table) for table in tables)
        if sound:
            others = "table is checked and has" if sound == 1 else "tables are checked and have"
            wrong.append(Clause(f"{sound} {others} no error"))
        return Verdict("no", tuple(wrong), problems)
    doubts = _doubts(facts, problems)
    if doubts:
        return Verdict("yes, but", tuple(doubts), problems)
    checked = sum(len(table.checks) for table in facts.tables)
    fine = f"all {len(tables)} tables are imported, and all {checked} checks passed"
    return Verdict("yes", (Clause(fine),), problems)


def _errors(facts: Facts, problems: Iterable[Problem]) -> list[Clause]:
    failed = [t.name for t in facts.tables if t.failing]
    never = [t.name for t in facts.tables if t.never_imported and not t.failing]
    checks = _worst(p for p in problems if p.severity == "ERROR" and p.check != IMPORT)
    return [
        *_clause("imports fail for", failed),
        *_clause("never imported:", never),
        *_clause("checks find errors in", checks),
    ]


def _doubts(facts: Facts, problems: Iterable[Problem]) -> list[Clause]:
    absent = [t.name for t in facts.tables if t.absent_since]
    late = [t.name for t in facts.tables if t.late(facts.at) and not t.absent_since]
    unchecked = [t.name for t in facts.tables if _unchecked(t)]
    checks = _worst(p for p in problems if p.severity == "WARN" and p.check not in {IMPORT, ""})
    return [
        *_clause("no file came for", absent),
        *_clause("imports are overdue for", late),
        *_clause("not checked since the last import:", unchecked),
        *_clause("checks warn about", checks),
    ]


def _worst(problems: Iterable[Problem]) -> list[str]:
    """Return the tables of some problems, the ones with most failures first."""
    failed: dict[str, int] = {}
    for problem in problems:
        failed[problem.table] = failed.get(problem.table, 0) + problem.failed
    return sorted(failed, key=lambda name: (-failed[name], name))


def _clause(words: str, tables: list[str]) -> Iterator[Clause]:
    if tables:
        named = tables if len(tables) <= _NAMED_TABLES + 1 else tables[:_NAMED_TABLES]
        yield Clause(words, tuple(named), len(tables) - len(named))


def _unchecked(table: TableFacts) -> bool:
    return table.good_at is not None and (not table.checks or any(check.outdated for check in table.checks))


def _problems(facts: Facts) -> Iterator[Problem]:
    for table in facts.tables:
        yield from _import_problems(table, facts.at)
        for check in table.checks:
            found = check.finding
            if not found.passed:
                yield Problem(
                    found.severity,
                    table.name,
                    check.name,
                    found.summary,
                    check.streak,
                    found.count,
                    tuple(_actions(table, check)),
                )
        if _unchecked(table):
            before = "not checked since its last import: what checks say here is of the time before"
            yield Problem(
                "WARN",
                table.name,
                "",
                before if table.checks else "never checked",
                actions=(Action("Check every table", "daybreak check"),),
            )


def _import_problems(table: TableFacts, now: datetime) -> Iterator[Problem]:
    again = (Action("Import it again", f"daybreak import --only {table.name}"),)
    if table.failing and table.last:
        why = table.last.error or "an earlier import failed, and none succeeded since"
        yield Problem("ERROR", table.name, IMPORT, f"import failed: {why}", table.failing, 0, again)
    elif table.never_imported:
        yield Problem("ERROR", table.name, IMPORT, "never imported", actions=again)
    elif table.absent_since and table.good_at:
        sentence = f"its file is absent; its rows of {table.good_at:%Y-%m-%d} stay"
        yield Problem("WARN", table.name, IMPORT, sentence, Streak(table.absent_since, 0), 0, again)
    elif table.late(now) and table.good_at:
        sentence = "no import since then, although it runs daily: look at the schedule and at failed runs"
        yield Problem("WARN", table.name, IMPORT, sentence, Streak(table.good_at, 0), 0, again)


def _actions(table: TableFacts, check: CheckResult) -> Iterator[Action]:
    """Return what helps with a failing check: commands first, then the check's own query."""
    found = check.finding
    reason = _REASONS.get(check.name)
    held_back = {code for code, _, _ in table.quarantined}
    listing = f"daybreak quarantine list --table {table.name}"
    if reason in held_back:
        yield Action("List the records", f"{listing} --reason {reason}")
    elif check.name == "quarantine_rate" and held_back:
        yield Action("List the records", listing)
    elif check.name == "database_matches_migrations":
        yield Action("Look at the schema", "daybreak migrate status")
    elif found.rows and table.known and not found.sql:
        yield Action("Trace the first row", shlex.join(["daybreak", "trace", table.name, found.rows[0]]))
    if found.sql:
        yield Action("See the rows", found.sql, "sql")
