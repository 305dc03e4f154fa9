"""Judges the facts: can the data be trusted, what is broken since when, and what is to be done about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from daybreak_pipeline.checks.findings import Severity
from daybreak_pipeline.report import downstream, news, steps
from daybreak_pipeline.report.facts import Facts, Streak, TableFacts, Trouble
from daybreak_pipeline.report.steps import Action
from daybreak_pipeline.timetable import LATE_AFTER
from daybreak_pipeline.wording import age

Answer = Literal["yes", "yes, but", "no"]
Kind = Literal["data", "environment"]

IMPORT = "import"
"""Used like a check's name: whether the table was imported at all, and lately."""

_NAMED_TABLES = 4
_A_DAY_OR_SO = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, what to do and whom to ask (``steps``): with one table, or with the environment, and then
    ``table`` is empty.

    ``failed`` counts rows, records or values, and ``share`` says which part of all that is; ``where`` names the records in
    their files; ``step`` is the next step in words.
    """

    severity: Severity
    table: str
    check: str
    sentence: str
    streak: Streak | None = None
    failed: int = 0
    actions: tuple[Action, ...] = ()
    kind: Kind = "data"
    share: float = 0.0
    where: str = ""
    step: str = ""
    is_new: bool = False

    @property
    def owner(self) -> str:
        """The team that knows the table."""
        return steps.owner(self.table)


@dataclass(frozen=True)
class Clause:
    """A part of the verdict's sentence: words, then the tables that they are about."""

    words: str
    tables: tuple[str, ...] = ()
    more: int = 0

    def __str__(self) -> str:
        """Say it in a line."""
        named = f"{self.words} {', '.join(self.tables)}" if self.tables else self.words
        return f"{named} and {self.more} more" if self.more else named


@dataclass(frozen=True)
class Verdict:
    """The answer and why, and everything that is wrong, worst first."""

    answer: Answer
    clauses: tuple[Clause, ...]
    problems: tuple[Problem, ...]

    @property
    def why(self) -> str:
        """Why the answer is so, in a line."""
        return "; ".join(map(str, self.clauses))


def judge(facts: Facts) -> Verdict:
    """Say whether the data can be trusted.

    *No*: an import failed, a table was never imported, a delivered file is refused or has waited for a day, or a check of
    severity ERROR fails. *Yes, but*: a check warns, a file waits, was left out or is absent, imports are late, a table was not
    checked since its last import, or something around the tables is wrong. What somebody has accepted is no problem; what is
    new since yesterday is said first.
    """
    problems = news.first(sorted(_problems(facts), key=_badness), facts)
    tables = [table for table in facts.tables if table.known]
    if not facts.tables:
        return Verdict("no", tuple(_troubles(facts)), problems)
    if facts.empty:
        # Said once, not for each table.
        found = tuple(problem for problem in problems if problem.check != IMPORT)
        return Verdict("no", (Clause("nothing has been imported yet"), *_troubles(facts)), found)
    wrong = _errors(facts, problems)
    if wrong:
        wrong += [clause for clause in _around(facts) if clause not in wrong]
        broken = {problem.table for problem in problems if problem.severity == "ERROR"}
        sound = sum(table.name not in broken and not _unchecked(table) for table in tables)
        if sound:
            others = "table is checked and has" if sound == 1 else "tables are checked and have"
            wrong.append(Clause(f"{sound} {others} no error"))
        return Verdict("no", (*_news(problems), *wrong), problems)
    doubts = _doubts(facts, problems)
    if doubts:
        return Verdict("yes, but", (*_news(problems), *doubts), problems)
    fine = f"all {len(tables)} tables are imported, and {_checked(facts)}"
    return Verdict("yes", (Clause(fine),), problems)


def _checked(facts: Facts) -> str:
    """Say how many checks there were, none of which fails, and what of it somebody has accepted."""
    checks = [check for table in facts.tables for check in table.checks]
    accepted = sum(check.finding.is_accepted for check in checks)
    if not accepted:
        return f"all {len(checks)} checks passed"
    found = "1 finding is" if accepted == 1 else f"{accepted} findings are"
    return f"{len(checks) - accepted} of {len(checks)} checks passed; {found} accepted"


def _errors(facts: Facts, problems: Iterable[Problem]) -> list[Clause]:
    failed = [t.name for t in facts.tables if t.failing]
    never = [t.name for t in facts.tables if t.never_imported and not t.failing]
    waiting = [t.name for t in facts.tables if _waits(t) and _is_refused(t, facts)]
    return [
        *_clause("imports fail for", failed),
        *_clause("never imported:", never),
        *_clause("delivered and not loaded:", waiting),
        *(Clause(t.clause) for t in facts.troubles if t.severity == "ERROR" or (waiting and t.refuses)),
        *_clause("checks find errors in", _worst(_of_checks(problems, "ERROR"))),
    ]


def _around(facts: Facts) -> list[Clause]:
    """Return what has not come into the tables, or may not: it belongs to any answer."""
    waiting = [t.name for t in facts.tables if _waits(t) and not _is_refused(t, facts)]
    unread = [t.name for t in facts.tables if t.unread]
    absent = [t.name for t in facts.tables if t.missed(facts.at) and not t.waiting]
    late = [t.name for t in facts.tables if t.late(facts.at) and not (t.absent_since or t.failing)]
    return [
        *_clause("delivered and not loaded yet:", waiting),
        *_clause("files were left out that may be for", unread),
        *_clause("no file came for", absent),
        *_clause("imports are overdue for", [name for name in late if name not in waiting]),
        *_troubles(facts),
    ]


