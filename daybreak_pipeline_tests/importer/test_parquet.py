"""Parquet files as others write them: each type arrives in the database, bad values are refused alone, bad files by name."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daybreak_pipeline.importer import parquet
from daybreak_pipeline.importer.run import ImportFailedError, replay_table
from daybreak_pipeline_tests.exports import NOON, Export, uuid

ID = uuid("documents")
NUL = "a\0b"


def write(export: Export, columns: dict[str, Any], name: str = "documents", **options: Any) -> Path:
    """Write documents of whose columns only some matter."""
    count = max(len(column) for column in columns.values())
    usual = {
        "id": [uuid(f"document{number}") for number in range(count)],
        "label": ["x"] * count,
        "updated_at": [NOON] * count,
    }
    path = export.directory / f"{name}.parquet"
    pq.write_table(pa.table(usual | columns), path, **options)
    return path


def told(export: Export) -> list[tuple[str, str | None]]:
    """Return of each quarantined record why, and which row it is."""
    return export.connection.execute(
        "SELECT reasons -> 0 ->> 'detail', row_id FROM ingest.quarantine WHERE resolved_at IS NULL ORDER BY record_number"
    ).fetchall()


def kept(export: Export) -> list[dict[str, str | None]]:
    found = export.connection.execute(
        "SELECT privacy.unseal(record_encrypted, privacy.key('seal'))::jsonb FROM ingest.quarantine ORDER BY record_number"
    ).fetchall()
    return [record for (record,) in found]


def test_a_directory_of_parquet_parts_is_read(export: Export) -> None:
    parts = export.directory / "documents" / "year=2025"
    parts.mkdir(parents=True)
    for number in range(2):
        table = pa.table({"id": [uuid(f"part{number}")], "label": [f"part {number}"], "updated_at": [NOON]})
        pq.write_table(table, parts / f"part-{number:05}.snappy.parquet")
    assert export.load("documents")["inserted"] == 2


def test_parquet_with_typed_columns_arrives_exactly(export: Export) -> None:
    moment = dt.datetime(2025, 8, 18, 16, 0, 19, 75334, tzinfo=dt.UTC)
    table = pa.table(
        {
            "id": pa.array([1, 2, None], pa.int64()),
            "user_id": pa.array([7, 7, None], pa.int32()),
            "range_start": pa.array([moment, moment, None], pa.timestamp("us", tz="America/New_York")),
            "range_end": pa.array(
                [moment.replace(tzinfo=None), moment.replace(tzinfo=None), None], pa.timestamp("us")
            ),
            "timezone": pa.array(["UTC", "UTC", None]).dictionary_encode(),
            "day_of_week": pa.array([Decimal(3), None, None], pa.decimal128(5, 0)),
            "is_repeating": pa.array([True, None, None]),
            "contact_type_id": pa.array([5.0, float("nan"), None], pa.float64()),
            "end_on": pa.array([dt.date(2025, 9, 1), None, None], pa.date32()),
            "deleted_at": pa.nulls(3),
            "created_at": pa.array([moment, moment, None], pa.timestamp("ns", tz="UTC")),
            "updated_at": pa.array([moment, moment, None], pa.timestamp("ms", tz="UTC")),
        }
    )
    pq.write_table(table, export.directory / "clinician_availabilities.parquet")
    assert export.load("clinician_availabilities") == {
        "status": "imported",
        "read": 3,
        "inserted": 2,
        "blank": 1,
    }
    columns = (
        "id",
        "range_start",
        "range_end",
        "day_of_week",
        "is_repeating",
        "contact_type_id",
        "end_on",
        "created_at",
    )
    assert export.rows("clinician_availabilities", *columns) == [
        (1, moment, moment, 3, True, 5, dt.datetime(2025, 9, 1, tzinfo=dt.UTC), moment),
        (2, moment, moment, None, None, None, None, moment),
    ]


def test_parquet_lists_and_structs_become_arrays_and_json(export: Export) -> None:
    boxes = pa.array([["a, b", 'c "d"', None]], pa.list_(pa.string()))
    names = pa.array([{"eng": "x\ny", "spa": None, "n": [1, 2.5]}])
    table = pa.table({"id": [ID], "label": ["x"], "updated_at": [NOON], "checkboxes": boxes, "names": names})
    pq.write_table(table, export.directory / "documents.parquet")
    assert export.load("documents")["inserted"] == 1
    assert export.rows("documents", "checkboxes", "names") == [
        (["a, b", 'c "d"', None], {"eng": "x\ny", "spa": None, "n": [1, 2.5]})
    ]


def test_parquet_columns_that_stand_twice_are_compared_too(export: Export) -> None:
    columns = [pa.array([ID, uuid("b")]), pa.array(["x", "y"]), pa.array(["x", "z"]), pa.array([NOON, NOON])]
    table = pa.Table.from_arrays(columns, names=["id", "label", "label", "updated_at"])
    pq.write_table(table, export.directory / "documents.parquet")
    assert export.load("documents") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}


def moment(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type] # year, month and so on


@pytest.mark.parametrize(
    ("column", "values", "arrived"),
    [
        ("id", pa.array([UUID(ID).bytes], pa.uuid()), UUID(ID)),
        ("id", pa.array([ID.encode()], pa.binary()), UUID(ID)),
        ("version", pa.array([7], pa.uint64()), 7),
        ("version", pa.array([Decimal(7)], pa.decimal128(20, 9)), 7),
        ("version", pa.array([Decimal(0)], pa.decimal256(40, 12)), 0),
        ("version", pa.array([1e9], pa.float64()), 1_000_000_000),
        ("version", pa.array([-3], pa.float16()), -3),
        ("label", pa.array([1e15], pa.float64()), "1000000000000000"),
        ("label", pa.array([Decimal("7.50")], pa.decimal64(9, 2)), "7.5"),
        ("label", pa.array([b"Zo\xc3\xab"], pa.large_binary()), "Zoë"),
        ("label", pa.array([b"abc"], pa.binary(3)), "abc"),
        ("label", pa.array(["long enough for a view"], pa.string_view()), "long enough for a view"),
        ("label", pa.array([-90_061_500], pa.duration("ms")), "PT-90061.5S"),
        ("label", pa.array([dt.time(9, 30)], pa.time64("us")), "09:30:00"),
        ("label", pa.array(["before\n\\.\nafter"]), "before\n\\.\nafter"),
        ("version_date", pa.array([dt.date(1969, 12, 31)], pa.date32()), dt.date(1969, 12, 31)),
        ("version_date", pa.array([dt.date(2024, 2, 29)], pa.date64()), dt.date(2024, 2, 29)),
        ("version_date", pa.array([moment(2024, 2, 29)], pa.timestamp("ns")), dt.date(2024, 2, 29)),
        ("updated_at", pa.array([-1], pa.timestamp("us", "UTC")), moment(1969, 12, 31, 23, 59, 59, 999_999)),
        ("updated_at", pa.array([1500], pa.timestamp("ms", "Asia/Tokyo")), moment(1970, 1, 1, 0, 0, 1, 500_000)),
        ("updated_at", pa.array([1_000_000_001], pa.timestamp("ns")), moment(1970, 1, 1, 0, 0, 1)),
        ("checkboxes", pa.array([["a", None, 'c"']], pa.large_list(pa.string())), ["a", None, 'c"']),
        ("checkboxes", pa.array([["a", "b"]], pa.list_(pa.binary(), 2)), ["a", "b"]),
        ("names", pa.array([[("eng", "x")]], pa.map_(pa.string(), pa.string())), [{"key": "eng", "value": "x"}]),
        ("names", pa.array([{"n": [1.5, float("inf")], "ok": True}]), {"n": [1.5, "inf"], "ok": True}),
        ("names", pa.array(['{"eng": "x"}'], pa.json_()), {"eng": "x"}),
    ],
)  # fmt: skip
def test_a_value_arrives_whatever_its_type(export: Export, column: str, values: Any, arrived: object) -> None:
    write(export, {column: values})
    assert export.load("documents") == {"status": "imported", "read": 1, "inserted": 1}
    assert export.rows("documents", column) == [(arrived,)]


@pytest.mark.parametrize(
    ("column", "values", "code", "detail"),
    [
        ("version", pa.array([Decimal("1.5")], pa.decimal128(20, 9)), "invalid_value", "not a whole number"),
        ("version", pa.array([float("inf")]), "invalid_value", "not a whole number"),
        ("version", pa.array([1234567890123456789.0]), "invalid_value", "not a whole number"),
        ("updated_at", pa.array([253402300800], pa.timestamp("s")), "invalid_value", None),
        ("updated_at", pa.array([-62135596801], pa.timestamp("s", "UTC")), "invalid_value", None),
        ("updated_at", pa.array([-62167219201000], pa.timestamp("ms")), "invalid_value", None),
        ("version_date", pa.array([20_000_000], pa.date32()), "invalid_value", None),
        ("version_date", pa.array([1000], pa.timestamp("ms")), "invalid_value", "has a time of day"),
        ("label", pa.array([b"\xff\xfe"]), "malformed_record", "bytes that are no text in label"),
        ("label", pa.array([b"Zo\xeb"]).view(pa.string()), "malformed_record", "bytes that are no text in label"),
        ("label", pa.array([NUL]), "malformed_record", "a NUL character in label"),
        ("checkboxes", pa.array([["a", NUL]]), "malformed_record", "a NUL character in checkboxes"),
        ("names", pa.array([{"eng": [b"\xed\xa0\x80"]}]), "malformed_record", "bytes that are no text in names"),
        ("id", pa.array([bytes(range(240, 256))], pa.binary(16)), "malformed_record", "bytes that are no text in id"),
        ("0171 5551234", pa.array([NUL]), "malformed_record", "a NUL character in column 4"),
    ],
)  # fmt: skip
def test_a_value_that_no_row_can_have_is_refused_with_its_record(
    export: Export, column: str, values: Any, code: str, detail: str | None
) -> None:
    write(export, {column: values})
    assert export.load("documents") == {"status": "imported", "read": 1, "quarantined": 1}
    ((_, ((found, _),)),) = export.refused("documents")
    assert found == code
    assert detail is None or [why for why, _ in told(export)] == [detail]


def test_a_refused_record_is_kept_whole_and_the_others_load(export: Export) -> None:
    labels = pa.array([b"fine", b"\xe9", b"a\0b"])
    write(export, {"label": labels, "version": [1, 2, 3], "checkboxes": [["p"], ["q"], ["r\0"]]})
    assert export.load("documents") == {"status": "imported", "read": 3, "inserted": 1, "quarantined": 2}
    assert told(export) == [
        ("bytes that are no text in label", uuid("document1")),
        ("a NUL character in label; a NUL character in checkboxes", uuid("document2")),
    ]
    cells = [(record["label"], record["version"], record["checkboxes"]) for record in kept(export)]
    assert cells == [("\\xe9", "2", '["q"]'), ("a␀b", "3", '["r\\u0000"]')]


def test_what_was_written_in_place_of_a_bad_value_never_loads(export: Export) -> None:
    write(export, {"label": [NUL, "y"]})
    export.load("documents")
    assert replay_table(export.connection, "documents").accounting.quarantined == 1
    assert told(export) == [("a NUL character in label", uuid("document0"))]
    assert export.rows("documents", "label") == [("y",)]
    write(export, {"label": ["mended", "y"]})
    assert export.load("documents")["inserted"] == 1
    assert told(export) == []


def test_a_time_of_96_bits_may_be_an_open_end(export: Export) -> None:
    times = pa.array([moment(9999, 12, 31), moment(1, 1, 1), moment(2025, 1, 1, 11, 0, 0, 5), None])
    for stores_schema in (True, False):
        path = write(
            export, {"created_at": times}, use_deprecated_int96_timestamps=True, store_schema=stores_schema
        )
        cells = [line.split(b",")[-1] for data, _ in parquet.csv_blocks(path) for line in data.splitlines()]
        assert [cell[:27] for cell in cells] == [
            b'"9999-12-31 00:00:00"',
            b'"0001-01-01 00:00:00"',
            b'"2025-01-01 11:00:00.000005"'[:27],
            b"",
        ]
    assert export.load("documents")["inserted"] == 4


def far_int96(path: Path) -> None:
    """Make the days of a file's times of 96 bits as many as there can be."""
    day = (2_460_677).to_bytes(4, "little")  # 2025-01-01 as a Julian day
    content = path.read_bytes()
    assert content.count(day) == 1
    path.write_bytes(content.replace(day, b"\xff\xff\xff\x7f"))


