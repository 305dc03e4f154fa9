"""Which records are known and passed over, and that a count says of them what it would say if they were looked at."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.importer import digests, known
from daybreak_pipeline.importer.known import Known
from daybreak_pipeline.privacy import erasure, rotation
from daybreak_pipeline.privacy.keys import Exchange
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record

LATER = "2025-08-01T00:00:00"


def _many(number: int) -> list[dict[str, str | None]]:
    return [record("documents", str(n), label=f"label {n}") for n in range(number)]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records are passed over, for each block; of files of any size."""
    monkeypatch.setattr(known, "SMALLEST", 0)
    take, noted = Known.take, list[int]()

    def taken(self: Known, places: known.Places) -> None:
        noted.append(places.size)
        take(self, places)

    monkeypatch.setattr(Known, "take", taken)
    return noted


def _over(passed: list[int]) -> int:
    """Return how many records were passed over since it was asked last."""
    total = sum(passed)
    passed.clear()
    return total


def test_known_records_are_unchanged(export: Export, passed: list[int]) -> None:
    records = _many(200)
    export.load("documents", *records)
    digests = export.rows("documents", "_record_digest")
    assert len(set(digests)) == 200
    assert {len(digest) for (digest,) in digests} == {known.SIZE}
    records[70] |= {"label": "changed", "updated_at": LATER}
    new = record("documents", "new", label="new")
    counts = export.load("documents", *records[1:], new)
    assert counts == {"status": "imported", "read": 200, "inserted": 1, "updated": 1, "unchanged": 198}
    assert export.connection.execute("SELECT row_id FROM ingest.missing_rows").fetchall() == [
        (records[0]["id"],)
    ]
    assert _over(passed) == 198
    found = export.connection.execute(
        "SELECT _record_number FROM documents WHERE label IN ('changed', 'new') ORDER BY 1"
    ).fetchall()
    assert found == [(70,), (200,)]
    assert export.load("documents", *records, new)["unchanged"] == 201
    assert _over(passed) == 201


@pytest.mark.parametrize("form", ["delimiter", "order of columns", "another column", "quotes"])
def test_a_file_of_another_form_is_looked_at_record_by_record(
    export: Export, passed: list[int], form: str
) -> None:
    records = _many(20)
    export.load("documents", *records)
    text = export.write("documents", *records).read_bytes()
    if form == "order of columns":
        export.write("documents", *records, header=[*records[0]][::-1])
    elif form == "another column":
        export.write("documents", *records, header=[*records[0], "legacy"])
    elif form == "delimiter":
        export.write_bytes("documents", text.replace(b",", b";"))
    else:
        export.write_bytes("documents", text.replace(b"label 7", b'"label 7"'))
    assert export.load("documents") == {"status": "imported", "read": 20, "unchanged": 20}
    assert _over(passed) == (19 if form == "quotes" else 0)


def test_an_edited_row_keeps_its_digest_and_its_record_is_stale(export: Export, passed: list[int]) -> None:
    records = _many(20)
    export.load("documents", *records)
    export.connection.commit()
    export.connection.execute("UPDATE documents SET label = 'edited' WHERE label IN ('label 3', 'label 4')")
    export.connection.commit()
    assert export.load("documents", full=True) == {
        "status": "imported",
        "read": 20,
        "unchanged": 18,
        "stale": 2,
    }
    assert _over(passed) == 20


@pytest.mark.parametrize(
    "write",
    [
        "UPDATE documents SET id = gen_random_uuid() WHERE label = 'label 3'",
        """
        CREATE TEMP TABLE copied AS SELECT * FROM documents WHERE label = 'label 3';
        UPDATE copied SET id = gen_random_uuid();
        DELETE FROM documents WHERE label = 'label 3';
        INSERT INTO documents SELECT * FROM copied
        """,
        "DELETE FROM documents WHERE label = 'label 3'",
    ],
)
def test_a_record_whose_row_is_gone_is_inserted(export: Export, passed: list[int], write: str) -> None:
    export.load("documents", *_many(20))
    export.connection.commit()
    export.connection.execute(write.encode())
    export.connection.commit()
    assert export.load("documents", full=True) == {
        "status": "imported",
        "read": 20,
        "inserted": 1,
        "unchanged": 19,
    }
    assert _over(passed) == 19


def test_of_several_records_of_a_row_each_is_looked_at(export: Export, passed: list[int]) -> None:
    records = _many(20)
    export.load("documents", *records)
    older = records[3] | {"label": "older", "updated_at": "2000-01-01T00:00:00"}
    newer = records[4] | {"label": "newer", "updated_at": LATER}
    counts = export.load("documents", *records, older, newer)
    assert counts == {"status": "imported", "read": 22, "updated": 1, "unchanged": 19, "duplicate": 2}
    _over(passed)
    counts = export.load("documents", *records, older, newer, full=True)
    assert counts == {"status": "imported", "read": 22, "unchanged": 20, "duplicate": 2}
    assert _over(passed) == 18


