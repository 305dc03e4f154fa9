"""A table whose file is absent, empty or broken for a while: what stays, what is said, and that nothing of it lasts."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from daybreak_pipeline.checks.rules import BLOCKING
from daybreak_pipeline.importer import standing
from daybreak_pipeline.importer.run import ImportFailedError, Result, import_table
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record

TABLE = "organizations"
LATER = "2025-07-01T00:00:00"


def load(export: Export, table: str = TABLE, **options: Any) -> Result:
    return import_table(export.connection, table, export.directory, **options)


def absences(export: Export) -> list[tuple[Any, ...]]:
    return export.connection.execute("SELECT table_name, run_id FROM ingest.absent_files").fetchall()


def file_of(export: Export) -> Path:
    return export.directory / "orgs.csv"


def test_the_rows_stay_and_the_reason_says_of_which_day_they_are(export: Export) -> None:
    export.load(TABLE, record(TABLE, "school"))
    export.connection.execute("UPDATE ingest.imports SET finished_at = '2025-11-08T12:00Z'")
    file_of(export).rename(export.directory / "ogrs.csv")
    result = load(export, run_id="a run")
    assert (result.status, result.accounting.read) == ("absent", 0)
    assert result.reason == (
        f"organizations: its file is absent from {export.directory}; its rows of 2025-11-08 stay (ogrs.csv resembles it)"
    )
    assert result.source_sha256
    assert result.source_uri == file_of(export).as_uri()
    assert len(export.rows(TABLE, "id")) == 1
    assert absences(export) == [(TABLE, "a run")]
    assert export.connection.execute("SELECT count(*) FROM ingest.imports").fetchone() == (1,)


def test_it_is_remembered_since_when_the_file_is_absent(export: Export) -> None:
    export.load(TABLE, record(TABLE, "school"))
    file_of(export).unlink()
    for _ in range(2):
        load(export)
    ((apart,),) = export.connection.execute("SELECT last_missed_at > since FROM ingest.absent_files")
    assert apart


def test_it_is_remembered_whether_a_whole_export_lacked_the_file(export: Export) -> None:
    export.load(TABLE, record(TABLE, "school"))
    file_of(export).unlink()
    seen = []
    for partial in (True, False, True):
        load(export, partial=partial)
        seen.append(standing.read(export.connection, [TABLE])[TABLE].expected)
    assert seen == [False, True, True]


def test_a_table_that_was_never_imported_fails_as_before(export: Export) -> None:
    for _ in range(2):
        with pytest.raises(ImportFailedError, match=r"no file orgs\.csv or organizations\.csv"):
            load(export)
    assert absences(export) == []
    assert not examine(export, TABLE)["row_accounting"].passed


def test_a_missing_directory_is_no_absent_file(export: Export, tmp_path: Path) -> None:
    export.load(TABLE, record(TABLE, "school"))
    with pytest.raises(ImportFailedError, match=r"cannot read .*: No such file or directory"):
        import_table(export.connection, TABLE, tmp_path / "nowhere")
    assert absences(export) == []


def test_what_waited_for_a_parent_is_repaired_without_the_file(export: Export) -> None:
    export.load("contracts", record("contracts", "contract"))
    export.load("org_contracts", record("org_contracts"))
    export.load(TABLE, record(TABLE, "school"))
    export.load("referrals", record("referrals", care_provider_id="clinician"))
    export.load("clinicians", record("clinicians", "clinician"))
    assert (len(export.refused("org_contracts")), len(export.issues("referrals"))) == (1, 1)
    for name in ("org_contracts.csv", "referrals.csv"):
        (export.directory / name).unlink()
    repaired = load(export, "org_contracts")
    assert (repaired.status, repaired.accounting.inserted) == ("absent", 1)
    assert load(export, "referrals").references_restored == 1
    assert (export.refused("org_contracts"), export.issues("referrals")) == ([], [])


# --- Every short history that ends well ends as if the bad steps had never been ----------------------------


def good(export: Export) -> None:
    export.write(TABLE, record(TABLE, "school"))


def better(export: Export) -> None:
    export.write(TABLE, record(TABLE, "school", name="Better", updated_at=LATER), record(TABLE, "second"))


def absent(export: Export) -> None:
    file_of(export).unlink(missing_ok=True)


def empty(export: Export) -> None:
    export.write_bytes(TABLE, b"")


def broken(export: Export) -> None:
    export.write_bytes(TABLE, b"id,name\n")


Step = Callable[[Export], None]
GOOD: tuple[Step, ...] = (good, better)
BAD: tuple[Step, ...] = (absent, empty, broken)


def outcome_of(export: Export, steps: list[Step]) -> tuple[Any, ...]:
    """Take some steps, each followed by an import, and return all that is to be seen at the end; then take all back."""
    with export.connection.transaction(force_rollback=True):
        status = ""
        for step in steps:
            step(export)
            status = ""
            with suppress(ImportFailedError):
                status = load(export).status
        findings = {
            name: (found.passed, found.count, found.summary) for name, found in examine(export, TABLE).items()
        }
        blocked = [name for name in BLOCKING if not findings[name][0]]
        # The last step of another history may skip what this one reads.
        return (
            status in {"imported", "skipped"},
            blocked,
            findings,
            export.rows(TABLE, "id", "name"),
            absences(export),
            load(export, "contracts").status,
            load(export, "org_contracts").accounting.inserted,
        )


def histories() -> list[list[Step]]:
    chosen = random.Random(7)  # noqa: S311 - the same every time
    return (
        [[*chosen.choices(GOOD + BAD, k=chosen.randint(1, 4)), chosen.choice(GOOD)] for _ in range(12)]
        + [[good, bad, good] for bad in BAD]
        + [[good, broken, absent, good], [absent, good]]
    )


@pytest.mark.parametrize("steps", histories(), ids=lambda steps: "-".join(step.__name__ for step in steps))
def test_nothing_of_a_bad_file_outlives_the_next_good_look(export: Export, steps: list[Step]) -> None:
    export.write("contracts", record("contracts", "contract"))
    export.write("org_contracts", record("org_contracts"))
    seen = outcome_of(export, steps)
    assert seen == outcome_of(export, [step for step in steps if step in GOOD])
    assert seen[:2] == (True, [])
    assert seen[4:] == ([], "imported", 1)


@pytest.mark.parametrize("bad", [empty, broken])
def test_an_absent_file_after_a_bad_one_lets_what_depends_on_the_table_go_on(
    export: Export, bad: Step
) -> None:
    export.load(TABLE, record(TABLE, "school"))
    bad(export)
    with pytest.raises(ImportFailedError):
        load(export)
    assert not examine(export, TABLE)["row_accounting"].passed
    absent(export)
    assert load(export).status == "absent"
    assert examine(export, TABLE)["row_accounting"].passed


def test_a_bad_file_after_an_absent_one_is_a_failure_and_no_longer_absent(export: Export) -> None:
    export.load(TABLE, record(TABLE, "school"))
    absent(export)
    load(export)
    empty(export)
    with pytest.raises(ImportFailedError, match="is empty"):
        load(export)
    assert absences(export) == []
    assert not examine(export, TABLE)["row_accounting"].passed