def test_a_time_of_96_bits_beyond_microseconds_is_refused_and_not_wrapped(export: Export) -> None:
    times = pa.array([moment(2025, 1, 1, 11), moment(2024, 1, 1, 0, 0, 0, 7)])
    options: dict[str, Any] = {
        "use_deprecated_int96_timestamps": True,
        "compression": "none",
        "use_dictionary": False,
    }
    far_int96(write(export, {"created_at": times}, **options))
    assert export.load("documents") == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert export.refused("documents") == [(1, [("invalid_value", "created_at")])]
    assert kept(export)[0]["created_at"] == "5874898-06-03 11:00:00"
    assert export.rows("documents", "created_at") == [(moment(2024, 1, 1, 0, 0, 0, 7),)]
    far_int96(write(export, {"names": [[times[0]]]}, **options))
    with pytest.raises(
        ImportFailedError, match=r"documents\.parquet: column 4 has a time inside .* out of range"
    ):
        export.load("documents")


def test_a_file_without_records_or_row_groups_imports_nothing(export: Export) -> None:
    write(export, {"label": pa.array([], pa.string()), "id": [], "updated_at": []})
    assert export.load("documents") == {"status": "imported"}


def test_a_file_lacks_a_required_column_by_name(export: Export) -> None:
    pq.write_table(pa.table({"id": [ID]}), export.directory / "documents.parquet")
    with pytest.raises(ImportFailedError, match=r"documents\.parquet lacks the required columns label$"):
        export.load("documents")


