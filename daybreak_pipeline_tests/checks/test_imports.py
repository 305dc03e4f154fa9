"""What imports did: how many records came, how many were refused, and which columns the file had."""

from __future__ import annotations

import pytest

from daybreak_pipeline.checks.imports import ENOUGH_IMPORTS
from daybreak_pipeline_tests.checks.examining import another, examine, failing, only_failing
from daybreak_pipeline_tests.exports import Export, record, uuid

Row = dict[str, str | None]


def documents(number: int, **values: str | None) -> list[Row]:
    """Return records that differ from each other."""
    return [record("documents", f"row{n}", label=f"label {n}", **values) for n in range(number)]


# --- Quarantine ----------------------------------------------------------------------------------------


def test_a_refused_record_that_no_other_check_tells_of_is_a_warning(export: Export) -> None:
    export.load("documents", *documents(20), record("documents", "bad", version="x"))
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity, finding.counts) == ("quarantine_rate", "WARN", {"invalid_value": 1})
    assert (finding.count, finding.total, finding.rows) == (1, 21, ("record 21",))
    assert finding.summary == "1 of 21 records of the last file (4.8 %) are in quarantine: invalid_value: 1"
    assert len(export.connection.execute(finding.sql.encode()).fetchall()) == 1


def test_a_malformed_record_is_told_by_its_number(export: Export) -> None:
    path = export.write("documents", *documents(20))
    path.write_bytes(path.read_bytes() + b"too,short\n")
    export.load("documents")
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.counts, finding.rows) == (
        "quarantine_rate",
        {"malformed_record": 1},
        ("record 21",),
    )


def test_refused_records_that_another_check_tells_of_are_not_told_twice(export: Export) -> None:
    lacking = [record("documents", f"bad{n}", label=None) for n in range(2)]
    export.load("documents", *documents(38), *lacking)
    rule, _ = only_failing(export, "documents")
    assert rule == "required_values"
    rate = examine(export, "documents")["quarantine_rate"]
    assert (rate.passed, rate.count, rate.percent) == (True, 2, 5.0)


def test_more_than_one_record_in_twenty_refused_is_an_error(export: Export) -> None:
    lacking = [record("documents", f"bad{n}", label=None) for n in range(3)]
    export.load("documents", *documents(38), *lacking)
    found = failing(export, "documents")
    assert set(found) == {"required_values", "quarantine_rate"}
    assert (found["quarantine_rate"].severity, found["quarantine_rate"].count) == ("ERROR", 3)


def test_a_record_that_was_repaired_is_no_longer_counted(export: Export) -> None:
    export.load("documents", record("documents", "bad", version="x"), *documents(3))
    assert set(failing(export, "documents")) == {"quarantine_rate"}
    export.load("documents", record("documents", "bad", version="9"), *documents(3))
    assert failing(export, "documents") == {}


# --- How many records came -----------------------------------------------------------------------------


def after(export: Export, *numbers: int) -> None:
    """Import a file of so many records, one after the other."""
    for position, number in enumerate(numbers):
        day = f"2025-07-{position + 1:02d}T00:00:00"
        export.load("documents", *documents(number, updated_at=day))


def test_without_a_history_no_number_is_unusual(export: Export) -> None:
    after(export, *[20] * (ENOUGH_IMPORTS - 1), 2)
    finding = examine(export, "documents")["row_count_change"]
    assert finding.passed
    assert finding.summary == "not enough history: 2 records after 4 of 5 earlier imports"


def test_as_many_records_as_usual_pass(export: Export) -> None:
    after(export, 20, 21, 19, 20, 22, 21)
    finding = examine(export, "documents")["row_count_change"]
    assert finding.passed
    assert finding.summary == "21 records, 1 more than the median of 5 earlier imports (20, 5.0 %)"


@pytest.mark.parametrize(
    ("last", "severity", "label"),
    [
        (14, "WARN", "fewer records than usual"),
        (26, "WARN", "more records than usual"),
        (9, "ERROR", "fewer records than usual"),
        (0, "ERROR", "fewer records than usual"),
        (41, "ERROR", "more records than usual"),
    ],
)
def test_another_number_of_records_than_usual_fails(
    export: Export, last: int, severity: str, label: str
) -> None:
    after(export, *[20] * ENOUGH_IMPORTS)
    if last:
        after(export, last)
    else:
        export.write("documents", header=list(record("documents")))
        export.load("documents")
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity, finding.counts) == ("row_count_change", severity, {label: abs(last - 20)})


def test_what_varies_may_go_on_varying(export: Export) -> None:
    after(export, 10, 16, 22, 13, 19, 25)
    assert failing(export, "documents") == {}


