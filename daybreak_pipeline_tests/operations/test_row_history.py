"""The story of a row names files, records, reasons and repairs, and no personal value."""

from __future__ import annotations

from daybreak_pipeline.operations.row_history import trace
from daybreak_pipeline_tests.exports import Export, record, uuid


def _story(export: Export, table: str, word: str) -> str:
    return "\n".join(trace(export.connection, table, uuid(word).upper()))


def test_a_row_says_which_record_of_which_file_it_came_from(export: Export) -> None:
    export.load("documents", record("documents", "first"), record("documents", "second"))
    story = _story(export, "documents", "second")
    assert f"from record 2 of {(export.directory / 'documents.csv').as_uri()} (SHA-256 " in story


def test_a_healed_row_says_what_it_waited_for(export: Export) -> None:
    export.load("referral_members", record("referral_members", "late"))
    export.add_parents()
    export.load("referral_members")
    story = _story(export, "referral_members", "late")
    assert "from quarantine row 1, tried again" in story
    assert f"from record 1 of {(export.directory / 'referral_members.csv').as_uri()}" in story
    assert "missing_parent referral_id: no such row in referrals" in story
    assert "quarantine row 1, loaded" in story


def test_repaired_values_are_named_not_shown(export: Export) -> None:
    export.load(
        "clinicians", record("clinicians", "x", address="12 Geheimnis Street", first_name="Geheimnis")
    )
    story = _story(export, "clinicians", "x")
    assert "field issue, open: invalid_json in address" in story
    assert "Geheimnis" not in story


def test_a_row_of_an_application_says_so(export: Export) -> None:
    export.connection.execute("INSERT INTO documents (id, label) VALUES (%s, 'x')", [uuid("own")])
    assert "written by an application" in _story(export, "documents", "own")


def test_who_changed_a_row_since_is_told_without_values(export: Export) -> None:
    export.load("clinicians", record("clinicians", "x", first_name="Geheimnis"), record("clinicians", "y"))
    export.connection.execute("UPDATE clinicians SET first_name = 'Neu', care_provider_status = 1")
    export.connection.execute("DELETE FROM clinicians")
    story = _story(export, "clinicians", "x")
    assert (
        " UTC UPDATE care_provider_status, first_name by daybreak from 127.0.0.1 (daybreak)\naudit: " in story
    )
    assert " UTC DELETE by daybreak from 127.0.0.1 (daybreak)" in story
    assert "has no row" in story
    assert story.count("audit: ") == 2
    assert "Geheimnis" not in story


def test_a_row_that_a_truncate_took_has_a_story_too(export: Export) -> None:
    export.load("documents", record("documents", "x"))
    export.connection.execute("TRUNCATE documents")
    assert " UTC TRUNCATE rows: 1 by daybreak from " in _story(export, "documents", "x")


def test_a_record_that_never_loaded_has_a_story_too(export: Export) -> None:
    export.load("documents", record("documents", "bad", version="many"))
    story = _story(export, "documents", "bad")
    assert "has no row" in story
    assert "quarantine row 1, open: record 1 of" in story
    assert "invalid_value version: not a whole number" in story


def test_a_row_that_was_deleted_before_it_came_says_so(export: Export) -> None:
    export.load("documents", record("documents", "gone", _fivetran_deleted="true"))
    story = _story(export, "documents", "gone")
    assert "has no row" in story
    assert "deleted at the source and never loaded: import 1 of file://" in story


def test_a_row_that_is_no_longer_exported_says_since_when(export: Export) -> None:
    export.load("documents", record("documents", "gone"), record("documents", "other"))
    export.load("documents", record("documents", "other"))
    assert "not in the newest full file, since import 2, " in _story(export, "documents", "gone")
    assert "newest full file" not in _story(export, "documents", "other")
