"""Imports from an object storage: the same as from a directory, also where the storage fails on the way."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.run import ImportFailedError, ImportPreventedError, import_table
from daybreak_pipeline.locations import storage
from daybreak_pipeline.operations import deliveries, export_watch
from daybreak_pipeline.operations.export_watch import State
from daybreak_pipeline.orchestration.export_directories import ExportDirectories
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record, told, uuid
from daybreak_pipeline_tests.locations.conftest import BUCKET, Bucket, Fault

pytestmark = pytest.mark.slow
INSURANCES = "clinician_credentialed_insurances"


def insurances(number: int, name: str = "Any") -> list[dict[str, str | None]]:
    return [record(INSURANCES, f"i{n}", name=f"{name} {n} {'x' * 200}") for n in range(number)]


@pytest.fixture
def delivered(export: Export, bucket: Bucket) -> Bucket:
    """A bucket with a file of 10,000 records, 3 MB."""
    export.write(INSURANCES, *insurances(10_000))
    bucket.upload(export.directory)
    return bucket


def ledger(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT status, source_uri, rows_read, rows_inserted FROM ingest.imports ORDER BY id"
    ).fetchall()


def test_a_file_is_imported_without_a_copy_and_the_ledger_names_it(delivered: Bucket, export: Export) -> None:
    result = import_table(export.connection, INSURANCES, delivered.place())
    assert told(result) == {"status": "imported", "read": 10_000, "inserted": 10_000}
    uri = f"s3://{BUCKET}/day/clinician_credentialed_insurances.csv"
    assert ledger(export.connection) == [("imported", uri, 10_000, 10_000)]
    assert told(import_table(export.connection, INSURANCES, delivered.place()))["status"] == "skipped"
    export.load(INSURANCES)  # the same content from a directory
    assert [status for status, *_ in ledger(export.connection)] == ["imported", "skipped", "skipped"]


def test_parts_packed_parts_and_parquet_are_read_as_from_a_directory(
    bucket: Bucket, export: Export, tmp_path: Path
) -> None:
    one, two, three, four = insurances(4)
    text = export.write(INSURANCES, one).read_bytes()
    bucket.put(f"day/{INSURANCES}/a.csv", text)
    bucket.put(f"day/{INSURANCES}/b=1/b.csv.gz", gzip.compress(export.write(INSURANCES, two).read_bytes()))
    pq.write_table(pa.Table.from_pylist([three, four]), tmp_path / "c.parquet")
    bucket.put(f"day/{INSURANCES}/c.parquet", (tmp_path / "c.parquet").read_bytes())
    result = import_table(export.connection, INSURANCES, bucket.place())
    assert told(result) == {"status": "imported", "read": 4, "inserted": 4}


def test_errors_and_cuts_on_the_way_change_nothing(
    delivered: Bucket, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.01)
    asked = []

    def before(path: str) -> None:
        asked.append(path)
        if len(asked) % 3 == 0 and "list-type" not in path:
            delivered.faults.append(Fault(500, "InternalError") if len(asked) % 2 else Fault(bytes=100_000))

    delivered.before = before
    result = import_table(export.connection, INSURANCES, delivered.place())
    assert told(result) == {"status": "imported", "read": 10_000, "inserted": 10_000}
    assert len(asked) > 5


def test_an_object_that_is_replaced_while_it_is_read_is_read_again(delivered: Bucket, export: Export) -> None:
    newer = export.write(INSURANCES, *insurances(9_000, "Newer")).read_bytes()
    gets: list[str] = []

    def before(path: str) -> None:
        if "list-type" not in path:
            gets.append(path)
            if len(gets) == 3:
                delivered.put("day/clinician_credentialed_insurances.csv", newer)

    delivered.before = before
    result = import_table(export.connection, INSURANCES, delivered.place())
    assert told(result) == {"status": "imported", "read": 9_000, "inserted": 9_000}
    assert [status for status, *_ in ledger(export.connection)] == ["imported"]


def test_one_that_is_replaced_again_and_again_fails_by_name_and_may_be_tried_again(
    delivered: Bucket, export: Export
) -> None:
    number = 0

    def before(path: str) -> None:
        nonlocal number
        if "list-type" not in path:
            number += 1
            text = f"id,name,updated_at\n{uuid('one')},{number},2025-01-01\n"
            delivered.put("day/clinician_credentialed_insurances.csv", text.encode() * 2)

    delivered.before = before
    with pytest.raises(ImportPreventedError, match=r"insurances\.csv: it was replaced while it was read"):
        import_table(export.connection, INSURANCES, delivered.place())
    assert [status for status, *_ in ledger(export.connection)] == ["failed"]


def test_a_storage_that_goes_away_is_no_fault_of_the_file(
    delivered: Bucket, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.0)
    place = delivered.place()
    list(place.iterdir())
    delivered.before = lambda path: (
        delivered.faults.append(Fault(bytes=0)) if "list-type" not in path else None
    )
    with pytest.raises(ImportPreventedError, match="the storage does not answer as it should"):
        import_table(export.connection, INSURANCES, place)
    delivered.before = lambda _path: None
    delivered.faults.clear()
    assert import_table(export.connection, INSURANCES, delivered.place()).accounting.inserted == 10_000


def test_a_damaged_object_is_the_files_fault(bucket: Bucket, export: Export) -> None:
    bucket.put(
        f"day/{INSURANCES}.csv.gz", gzip.compress(export.write(INSURANCES, *insurances(50)).read_bytes())[:-9]
    )
    with pytest.raises(ImportFailedError, match="it is cut off: have it sent again") as raised:
        import_table(export.connection, INSURANCES, bucket.place())
    assert not isinstance(raised.value, ImportPreventedError)


def test_the_sensor_sees_a_new_object_once_and_asks_again_when_the_storage_is_back(
    delivered: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.0)
    first = export_watch.look(State(str(delivered.place())), settle_seconds=0, hash_seconds=60)
    assert INSURANCES in first.unsettled
    monkeypatch.setattr("daybreak_pipeline.locations.objects._LISTED_FOR", 0.0)
    delivered.before = lambda path: (
        delivered.faults.append(Fault(bytes=0)) if "list-type" not in path else None
    )
    away = export_watch.look(first.state, settle_seconds=0, hash_seconds=60)
    assert "does not answer" in away.problems[INSURANCES]
    assert away.changed == {}
    delivered.before = lambda _path: None
    delivered.faults.clear()
    second = export_watch.look(
        export_watch.load(away.state.dump(), delivered.place()), settle_seconds=0, hash_seconds=60
    )
    assert INSURANCES in second.changed
    delivered.asked.clear()
    third = export_watch.look(second.answered(second.changed).state, settle_seconds=0, hash_seconds=60)
    assert third.changed == {}
    assert delivered.gets("insurances.csv") == []  # known by size and tag


def test_what_waits_on_a_storage_is_known_to_the_verdict(delivered: Bucket, export: Export) -> None:
    found = deliveries.look(export.connection, delivered.place())
    assert set(found.waiting) == {INSURANCES}
    import_table(export.connection, INSURANCES, delivered.place())
    assert deliveries.look(export.connection, delivered.place()).waiting == {}
    assert deliveries.look(export.connection).there == {INSURANCES}  # where the last import came from


def test_runs_import_from_the_allowed_prefixes_only(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_ROOTS", f"/srv:s3://{BUCKET}/older")
    directories = ExportDirectories(bucket.place)
    assert directories.chosen("") == bucket.place()
    assert directories.chosen(f"s3://{BUCKET}/older/2025") == bucket.place("older/2025")
    for outside in (
        f"s3://{BUCKET}/old",
        f"s3://{BUCKET}",
        "s3://another/day",
        f"s3://{BUCKET}/day/../x",
        f"gs://{BUCKET}/day",
    ):
        with pytest.raises(UsageError, match="outside the directories"):
            directories.chosen(outside)


def test_commands_write_examine_and_import_an_export_on_a_storage(
    bucket: Bucket, migrated: DatabaseSettings, tmp_path: Path
) -> None:
    place = str(bucket.place("made/today"))
    environment = {
        **migrated.environment(),
        **settings.of_storages(),
        "ENCRYPTION_KEY": KEY,
        "DAYBREAK_HOME": str(tmp_path),
        "DAYBREAK_EXPORT_DIR": place,
    }
    made = daybreak(environment, "generate", "--patients", "20", "--out", place)
    assert (made.returncode, "wrote s3://" in made.stderr + made.stdout) == (0, True), made.stderr
    again = daybreak(environment, "generate", "--patients", "20", "--out", place)
    assert (again.returncode, "holds objects already" in again.stderr) == (2, True)
    assert f"16 of 16 files in {place}" in daybreak(environment, "doctor").stdout
    dry = daybreak(environment, "import", "--dry-run", "--json")
    assert json.loads(dry.stdout)["tables"]["kinships"]["status"] == "imported", dry.stderr
    done = daybreak(environment, "import", "--json")
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert {table["status"] for table in tables.values()} == {"imported"}
    assert json.loads(daybreak(environment, "status", "--json").stdout)["tables"]["kinships"]["rows"] > 0
    with psycopg.connect(migrated.conninfo()) as connection:
        (row,) = connection.execute("SELECT id::text FROM kinships LIMIT 1").fetchone() or ("",)
    assert f"{place}/" in daybreak(environment, "trace", "kinships", row).stdout
