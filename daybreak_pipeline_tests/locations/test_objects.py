"""A place of an object storage behaves as a directory does, and what goes wrong is said in one line."""

from __future__ import annotations

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from daybreak_pipeline import locations
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer import find
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.locations import ObjectPath, ReplacedError, StorageAwayError, locate, of_uri, storage
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.locations.conftest import BUCKET, Bucket, Fault, call

pytestmark = pytest.mark.slow
LARGE = os.urandom(5_000_000)


def test_a_prefix_lists_what_is_directly_in_it(bucket: Bucket) -> None:
    for key in (
        "day/referrals.csv",
        "day/kinships/one.csv",
        "day/kinships/b=2/two.csv",
        "daylight/no.csv",
        "day/",
    ):
        bucket.put(key, b"a")
    there = {path.name: path for path in bucket.place().iterdir()}
    assert sorted(there) == ["kinships", "referrals.csv"]
    assert there["kinships"].is_dir()
    assert not there["kinships"].is_file()
    assert there["referrals.csv"].is_file()
    assert not there["referrals.csv"].is_dir()
    assert there["referrals.csv"].stat().st_size == 1


def test_parts_are_found_below_folders_and_hidden_ones_and_folders_marks_are_none(bucket: Bucket) -> None:
    for key in ("b=2/two.csv", "one.csv", "_temporary/three.csv", ".crc/four.csv", "_SUCCESS", "readme.md"):
        bucket.put(f"day/kinships/{key}", b"id\n")
    bucket.put("day/kinships/b=2/", b"")
    (kinships,) = bucket.place().iterdir()
    source = Source.at(kinships)
    assert [part.name for part in source.parts] == ["two.csv", "one.csv"]
    assert [other.name for other in source.others] == ["readme.md"]


def test_the_newest_of_two_dates_is_chosen_as_in_a_directory(bucket: Bucket) -> None:
    for day in ("2025-11-08", "2025-11-09"):
        bucket.put(f"day/kinships_{day}.csv", b"id,updated_at\n")
    found = find.find(bucket.place(), TABLES["kinships"])
    assert found.uri == f"s3://{BUCKET}/day/kinships_2025-11-09.csv"
    assert [ignored.file for ignored in found.ignored] == ["kinships_2025-11-08.csv"]


@pytest.mark.parametrize("name", ["Patients and Guardians (1).csv", "100% ü#?.csv", "a~+&=.csv"])
def test_odd_names_are_listed_read_and_found_again_by_their_uri(bucket: Bucket, name: str) -> None:
    bucket.put(f"day/{name}", b"text")
    (path,) = bucket.place().iterdir()
    assert path.name == name
    assert path.as_uri() == f"s3://{BUCKET}/day/{quote(name)}"
    again = of_uri(path.as_uri())
    assert again == path
    with again.open("rb") as file:
        assert file.read() == b"text"


def test_any_place_of_an_object_is_read_as_of_a_file(bucket: Bucket) -> None:
    bucket.put("day/large.csv", LARGE)
    there = io.BytesIO(LARGE)
    with (bucket.place("day/large.csv")).open() as file:
        for where, length in [(0, 10), (4_999_990, 100), (1_048_570, 20), (2_000_000, 1_500_000), (0, -1)]:
            assert file.seek(where) == there.seek(where)
            assert file.read(length) == there.read(length)
        assert file.read() == b""
        assert file.seek(-3, io.SEEK_END) == len(LARGE) - 3
        assert file.read() == LARGE[-3:]


def test_a_whole_object_is_two_requests_and_a_glance_is_one(bucket: Bucket) -> None:
    bucket.put("day/large.csv", LARGE)
    path = next(bucket.place().iterdir())
    with path.open() as file:
        file.read(1000)
        assert len(bucket.gets("large.csv")) == 1
        file.read()
    assert len(bucket.gets("large.csv")) == 2


def test_an_empty_object_is_an_empty_file(bucket: Bucket) -> None:
    bucket.put("day/empty.csv", b"")
    with next(bucket.place().iterdir()).open() as file:
        assert file.read() == b""


