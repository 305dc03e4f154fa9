"""Rows that the newest full file of their table no longer has: they stay, and a check tells of them."""

from __future__ import annotations

import pytest

from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record, uuid

NAMES = [f"row {number}" for number in range(40)]


def documents(*names: str, **values: str | None) -> list[dict[str, str | None]]:
    return [record("documents", name, label=name, **values) for name in names]


def finding(export: Export, table: str = "documents") -> Finding:
    return examine(export, table)["missing_rows"]


def verdict(export: Export, table: str = "documents") -> tuple[bool, str, int]:
    found = finding(export, table)
    return found.passed, found.severity, found.count


def noted(export: Export) -> list[str]:
    return [
        row_id for (row_id,) in export.connection.execute("SELECT row_id FROM ingest.missing_rows ORDER BY 1")
    ]


def since(export: Export, name: str) -> tuple[object, ...] | None:
    """Return since when, and since which import, a row is missing."""
    return export.connection.execute(
        "SELECT since, import_id FROM ingest.missing_rows WHERE row_id = %s", [uuid(name)]
    ).fetchone()


@pytest.mark.parametrize(
    ("left", "expected"), [(40, (True, 0)), (39, (False, 1)), (38, (False, 2)), (37, (False, 3))]
)
def test_one_row_gone_warns_and_more_than_one_in_twenty_is_an_error(
    export: Export, left: int, expected: tuple[bool, int]
) -> None:
    export.load("documents", *documents(*NAMES))
    export.load("documents", *documents(*NAMES[:left]), full=True)
    found = finding(export)
    assert (found.passed, found.count, found.total) == (*expected, 40)
    assert found.passed or found.severity == ("ERROR" if left < 38 else "WARN")
    assert list(found.rows) == sorted(uuid(name) for name in NAMES[left:])
    assert len(export.rows("documents", "id")) == 40


def test_the_rows_are_shown_by_the_query_that_comes_with_the_finding(export: Export) -> None:
    export.load("documents", *documents("a", "b"))
    export.load("documents", *documents("a"))
    query = finding(export).sql.split("\n", 1)[1]
    assert [row[0] for row in export.connection.execute(query.encode())] == [uuid("b")]


def test_a_file_without_a_record_is_an_error(export: Export) -> None:
    export.load("documents", *documents("a", "b"))
    export.write("documents", header=list(record("documents")))
    export.load("documents")
    found = finding(export)
    assert (found.passed, found.severity, found.count) == (False, "ERROR", 2)
    assert "no record" in found.summary


def test_a_file_without_a_record_is_an_error_where_all_rows_are_deleted(export: Export) -> None:
    export.load("documents", *documents("a"))
    export.load("documents", *documents("a", _fivetran_deleted="true", updated_at="2025-07-01"))
    export.write("documents", header=list(record("documents")))
    export.load("documents")
    assert verdict(export) == (False, "ERROR", 0)


def test_a_table_that_never_had_a_row_may_have_an_empty_file(export: Export) -> None:
    export.write("documents", header=list(record("documents")))
    export.load("documents")
    assert verdict(export)[0]


def test_a_row_that_is_back_is_not_missing_and_one_that_stays_away_keeps_its_time(export: Export) -> None:
    export.load("documents", *documents("a", "b", "c"))
    export.load("documents", *documents("a"))
    assert noted(export) == sorted(uuid(name) for name in "bc")
    first = since(export, "c")
    export.load("documents", *documents("a", "b"))
    assert noted(export) == [uuid("c")]
    assert since(export, "c") == first is not None
    export.load("documents", *documents("a", "b", "c"))
    assert (noted(export), verdict(export)[0]) == ([], True)


def test_a_record_that_is_not_loaded_is_there_all_the_same(export: Export) -> None:
    export.load("documents", *documents("refused", "stale", "twice", "unchanged"))
    export.load(
        "documents",
        *documents("refused", updated_at="2025-07-01", version="x"),
        *documents("stale", updated_at="2024-01-01"),
        *documents("twice", "twice", "unchanged"),
    )
    assert verdict(export) == (True, "ERROR", 0)


def test_rows_of_applications_and_deleted_ones_are_not_missed(export: Export) -> None:
    export.load("documents", *documents("a", "b", "deleted"))
    export.load(
        "documents", *documents("a", "b"), *documents("deleted", _fivetran_deleted="true", version="2")
    )
    export.connection.execute("INSERT INTO documents (label) VALUES ('own')")
    export.load("documents", *documents("a", "b"))
    assert verdict(export)[0]
    export.load("documents", *documents("a"))
    assert verdict(export) == (False, "ERROR", 1)
    export.connection.execute("UPDATE documents SET _fivetran_deleted = true WHERE label = 'b'")
    assert verdict(export)[0]
    export.connection.execute("UPDATE documents SET _fivetran_deleted = false WHERE label = 'b'")
    export.connection.execute("DELETE FROM documents WHERE label = 'b'")
    assert verdict(export)[0]


def test_a_table_that_is_filled_from_nothing_misses_nothing(export: Export) -> None:
    export.load("documents", *documents("a", "b"))
    export.load("documents", *documents("a"))
    export.connection.execute("DELETE FROM documents")
    export.load("documents", *documents("a"), full=True)
    assert (noted(export), verdict(export)[0]) == ([], True)


def test_an_unchanged_file_leaves_the_list_as_it_is(export: Export) -> None:
    export.load("documents", *documents("a", "b"))
    export.load("documents", *documents("a"))
    assert export.load("documents") == {"status": "skipped"}
    assert noted(export) == [uuid("b")]


def test_a_file_of_change_data_is_never_full(export: Export) -> None:
    table = "clinician_availabilities"
    export.load(table, *(record(table, str(number)) for number in range(1, 9)))
    export.load(table, record(table, "1", day_of_week="2"))
    assert (noted(export), verdict(export, table)[0]) == ([], True)


def test_what_is_tried_again_from_quarantine_is_no_file(export: Export) -> None:
    export.add_parents()
    table = "referral_members"
    export.load(table, record(table), record(table, "late", referral_id="late"))
    export.load("referrals", record("referrals", "referral"), record("referrals", "late"))
    assert export.load(table)["inserted"] == 1
    assert (noted(export), verdict(export, table)[0]) == ([], True)