def test_equal_records_count_once(export: Export, passed: list[int]) -> None:
    records = _many(20)
    export.load("documents", *records)
    assert export.load("documents", *records, records[3], records[3]) == {
        "status": "imported",
        "read": 22,
        "unchanged": 20,
        "duplicate": 2,
    }
    assert _over(passed) == 22


def test_a_record_that_counts_for_more_than_its_outcome_is_always_looked_at(
    export: Export, passed: list[int]
) -> None:
    people = [record("patients_and_guardians", str(n), first_name=f"Name {n}") for n in range(20)]
    people[3] |= {"first_name": "NULL"}
    people[4] |= {"shoe": "42"}
    export.load("patients_and_guardians", *people)
    assert export.load("patients_and_guardians", *people, full=True)["unchanged"] == 20
    assert _over(passed) == 18
    found = export.connection.execute(
        "SELECT unknown_values ->> 'shoe', placeholder_values ->> 'first_name' FROM ingest.imports"
    ).fetchall()
    assert found == [("1", "1")] * 2


def test_an_erased_person_has_no_digest(export: Export, passed: list[int]) -> None:
    people = [record("patients_and_guardians", str(n), first_name=f"Name {n}") for n in range(20)]
    export.load("patients_and_guardians", *people)
    export.connection.commit()
    erasure.erase(export.connection, "patients_and_guardians", str(people[3]["id"]))
    export.connection.commit()
    counts = export.load("patients_and_guardians", full=True)
    assert (counts["unchanged"], counts["stale"]) == (19, 1)
    assert _over(passed) == 19


def test_a_rotated_key_leaves_records_known(
    migrated: DatabaseSettings, tmp_path: Path, passed: list[int]
) -> None:
    with database.connect(migrated, key=KEY) as connection:
        Export(tmp_path, connection).load("documents", *_many(20))
        digests = Export(tmp_path, connection).rows("documents", "_record_digest")
    with database.connect(migrated, autocommit=True) as connection:
        rotation.rotate(connection, Exchange(KEY, KEY[::-1], kept=False))
    with database.connect(migrated, key=KEY[::-1]) as connection:
        export = Export(tmp_path, connection)
        assert set(digests).isdisjoint(export.rows("documents", "_record_digest"))
        assert export.load("documents", full=True)["unchanged"] == 20
    assert _over(passed) == 20


def test_parts_in_any_order_and_parquet_among_them(export: Export, passed: list[int]) -> None:
    records = _many(30)
    directory = export.directory / "documents"
    directory.mkdir()
    for number, start in enumerate((0, 10)):
        part = export.write("documents", *records[start : start + 10])
        part.rename(directory / f"part-{number}.csv")
    table = pa.table({name: [one[name] for one in records[20:]] for name in records[0]})
    pq.write_table(table, directory / "part-2.parquet")
    assert export.load("documents")["inserted"] == 30
    assert len(export.rows("documents", "_record_digest")) == 30
    (directory / "part-0.csv").rename(directory / "part-3.csv")
    assert export.load("documents") == {"status": "imported", "read": 30, "unchanged": 30}
    assert _over(passed) == 20


def test_no_more_digests_are_compared_than_memory_is_for(
    export: Export, passed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_MOST", 8)
    monkeypatch.setattr(digests, "_PAGES_AT_ONCE", 1)
    monkeypatch.setattr(known, "MOSTLY", 0)
    records = _many(300)
    export.load("documents", *records)
    assert export.load("documents", *records[:299], full=True)["unchanged"] == 299
    assert _over(passed) in {7, 8}
    missing = export.connection.execute("SELECT row_id FROM ingest.missing_rows").fetchall()
    assert missing == [(records[299]["id"],)]


def test_progress_counts_what_is_passed_over(export: Export, passed: list[int]) -> None:
    records = _many(200)
    path = export.write("documents", *records)
    size = len(path.read_bytes().partition(b"\n")[2])
    export.load("documents")
    staged: list[int] = []
    export.load(
        "documents",
        full=True,
        progress=lambda phase, amount: staged.append(amount) if phase == "stage" else None,
    )
    assert _over(passed) == 200
    assert staged[-1] == size


def test_few_known_records_are_not_passed_over(export: Export, passed: list[int]) -> None:
    records = _many(20)
    export.load("documents", *records)
    changed = [one | {"label": "changed", "updated_at": LATER} for one in records[:15]]
    counts = export.load("documents", *changed, *records[15:])
    assert counts == {"status": "imported", "read": 20, "updated": 15, "unchanged": 5}
    assert _over(passed) == 0