@pytest.mark.parametrize("cut", [0, 1, 70_000, 1_048_576])
def test_bytes_that_break_off_are_asked_for_again_from_there(bucket: Bucket, cut: int) -> None:
    bucket.put("day/large.csv", LARGE)
    path = next(bucket.place().iterdir())
    bucket.faults += [Fault(bytes=cut), Fault(503, "SlowDown"), Fault(bytes=cut + 5)]
    with path.open() as file:
        assert file.read() == LARGE
    assert bucket.faults == []


def test_a_storage_that_breaks_off_for_ever_is_given_up(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.0)
    bucket.put("day/large.csv", LARGE)
    path = next(bucket.place().iterdir())
    bucket.faults += [Fault(bytes=0)] * 100
    with path.open() as file, pytest.raises(StorageAwayError, match="does not answer as it should"):
        file.read()


def test_an_object_that_was_replaced_is_not_read_on(bucket: Bucket) -> None:
    bucket.put("day/large.csv", LARGE)
    path = next(bucket.place().iterdir())
    with path.open() as file:
        file.read(10)
        bucket.put("day/large.csv", LARGE[::-1])
        with pytest.raises(ReplacedError, match="replaced while it was read"):
            file.read()
    with pytest.raises(ReplacedError), path.open() as file:
        file.read()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://no-such-bucket/day", "cannot read .*: there is no bucket no-such-bucket"),
        (f"s3://{BUCKET}/tomorrow", "there is no directory"),
        (f"s3://{BUCKET}/day/referrals.csv", "is a file"),
        (f"s3://{BUCKET}", "holds no file of an export"),
    ],
)
def test_what_is_no_export_is_said_in_one_line(bucket: Bucket, place: str, message: str) -> None:
    bucket.put("day/referrals.csv", b"id\n")
    with pytest.raises(UsageError, match=message):
        find.check_export(locate(place))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(403, "AccessDenied"), "do not permit to list and read it"),
        (Fault(403, "InvalidAccessKeyId"), "does not accept the credentials"),
        (Fault(400, "ExpiredToken"), "token has expired: get a new one"),
        (Fault(403, "SignatureDoesNotMatch"), "does not accept the credentials"),
    ],
)
def test_what_the_storage_refuses_is_said_by_its_code(bucket: Bucket, fault: Fault, message: str) -> None:
    bucket.put("day/referrals.csv", b"id\n")
    bucket.faults.append(fault)
    with pytest.raises(UsageError, match=message) as raised:
        find.check_export(bucket.place())
    assert "secret" not in str(raised.value)


def test_a_name_that_no_path_has_is_said(bucket: Bucket, service: tuple[str, int]) -> None:
    call(service, "PUT", f"/{BUCKET}/day/a//b.csv", b"id\n")
    with pytest.raises(OSError, match="a name that no path has"):
        list(bucket.place("day/a").iterdir())


def test_ten_thousand_objects_are_listed(bucket: Bucket) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: bucket.put(f"day/kinships/part-{number:05}.csv", b""), range(10_000)))
    assert len(list(bucket.place("day/kinships").files_below())) == 10_000
    assert len({page for _, page in bucket.asked if "list-type" in page}) == 10


def test_places_are_compared_by_bucket_and_whole_names() -> None:
    day = ObjectPath.parse("s3://a-bucket/day")
    assert ObjectPath.parse("s3://a-bucket/day/x.csv").is_relative_to(day)
    assert not ObjectPath.parse("s3://a-bucket/daylight").is_relative_to(day)
    assert not ObjectPath.parse("gs://a-bucket/day/x.csv").is_relative_to(day)
    assert ObjectPath.parse("s3://a-bucket/day/x.csv").relative_to(day) == "x.csv"
    assert ObjectPath.parse("s3://a-bucket/x").parent == ObjectPath.parse("s3://a-bucket")


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "daybreak_pipeline.locations.storage")
    monkeypatch.delattr(locations, "storage")
    with pytest.raises(UsageError, match=r"pip install 'daybreak-pipeline\[s3\]'"):
        find.check_export(locate("s3://a-bucket/day"))
