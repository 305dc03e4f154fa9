"""When a record counts as changed: the keyed hash of its content, and the glance at its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybreak_pipeline.importer.formats import BLOCK
from daybreak_pipeline_tests.exports import Export, record

LATER = "2025-08-01T00:00:00"
_READ = {"status": "imported", "read": 1}


def _changes(export: Export, table: str, one: dict[str, str | None], other: dict[str, str | None]) -> bool:
    """Whether a record that was imported is changed by another; anything but that or unchanged is a mistake."""
    export.load(table, one)
    counts = export.load(table, other, full=True)
    assert counts in ({**_READ, "updated": 1}, {**_READ, "unchanged": 1})
    return "updated" in counts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a\x1fb", "c"), ("a", "b\x1fc")),
        (("a\x1f", "b"), ("a", "\x1fb")),
        (("\x1f", None), (None, "\x1f")),
        (("a\x1fb", None), ("a", "b")),
        (("a", None), (None, "a")),
        (("ab", "c"), ("a", "bc")),
    ],
)
def test_values_that_join_to_the_same_text_are_not_the_same_record(
    export: Export, one: tuple[str | None, str | None], other: tuple[str | None, str | None]
) -> None:
    records = [record("organizations", slug=slug, tzdb=tzdb) for slug, tzdb in (one, other)]
    assert _changes(export, "organizations", *records)
    assert export.rows("organizations", "slug", "tzdb") == [other]


def test_a_record_is_unchanged_whatever_stands_in_the_others_of_its_file(export: Export) -> None:
    plain = record("organizations", "plain", slug="a", tzdb="b")
    export.load("organizations", plain)
    odd = record("organizations", "odd", slug="x\x1fy")
    assert export.load("organizations", plain, odd) == {
        "status": "imported",
        "read": 2,
        "inserted": 1,
        "unchanged": 1,
    }
    assert export.load("organizations", plain, odd, full=True)["unchanged"] == 2


def test_the_separator_counts_in_whatever_block_of_the_file_it_is(export: Export) -> None:
    long = [record("organizations", str(number), name="n" * 200) for number in range(BLOCK // 200)]
    one, other = (
        record("organizations", "odd", slug=slug, tzdb=tzdb)
        for slug, tzdb in (("a\x1fb", "c"), ("a", "b\x1fc"))
    )
    assert export.write("organizations", one, *long).stat().st_size > BLOCK
    export.load("organizations")
    assert export.load("organizations", other, *long)["updated"] == 1


def test_an_unknown_column_that_is_renamed_changes_the_record_that_keeps_it(export: Export) -> None:
    export.add_parents()
    one = record("memberships", legacy_code="x")
    other = record("memberships", legacy_kode="x")
    assert _changes(export, "memberships", one, other)
    # The file does not have the column any more, and so empties nothing.
    kept = {"export_columns": {"legacy_code": "x", "legacy_kode": "x"}}
    assert export.rows("memberships", "profile_data") == [(kept,)]


def test_a_column_that_is_taken_for_another_changes_the_record(export: Export) -> None:
    assert _changes(
        export, "organizations", record("organizations", slug="x"), record("organizations", tzdb="x")
    )


def test_a_record_with_more_columns_than_a_function_takes_is_told_by_the_last(export: Export) -> None:
    wide: dict[str, str | None] = {f"extra_{number:03}": str(number) for number in range(250)}
    one = record("clinicians", **wide)
    assert not _changes(export, "clinicians", one, one)
    assert _changes(export, "clinicians", one, one | {"extra_249": "y"})


def test_what_loads_from_quarantine_is_unchanged_in_its_file(export: Export) -> None:
    waiting = record("org_contracts", organization_id="school", contract_id="contract")
    export.load("organizations", record("organizations", "school"))
    assert export.load("org_contracts", waiting)["quarantined"] == 1
    export.load("contracts", record("contracts", "contract"))
    export.load("org_contracts")
    assert len(export.rows("org_contracts", "id")) == 1
    assert export.load("org_contracts", full=True)["unchanged"] == 1


def _same_size(path: Path, position: int) -> None:
    """Change one byte of a file and nothing else that a glance could see."""
    content = bytearray(path.read_bytes())
    assert content[position : position + 1] == b"a"
    content[position : position + 1] = b"b"
    path.write_bytes(content)


@pytest.mark.parametrize("at", ["beginning", "end"])
def test_a_file_of_the_same_size_is_read_again_wherever_it_differs(export: Export, at: str) -> None:
    records = [
        record("documents", str(number), label="a" * 100, updated_at=LATER) for number in range(BLOCK // 100)
    ]
    export.load("documents", *records)
    path = export.write("documents", *records)
    assert path.stat().st_size > BLOCK
    before = path.stat().st_size
    content = path.read_bytes()
    _same_size(path, content.index(b"a" * 100) if at == "beginning" else content.rindex(b"a" * 100))
    assert path.stat().st_size == before
    counts = export.load("documents")
    assert (counts["updated"], counts["unchanged"]) == (1, len(records) - 1)
    assert export.load("documents") == {"status": "skipped"}


def test_a_file_that_an_older_version_imported_is_still_known(export: Export) -> None:
    export.load("documents", record("documents"))
    export.connection.execute("UPDATE ingest.imports SET source_head_sha256 = NULL")
    export.connection.commit()
    assert export.load("documents") == {"status": "skipped"}


def test_a_parts_beginning_counts_in_a_directory_too(export: Export) -> None:
    directory = export.directory / "documents"
    directory.mkdir()
    for name, label in (("1.csv", "one"), ("2.csv", "two")):
        export.write("documents", record("documents", name, label=label)).rename(directory / name)
    assert export.load("documents")["inserted"] == 2
    export.write("documents", record("documents", "2.csv", label="owt", updated_at=LATER)).rename(
        directory / "2.csv"
    )
    assert export.load("documents") == {"status": "imported", "read": 2, "updated": 1, "unchanged": 1}
    assert export.load("documents") == {"status": "skipped"}