def test_one_odd_import_does_not_change_what_is_usual(export: Export) -> None:
    after(export, 20, 20, 60, 20, 20, 20)
    assert failing(export, "documents") == {}


def test_a_file_that_was_skipped_is_no_history(export: Export) -> None:
    export.load("documents", *documents(3))
    for _ in range(ENOUGH_IMPORTS):
        assert export.load("documents")["status"] == "skipped"
    assert "not enough history" in examine(export, "documents")["row_count_change"].summary


# --- Columns of the file -------------------------------------------------------------------------------


def test_an_unknown_column_whose_values_go_nowhere_is_a_warning(export: Export) -> None:
    one, two, three = documents(3)
    export.load("documents", one | {"shelf": "a"}, two | {"shelf": "b"}, three)
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity) == ("schema_drift", "WARN")
    assert finding.counts == {"shelf new (2 values, not stored)": 1}


def test_an_unknown_column_without_values_passes(export: Export) -> None:
    export.load("documents", *(r | {"census_person_id": None, "_file": "x"} for r in documents(3)))
    assert failing(export, "documents") == {}
    assert "1 unknown" in examine(export, "documents")["schema_drift"].summary


def test_an_unknown_column_that_is_kept_is_told_when_it_is_new(export: Export) -> None:
    people = [record("patients_and_guardians", word) for word in ("patient", "child")]
    export.load("patients_and_guardians", *(person | {"shelf": "a"} for person in people))
    rule, finding = only_failing(export, "patients_and_guardians")
    assert (rule, finding.counts) == ("schema_drift", {"shelf new (2 values, kept as an export column)": 1})
    export.load(
        "patients_and_guardians",
        *(person | {"shelf": "b", "updated_at": "2025-07-01T00:00:00"} for person in people),
    )
    assert failing(export, "patients_and_guardians") == {}


def test_what_a_first_file_has_besides_the_schema_is_kept_without_ado(export: Export) -> None:
    export.load("memberships", another("memberships") | {"shelf": "a"})
    assert failing(export, "memberships") == {}


@pytest.mark.parametrize(("old", "new"), [("version_date", "versiondate"), ("checkboxes", "check_boxes")])
def test_a_missing_column_and_a_similar_unknown_one_are_one_renamed(
    export: Export, old: str, new: str
) -> None:
    export.load("documents", *(r | {new: "7"} for r in documents(2)))
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity) == ("schema_drift", "WARN")
    assert finding.counts == {f"{old} renamed to {new} (2 values)": 1}


def test_a_column_that_is_there_is_not_renamed(export: Export) -> None:
    export.load("documents", *(r | {"checkboxes": "[]", "check_boxes": None} for r in documents(2)))
    assert failing(export, "documents") == {}


def test_a_column_that_the_file_before_had_is_missed_once(export: Export) -> None:
    export.load("documents", *documents(2, version="7"))
    export.load("documents", *documents(2, updated_at="2025-07-01T00:00:00"))
    for _ in range(2):  # the same file read again is no other file
        rule, finding = only_failing(export, "documents")
        assert (rule, finding.counts) == ("schema_drift", {"version gone": 1})
        export.load("documents", full=True)
    export.load("documents", *documents(2, updated_at="2025-07-02T00:00:00"))
    assert failing(export, "documents") == {}


def test_a_stray_column_that_came_once_is_not_missed_for_ever(export: Export) -> None:
    for day in ("01", "02", "03", "04"):
        stray: dict[str, str | None] = {"stray": "x"} if day == "02" else {}
        export.load("documents", *documents(2, updated_at=f"2025-07-{day}T00:00:00", **stray))
        assert ("schema_drift" in failing(export, "documents")) is (day in {"02", "03"})


def test_optional_columns_that_never_came_are_not_missed(export: Export) -> None:
    export.load("documents", *documents(2))
    finding = examine(export, "documents")["schema_drift"]
    assert finding.passed
    assert "optional ones missing" in finding.summary


def test_the_ledger_keeps_the_header_of_a_file_that_was_read(export: Export) -> None:
    export.load("documents", record("documents") | {"shelf": "a", "_line": "1"})
    export.load("documents")
    kept = export.connection.execute(
        "SELECT status, source_columns, unknown_values FROM ingest.imports WHERE table_name = 'documents' ORDER BY id"
    ).fetchall()
    assert kept == [
        ("imported", ["id", "label", "updated_at", "shelf", "_line"], {"shelf": 1}),
        ("skipped", None, None),
    ]
    assert uuid("documents") not in str(kept)
