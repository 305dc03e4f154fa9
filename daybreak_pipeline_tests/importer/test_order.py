"""Which of two records is newer: across files, and against what an application has written (ADR 10)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from uuid import UUID

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, soon, told, uuid

MAY, JUNE, JULY = (f"2025-0{month}-01T00:00:00" for month in (5, 6, 7))
NEVER = "2099-01-01T00:00:00"

Record = dict[str, str | None]


def document(label: str, updated_at: str | None = JUNE, **values: str | None) -> Record:
    return record("documents", label=label, updated_at=updated_at, **values)


def window(start: str, updated_at: str | None = JUNE, **values: str | None) -> Record:
    """Return a record of change data; what tells two apart is where the range begins."""
    return record("clinician_availabilities", updated_at=updated_at, range_start=start, **values)


def outcome(export: Export, table: str, *records: Record, full: bool = True) -> str:
    """Import records and return the one outcome that all of them had."""
    counts = export.load(table, *records, full=full)
    names = [name for name in counts if name not in {"status", "read", "field_issues"}]
    assert len(names) == 1, counts
    return names[0]


def labels(export: Export) -> list[str]:
    return [label for (label,) in export.rows("documents", "label")]


def write(export: Export, statement: str) -> None:
    """Write as an application does."""
    export.connection.execute(statement.encode())
    export.connection.commit()


# --- Three times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"updated_at": MAY}, {"updated_at": JUNE}),
        ({"updated_at": None}, {"updated_at": MAY}),
        ({"updated_at": NEVER}, {"updated_at": MAY}),
        ({"updated_at": "9999-12-31"}, {"updated_at": MAY}),
        ({"updated_at": JUNE, "_fivetran_synced": MAY}, {"updated_at": JUNE, "_fivetran_synced": JUNE}),
        ({"updated_at": JUNE, "_fivetran_synced": None}, {"updated_at": JUNE, "_fivetran_synced": MAY}),
        ({"updated_at": None, "_fivetran_synced": MAY}, {"updated_at": None, "_fivetran_synced": JUNE}),
        ({"updated_at": NEVER, "_fivetran_synced": MAY}, {"updated_at": None, "_fivetran_synced": JUNE}),
        ({"updated_at": MAY, "_fivetran_synced": JULY}, {"updated_at": JUNE, "_fivetran_synced": None}),
        # Columns that only one of the files has.
        ({}, {"updated_at": MAY}),
        ({"updated_at": JUNE}, {"updated_at": JUNE, "_fivetran_synced": MAY}),
        ({"updated_at": MAY, "_fivetran_synced": JULY}, {"updated_at": JUNE}),
    ],
)
def test_two_exports_in_either_order_end_with_the_newer_record(
    export: Export, older: Record, newer: Record
) -> None:
    plain = {name: value for name, value in document("x").items() if name != "updated_at"}
    old, new = plain | {"label": "old"} | older, plain | {"label": "new"} | newer
    assert outcome(export, "documents", old) == "inserted"
    assert outcome(export, "documents", new) == "updated"
    assert outcome(export, "documents", old) == "stale"
    assert outcome(export, "documents", new) == "unchanged"
    assert labels(export) == ["new"]
    write(export, "DELETE FROM documents")
    assert outcome(export, "documents", new) == "inserted"
    assert outcome(export, "documents", old) == "stale"
    assert outcome(export, "documents", new) == "unchanged"
    assert labels(export) == ["new"]


@pytest.mark.parametrize(
    ("older", "newer"), [(MAY, JUNE), (None, MAY)], ids=["earlier commit", "no commit told"]
)
def test_change_data_of_one_time_is_ordered_by_its_commits(
    export: Export, older: str | None, newer: str
) -> None:
    early, late = window(MAY, tx_commit_time=older), window(JULY, tx_commit_time=newer)
    assert outcome(export, "clinician_availabilities", late) == "inserted"
    assert outcome(export, "clinician_availabilities", early) == "stale"
    assert export.rows("clinician_availabilities", "range_start") == [(datetime(2025, 7, 1, tzinfo=UTC),)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_file_without_a_time_takes_the_rows_earlier_one_away(
    export: Export, order: tuple[int, ...]
) -> None:
    """The times are the record's, all three together: else the third would be older than a row of the second's."""
    files: list[Record] = [
        document("a", MAY, _fivetran_synced=JULY),
        {name: value for name, value in document("b", JUNE).items() if name != "_fivetran_synced"},
        document("c", JUNE, _fivetran_synced=MAY),
    ]
    for number in order:
        export.load("documents", files[number])
    assert export.rows("documents", "label", "_fivetran_synced") == [("c", datetime(2025, 5, 1, tzinfo=UTC))]


def test_what_the_source_said_is_stored_and_what_it_did_not_say_is_filled_in(export: Export) -> None:
    before = datetime.now(UTC)
    export.load(
        "documents",
        record("documents", "said", label="said", updated_at=JUNE),
        record("documents", "future", label="future", updated_at=NEVER),
        record("documents", "silent", label="silent", updated_at=None),
    )
    rows = {
        label: times
        for label, *times in export.rows("documents", "label", "updated_at", "_source_updated_at")
    }
    june = datetime(2025, 6, 1, tzinfo=UTC)
    assert rows["said"] == [june, june]
    assert rows["future"] == [datetime(2099, 1, 1, tzinfo=UTC), None]
    filled, said = rows["silent"]
    assert (filled >= before, said) == (True, None)


def test_an_update_from_a_record_without_a_time_moves_ours(export: Export) -> None:
    export.load("documents", document("one", None))
    ((first, _),) = export.rows("documents", "updated_at", "_source_updated_at")
    assert outcome(export, "documents", document("two", None)) == "updated"
    ((second, said),) = export.rows("documents", "updated_at", "_source_updated_at")
    assert (second > first, said) == (True, None)


def test_a_time_in_the_future_does_not_win_in_its_file_either(export: Export) -> None:
    export.load("documents", document("future", NEVER), document("now", JUNE))
    assert labels(export) == ["now"]


def test_a_clock_that_is_minutes_ahead_is_believed(export: Export) -> None:
    export.load("documents", document("june"))
    assert outcome(export, "documents", document("soon", soon())) == "updated"
    assert outcome(export, "documents", document("july", JULY)) == "stale"


def test_a_record_whose_time_is_no_time_is_refused_and_not_taken_for_an_old_one(export: Export) -> None:
    export.load("documents", document("june", _fivetran_synced=JUNE))
    faults: tuple[Record, ...] = ({"updated_at": "yesterday"}, {"_fivetran_synced": "yesterday"})
    for broken in faults:
        assert outcome(export, "documents", document("broken") | broken) == "quarantined"
    assert labels(export) == ["june"]


def test_a_time_that_is_none_is_older_than_its_twins_whatever_else_the_record_is(export: Export) -> None:
    export.load("documents", record("documents", "other"))
    broken = document("broken", "yesterday")
    assert export.load("documents", document("june"), broken)["duplicate"] == 1
    deleted = record("documents", "gone", updated_at="yesterday", _fivetran_deleted="true")
    assert outcome(export, "documents", deleted) == "skipped_deleted"
    assert "june" in labels(export)


# --- Neither is newer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [JUNE, None, NEVER])
def test_of_equal_times_a_file_that_is_new_wins_and_one_that_is_known_does_not(
    export: Export, time: str | None
) -> None:
    assert outcome(export, "documents", document("first", time)) == "inserted"
    assert outcome(export, "documents", document("second", time)) == "updated"
    assert outcome(export, "documents", document("first", time), full=False) == "stale"
    assert outcome(export, "documents", document("second", time), full=False) == "unchanged"
    assert labels(export) == ["second"]


def test_a_record_that_waited_in_quarantine_is_taken_at_an_equal_time(export: Export) -> None:
    export.add_parents()
    export.load("referral_members", record("referral_members", role="1"))
    assert (
        outcome(export, "referral_members", record("referral_members", referral_id="late")) == "quarantined"
    )
    # The same file again: it is known, and so is the record that waits.
    assert (
        outcome(export, "referral_members", record("referral_members", referral_id="late")) == "quarantined"
    )
    export.load("referrals", record("referrals", "referral"), record("referrals", "late"))
    assert export.load("referral_members")["updated"] == 1
    assert export.rows("referral_members", "referral_id") == [(UUID(uuid("late")),)]


# --- Deletions -----------------------------------------------------------------------------------------


def test_a_deletion_is_undone_only_by_a_newer_record(export: Export) -> None:
    export.load("documents", document("live", _fivetran_deleted="false"))
    assert outcome(export, "documents", document("live", _fivetran_deleted="true")) == "updated"
    equal: tuple[Record, ...] = ({"_fivetran_deleted": "false"}, {"_fivetran_deleted": None}, {})
    for same in equal:
        assert outcome(export, "documents", document(f"again {len(same)}") | same) == "stale"
    assert outcome(export, "documents", document("gone", _fivetran_deleted="true")) == "updated"
    assert outcome(export, "documents", document("back", JULY, _fivetran_deleted="false")) == "updated"
    assert export.rows("documents", "label", "_fivetran_deleted") == [("back", False)]


@pytest.mark.parametrize("deletion", [{"op": "D"}, {"op": "U", "deleted_at": JUNE}, {"deleted_at": JUNE}])
def test_a_deletion_in_change_data_is_undone_only_by_a_newer_record(export: Export, deletion: Record) -> None:
    table = "clinician_availabilities"
    assert outcome(export, table, window(MAY, **deletion)) == "inserted"
    assert outcome(export, table, window(JULY, op="U", deleted_at=None)) == "stale"
    assert outcome(export, table, window(JULY, MAY, op="I", deleted_at=None)) == "stale"
    assert outcome(export, table, window(MAY, JULY, op="I", deleted_at=None)) == "updated"
    assert export.rows(table, "deleted_at") == [(None,)]


def test_an_older_version_of_what_was_deleted_before_it_came_stays_away(export: Export) -> None:
    export.load(
        "documents", document("deleted", JUNE, _fivetran_deleted="true"), record("documents", "other")
    )
    assert outcome(export, "documents", document("older", MAY)) == "stale"
    assert outcome(export, "documents", document("equal", JUNE)) == "stale"
    assert outcome(export, "documents", document("newer", JULY)) == "inserted"
    assert outcome(export, "documents", document("older", MAY)) == "stale"
    assert "newer" in labels(export)
    assert export.connection.execute("SELECT count(*) FROM ingest.tombstones").fetchone() == (0,)


def test_the_newest_deletion_is_remembered(export: Export) -> None:
    for time in (MAY, JULY, JUNE):
        assert (
            outcome(export, "documents", document("gone", time, _fivetran_deleted="true"))
            == "skipped_deleted"
        )
    found = export.connection.execute(
        "SELECT table_name, row_id, source_updated_at, import_id FROM ingest.tombstones"
    ).fetchall()
    assert found == [("documents", uuid("documents"), datetime(2025, 7, 1, tzinfo=UTC), 2)]


def test_a_deletion_is_remembered_by_its_table_and_by_all_three_times(export: Export) -> None:
    export.load("documents", document("gone", JUNE, _fivetran_synced=JUNE, _fivetran_deleted="true"))
    export.add_parents()
    assert outcome(export, "memberships", record("memberships", "documents")) == "inserted"
    assert outcome(export, "documents", document("older", JUNE, _fivetran_synced=MAY)) == "stale"
    assert outcome(export, "documents", document("newer", JUNE, _fivetran_synced=JULY)) == "inserted"


def test_a_newer_version_that_is_refused_leaves_the_deletion_in_force(export: Export) -> None:
    export.load("documents", document("gone", JUNE, _fivetran_deleted="true"))
    assert outcome(export, "documents", document("x") | {"label": None, "updated_at": JULY}) == "quarantined"
    assert outcome(export, "documents", document("older", MAY)) == "stale"


# --- Applications --------------------------------------------------------------------------------------

EDIT = "UPDATE documents SET label = 'edited'"


def test_an_edit_is_newer_than_the_record_it_was_made_on_whatever_time_that_says(export: Export) -> None:
    for time in (JUNE, None, NEVER, soon()):
        write(export, "DELETE FROM documents")
        made_on = document("loaded", time)
        assert outcome(export, "documents", made_on) == "inserted"
        write(export, EDIT)
        assert outcome(export, "documents", made_on) == "stale"
        assert outcome(export, "documents", made_on | {"_fivetran_synced": JULY}) == "stale"
        assert labels(export) == ["edited"]


def test_an_edit_gives_way_to_a_record_that_was_changed_after_it(export: Export) -> None:
    export.load("documents", document("loaded"))
    write(export, EDIT)
    assert outcome(export, "documents", document("july", JULY)) == "stale"
    assert outcome(export, "documents", document("silent", None)) == "stale"
    assert outcome(export, "documents", document("future", NEVER)) == "stale"
    newer = document("newer", soon())
    assert outcome(export, "documents", newer) == "updated"
    assert outcome(export, "documents", newer) == "unchanged"
    assert export.rows("documents", "label", "_edited_at") == [("newer", None)]


def test_a_row_that_an_application_made_gives_way_to_a_newer_record_alone(export: Export) -> None:
    for written, silent, later in ((JUNE, "stale", "updated"), (NEVER, "stale", "updated")):
        write(export, "DELETE FROM documents")
        write(
            export,
            f"INSERT INTO documents (id, label, updated_at) VALUES ('{uuid('documents')}', 'own', '{written}+00')",  # noqa: S608 - words of this test
        )
        assert outcome(export, "documents", document("silent", None)) == silent
        if written == JUNE:
            assert outcome(export, "documents", document("june")) == "stale"
        assert outcome(export, "documents", document("july", JULY)) == later
        assert labels(export) == ["july"]


def test_an_edit_that_is_made_while_the_import_runs_wins(export: Export, migrated: DatabaseSettings) -> None:
    """Between the comparison and the update: the row is looked at again, as it is then."""
    export.load("documents", document("loaded"), record("documents", "other", label="other"))
    export.write(
        "documents", document("july", JULY), record("documents", "other", label="new", updated_at=JULY)
    )

    def edit(phase: str, _: int) -> None:
        if phase == "merge":
            with database.connect(migrated, key=KEY) as application:
                application.execute("UPDATE documents SET label = 'edited' WHERE label = 'loaded'")

    result = told(import_table(export.connection, "documents", export.directory, progress=edit))
    assert result == {"status": "imported", "read": 2, "updated": 1, "stale": 1}
    assert labels(export) == ["edited", "new"]


def test_a_key_is_not_taken_from_a_row_that_is_edited_while_the_import_runs(
    export: Export, migrated: DatabaseSettings
) -> None:
    """A row that gives its natural key to another is parked without one; an edited row is left alone."""
    export.load("organizations", record("organizations", "one", slug="one"))
    export.write("organizations", record("organizations", "one", slug="two", updated_at=JULY))

    def edit(phase: str, _: int) -> None:
        if phase == "merge":
            with database.connect(migrated, key=KEY) as application:
                application.execute("UPDATE organizations SET name = 'edited'")

    result = told(import_table(export.connection, "organizations", export.directory, progress=edit))
    assert result == {"status": "imported", "read": 1, "stale": 1}
    assert export.rows("organizations", "name", "slug") == [("edited", "one")]


def test_an_edit_of_the_importers_own_is_none(export: Export) -> None:
    export.load("organizations", record("organizations", "child", parent_organization_id="parent"))
    child = record("organizations", "child", parent_organization_id="parent")
    export.load("organizations", record("organizations", "parent"), child)
    assert export.rows("organizations", "_edited_at") == [(None,), (None,)]
    assert outcome(export, "organizations", child | {"name": "New", "updated_at": JULY}) == "updated"


# --- Rows from before ----------------------------------------------------------------------------------


def test_a_row_from_before_the_migration_goes_by_its_time_against_a_record_that_has_one(
    export: Export,
) -> None:
    for time, expected in ((MAY, "stale"), (JULY, "updated"), (None, "updated"), (JUNE, "updated")):
        write(export, "DELETE FROM documents; DELETE FROM ingest.imports")
        export.load("documents", document("loaded"))
        export.connection.execute(
            "SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true)"
        )
        write(export, "UPDATE documents SET _source_updated_at = '-infinity'")
        assert outcome(export, "documents", document("record", time)) == expected


@pytest.mark.parametrize("commits", [(JUNE, MAY), (MAY, JUNE)])
def test_of_equal_updates_the_commit_decides_before_the_synchronisation(
    export: Export, commits: tuple[str, str]
) -> None:
    export.connection.execute("ALTER TABLE clinician_availabilities ADD COLUMN _fivetran_synced TIMESTAMPTZ")
    export.connection.commit()
    late = max(commits)
    records = [
        window(
            MAY if commit == late else JULY,
            tx_commit_time=commit,
            _fivetran_synced=MAY if commit == late else JUNE,
        )
        for commit in commits
    ]
    assert export.load("clinician_availabilities", *records)["duplicate"] == 1
    assert export.rows("clinician_availabilities", "range_start") == [(datetime(2025, 5, 1, tzinfo=UTC),)]


def test_a_deletion_in_which_nothing_else_changed_is_seen(export: Export) -> None:
    export.load("clinician_availabilities", window(MAY, op="I", tx_commit_time=JUNE))
    assert export.load("clinician_availabilities", window(MAY, op="D", tx_commit_time=JUNE))["updated"] == 1
    assert export.rows("clinician_availabilities", "deleted_at") == [(datetime(2025, 6, 1, tzinfo=UTC),)]


def test_a_file_without_times_moves_the_time_of_a_row_that_it_changes(export: Export) -> None:
    timeless = {name: value for name, value in document("old").items() if name != "updated_at"}
    export.load("documents", timeless)
    ((before,),) = export.rows("documents", "updated_at")
    export.load("documents", timeless | {"label": "new"})
    ((after,),) = export.rows("documents", "updated_at")
    assert (labels(export), after > before) == (["new"], True)
