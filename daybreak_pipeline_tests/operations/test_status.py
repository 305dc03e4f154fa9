"""How tables stand, and when the next import is due."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from daybreak_pipeline import timetable
from daybreak_pipeline.checks import history
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.operations import status
from daybreak_pipeline.operations.status import TableStatus
from daybreak_pipeline.orchestration.schedules import daily_import
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline.wording import age
from daybreak_pipeline_tests.checks.examining import STRANGER, examine
from daybreak_pipeline_tests.exports import Export, record


def of(export: Export, table: str) -> TableStatus:
    (found,) = [one for one in status.read(export.connection) if one.table == table]
    return found


def test_a_table_that_was_never_imported_has_no_age(export: Export) -> None:
    found = status.read(export.connection)
    assert [one.table for one in found] == list(TABLES)
    assert {(one.status, one.imported_at, one.age_seconds, one.quarantined) for one in found} == {
        (None, None, None, 0)
    }


def test_an_imported_table_tells_its_records_and_what_waits(export: Export) -> None:
    export.load(
        "clinicians",
        record("clinicians", "one", supervisor_id=STRANGER),
        record("clinicians", "two", account_status="x"),
    )
    found = of(export, "clinicians")
    assert (found.status, found.records, found.quarantined, found.field_issues) == ("imported", 2, 1, 1)
    assert found.age_seconds is not None
    assert 0 <= found.age_seconds < 60
    assert (found.failed_checks, found.checked_at) == ([], None)


def test_a_file_that_has_not_changed_keeps_the_table_fresh(export: Export) -> None:
    export.load("documents", record("documents"))
    export.connection.execute("UPDATE ingest.imports SET finished_at = finished_at - interval '3 days'")
    assert (of(export, "documents").age_seconds or 0) // 86_400 == 3
    before = of(export, "documents").imported_at
    export.load("documents")
    found = of(export, "documents")
    assert (found.status, found.imported_at, found.records) == ("skipped", before, 1)
    assert (found.age_seconds or 0) < 60


def test_an_absent_file_is_told_and_does_not_make_the_table_fresh(export: Export) -> None:
    path = export.write("documents", record("documents"))
    export.load("documents")
    export.write_bytes("documents", b"id\n")
    with suppress(ImportFailedError):
        export.load("documents")
    export.connection.execute("UPDATE ingest.imports SET finished_at = finished_at - interval '3 days'")
    path.unlink()
    export.load("documents")
    found = of(export, "documents")
    assert (found.status, found.error, (found.age_seconds or 0) // 86_400) == ("absent", None, 3)
    assert found.absent_since
    assert (datetime.now(UTC) - found.absent_since).total_seconds() < 60
    export.load("documents", record("documents"))
    assert (of(export, "documents").status, of(export, "documents").absent_since) == ("skipped", None)


def test_a_failed_import_is_told_and_does_not_make_the_table_fresh(export: Export) -> None:
    export.load("documents", record("documents"))
    export.connection.execute("UPDATE ingest.imports SET finished_at = finished_at - interval '3 days'")
    export.connection.commit()
    export.write_bytes("documents", b"id\n")
    with pytest.raises(ImportFailedError):
        export.load("documents")
    found = of(export, "documents")
    assert (found.status, found.records) == ("failed", 1)
    assert "there is no label" in (found.error or "")
    assert (found.age_seconds or 0) // 86_400 == 3


def test_a_check_counts_as_failed_until_it_passes(export: Export) -> None:
    export.load("documents", record("documents", "one"), record("documents", "bad", label=None))
    history.append(export.connection, "documents", examine(export, "documents"), run_id="1")
    assert of(export, "documents").failed_checks == ["required_values"]
    export.load("documents", record("documents", "one"), record("documents", "bad", label="x"))
    history.append(export.connection, "documents", examine(export, "documents"), run_id="2")
    found = of(export, "documents")
    assert found.failed_checks == []
    assert found.checked_at is not None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "-"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (7_200, "2 h"), (200_000, "2 d")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int | None, told: str) -> None:
    assert age(seconds) == told


@pytest.mark.parametrize(
    ("now", "following"),
    [
        (datetime(2025, 6, 25, 4, 59, 59, tzinfo=UTC), datetime(2025, 6, 25, 5, tzinfo=UTC)),
        (datetime(2025, 6, 25, 5, tzinfo=UTC), datetime(2025, 6, 26, 5, tzinfo=UTC)),
        (datetime(2025, 12, 31, 23, tzinfo=UTC), datetime(2026, 1, 1, 5, tzinfo=UTC)),
        (
            datetime(2025, 6, 25, 1, tzinfo=timezone(timedelta(hours=-8))),
            datetime(2025, 6, 26, 5, tzinfo=UTC),
        ),
    ],
)
def test_the_next_import_is_the_first_moment_ahead(now: datetime, following: datetime) -> None:
    assert timetable.next_daily(time(5, tzinfo=UTC), now) == following


def test_the_schedule_is_made_from_the_timetable() -> None:
    assert timetable.daily_cron(time(17, 30)) == "30 17 * * *"
    assert daily_import.cron_schedule == timetable.daily_cron(timetable.DAILY_IMPORT_AT)
    assert daily_import.execution_timezone == "UTC"
