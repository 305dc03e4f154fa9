"""The verdict: which facts make it yes, yes but, or no; and since when something has failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from daybreak_pipeline.checks.findings import Finding, Severity
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.ledger import Accounting, Entry
from daybreak_pipeline.report.facts import CheckResult, Facts, Streak, TableFacts
from daybreak_pipeline.report.verdict import Answer, Problem, judge
from daybreak_pipeline.timetable import LATE_AFTER
from daybreak_pipeline_tests.report.pages import checked, everything_fine, facts, imported

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = Entry(1, "a", "imported", "file:///export/a.csv", 1, "009", NOW, NOW, accounting=Accounting(read=1))
PASSED = CheckResult("a", "orphans", Finding("", 0, 1, "WARN", passed=True))
FINE = TableFacts("a", rows=1, last=GOOD, loaded=GOOD, good_at=NOW, checks=(PASSED,))
FAILED = replace(GOOD, id=2, status="failed", accounting=Accounting(), error="a: no file")


def verdict_of(*tables: TableFacts) -> tuple[Answer, list[str]]:
    found = judge(Facts(NOW, "db", "development", tables, ("orphans",)))
    return found.answer, [" ".join((clause.words, *clause.tables)) for clause in found.clauses]


def found(count: int, severity: Severity) -> Finding:
    return Finding("", count, 9, severity, passed=False)


def failing(severity: Severity, table: str = "a") -> TableFacts:
    return replace(FINE, name=table, checks=(CheckResult(table, "orphans", found(2, severity)),))


@pytest.mark.parametrize(
    ("table", "answer", "why"),
    [
        (FINE, "yes", ["all 2 tables are imported, and all 2 checks passed"]),
        (failing("WARN"), "yes, but", ["checks warn about a"]),
        (failing("ERROR"), "no", ["checks find errors in a", "1 table is checked and has no error"]),
        (
            replace(FINE, last=FAILED, failing=Streak(NOW, 1)),
            "no",
            ["imports fail for a", "1 table is checked and has no error"],
        ),
        (
            replace(FINE, last=FAILED, good_at=None, failing=Streak(NOW, 1)),
            "no",
            ["imports fail for a", "1 table is checked and has no error"],
        ),
        (TableFacts("a", rows=0), "no", ["never imported: a", "1 table is checked and has no error"]),
        (
            replace(FINE, good_at=NOW - LATE_AFTER),
            "yes",
            ["all 2 tables are imported, and all 2 checks passed"],
        ),
        (
            replace(FINE, good_at=NOW - LATE_AFTER - timedelta(seconds=1)),
            "yes, but",
            ["imports are overdue for a"],
        ),
        (replace(FINE, absent_since=NOW), "yes, but", ["no file came for a"]),
        (
            replace(FINE, absent_since=NOW, good_at=NOW - 2 * LATE_AFTER),
            "yes, but",
            ["no file came for a"],
        ),
        (replace(FINE, checks=()), "yes, but", ["not checked since the last import: a"]),
        (
            replace(FINE, checks=(replace(PASSED, outdated=True),)),
            "yes, but",
            ["not checked since the last import: a"],
        ),
    ],
)
def test_one_table_decides(table: TableFacts, answer: Answer, why: list[str]) -> None:
    assert verdict_of(table, replace(FINE, name="b")) == (answer, why)


def test_without_any_import_the_answer_is_no() -> None:
    assert verdict_of(TableFacts("a", rows=0), TableFacts("b", rows=0)) == (
        "no",
        ["nothing has been imported yet"],
    )


def test_errors_outweigh_warnings() -> None:
    assert verdict_of(failing("WARN"), failing("ERROR", "b"), replace(FINE, name="c")) == (
        "no",
        ["checks find errors in b", "2 tables are checked and have no error"],
    )


def test_a_table_that_nobody_checked_is_not_called_sound() -> None:
    assert verdict_of(failing("ERROR", "b"), replace(FINE, checks=())) == ("no", ["checks find errors in b"])


def test_the_worst_tables_are_named_and_the_rest_is_counted() -> None:
    tables = [failing("ERROR", f"t{n}") for n in range(8)]
    worst = replace(tables[5], checks=(replace(tables[5].checks[0], finding=found(9, "ERROR")),))
    tables[5] = worst
    (clause,) = judge(Facts(NOW, "db", "development", tuple(tables), ("orphans",))).clauses
    assert (clause.tables, clause.more) == (("t5", "t0", "t1", "t2"), 4)


def test_a_check_of_the_whole_database_can_say_no() -> None:
    whole = failing("ERROR", "database")
    assert verdict_of(FINE, replace(whole, rows=None, last=None, good_at=None))[0] == "no"


def test_a_table_is_unchecked_when_any_of_its_checks_is_from_before_its_import() -> None:
    old = replace(PASSED, name="duplicates", outdated=True)
    assert verdict_of(replace(FINE, checks=(PASSED, old)))[0] == "yes, but"


def test_the_worst_problem_stands_first() -> None:
    few, many = failing("WARN", "a"), failing("WARN", "b")
    many = replace(many, checks=(replace(many.checks[0], finding=found(9, "WARN")),))
    problems = judge(
        Facts(NOW, "db", "development", (few, many, failing("ERROR", "c")), ("orphans",))
    ).problems
    assert [problem.table for problem in problems] == ["c", "b", "a"]


# --- Since when -------------------------------------------------------------------------------------------


def only_problem(connection: Connection) -> Problem:
    (problem,) = judge(facts(connection)).problems
    return problem


def hours(problem: Problem, connection: Connection) -> tuple[int, int]:
    """Return since how many hours, and how many times."""
    assert problem.streak
    row = connection.execute(
        "SELECT extract(epoch FROM now() - %s) / 3600", [problem.streak.since]
    ).fetchone()
    assert row
    return round(row[0]), problem.streak.times


RESULTS = [
    ("f", (9, 1)),
    ("ff", (9, 2)),
    ("pf", (8, 1)),
    ("ffpff", (6, 2)),
    ("pppff", (6, 2)),
]


@pytest.mark.parametrize(("results", "expected"), RESULTS)
def test_a_check_fails_since_the_first_run_after_it_last_passed(
    session: Connection, results: str, expected: tuple[int, int]
) -> None:
    everything_fine(session)
    session.execute("DELETE FROM ingest.check_results WHERE table_name = 'kinships'")
    session.execute(
        "UPDATE ingest.imports SET finished_at = now() - interval '20 h', started_at = now() - interval '21 h'"
    )
    for number, result in enumerate(results):
        checked(session, "kinships", "orphans", int(result == "f"), hours_ago=9 - number)
    problem = only_problem(session)
    assert (problem.table, problem.check) == ("kinships", "orphans")
    assert hours(problem, session) == expected


@pytest.mark.parametrize("results", ["p", "fp", "fffpp"])
def test_a_check_that_passes_again_is_no_problem(session: Connection, results: str) -> None:
    everything_fine(session)
    for number, result in enumerate(results):
        checked(session, "kinships", "orphans", int(result == "f"), hours_ago=-1 - number)
    assert judge(facts(session)).problems == ()


def test_of_results_of_one_moment_the_later_one_counts(session: Connection) -> None:
    everything_fine(session)
    checked(session, "kinships", "orphans", 1, hours_ago=-1)
    checked(session, "kinships", "orphans", 0, hours_ago=-1)
    assert judge(facts(session)).problems == ()


def test_a_streak_is_of_one_table_and_one_check(session: Connection) -> None:
    everything_fine(session)
    for number, rule in enumerate(RULES):
        checked(session, "documents", rule.name, 1, hours_ago=-1 - number)
        checked(session, "contracts", rule.name, 0, hours_ago=-1.5 - number)
    found = judge(facts(session)).problems
    assert {(p.table, p.check, p.streak.times if p.streak else 0) for p in found} == {
        ("documents", rule.name, 1) for rule in RULES
    }


@pytest.mark.parametrize(
    ("imports", "expected"),
    [("fff", (5, 3)), ("iff", (4, 2)), ("fsf", (3, 1)), ("iffsff", (1, 2))],
)
def test_imports_fail_since_the_first_one_after_the_last_good_one(
    session: Connection, imports: str, expected: tuple[int, int]
) -> None:
    """One that was skipped is good: the file is there, and as it was."""
    everything_fine(session)
    session.execute("DELETE FROM ingest.imports WHERE table_name = 'kinships'")
    status = {"f": "failed", "i": "imported", "s": "skipped"}
    for number, letter in enumerate(imports):
        error = "kinships: no file" if letter == "f" else None
        imported(session, "kinships", hours_ago=5 - number, status=status[letter], error=error)
    problem = only_problem(session)
    assert (problem.table, problem.check, problem.severity) == ("kinships", "import", "ERROR")
    assert hours(problem, session) == expected
