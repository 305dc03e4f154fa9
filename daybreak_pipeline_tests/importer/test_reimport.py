"""A table with rows: what the key settles is left alone, whatever the rest of the file is like."""

from __future__ import annotations

from daybreak_pipeline_tests.exports import NOON, Export, record, uuid

LATER = "2025-08-01T00:00:00"
EARLIER = "1999-01-01T00:00:00"


def _many(number: int) -> list[dict[str, str | None]]:
    optional: dict[str, str | None] = {
        "version_date": None,
        "_fivetran_synced": NOON,
        "_fivetran_deleted": "false",
    }
    return [record("documents", str(n), label=f"label {n}", **optional) for n in range(number)]


def test_few_changes_among_many_records_find_their_rows(export: Export) -> None:
    records = _many(40)
    export.load("documents", *records)
    records[7] |= {"label": "changed", "updated_at": LATER}
    counts = export.load("documents", *records, record("documents", "new", label="new"))
    assert counts == {"status": "imported", "read": 41, "inserted": 1, "updated": 1, "unchanged": 39}
    labels = {label for (label,) in export.rows("documents", "label")}
    assert labels == {"changed", "new"} | {f"label {n}" for n in range(40) if n != 7}
    numbers = export.connection.execute(
        "SELECT _record_number FROM documents WHERE label IN ('changed', 'new') ORDER BY 1"
    ).fetchall()
    assert numbers == [(8,), (41,)]


def test_every_fate_at_once_among_unchanged_records(export: Export) -> None:
    records = _many(40)
    export.load("documents", *records)
    counts = export.load(
        "documents",
        *records[5:],
        records[0] | {"label": "changed", "updated_at": LATER},
        records[1] | {"label": "old", "updated_at": EARLIER},
        records[2],
        records[2],
        records[3] | {"label": None, "updated_at": LATER},
        {"id": None},
        record("documents", "gone", _fivetran_deleted="true"),
        record("documents", "new", label="new"),
        record("documents") | {"id": "no id"},
    )
    assert counts == {
        "status": "imported",
        "read": 44,
        "inserted": 1,
        "updated": 1,
        "unchanged": 36,
        "stale": 1,
        "duplicate": 1,
        "skipped_deleted": 1,
        "blank": 1,
        "quarantined": 2,
    }
    assert export.refused("documents") == [
        (40, [("missing_required", "label")]),
        (44, [("invalid_value", "id")]),
    ]


def test_a_record_that_changes_and_comes_twice_is_taken_once_and_newest(export: Export) -> None:
    records = _many(20)
    export.load("documents", *records)
    newest = records[4] | {"label": "newest", "updated_at": LATER}
    counts = export.load("documents", newest, *records)
    assert counts == {"status": "imported", "read": 21, "updated": 1, "unchanged": 19, "duplicate": 1}
    assert [label for (label,) in export.rows("documents", "label") if label == "newest"] == ["newest"]


def test_of_two_records_alike_but_for_their_sync_the_later_synced_counts(export: Export) -> None:
    records = _many(20)
    export.load("documents", *records)
    pair = [
        records[0] | {"label": label, "updated_at": LATER, "_fivetran_synced": synced}
        for label, synced in (("late", "2030-01-02"), ("early", "2030-01-01"))
    ]
    export.load("documents", *pair, *records[1:])
    assert "late" in {label for (label,) in export.rows("documents", "label")}


def test_a_refused_record_leaves_quarantine_by_one_that_is_not_older(export: Export) -> None:
    records = _many(20)
    export.load("documents", *records)
    export.load("documents", records[0] | {"label": None, "updated_at": LATER}, *records[1:])
    assert export.refused("documents") == [(1, [("missing_required", "label")])]
    assert export.load("documents", *records)["unchanged"] == 20
    assert export.refused("documents") == [(1, [("missing_required", "label")])]
    assert export.load("documents", records[0] | {"updated_at": LATER}, *records[1:])["updated"] == 1
    assert export.refused("documents") == []


def test_unknown_columns_are_counted_in_the_whole_file(export: Export) -> None:
    records = [r | {"legacy_code": "x"} for r in _many(20)]
    export.load("documents", *records)
    records[0] |= {"label": "changed", "updated_at": LATER}
    export.load("documents", *records)
    counted = export.connection.execute(
        "SELECT unknown_values FROM ingest.imports WHERE status = 'imported' ORDER BY id"
    ).fetchall()
    assert counted == [({"legacy_code": 20},), ({"legacy_code": 20},)]


def test_a_bad_value_in_one_changed_record_lets_the_other_changes_in(export: Export) -> None:
    records = _many(40)
    export.load("documents", *records)
    records[3] |= {"version_date": "never", "updated_at": LATER}
    records[4] |= {"version_date": "2030-02-01", "updated_at": LATER}
    counts = export.load("documents", *records)
    assert counts == {"status": "imported", "read": 40, "updated": 1, "unchanged": 38, "quarantined": 1}
    assert export.refused("documents") == [(4, [("invalid_value", "version_date")])]


def test_when_all_records_change_all_are_written(export: Export) -> None:
    export.load("documents", *_many(40))
    changed = [r | {"label": f"new {n}", "updated_at": LATER} for n, r in enumerate(_many(40))]
    assert export.load("documents", *changed) == {"status": "imported", "read": 40, "updated": 40}
    assert export.rows("documents", "label") == sorted((f"new {n}",) for n in range(40))


def test_a_reference_that_dangles_is_emptied_in_a_changed_row_and_no_other(export: Export) -> None:
    export.load("organizations", record("organizations", "parent"), record("organizations", "other"))
    children = [record("organizations", f"child {n}", parent_organization_id="parent") for n in range(20)]
    parents = [record("organizations", "parent"), record("organizations", "other")]
    export.load("organizations", *parents, *children)
    children[0] |= {"parent_organization_id": uuid("nobody"), "updated_at": LATER}
    children[1] |= {"parent_organization_id": uuid("other"), "updated_at": LATER}
    export.load("organizations", *parents, *children)
    led = export.connection.execute(
        "SELECT parent_organization_id::text, count(*) FROM organizations WHERE name IS NOT NULL GROUP BY 1"
    ).fetchall()
    assert dict(led) == {None: 3, uuid("parent"): 18, uuid("other"): 1}
    assert [(column, code) for column, code, _ in export.issues("organizations")] == [
        ("parent_organization_id", "dangling_reference")
    ]
