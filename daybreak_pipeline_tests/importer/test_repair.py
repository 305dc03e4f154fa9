"""What could not load is repaired later, without its file being sent again."""

from __future__ import annotations

from uuid import UUID

import pytest

from daybreak_pipeline.importer.run import ImportFailedError, replay_table
from daybreak_pipeline_tests.exports import Export, record, told, uuid


def _widen_kinship_labels(export: Export, version: str = "999") -> None:
    """Do what a migration does: widen an enum, and count as a new version of the schema."""
    export.connection.execute(
        "ALTER TABLE kinships DROP CONSTRAINT chk_kinships_user_0_label; "
        "ALTER TABLE kinships ADD CONSTRAINT chk_kinships_user_0_label CHECK (user_0_label IN (1, 2, 3, 12))"
    )
    export.connection.execute("UPDATE migrations.alembic_version SET version_num = %s", [version])
    export.connection.commit()


def test_a_quarantined_child_loads_although_its_file_was_replaced(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting"))
    export.add_parents()
    other = record("referral_members", "other", user_id="patient")
    assert export.load("referral_members", other) == {"status": "imported", "read": 2, "inserted": 2}
    assert export.refused("referral_members") == []


def test_what_is_tried_again_has_its_own_row_in_the_ledger(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting"))
    export.add_parents()
    export.load("referral_members")
    ledger = export.connection.execute(
        "SELECT source_uri, status, rows_read, rows_inserted FROM ingest.imports "
        "WHERE table_name = 'referral_members' ORDER BY id DESC LIMIT 2"
    ).fetchall()
    file = (export.directory / "referral_members.csv").as_uri()
    assert ledger == [("quarantine:referral_members", "imported", 1, 1), (file, "skipped", 0, 0)]


def test_a_row_from_quarantine_says_which_quarantine_row_it_was(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting"))
    export.add_parents()
    export.load("referral_members")
    found = export.connection.execute(
        "SELECT q.record_number, i.source_uri FROM referral_members m JOIN ingest.quarantine q ON q.id = m._record_number "
        "JOIN ingest.imports i ON i.id = q.import_id"
    ).fetchall()
    assert found == [(1, (export.directory / "referral_members.csv").as_uri())]


def test_a_healed_row_is_unchanged_when_its_file_is_read_again(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting"))
    export.add_parents()
    export.load("referral_members")
    assert export.load("referral_members", full=True) == {"status": "imported", "read": 1, "unchanged": 1}


def test_what_cannot_heal_is_tried_once_for_each_change_of_its_parents(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting", referral_id="never"))
    export.add_parents()
    assert export.load("referral_members") == {"status": "imported", "read": 1, "quarantined": 1}
    assert export.load("referral_members") == {"status": "skipped"}


def test_a_record_tried_again_in_vain_keeps_saying_which_file_it_came_from(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting", referral_id="never"))
    before = export.connection.execute("SELECT import_id, record_number FROM ingest.quarantine").fetchall()
    export.add_parents()
    export.load("referral_members")
    after = export.connection.execute("SELECT import_id, record_number FROM ingest.quarantine").fetchall()
    assert after == before


def test_grandchildren_heal_in_the_order_of_the_tables(export: Export) -> None:
    export.load("referrals", record("referrals", "referral"))
    export.load("referral_members", record("referral_members"))
    export.load("organizations", record("organizations", "school"))
    export.load("contracts", record("contracts", "contract"))
    assert export.load("referrals")["inserted"] == 1
    assert export.load("referral_members")["inserted"] == 1


def test_after_a_migration_that_widens_an_enum_the_next_import_loads_what_now_fits(export: Export) -> None:
    export.load("kinships", record("kinships", user_0_label="3"))
    _widen_kinship_labels(export)
    assert export.load("kinships") == {"status": "imported", "read": 1, "inserted": 1}
    assert export.refused("kinships") == []


def test_replay_loads_what_now_fits_without_any_file(export: Export) -> None:
    export.load(
        "kinships",
        record("kinships", "a", user_0_label="3"),
        record("kinships", "b", user_0_label="4", user_0_id="x"),
    )
    (export.directory / "kinships.csv").unlink()
    _widen_kinship_labels(export)
    result = replay_table(export.connection, "kinships")
    assert told(result) == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert export.refused("kinships") == [(2, [("invalid_enum", "user_0_label")])]


def test_a_newer_row_is_not_overwritten_by_what_waited_in_quarantine(export: Export) -> None:
    export.load("kinships", record("kinships", user_0_label="3"))
    export.load("kinships", record("kinships", "other", user_0_id="x"))
    export.connection.execute(
        "INSERT INTO kinships (id, user_0_id, user_1_id, kind, user_0_label, user_1_label) VALUES (%s, %s, %s, 1, 1, 2)",
        [uuid("kinships"), uuid("patient"), uuid("child")],
    )
    export.connection.commit()
    _widen_kinship_labels(export)
    assert told(replay_table(export.connection, "kinships")) == {"status": "imported", "read": 1, "stale": 1}
    resolved = export.connection.execute("SELECT resolution FROM ingest.quarantine").fetchall()
    assert resolved == [("superseded",)]


def test_replay_restores_references_too(export: Export) -> None:
    export.load("patients_and_guardians", record("patients_and_guardians", supervisor_id="clinician"))
    export.load("clinicians", record("clinicians", "clinician"))
    assert replay_table(export.connection, "patients_and_guardians").references_restored == 1
    assert export.issues("patients_and_guardians") == []


def test_of_two_waiting_records_with_one_key_the_first_of_the_file_loads(export: Export) -> None:
    export.add_parents()
    words = [f"member {number}" for number in range(20)]
    late = [record("referral_members", word, referral_id="late") for word in words]
    assert export.load("referral_members", *late)["quarantined"] == len(late)
    export.load("referrals", record("referrals", "late"))
    counts = export.load("referral_members")
    assert (counts["inserted"], counts["quarantined"]) == (1, len(late) - 1)
    assert [str(key) for (key,) in export.rows("referral_members", "id")] == [uuid(words[0])]


# ------------------------------------------------------------------ what waits and what comes meanwhile

MAY, JUNE, JULY = ("2025-05-01T00:00:00", "2025-06-01T00:00:00", "2025-07-01T00:00:00")


def member(updated_at: str | None, organization: str, **values: str | None) -> dict[str, str | None]:
    return record("memberships", "x", updated_at=updated_at, organization_id=uuid(organization), **values)


def arrives(export: Export, *organizations: str) -> None:
    export.load("organizations", *(record("organizations", name, slug=name) for name in organizations))
    if (export.directory / "memberships.csv").exists():
        export.load("memberships")


@pytest.mark.parametrize("older", [MAY, None])
def test_a_newer_record_waits_on_when_an_older_one_loads(export: Export, older: str | None) -> None:
    arrives(export, "here")
    export.load("memberships", member(JULY, "late"))
    assert export.load("memberships", member(older, "here"))["inserted"] == 1
    assert len(export.refused("memberships")) == 1
    arrives(export, "here", "late")
    assert export.rows("memberships", "organization_id") == [(UUID(uuid("late")),)]
    assert export.refused("memberships") == []


def test_a_newer_record_waits_on_when_the_present_one_is_read_again(export: Export) -> None:
    arrives(export, "here")
    export.load("memberships", member(JUNE, "here"))
    export.load("memberships", member(JULY, "late"))
    assert export.load("memberships", member(JUNE, "here"))["unchanged"] == 1
    assert export.load("memberships", member(MAY, "here"))["stale"] == 1
    arrives(export, "here", "late")
    assert export.rows("memberships", "organization_id") == [(UUID(uuid("late")),)]


def test_a_newer_record_waits_on_when_an_older_deletion_comes(export: Export) -> None:
    arrives(export, "here")
    export.load("memberships", member(JULY, "late"))
    assert export.load("memberships", member(MAY, "here", _fivetran_deleted="true"))["skipped_deleted"] == 1
    arrives(export, "here", "late")
    assert export.rows("memberships", "organization_id") == [(UUID(uuid("late")),)]


def test_a_newer_deletion_ends_the_waiting(export: Export) -> None:
    arrives(export, "here")
    export.load("memberships", member(JUNE, "late"))
    assert export.load("memberships", member(JULY, "here", _fivetran_deleted="true"))["skipped_deleted"] == 1
    assert export.refused("memberships") == []
    arrives(export, "here", "late")
    assert export.rows("memberships", "id") == []


@pytest.mark.parametrize("parents", [("a",), ("b",), ("a", "b")])
def test_of_two_records_that_wait_the_newer_one_is_kept(export: Export, parents: tuple[str, ...]) -> None:
    export.load("memberships", member(JULY, "b"))
    assert export.load("memberships", member(MAY, "a"))["quarantined"] == 1
    assert len(export.refused("memberships")) == 1
    arrives(export, *parents)
    expected = [(UUID(uuid("b")),)] if "b" in parents else []
    assert export.rows("memberships", "organization_id") == expected


def test_a_newer_record_that_loads_ends_the_waiting_of_an_older_one(export: Export) -> None:
    arrives(export, "here")
    export.load("memberships", member(JUNE, "late"))
    assert export.load("memberships", member(JULY, "here"))["inserted"] == 1
    assert export.refused("memberships") == []


def test_a_child_that_was_refused_while_its_parent_was_imported_heals(export: Export) -> None:
    export.load("organizations", record("organizations", "here"))
    export.load("memberships", member(JUNE, "late"))
    # The parent's import began before the child's, which ended first.
    export.load(
        "organizations", record("organizations", "here"), record("organizations", "late", slug="late")
    )
    export.connection.execute(
        "UPDATE ingest.imports i SET id = -i.id WHERE i.table_name = 'organizations' "
        "AND i.id = (SELECT max(id) FROM ingest.imports WHERE table_name = 'organizations')"
    )
    export.connection.commit()
    export.load("memberships")
    assert export.rows("memberships", "organization_id") == [(UUID(uuid("late")),)]


def test_references_to_the_own_table_are_restored_by_new_rows_of_the_same_file(export: Export) -> None:
    child = record("organizations", "child", parent_organization_id="school")
    export.load("organizations", child)
    assert export.rows("organizations", "parent_organization_id") == [(None,)]
    export.load("organizations", record("organizations", "school"))
    assert {str(parent) for (parent,) in export.rows("organizations", "parent_organization_id")} == {
        "None",
        uuid("school"),
    }
    assert export.issues("organizations") == []


def test_a_reference_that_the_source_has_taken_back_is_not_restored(export: Export) -> None:
    export.load("clinicians", record("clinicians", supervisor_id="boss", updated_at="2025-06-01"))
    export.load("clinicians", record("clinicians", supervisor_id=None, updated_at="2025-06-02"))
    assert export.issues("clinicians") == []
    export.load("clinicians", record("clinicians", "boss"))
    assert {supervisor for (supervisor,) in export.rows("clinicians", "supervisor_id")} == {None}


def test_a_failed_import_after_the_parents_arrival_does_not_end_the_waiting(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting"))
    export.add_parents()
    good = (export.directory / "referral_members.csv").read_bytes()
    export.write_bytes("referral_members", b"7,8\n")
    with pytest.raises(ImportFailedError):
        export.load("referral_members")
    export.write_bytes("referral_members", good)
    assert export.load("referral_members")["inserted"] == 1


def test_what_an_import_refuses_is_not_tried_again_in_the_same_run(export: Export) -> None:
    export.load("referral_members", record("referral_members", "waiting"))
    export.add_parents()
    bad = record("referral_members", "bad", role="many")
    assert export.load("referral_members", bad) == {
        "status": "imported",
        "read": 2,
        "inserted": 1,
        "quarantined": 1,
    }
    ledger = export.connection.execute(
        "SELECT source_uri LIKE 'quarantine:%', rows_read FROM ingest.imports "
        "WHERE table_name = 'referral_members' ORDER BY id DESC LIMIT 2"
    ).fetchall()
    assert sorted(ledger) == [(False, 1), (True, 1)]


def test_a_record_refused_again_after_it_had_loaded_opens_a_new_entry(export: Export) -> None:
    def entries() -> list[bool]:
        found = export.connection.execute(
            "SELECT resolved_at IS NULL FROM ingest.quarantine ORDER BY id"
        ).fetchall()
        return [is_open for (is_open,) in found]

    bad = record("documents", version="many", updated_at="2025-06-01")
    export.load("documents", bad)
    export.load("documents", record("documents", version="1", updated_at="2025-06-02"))
    assert entries() == [False]
    export.load("documents", bad | {"updated_at": "2025-06-03"})
    assert entries() == [False, True]
