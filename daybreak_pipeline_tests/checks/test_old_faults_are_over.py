"""A check judges the file and the table of now: no other import, and nothing that is over."""

from __future__ import annotations

import pytest

from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.schema import catalog
from daybreak_pipeline_tests.exports import Export, record


def found(export: Export, check: str, table: str = "documents") -> Finding:
    return examine(export.connection, catalog.read(export.connection, table), {check})[check]


def test_accounting_judges_the_import_of_its_own_table(export: Export) -> None:
    export.load("documents", record("documents", "a"), record("documents", "b"))
    # What another table's import has, or has lost, is none of this one's business.
    export.load(
        "kinships",
        record("kinships", "a"),
        record("kinships", "b", user_1_id="other"),
        record("kinships", "c"),
    )
    export.connection.execute("DELETE FROM kinships")
    finding = found(export, "row_accounting")
    assert (finding.passed, finding.total) == (True, 2)


def test_accounting_judges_the_last_file_and_not_one_before_it(export: Export) -> None:
    export.load("documents", *(record("documents", word) for word in ("a", "b", "c")))
    export.load("documents", record("documents", "d"))
    finding = found(export, "row_accounting")
    assert (finding.passed, finding.total) == (True, 1)


def test_accounting_fails_while_the_newest_attempt_failed_and_no_longer(export: Export) -> None:
    export.load("documents", record("documents", "a"))
    export.write_bytes("documents", b"")
    with pytest.raises(ImportFailedError):
        export.load("documents")
    assert not found(export, "row_accounting").passed
    export.load("documents", record("documents", "a"))
    assert found(export, "row_accounting").passed


def test_a_fault_that_a_later_file_has_mended_is_over(export: Export) -> None:
    export.load("documents", record("documents", "a", label=None, created_at="yesterday"))
    assert not found(export, "required_values").passed
    assert not found(export, "quarantine_rate").passed
    export.load("documents", record("documents", "a"))
    assert found(export, "required_values").passed
    assert found(export, "quarantine_rate").passed


def test_a_row_that_somebody_has_mended_in_the_table_is_no_fault_any_more(export: Export) -> None:
    export.load("kinships", record("kinships", user_0_id="nobody", user_1_id="nobody"))
    assert not found(export, "orphans", "kinships").passed
    export.connection.execute("DELETE FROM kinships")
    assert found(export, "orphans", "kinships").passed


@pytest.mark.parametrize(("good", "severity"), [(1, "WARN"), (4, "WARN"), (100, "WARN")])
def test_one_quarantined_record_is_never_an_error(export: Export, good: int, severity: str) -> None:
    """Of a small file one record is a large share: that alone wakes nobody."""
    records = [record("documents", f"good{number}") for number in range(good)]
    export.load(
        "documents", *records, record("documents", "bad", version="not a number", created_at="yesterday")
    )
    finding = found(export, "quarantine_rate")
    assert (finding.count, finding.severity) == (1, severity)


def test_many_quarantined_records_are_an_error(export: Export) -> None:
    bad = [record("documents", f"bad{number}", created_at="yesterday") for number in range(2)]
    export.load("documents", *(record("documents", f"good{number}") for number in range(10)), *bad)
    finding = found(export, "quarantine_rate")
    assert (finding.passed, finding.severity) == (False, "ERROR")