def test_records_are_counted_over_row_groups_of_any_size(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_RECORDS_AT_ONCE", 7)
    monkeypatch.setattr(parquet, "_RECORDS_PER_READ", 4)
    path = write(export, {"label": [f"{number}" for number in range(50)]}, row_group_size=5)
    assert sum(records for _, records in parquet.csv_blocks(path)) == 50
    assert export.load("documents")["inserted"] == 50
    last = export.connection.execute("SELECT label FROM documents WHERE _record_number = 50").fetchall()
    assert last == [("49",)]


def test_few_records_are_held_at_once_where_they_are_wide(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_BYTES_AT_ONCE", 1 << 20)
    wide = [f"{number}".ljust(100_000, "x") for number in range(40)]
    path = write(export, {"label": wide}, use_dictionary=False)
    sizes = [len(data) for data, _ in parquet.csv_blocks(path)]
    assert sum(sizes) > 4_000_000
    assert max(sizes) < 2_500_000


def test_a_text_that_a_dictionary_has_for_many_records_is_not_unpacked_for_all_at_once(
    export: Export,
) -> None:
    """A file of three kilobytes took as many gigabytes, and failed its table with an error in the pipeline itself."""
    text, records = "x" * 3_000_000, 60
    once = pa.DictionaryArray.from_arrays(pa.array([0, None] * (records // 2), pa.int32()), pa.array([text]))
    columns = {"id": [uuid(str(n)) for n in range(records)], "label": once}
    path = write(export, columns, compression="zstd")
    assert path.stat().st_size < 20_000
    blocks = [(len(data), count) for data, count in parquet.csv_blocks(path)]
    assert sum(count for _, count in blocks) == records
    assert sum(size for size, _ in blocks) > records // 2 * len(text)
    assert max(size for size, _ in blocks) < (16 << 20) + len(text)


def test_very_many_columns_are_read(export: Export) -> None:
    write(export, {f"extra_{chr(97 + n % 26)}{n}": pa.array([n]) for n in range(1000)})
    assert export.load("documents")["inserted"] == 1
