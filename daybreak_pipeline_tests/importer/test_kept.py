"""An update never empties what its file does not have; what a file has and leaves empty, it empties."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from daybreak_pipeline_tests.exports import Export, record, uuid

JULY = "2025-07-01T00:00:00"
AUGUST = "2025-08-01T00:00:00"

Record = dict[str, str | None]


def member(profile: Any = ..., updated_at: str = JULY, **values: str | None) -> Record:
    if profile is not ...:
        values["profile_data"] = None if profile is None else json.dumps(profile)
    return record("memberships", updated_at=updated_at, **values)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        # Without profile_data: its other keys stay.
        (member({"grade": 5}), member(x="1"), {"grade": 5, "export_columns": {"x": "1"}}),
        (member({"grade": 5}, x="1"), member(x="2"), {"grade": 5, "export_columns": {"x": "2"}}),
        (member({"grade": 5}, x="1"), member(x=None), {"grade": 5}),
        (member({"grade": 5}, x="1"), member(y="2"), {"grade": 5, "export_columns": {"x": "1", "y": "2"}}),
        (member({"grade": 5}, x="1"), member(), {"grade": 5, "export_columns": {"x": "1"}}),
        (member("text"), member(x="1"), {"profile_data": "text", "export_columns": {"x": "1"}}),
        (member("text", x="1"), member(x="2"), {"profile_data": "text", "export_columns": {"x": "2"}}),
        # With profile_data, and without columns that were there before.
        (member({"grade": 5}, x="1"), member({"a": 1}), {"a": 1, "export_columns": {"x": "1"}}),
        (member({"grade": 5}, x="1", y="2"), member({}, y=None), {"export_columns": {"x": "1"}}),
        (member({"grade": 5}, x="1"), member(None), {"export_columns": {"x": "1"}}),
        (member({"grade": 5}), member(None), {}),
        (member({"grade": 5}, x="1"), member([1]), {"profile_data": [1], "export_columns": {"x": "1"}}),
        (member({"grade": 5}, x="1"), member(None, x=None), {}),
    ],
)
def test_a_profile_keeps_what_the_file_does_not_have(
    export: Export, first: Record, then: Record, expected: Any
) -> None:
    export.add_parents()
    export.load("memberships", first)
    assert export.load("memberships", then | {"updated_at": AUGUST})["updated"] == 1
    assert export.rows("memberships", "profile_data") == [(expected,)]


def test_a_profile_without_default_is_emptied_by_an_empty_cell(export: Export) -> None:
    export.load("clinicians", record("clinicians", profile_data='{"a": 1}'))
    export.load("clinicians", record("clinicians", profile_data=None, updated_at=JULY))
    assert export.rows("clinicians", "profile_data") == [(None,)]


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ({"full_name": "A", "legal_name": "B"}, {"full_name": "C"}, {"full_name": "C", "legal_name": "B"}),
        ({"full_name": "A", "legal_name": "B"}, {"full_name": None}, {"legal_name": "B"}),
        ({"full_name": "A"}, {"full_name": None}, None),
        ({"full_name": "A"}, {"title": "Dr."}, {"full_name": "A"}),
        ({"full_name": None}, {"full_name": "A"}, {"full_name": "A"}),
    ],
)
def test_sealed_export_columns_keep_what_the_file_does_not_have(
    export: Export, first: Record, then: Record, expected: dict[str, str] | None
) -> None:
    export.load("clinicians", record("clinicians") | first)
    assert export.load("clinicians", record("clinicians") | then | {"updated_at": JULY})["updated"] == 1
    kept = export.connection.execute(
        "SELECT privacy.unseal(_export_columns_encrypted, privacy.key('seal'))::jsonb FROM clinicians"
    ).fetchall()
    assert kept == [(expected,)]


def _found(export: Export, *words: str) -> list[bool]:
    return [
        bool(export.connection.execute("SELECT id FROM search_people(%s)", [word]).fetchall())
        for word in words
    ]


def test_who_is_renamed_in_part_is_found_by_all_names(export: Export) -> None:
    table = "patients_and_guardians"
    export.load(table, record(table, first_name="Ada", last_name="Okafor", preferred_name="Addie"))
    export.load(table, record(table, first_name="Zoe", updated_at=JULY))
    assert _found(export, "zoe okafor", "addie", "ada") == [True, True, False]
    assert export.connection.execute("SELECT privacy.rebuild_name_tokens()").fetchone() == (0,)
    export.load(table, record(table, first_name=None, last_name=None, preferred_name=None, updated_at=AUGUST))
    assert _found(export, "zoe", "okafor", "addie") == [False, False, False]
    assert export.rows(table, "name_tokens") == [(None,)]


def test_a_sealed_column_that_the_file_does_not_have_stays(export: Export) -> None:
    table = "patients_and_guardians"
    export.load(table, record(table, email="ada@example.org", phone="5550100"))
    export.load(table, record(table, phone=None, updated_at=JULY))
    told = export.connection.execute("SELECT email, phone FROM app.patients_and_guardians").fetchall()
    assert told == [("ada@example.org", None)]


def test_a_deletion_stays_where_the_file_does_not_speak_of_it(export: Export) -> None:
    table = "clinician_availabilities"
    export.load(table, record(table, op="D", tx_commit_time=JULY))
    export.load(table, record(table, op=None, day_of_week="3", updated_at=JULY))
    ((deleted, day),) = export.rows(table, "deleted_at", "day_of_week")
    assert (deleted is not None, day) == (True, 3)
    export.load(table, record(table, op="U", updated_at=AUGUST))
    assert export.rows(table, "deleted_at", "day_of_week") == [(None, 3)]


def test_a_reference_goes_on_waiting_for_its_row_where_the_file_does_not_have_it(export: Export) -> None:
    child = record("organizations", "child", parent_organization_id="parent")
    export.load("organizations", child)
    del child["parent_organization_id"]
    assert export.load("organizations", child | {"name": "New", "updated_at": JULY})["updated"] == 1
    assert [(column, code) for column, code, _ in export.issues("organizations")] == [
        ("parent_organization_id", "dangling_reference")
    ]
    export.load("organizations", record("organizations", "parent"))
    assert (UUID(uuid("parent")),) in export.rows("organizations", "parent_organization_id")
