"""Files of the write-ahead log that the repository lacks, by their names alone."""

from __future__ import annotations

import pytest

from daybreak_pipeline.backups.gaps import missing

FIRST = "0000000100000000000000FE"


def archive(*names: str) -> dict[str, dict[str, str]]:
    return {f"daybreak/15-1/{name[:16]}/{name}-{'a' * 40}.zst": {} for name in names}


@pytest.mark.parametrize(
    ("there", "gaps"),
    [
        ([FIRST, "0000000100000000000000FF", "000000010000000100000000"], []),
        ([FIRST, "000000010000000100000000"], ["0000000100000000000000FF"]),
        (
            [FIRST, "000000010000000100000002"],
            ["0000000100000000000000FF to 000000010000000100000001"],
        ),
        (["0000000100000000000000FF"], [FIRST]),
        # What is older than the oldest backup has expired; another timeline begins where it begins.
        (["000000010000000000000001", FIRST, "000000020000000000000FF0"[:24]], []),
    ],
)
def test_a_gap_is_seen(there: list[str], gaps: list[str]) -> None:
    assert missing(archive(*there), FIRST) == gaps


def test_other_files_of_the_archive_are_no_gap() -> None:
    listed = archive(FIRST) | {"daybreak/archive.info": {}, "daybreak/15-1/00000002.history": {}}
    assert missing(listed, FIRST) == []
