"""Accepted findings: what they silence, for how long, and when they are findings again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from daybreak_pipeline.checks import acceptance, history
from daybreak_pipeline.checks.acceptance import Acceptance
from daybreak_pipeline.checks.findings import Finding, Tally, Wording, conclude
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.tables import Threshold
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record

WORDING = Wording("odd row", "odd rows", "no row is odd", of="rows")
TODAY = date(2026, 3, 1)
WHY = "the sender mends it in May"


def found(*tallies: Tally, threshold: Threshold = Threshold()) -> Finding:  # noqa: B008 - frozen
    return conclude(WORDING, threshold, tallies, 100)


def accepted(column: str | None = None, until: date | None = None, **counts: int) -> Acceptance:
    at = datetime(2026, 2, 1, tzinfo=UTC)
    return Acceptance(1, "documents", "orphans", column, counts, WHY, until, at, "account ann")


def judge(finding: Finding, *given: Acceptance, threshold: Threshold = Threshold()) -> Finding:  # noqa: B008 - frozen
    return acceptance.judge(finding, given, threshold, TODAY)


# --- What is accepted, and what is open again -------------------------------------------------------------


def test_what_is_accepted_passes_and_says_who_and_why_and_until_when() -> None:
    seen = judge(found(Tally("here", 3)), accepted(here=3, until=TODAY))
    assert (seen.passed, seen.is_accepted, seen.count) == (True, True, 3)
    assert seen.accepted == (f"3 accepted by account ann on 2026-02-01 until 2026-03-01: {WHY}",)


def test_a_reason_does_not_turn_the_words_around_it() -> None:
    """Dagster shows what is told as it is."""
    turned = replace(accepted(here=3), why="known \u202e since May", accepted_by="\u2066ann")
    assert turned.told == r"3 accepted by \u2066ann on 2026-02-01: known \u202e since May"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_fewer_than_were_accepted_stay_accepted(number: int) -> None:
    assert judge(found(Tally("here", number)), accepted(here=3)).is_accepted


def test_one_more_than_was_accepted_is_a_finding_again() -> None:
    seen = judge(found(Tally("here", 4)), accepted(here=3))
    assert (seen.passed, seen.is_accepted, seen.severity, seen.count) == (False, False, "ERROR", 4)
    assert seen.summary.endswith("(more than the 3 that account ann accepted on 2026-02-01)")


def test_after_its_last_day_it_is_a_finding_again() -> None:
    seen = judge(found(Tally("here", 3)), accepted(here=3, until=TODAY - timedelta(days=1)))
    assert not seen.passed
    assert seen.summary.endswith("(was accepted until 2026-02-28)")


def test_another_kind_is_not_hidden_by_what_was_accepted() -> None:
    """However few there are: two of the first kind have gone, and one of another has come."""
    seen = judge(found(Tally("here", 1, ("a",)), Tally("there", 1, ("b",))), accepted(here=3))
    assert (seen.passed, seen.is_accepted, seen.count, seen.counts) == (False, False, 1, {"there": 1})
    assert seen.rows == ("b",)
    assert "1 of them accepted" in seen.summary


def test_what_is_left_is_as_severe_as_it_is_alone() -> None:
    lenient = Threshold(error=None)
    both = found(Tally("lost", 1, lost=True), Tally("here", 1), threshold=lenient)
    assert both.severity == "ERROR"
    assert judge(both, accepted(lost=1), threshold=lenient).severity == "WARN"
    assert judge(both, accepted(here=1), threshold=lenient).severity == "ERROR"


def test_what_is_left_may_be_within_what_is_tolerated() -> None:
    tolerant = Threshold(warn=0.01, error=0.05)
    seen = judge(found(Tally("a", 9), Tally("b", 1), threshold=tolerant), accepted(a=9), threshold=tolerant)
    assert (seen.passed, seen.is_accepted) == (True, True)


def test_a_kind_keeps_its_name_when_its_label_changes() -> None:
    monday, tuesday = Tally("x (5 values)", 1, key="x"), Tally("x (7 values)", 1, key="x")
    assert judge(found(monday), accepted(x=1)).is_accepted
    assert judge(found(tuesday), accepted(x=1)).is_accepted


def test_a_failure_that_counted_nothing_cannot_be_accepted() -> None:
    empty = Finding("the newest file is empty", 0, 9, "ERROR", passed=False)
    assert judge(empty, accepted(here=3)) == empty
    assert not acceptance.can_be_accepted("missing_rows", empty)


# --- In the database --------------------------------------------------------------------------------------


def check(export: Export, run_id: str) -> dict[str, Finding]:
    """Check documents, keep the results, and return them as they count."""
    findings = examine(export, "documents")
    history.append(export.connection, "documents", findings, run_id=run_id)
    return acceptance.judged(acceptance.in_force(export.connection), "documents", findings)


def bad(number: int, **values: str | None) -> list[dict[str, str | None]]:
    """Return documents without a label."""
    return [record("documents", f"bad{n}", **{"label": None} | values) for n in range(number)]


def accept(export: Export, check_name: str = "required_values", **options: object) -> Acceptance:
    given = {"why": WHY, "who": "account ann"} | options
    return acceptance.accept(export.connection, "documents", check_name, **given)  # type: ignore[arg-type]


def test_accepted_and_grown_and_reopened(export: Export) -> None:
    export.load("documents", record("documents", "good"), *bad(2))
    assert not check(export, "first")["required_values"].passed
    accept(export)
    assert check(export, "second")["required_values"].is_accepted
    assert acceptance.silent(export.connection) == {("documents", "required_values")}
    export.load("documents", record("documents", "good"), *bad(3))
    assert not check(export, "third")["required_values"].passed
    assert acceptance.silent(export.connection) == set()
    accept(export, why="known too", who="account bob")
    assert check(export, "fourth")["required_values"].is_accepted
    assert acceptance.reopen(export.connection, "documents", "required_values", who="account ann") == 1
    assert not check(export, "fifth")["required_values"].passed
    kept = export.connection.execute(
        "SELECT counts, why, accepted_by, reopened_by FROM ingest.accepted_findings ORDER BY id"
    ).fetchall()
    assert kept == [
        ({"label (quarantined)": 2}, WHY, "account ann", "account bob"),
        ({"label (quarantined)": 3}, "known too", "account bob", "account ann"),
    ]


def test_the_history_keeps_what_was_found(export: Export) -> None:
    export.load("documents", *bad(2))
    check(export, "first")
    accept(export)
    check(export, "second")
    kept = export.connection.execute(
        "SELECT passed, failed FROM ingest.check_results WHERE check_name = 'required_values' ORDER BY id"
    ).fetchall()
    assert kept == [(False, 2), (False, 2)]


def test_one_column_is_accepted_and_the_others_are_not(export: Export) -> None:
    export.load("documents", *bad(2), record("documents", "worse", created_at="2999-01-01T00:00:00"))
    export.connection.execute("UPDATE documents SET updated_at = '1999-01-01'")
    assert check(export, "first")["timestamps"].counts == {
        "created_at after updated_at": 1,
        "created_at in the future": 1,
        "updated_at before 2000": 1,
    }
    accept(export, "timestamps", column="created_at")
    seen = check(export, "second")["timestamps"]
    assert (seen.passed, seen.counts) == (False, {"updated_at before 2000": 1})
    accept(export, "timestamps", column="updated_at")
    assert check(export, "third")["timestamps"].is_accepted
    acceptance.reopen(export.connection, "documents", "timestamps", column="updated_at", who="account ann")
    assert not check(export, "fourth")["timestamps"].passed


@pytest.mark.parametrize(
    ("name", "options", "why_not"),
    [
        ("valid_enums", {}, "documents.valid_enums passes: there is nothing to accept"),
        ("row_accounting", {}, "row_accounting cannot be accepted: it says that an import failed"),
        (
            "required_values",
            {"column": "version"},
            "nothing that can be accepted in version: it fails for label",
        ),
        ("required_values", {"why": " \n"}, "a reason of 1 to 500 characters"),
        ("required_values", {"why": "a" * 501}, "a reason of 1 to 500 characters"),
        ("required_values", {"why": "\u200b\u202e"}, "a reason of 1 to 500 characters"),
        ("required_values", {"why": "..."}, "a reason of 1 to 500 characters"),
        ("required_values", {"why": "known\x00"}, "characters that cannot be shown"),
        ("required_values", {"why": "known\udcff"}, "characters that cannot be shown"),
        (
            "required_values",
            {"seen": "something else"},
            "documents.required_values has found something else since",
        ),
        ("required_values", {"until": date(2020, 1, 1)}, "2020-01-01 has passed"),
        ("phase_of_the_moon", {}, "documents.phase_of_the_moon has no result: run daybreak check first"),
    ],
)
def test_what_cannot_be_accepted_is_refused_and_says_why(
    export: Export, name: str, options: dict[str, object], why_not: str
) -> None:
    export.load("documents", *bad(1))
    check(export, "first")
    with pytest.raises(UsageError, match=why_not):
        accept(export, name, **options)
    assert not acceptance.in_force(export.connection)


def test_there_is_nothing_to_reopen(export: Export) -> None:
    with pytest.raises(
        UsageError, match=r"nothing is accepted of documents.orphans of label: see daybreak checks list"
    ):
        acceptance.reopen(export.connection, "documents", "orphans", column="label", who="account ann")


def test_accepted_missing_rows_do_not_hide_an_empty_file(export: Export) -> None:
    export.load("documents", *(record("documents", f"{n}") for n in range(4)))
    export.load("documents", record("documents", "0", version="2", updated_at="2025-08-01T00:00:00"))
    check(export, "first")
    accept(export, "missing_rows")
    assert check(export, "second")["missing_rows"].is_accepted
    export.write("documents")
    export.load("documents")
    assert not check(export, "third")["missing_rows"].passed


def test_on_an_older_schema_nothing_is_accepted(export: Export) -> None:
    export.connection.execute("DROP TABLE ingest.accepted_findings")
    assert not acceptance.in_force(export.connection)
    assert acceptance.silent(export.connection) == set()


def test_a_stray_column_warns_until_it_is_accepted(export: Export) -> None:
    for day in ("01", "02"):
        export.load("documents", record("documents", stray="x", updated_at=f"2025-07-{day}T00:00:00"))
        assert not check(export, day)["schema_drift"].passed
    accept(export, "schema_drift", column="stray")
    export.load("documents", record("documents", stray="y", updated_at="2025-07-03T00:00:00"))
    assert check(export, "03")["schema_drift"].is_accepted
    export.load("documents", record("documents", stray="y", other="z", updated_at="2025-07-04T00:00:00"))
    seen = check(export, "04")["schema_drift"]
    assert (seen.passed, seen.counts) == (False, {"other new (1 values, not stored)": 1})
