"""Every result is kept, once for each run, and without a value of any record."""

from __future__ import annotations

from daybreak_pipeline.checks import history
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record, uuid


def kept(export: Export) -> list[tuple[object, ...]]:
    return export.connection.execute(
        "SELECT run_id, check_name, passed, severity, failed, total, description, details "
        "FROM ingest.check_results ORDER BY id"
    ).fetchall()


def test_each_check_of_a_run_is_one_row(export: Export) -> None:
    export.load("documents", record("documents", "one"), record("documents", "bad", label=None))
    history.append(export.connection, "documents", examine(export, "documents"), run_id="first")
    rows = kept(export)
    assert [row[1] for row in rows] == [rule.name for rule in RULES]
    assert {row[0] for row in rows} == {"first"}
    (required,) = [row for row in rows if row[1] == "required_values"]
    assert required[2:7] == (
        False,
        "ERROR",
        1,
        2,
        "1 required value missing, 50.0 % of 2 rows and records (label (quarantined): 1)",
    )
    details = required[7]
    assert isinstance(details, dict)
    assert details["counts"] == {"label (quarantined)": 1}
    assert (details["rows"], details["percent"]) == ([uuid("bad")], 50.0)
    assert len(export.connection.execute(details["sql"].encode()).fetchall()) == 1


def test_a_step_that_is_tried_again_tells_nothing_twice(export: Export) -> None:
    for run_id in ("first", "first", "second", None, None):
        history.append(export.connection, "documents", examine(export, "documents"), run_id=run_id)
    assert len(kept(export)) == 4 * len(RULES)


def test_no_check_is_no_row(export: Export) -> None:
    history.append(export.connection, "documents", {}, run_id="first")
    assert kept(export) == []