def _doubts(facts: Facts, problems: Iterable[Problem]) -> list[Clause]:
    unchecked = [t.name for t in facts.tables if _unchecked(t)]
    return [
        *_around(facts),
        *_clause("not checked since the last import:", unchecked),
        *_clause("checks warn about", _worst(_of_checks(problems, "WARN"))),
    ]


def _troubles(facts: Facts) -> Iterator[Clause]:
    return (Clause(trouble.clause) for trouble in facts.troubles)


def _of_checks(problems: Iterable[Problem], severity: Severity) -> Iterator[Problem]:
    return (p for p in problems if p.severity == severity and p.table and p.check not in {IMPORT, ""})


def _waits(table: TableFacts) -> bool:
    """Whether a file of a table waits that nothing else is said about."""
    return table.waiting is not None and not table.failing and not table.never_imported


def _is_refused(table: TableFacts, facts: Facts) -> bool:
    """Whether a file that waits will not be loaded by itself: it is refused, or a whole day did not do it."""
    refused = any(trouble.refuses for trouble in facts.troubles)
    return table.waiting is not None and (refused or facts.at - table.waiting.since > LATE_AFTER)


def _news(problems: Iterable[Problem]) -> Iterator[Clause]:
    return _clause("new since yesterday:", news.tables(problems))


def _badness(problem: Problem) -> tuple[str, bool, float, int, str]:
    """Return a key that puts the worst first: errors, imports, then by share, as ``Finding.badness`` does."""
    return problem.severity, problem.check != IMPORT, -problem.share, -problem.failed, problem.table


def _worst(problems: Iterable[Problem]) -> list[str]:
    """Return the tables of some problems, each once and the worst first."""
    return list(dict.fromkeys(problem.table for problem in sorted(problems, key=_badness)))


def _clause(words: str, tables: list[str]) -> Iterator[Clause]:
    if tables:
        named = tables if len(tables) <= _NAMED_TABLES + 1 else tables[:_NAMED_TABLES]
        yield Clause(words, tuple(named), len(tables) - len(named))


def _unchecked(table: TableFacts) -> bool:
    return table.good_at is not None and (not table.checks or any(check.outdated for check in table.checks))


def _problems(facts: Facts) -> Iterator[Problem]:
    for trouble in facts.troubles:
        yield _trouble(trouble)
    for table in facts.tables:
        for problem in _import_problems(table, facts):
            yield replace(
                problem,
                sentence=f"{problem.sentence}{downstream.told(table, facts)}",
                step=steps.import_step(table, facts.at) if problem.actions else "",
            )
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
                    tuple(steps.actions(table, check)),
                    share=found.badness[1],
                    where=steps.where(found),
                    step=steps.step(table.name, check.name, found),
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


def _trouble(trouble: Trouble) -> Problem:
    since = Streak(trouble.since, 0) if trouble.since else None
    actions = (Action("What helps", trouble.command),) if trouble.command else ()
    return Problem(
        trouble.severity, "", trouble.what, trouble.sentence, since, actions=actions, kind="environment"
    )


def _import_problems(table: TableFacts, facts: Facts) -> Iterator[Problem]:
    where = ["--data-dir", facts.export] if facts.export else []
    again = (Action("Import it again", shlex.join(["daybreak", "import", "--only", table.name, *where])),)
    name, now = table.name, facts.at
    if table.failing:
        why = table.error or "an earlier import failed, and none succeeded since"
        kind: Kind = "environment" if table.outside else "data"
        yield Problem("ERROR", name, IMPORT, f"import failed: {why}", table.failing, 0, again, kind)
    elif table.never_imported:
        there = f", although {table.waiting.file} is there" if table.waiting else ""
        yield Problem("ERROR", name, IMPORT, f"never imported{there}", actions=again)
    elif table.waiting:
        refused = _is_refused(table, facts)
        sentence = f"{table.waiting.file} was delivered and is not loaded{'' if refused else ' yet'}"
        because = table.waiting.reason or next((t.sentence for t in facts.troubles if t.refuses), "")
        since = Streak(table.waiting.since, 0)
        severity: Severity = "ERROR" if refused else "WARN"
        told = f"{sentence}: {because}" if because else sentence
        kind = "data" if table.waiting.reason else "environment"
        yield Problem(severity, name, IMPORT, told, since, 0, again, kind)
    elif table.missed(now) and table.absent_since:
        yield Problem("WARN", name, IMPORT, _absent(table, now), Streak(table.absent_since, 0), 0, again)
    elif table.late(now) and not table.absent_since and table.good_at:
        sentence = "no import since then, although it runs daily: look at the schedule and at failed runs"
        yield Problem("WARN", name, IMPORT, sentence, Streak(table.good_at, 0), 0, again, "environment")
    for told in table.unread:
        yield Problem("WARN", name, IMPORT, told)


def _absent(table: TableFacts, now: datetime) -> str:
    """Say how long ago the last file came, and how often one usually does."""
    last = table.loaded.finished_at if table.loaded else None
    if last is None:
        return "its file is absent; its rows stay"
    usually = f"; a new one usually comes every {_span(table.usual)}" if table.usual else ""
    return f"its file is absent; its rows of {last:%Y-%m-%d} stay, {_span(now - last)} old{usually}"


def _span(time: timedelta) -> str:
    """Return how long a time is, to the nearest hour or day: files come almost a day apart."""
    hours = time / timedelta(hours=1)
    if hours >= _A_DAY_OR_SO:
        return age(round(hours / 24) * 86_400)
    return age(round(hours) * 3600 if hours >= 1 else int(time.total_seconds()))
