"""Every finding says in which file, and in which records of it; and its SQL shows these rows and no others."""

from __future__ import annotations

from daybreak_pipeline.checks import history
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import NOON, Export, record


def test_a_row_a_refused_record_and_a_repaired_value_name_file_and_record(export: Export) -> None:
    export.load(
        "questionnaires",
        record("questionnaires", "good", created_at=NOON),
        record("questionnaires", "odd", created_at="2999-01-01T00:00:00", question_answers="no JSON"),
        record("questionnaires", "bad", type=None),
    )
    findings = examine(export, "questionnaires")
    assert findings["timestamps"].places == {"questionnaires.csv": [2]}
    assert findings["valid_json"].places == {"questionnaires.csv": [2]}
    assert findings["required_values"].places == {"questionnaires.csv": [3]}
    assert findings["quarantine_rate"].places == {"questionnaires.csv": [3]}
    assert {finding.file for finding in findings.values()} == {"questionnaires.csv"}


def test_a_record_that_loaded_from_quarantine_is_one_of_its_file(export: Export) -> None:
    stray = record("memberships", "stray", organization_id="later", created_at="2999-01-01T00:00:00")
    export.load("memberships", record("memberships", "fine", created_at=NOON), stray)
    export.load("organizations", record("organizations", "later", name="Later School"))
    export.load("memberships")
    assert examine(export, "memberships")["timestamps"].places == {"memberships.csv": [2]}


def test_a_finding_is_kept_with_its_places(export: Export) -> None:
    export.load("documents", record("documents", "bad", label=None))
    finding = examine(export, "documents")["required_values"]
    history.append(export.connection, "documents", {"required_values": finding}, run_id="first")
    (kept,) = export.connection.execute("SELECT details FROM ingest.check_results").fetchone() or [{}]
    facts = {name: getattr(finding, name) for name in ("summary", "count", "total", "severity", "passed")}
    again = history.read(facts, kept)
    assert again.places == {"documents.csv": [1]}
    assert again.faults == finding.faults


def test_each_query_shows_the_rows_of_its_own_column_and_rule(export: Export) -> None:
    """The records have other faults and other columns: each is shown where it belongs."""
    export.load(
        "clinicians",
        record("clinicians", "one", id=None),
        record("clinicians", "two", created_at="never", updated_at=None),
        record("clinicians", "three", created_at="never"),
        record("clinicians", "four", account_status="900"),
    )
    for finding in examine(export, "clinicians").values():
        for tally in finding.faults:
            if tally.sql:
                rows = export.connection.execute(tally.sql.encode()).fetchall()
                assert len(rows) == tally.count, (tally.label, tally.sql)


def test_each_change_by_hand_has_a_query_of_its_own(export: Export) -> None:
    export.connection.execute("ALTER TABLE documents ADD COLUMN a text, ADD COLUMN b text")
    finding = examine(export, "documents")["database_matches_migrations"]
    assert len(finding.faults) == 2
    for tally in finding.faults:
        (shown,) = export.connection.execute(tally.sql.encode()).fetchall()
        assert shown[:2] == ("column", tally.columns[0])
