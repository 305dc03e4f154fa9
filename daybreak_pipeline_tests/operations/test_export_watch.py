"""Watching the export directory: what counts as changed, as complete, and as unreadable, and what is read for it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.locations import Location
from daybreak_pipeline.operations import export_watch
from daybreak_pipeline.operations.export_watch import Look, State

KINSHIPS = b"id,user_0_id,user_1_id,kind,user_0_label,user_1_label\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "kinships.csv").write_bytes(KINSHIPS)
    return tmp_path


def look(before: State | Path, *, later: float = 60.0, settle: float = 10.0, seconds: float = 60.0) -> Look:
    """Look, ``later`` seconds from now."""
    state = State(str(before)) if isinstance(before, Path) else before
    return export_watch.look(
        state, settle_seconds=settle, hash_seconds=seconds, now=lambda: time.time() + later
    )


def settled(directory: Path) -> Look:
    return look(look(directory).state)


def sha256(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(contents)).hexdigest()


def test_a_file_is_read_when_it_was_seen_twice_alike(directory: Path) -> None:
    first = look(directory)
    assert (first.changed, set(first.unsettled)) == ({}, {"kinships"})
    assert "kinships.csv (0.0 MB)" in first.unsettled["kinships"]
    second = look(first.state)
    assert (second.changed, second.unsettled) == ({"kinships": sha256(KINSHIPS)}, {})


def test_a_file_written_to_a_moment_ago_is_not_complete_however_often_it_is_looked_at(
    directory: Path,
) -> None:
    state = look(directory, later=1).state
    for later in (2, 5, 9):
        found = look(state, later=later)
        assert (found.changed, set(found.unsettled)) == ({}, {"kinships"})
        state = found.state
    assert set(look(state, later=11).changed) == {"kinships"}


def test_a_growing_file_is_never_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "sha256", lambda _self: pytest.fail("it was read"))
    state = State(str(directory))
    for _ in range(4):
        with (directory / "kinships.csv").open("ab") as file:
            file.write(b"1,a,b,1,1,1\n")
        found = look(state)
        assert set(found.unsettled) == {"kinships"}
        state = found.state


def test_a_copy_that_keeps_the_files_old_time_is_seen_by_the_time_of_its_inode(directory: Path) -> None:
    state = look(directory, later=1).state
    os.utime(directory / "kinships.csv", (0, 0))
    state = look(state, later=2).state
    assert look(state, later=3).changed == {}
    assert set(look(state, later=20).changed) == {"kinships"}


def test_a_time_in_the_future_does_not_hold_a_file_back_for_ever(directory: Path) -> None:
    ahead = time.time() + 86_400
    os.utime(directory / "kinships.csv", (ahead, ahead))
    assert set(settled(directory).changed) == {"kinships"}


def test_an_unchanged_file_is_hashed_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Location] = []
    hash_it = Source.sha256

    def counted(self: Source) -> str:
        read.append(self.path)
        return hash_it(self)

    monkeypatch.setattr(Source, "sha256", counted)
    state = settled(directory).state
    for _ in range(3):
        state = look(export_watch.load(state.dump(), directory)).state
    assert read == [directory / "kinships.csv"]


def test_a_touched_file_is_asked_about_again(directory: Path) -> None:
    """It may have been missed or refused meanwhile, which only the ledger knows."""
    state = settled(directory).answered(["kinships"]).state
    os.utime(directory / "kinships.csv", (1, 1))
    assert look(look(state).state).changed == {"kinships": sha256(KINSHIPS)}


def test_a_file_written_to_while_it_is_read_is_not_taken(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look(directory).state
    hash_it = Source.sha256

    def meanwhile(self: Source) -> str:
        found = hash_it(self)
        with self.path.open("ab") as file:
            file.write(b"1,a,b,1,1,1\n")
        return found

    monkeypatch.setattr(Source, "sha256", meanwhile)
    assert look(before).changed == {}
    monkeypatch.undo()
    assert set(look(look(before).state).changed) == {"kinships"}


def test_all_parts_of_a_directory_count(directory: Path) -> None:
    parts = directory / "documents" / "year=2025"
    parts.mkdir(parents=True)
    (parts / "part-0.csv").write_bytes(b"id,label\n")
    state = settled(directory).answered(["documents", "kinships"]).state
    (parts / "part-1.csv").write_bytes(b"id,label\n1,privacy_policy\n")
    between = look(state)
    assert (between.changed, set(between.unsettled)) == ({}, {"documents"})
    assert set(look(between.state).changed) == {"documents"}
    (parts / "part-2.csv.partial").write_bytes(b"id,la")
    assert look(look(between.state).answered(["documents"]).state).unsettled == {}


def test_a_directory_without_parts_is_no_file(directory: Path) -> None:
    (directory / "documents").mkdir()
    assert set(settled(directory).state.tables) == {"kinships"}


def test_a_file_that_disappears_is_forgotten(directory: Path) -> None:
    (directory / "documents.csv").write_bytes(b"id,label\n")
    state = settled(directory).state
    (directory / "kinships.csv").unlink()
    found = look(state)
    assert set(found.state.tables) == {"documents"}
    assert (found.unsettled, found.problems) == ({}, {})


def test_a_damaged_file_is_a_problem_until_it_changes(directory: Path) -> None:
    (directory / "documents.csv.gz").write_bytes(b"this is not gzip")
    found = settled(directory)
    assert found.problems == {
        "documents": "cannot read documents.csv.gz: it is damaged, or not what its suffix .csv.gz says: have it sent again"
    }
    assert set(found.changed) == {"kinships"}
    again = look(export_watch.load(found.state.dump(), directory))
    assert again.problems == found.problems
    (directory / "documents.csv.gz").rename(directory / "documents.csv")
    assert set(look(look(again.state).state).changed) == {"documents", "kinships"}


def test_a_file_that_may_not_be_read_is_a_problem(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = look(directory).state

    def refused(_self: Path, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", "kinships.csv")

    monkeypatch.setattr(Path, "open", refused)
    assert look(state).problems == {"kinships": "cannot read kinships.csv: Permission denied"}


def test_a_moment_in_which_a_file_cannot_be_read_forgets_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = settled(directory).state
    (directory / "kinships.csv").write_bytes(b"id,user_0_id\n")
    read = look(known).state
    with monkeypatch.context() as patched:
        patched.setattr(
            Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
        refused = look(read)
    assert set(refused.problems) == {"kinships"}
    assert set(refused.state.tables) == {"kinships"}
    assert set(look(look(refused.state).state).state.tables) == {"kinships"}


def test_reading_ends_in_time_and_goes_on_at_the_next_look(directory: Path) -> None:
    (directory / "documents.csv").write_bytes(b"id,label\n")
    state = look(directory).state
    none = look(state, seconds=-1)
    assert (none.changed, set(none.unread), none.unsettled) == ({}, {"documents", "kinships"}, {})
    assert set(look(none.state).changed) == {"documents", "kinships"}


def test_two_tables_may_share_the_name_of_a_file(directory: Path) -> None:
    (directory / "clinician_credentialed_insurances.csv").write_bytes(b"id,name\n")
    found = settled(directory)
    assert set(found.changed) == {"kinships", "clinician_credentialed_insurances"}
    assert "care_provider_profile_id" in found.problems["clinician_insurance_affiliations"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "there is no directory"),
        ("kinships.csv", "is a file"),
        ("empty", "holds no file of an export"),
    ],
)
def test_what_is_no_export_is_said_in_one_line(directory: Path, path: str, message: str) -> None:
    (directory / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        look(directory / path)


def test_the_state_survives_as_compact_text(directory: Path) -> None:
    state = settled(directory).answered(["kinships"]).state
    text = state.dump()
    assert export_watch.load(text, directory) == state
    assert len(text) < 400
    assert " " not in text.replace(str(directory), "")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "7", '{"version":0}', '{"version":1,"tables":{"kinships":{}}}']
)
def test_a_cursor_of_another_form_means_that_nothing_is_known(directory: Path, text: str | None) -> None:
    assert export_watch.load(text, directory) == State(str(directory))


def test_a_cursor_of_another_directory_is_not_used(directory: Path) -> None:
    text = settled(directory).state.dump()
    assert export_watch.load(text, directory / "other") == State(str(directory / "other"))
