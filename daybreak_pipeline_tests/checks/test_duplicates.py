"""What is there twice: in the file, by its natural key, and rows that look the same."""

from __future__ import annotations

import pytest

from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.checks.examining import another, failing, only_failing
from daybreak_pipeline_tests.exports import NOON, Export, record, uuid


def test_an_older_record_of_the_same_id_is_a_warning(export: Export) -> None:
    export.load(
        "documents", record("documents", "one"), record("documents", "one", updated_at="2025-01-01T00:00:00")
    )
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity) == ("duplicates", "WARN")
    assert finding.counts == {"older records of the same id in the last file": 1}
    assert (finding.count, finding.total, finding.percent) == (1, 2, 50.0)


def test_only_the_last_file_tells_of_older_records(export: Export) -> None:
    export.load("documents", record("documents", "one"), record("documents", "one"))
    export.load("documents", record("documents", "one"))
    assert failing(export, "documents") == {}


def test_change_data_may_bring_several_versions_of_a_record(export: Export) -> None:
    versions = [record("clinician_availabilities", "1", updated_at=f"2025-06-2{n}T00:00:00") for n in (6, 7)]
    export.load("clinician_availabilities", *versions)
    assert failing(export, "clinician_availabilities") == {}


def test_another_id_with_the_same_natural_key_is_an_error(export: Export) -> None:
    export.load("memberships", record("memberships", "one"), record("memberships", "two"))
    rule, finding = only_failing(export, "memberships")
    assert (rule, finding.severity) == ("duplicates", "ERROR")
    assert finding.counts == {"user_id, organization_id (quarantined)": 1}
    assert finding.rows == (uuid("two"),)


def test_records_that_were_refused_are_not_counted_together_with_older_versions(export: Export) -> None:
    one = record("memberships", "one")
    export.load("memberships", one | {"updated_at": "2025-01-01T00:00:00"}, one, record("memberships", "two"))
    rule, finding = only_failing(export, "memberships")
    assert (rule, finding.severity) == ("duplicates", "ERROR")
    assert (finding.count, finding.total) == (1, 2)
    assert finding.summary == (
        "1 record refused as a duplicate, 50.0 % of 2 rows and records (user_id, organization_id (quarantined): 1); "
        "without loss: older records of the same id in the last file: 1"
    )
    assert finding.counts == {
        "older records of the same id in the last file": 1,
        "user_id, organization_id (quarantined)": 1,
    }


TWICE = [
    ("patients_and_guardians", {"supabase_id": uuid("login")}, {}),
    ("clinicians", {"healthie_id": "12"}, {}),
    ("kinships", {}, {"user_0_id": "child", "user_1_id": "patient"}),
    ("questionnaires", {"completed_at": NOON}, {}),
    ("clinician_credentialed_insurances", {"name": "Twice"}, {"name": "TWICE"}),
    ("insurance_coverages", {"member_id": "M1", "insurance_company_name": "Any"}, {}),
    ("contracts", {"contract_url": "https://example.org/1.pdf"}, {}),
    ("referrals", {"referred_at": NOON}, {}),
    ("documents", {"version": "3"}, {}),
]


def test_every_table_that_can_have_the_same_thing_twice_is_tried_below() -> None:
    declared = {name for name, table in TABLES.items() if table.likely_same}
    assert declared == {table for table, _, _ in TWICE} | {"clinician_availabilities"}


@pytest.mark.parametrize(("table", "values", "differing"), TWICE)
def test_rows_that_look_the_same_are_a_warning(
    export: Export, table: str, values: dict[str, str], differing: dict[str, str]
) -> None:
    export.load(table, another(table, "one", **values), another(table, "two", **values | differing))
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.count) == ("duplicates", "WARN", 1)
    assert next(iter(finding.counts)).startswith("rows with the same ")
    assert len(finding.rows) == 1
    assert set(finding.rows) < {uuid("one"), uuid("two")}
    (found,) = export.connection.execute(finding.sql.encode()).fetchall()
    assert {str(one) for one in found[0]} == {uuid("one"), uuid("two")}


def test_windows_of_one_clinician_at_the_same_time_are_a_warning(export: Export) -> None:
    export.load("clinician_availabilities", *(record("clinician_availabilities", n) for n in "12"))
    rule, finding = only_failing(export, "clinician_availabilities")
    assert (rule, finding.severity, finding.count) == ("duplicates", "WARN", 1)


def test_a_deleted_row_is_no_duplicate(export: Export) -> None:
    pair = [record("documents", word) for word in ("one", "two")]
    export.load("documents", *pair)
    assert set(failing(export, "documents")) == {"duplicates"}
    export.load(
        "documents", pair[0], pair[1] | {"_fivetran_deleted": "true", "updated_at": "2025-07-01T00:00:00"}
    )
    assert failing(export, "documents") == {}


def test_what_is_empty_is_not_the_same(export: Export) -> None:
    export.load("questionnaires", record("questionnaires", "one"), record("questionnaires", "two"))
    assert failing(export, "questionnaires") == {}
