"""The verdict: which facts make it yes, yes but, or no; and since when something has failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daybreak_pipeline.checks.findings import Finding, Severity
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer import standing
from daybreak_pipeline.importer.ledger import Accounting, Entry
from daybreak_pipeline.operations import status
from daybreak_pipeline.operations.deliveries import Waiting
from daybreak_pipeline.report.facts import CheckResult, Facts, Streak, TableFacts, Trouble
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
        (  # that it is overdue, too, is no news
            replace(FINE, last=FAILED, failing=Streak(NOW, 1), good_at=NOW - 2 * LATE_AFTER),
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


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"failing": Streak(NOW, 1)}, "Ask the sender of documents for a file that can be read."),
        ({"failing": Streak(NOW, 1), "outside": True}, "Mend what the message names."),
        ({"absent_since": NOW}, "Ask the sender of documents when the file comes."),
        ({"good_at": None}, "Ask the sender of documents when the file comes."),
        ({"good_at": NOW - 2 * LATE_AFTER}, ""),
    ],
)
def test_a_table_that_is_not_imported_has_a_next_step(change: dict[str, Any], step: str) -> None:
    table = replace(FINE, name="documents", **change)
    (problem,) = judge(Facts(NOW, "db", "development", (table,), ("orphans",))).problems
    assert problem.step.startswith(step)
    assert bool(problem.step) is bool(step)


# --- What was delivered, and what is around the tables -----------------------------------------------------

WAITING = Waiting("a.csv", NOW - timedelta(hours=1))
PENDING = Trouble("WARN", "migrations", "a migration is not applied", "apply it", refuses=True)


def judged(table: TableFacts, *troubles: Trouble) -> tuple[Answer, str, list[tuple[str, str, str]]]:
    verdict = judge(Facts(NOW, "db", "development", (table,), ("orphans",), troubles))
    return verdict.answer, verdict.why, [(p.severity, p.kind, p.sentence) for p in verdict.problems]


def test_a_file_that_waits_is_a_doubt() -> None:
    assert judged(replace(FINE, waiting=WAITING)) == (
        "yes, but",
        "delivered and not loaded yet: a",
        [("WARN", "environment", "a.csv was delivered and is not loaded yet")],
    )


def test_a_file_that_is_refused_or_waits_for_more_than_a_day_is_no_yes() -> None:
    day = replace(WAITING, since=NOW - LATE_AFTER - timedelta(seconds=1))
    assert judged(replace(FINE, waiting=day)) == (
        "no",
        "delivered and not loaded: a",
        [("ERROR", "environment", "a.csv was delivered and is not loaded")],
    )
    answer, why, problems = judged(replace(FINE, waiting=WAITING), PENDING)
    assert (answer, why) == ("no", "delivered and not loaded: a; a migration is not applied")
    assert [sentence for _, _, sentence in problems] == [
        "a.csv was delivered and is not loaded: apply it",
        "apply it",
    ]


def test_a_file_that_cannot_be_read_says_why_and_is_the_senders_to_mend() -> None:
    broken = replace(WAITING, reason="it is damaged")
    assert judged(replace(FINE, waiting=broken))[2] == [
        ("WARN", "data", "a.csv was delivered and is not loaded yet: it is damaged")
    ]


def test_what_is_around_the_tables_is_a_doubt_although_all_is_loaded() -> None:
    assert judged(FINE, PENDING) == (
        "yes, but",
        "a migration is not applied",
        [("WARN", "environment", "apply it")],
    )


def test_what_has_not_come_is_said_beside_errors() -> None:
    bad = replace(failing("ERROR"), waiting=WAITING)
    assert judged(bad)[1] == "checks find errors in a; delivered and not loaded yet: a"


def test_a_file_that_was_left_out_is_a_doubt() -> None:
    answer, why, problems = judged(replace(FINE, unread=("b.csv was not read",)))
    assert (answer, why) == ("yes, but", "files were left out that may be for a")
    assert problems == [("WARN", "data", "b.csv was not read")]


@pytest.mark.parametrize(
    ("days", "usual", "says"),
    [
        (1, None, "2026-02-28 stay, 1 d old"),
        (1, 1, "2026-02-28 stay, 1 d old; a new one usually comes every 1 d"),
        (3, 7, None),  # a new one is not due yet
        (6, 7, "2026-02-23 stay, 6 d old; a new one usually comes every 7 d"),
        (100, 7, "2025-11-21 stay, 100 d old; a new one usually comes every 7 d"),
    ],
)
def test_an_absent_file_is_a_doubt_once_it_was_to_be_expected(
    days: int, usual: int | None, says: str | None
) -> None:
    table = replace(
        FINE,
        loaded=replace(GOOD, finished_at=NOW - timedelta(days=days)),
        absent_since=NOW,
        usual=None if usual is None else timedelta(days=usual),
    )
    answer, _, problems = judged(table)
    assert answer == ("yes, but" if says else "yes")
    assert problems == [("WARN", "data", f"its file is absent; its rows of {says}")] * bool(says)


def test_a_file_that_only_partial_exports_lacked_is_no_doubt() -> None:
    table = replace(FINE, absent_since=NOW, expected=False)
    assert judged(table)[0] == "yes"


def test_a_database_that_lacks_too_much_to_look_at_is_no_yes() -> None:
    verdict = judge(Facts(NOW, "db", "development", (), (), (PENDING,)))
    assert (verdict.answer, verdict.why) == ("no", "a migration is not applied")


def test_how_often_files_come_is_the_median_of_new_contents(session: Connection) -> None:
    for days in (40, 30, 23, 16, 9):
        imported(session, "documents", hours_ago=24 * days)
        imported(session, "documents", hours_ago=24 * days - 1, status="skipped")
    imported(session, "kinships", hours_ago=48)
    found = standing.read(session, ["documents", "kinships"])
    assert found["documents"].usual == timedelta(days=7)
    assert found["kinships"].usual is None  # too little to know


def test_a_replay_that_failed_is_over_when_the_next_one_works(session: Connection) -> None:
    def replay(status: str, hours_ago: float) -> None:
        uri = "quarantine:documents"
        error = "documents: no room" if status == "failed" else None
        imported(session, "documents", hours_ago=hours_ago, status=status, uri=uri, error=error)

    imported(session, "documents", hours_ago=5)
    replay("failed", 4)
    assert standing.read(session, ["documents"])["documents"].error == "documents: no room"
    replay("imported", 3)
    assert standing.read(session, ["documents"])["documents"].failing_since is None


def test_a_replay_that_works_does_not_hide_that_the_file_failed(session: Connection) -> None:
    everything_fine(session)
    imported(session, "documents", hours_ago=-1, status="failed", error="documents: it is empty")
    imported(session, "documents", hours_ago=-2, uri="quarantine:documents")
    assert standing.read(session, ["documents"])["documents"].error == "documents: it is empty"
    (found,) = [one for one in status.read(session) if one.table == "documents"]
    assert (found.status, found.error) == ("failed", "documents: it is empty")


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
