"""The drill: what it proves, and that damage of every kind turns it red."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.backups import checksums, drill, gaps, listing
from daybreak_pipeline.backups.drill import Drill
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import PATIENTS, Site, ask, do, needs_pgbackrest
from daybreak_pipeline_tests.backups.test_restoring import all_archived
from daybreak_pipeline_tests.exports import record

pytestmark = [needs_pgbackrest, pytest.mark.slow]


@pytest.fixture
def db(site: Site, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """A running server with a few rows, one with a sealed name, and a full backup of them."""
    zoe = record(PATIENTS, email="zoe@example.org")
    with site.up_with_people(tmp_path / "export", zoe) as found:
        yield found


def drilled(site: Site, db: DatabaseSettings, key: str | None = None) -> Drill:
    return drill.run(site.agent, db, key or keys.load())


def repository(site: Site) -> Path:
    found = site.agent.repository
    assert isinstance(found, Path)
    return found


def test_a_good_backup_is_proved_and_nothing_is_left(site: Site, db: DatabaseSettings) -> None:
    before = sorted(path.name for path in site.home.iterdir())
    found = drilled(site, db)
    assert found.problems == []
    assert found.opened >= 1
    assert found.tables > 16
    assert "can be restored" in str(found)
    assert sorted(path.name for path in site.home.iterdir()) == before
    assert (
        ask(db, "SELECT failed_count FROM pg_stat_archiver") == 0
    )  # the copy pushed nothing into the repository
    assert listing.read(site.agent)


def test_one_changed_byte_turns_it_red(site: Site, db: DatabaseSettings) -> None:
    bundle = max(repository(site).glob("backup/*/*F/bundle/*"), key=lambda path: path.stat().st_size)
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    found = drilled(site, db)
    assert not found.passed
    assert "backups-fail" in str(found)


def test_one_missing_file_of_the_log_turns_it_red(site: Site, db: DatabaseSettings) -> None:
    do(db, "CREATE TABLE numbers AS SELECT 1 AS n")
    all_archived(db)
    lost = max(repository(site).glob("archive/*/*/*/0*.zst"), key=lambda path: path.name)
    do(db, "INSERT INTO numbers VALUES (2)")
    all_archived(db)
    lost.unlink()
    found = drilled(site, db)
    assert f"the log lacks {lost.name[:24]}" in found.problems
    assert any("does not reach this point" in problem for problem in found.problems), found.problems


def test_a_missing_file_before_the_newest_backup_is_seen_too(site: Site, db: DatabaseSettings) -> None:
    all_archived(db)
    do(db, "CREATE TABLE numbers AS SELECT 1 AS n")
    all_archived(db)
    lost = max(repository(site).glob("archive/*/*/*/0*.zst"), key=lambda path: path.name)
    site.backup(db, "diff")
    lost.unlink()
    assert gaps.find(site.agent, listing.read(site.agent)) == [lost.name[:24]]
    assert not drilled(site, db).passed


def test_another_key_of_the_repository_turns_it_red(
    site: Site, db: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_BACKUP_KEY", "0f" * 32)
    site.agent.write()
    found = drilled(site, db)
    assert "another key" in str(found)
    assert str(found).isprintable()


def test_another_encryption_key_turns_it_red(site: Site, db: DatabaseSettings) -> None:
    found = drilled(site, db, "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210")
    assert any("does not open its personal values" in problem for problem in found.problems)


def test_without_a_backup_it_is_red(site: Site) -> None:
    with site.up() as db:
        assert "there is no backup" in str(drilled(site, db))


def test_a_writer_is_not_in_the_way(site: Site, db: DatabaseSettings) -> None:
    do(db, "CREATE TABLE numbers AS SELECT 1 AS n")
    with psycopg.connect(db.conninfo()) as reader:
        reader.execute("SELECT * FROM numbers")
        assert drilled(site, db).passed


def test_what_differs_is_named_without_contents(db: DatabaseSettings) -> None:
    with database.connect(db) as connection:
        source = checksums.of_every_table(connection)
    table = "public.patients_and_guardians"
    restored = source | {table: replace(source[table], checksum=1), "public.more": source[table]}
    del restored["public.kinships"]
    assert checksums.differences(source, restored) == [
        "public.kinships is missing",
        "public.more is not in the source",
        f"{table} has other contents",
    ]
