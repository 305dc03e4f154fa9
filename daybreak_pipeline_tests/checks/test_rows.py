"""Shapes of JSON, constants and times: planted in a file, found in the table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.checks.examining import another, examine, failing, only_failing
from daybreak_pipeline_tests.exports import NOON, Export, record, uuid

# --- Shapes of JSON ------------------------------------------------------------------------------------

WEEK = [{"day": "Monday", "time_blocks": [{"start": "08:00:00", "duration": 60}]}]
TERMS = [{"kind": "hourly", "services": ["onsite_care"], "session_cap": None}]
GOOD = [
    ("patient_availabilities", "availability", WEEK),
    ("patient_availabilities", "availability", [{"day": "Monday", "time_blocks": []}]),
    ("contracts", "terms", TERMS),
    ("contracts", "terms", [*TERMS, {"kind": "overage", "services": [], "caps": {"monthly": 20}}]),
    ("questionnaires", "question_answers", {"question_1_answer": 3, "question_2_answer": "no", "q": None}),
    ("documents", "urls", {"eng": "https://example.org", "spa": "https://example.org"}),
    ("referrals", "notes", {"request_rejected_cause": "Not Engaged"}),
]
BAD = [
    ("patient_availabilities", "availability", {"day": "Monday"}),
    ("patient_availabilities", "availability", ["Monday"]),
    ("patient_availabilities", "availability", [WEEK]),
    ("patient_availabilities", "availability", [*WEEK, {"time_blocks": []}]),
    ("patient_availabilities", "availability", [{"day": 1, "time_blocks": []}]),
    ("patient_availabilities", "availability", [{"day": "Monday", "time_blocks": "08:00"}]),
    ("patient_availabilities", "availability", [{"day": "Monday", "time_blocks": [{"start": "08:00:00"}]}]),
    (
        "patient_availabilities",
        "availability",
        [{"day": "Monday", "time_blocks": [{"start": "8", "duration": "1"}]}],
    ),
    ("contracts", "terms", TERMS[0]),
    ("contracts", "terms", ["hourly"]),
    ("contracts", "terms", [{"services": []}]),
    ("contracts", "terms", [{"kind": "hourly", "services": "onsite_care"}]),
    ("questionnaires", "question_answers", [1, 2]),
    ("questionnaires", "question_answers", {"question_1_answer": {"value": 3}}),
    ("questionnaires", "question_answers", {"question_1_answer": [3]}),
    ("documents", "urls", ["https://example.org"]),
    ("documents", "urls", {"eng": 7}),
    ("documents", "names", {"eng": None}),
    ("referrals", "notes", "Not Engaged"),
    ("organizations", "config", []),
    ("memberships", "profile_data", 7),
]


@pytest.mark.parametrize(("table", "column", "value"), GOOD)
def test_json_as_documented_passes(export: Export, table: str, column: str, value: object) -> None:
    export.load(table, another(table, **{column: json.dumps(value)}))
    assert failing(export, table) == {}


@pytest.mark.parametrize(("table", "column", "value"), BAD)
def test_json_of_another_shape_is_a_warning(export: Export, table: str, column: str, value: object) -> None:
    export.load(table, another(table, "odd", **{column: json.dumps(value)}))
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.count) == ("valid_json", "WARN", 1)
    assert next(iter(finding.counts)).startswith(f"{column} (not an ")
    assert finding.rows == (uuid("odd"),)
    (found,) = export.connection.execute(finding.sql.encode()).fetchall()
    assert str(found[0]) == uuid("odd")


@pytest.mark.parametrize("table", TABLES)
def test_every_shape_is_of_a_json_column_that_can_be_read(export: Export, table: str) -> None:
    declared = TABLES[table]
    rows = export.connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND atttypid = 'jsonb'::regtype",
        [table],
    ).fetchall()
    # What is sealed is NULL in its plain column.
    assert {shape.column for shape in declared.json_shapes} == {r[0] for r in rows} - set(
        declared.sealed_columns
    )


# --- Constants -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["organizations", "referrals"])
@pytest.mark.parametrize("value", [uuid("other market"), None])
def test_a_row_of_another_market_is_an_error(export: Export, table: str, value: str | None) -> None:
    word = {"organizations": "school", "referrals": "referral"}[table]
    assert examine(export, table)["constants"].passed
    export.connection.execute(f"UPDATE {table} SET market_id = %s".encode(), [value])  # noqa: S608 - a table of this project
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.counts) == ("constants", "ERROR", {"market_id": 1})
    assert finding.rows == (uuid(word),)


def test_a_file_with_another_market_is_corrected_by_its_import(export: Export) -> None:
    export.load("organizations", record("organizations", "school", market_id=uuid("other market")))
    assert failing(export, "organizations") == {}


# --- Times ---------------------------------------------------------------------------------------------


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("table", "values", "label"),
    [
        (
            "documents",
            {"created_at": "2025-06-26T00:00:00", "updated_at": NOON},
            "created_at after updated_at",
        ),
        ("documents", {"_fivetran_synced": tomorrow()}, "_fivetran_synced in the future"),
        ("documents", {"updated_at": tomorrow()}, "updated_at in the future"),
        ("questionnaires", {"completed_at": tomorrow()}, "completed_at in the future"),
        ("questionnaires", {"started_at": "1970-01-01T00:00:00"}, "started_at before 2000"),
        ("referrals", {"scheduled_at": "1999-12-31T23:59:59"}, "scheduled_at before 2000"),
        ("clinician_availabilities", {"range_start": "0205-01-01T00:00:00"}, "range_start before 2000"),
    ],
)
def test_a_time_that_cannot_be_is_a_warning(
    export: Export, table: str, values: dict[str, str], label: str
) -> None:
    broken = another(table, "9", **values)
    export.load(table, broken)
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.counts) == ("timestamps", "WARN", {label: 1})
    assert finding.rows == (broken["id"],)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("documents", {"created_at": NOON, "updated_at": NOON}),
        ("documents", {"created_at": "2000-01-01T00:00:00"}),
        ("referrals", {"scheduled_at": tomorrow()}),
        ("clinician_availabilities", {"end_on": tomorrow()}),
    ],
)
def test_a_time_that_can_be_passes(export: Export, table: str, values: dict[str, str]) -> None:
    export.load(table, another(table, "9", **values))
    assert failing(export, table) == {}


def test_a_file_without_the_time_of_creation_has_no_fault(export: Export) -> None:
    """The import fills in its own time, which is later than any update."""
    export.load("documents", record("documents"))
    assert export.connection.execute("SELECT created_at > updated_at FROM documents").fetchall() == [(True,)]
    assert failing(export, "documents") == {}


# --- An empty table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["documents", "kinships", "clinician_availabilities", "memberships"])
def test_an_empty_file_into_an_empty_table_passes_everything(export: Export, table: str) -> None:
    export.write(table, header=list(record(table)))
    export.load(table)
    assert failing(export, table) == {}
    assert {finding.count for finding in examine(export, table).values()} == {0}
