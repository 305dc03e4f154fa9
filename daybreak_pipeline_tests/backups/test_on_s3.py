"""A repository on S3, with a real service: what a directory can do, a bucket must do too."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline.backups import checksums, drill, gaps, in_place, listing
from daybreak_pipeline.embedded_postgres import archiving, data_directory
from daybreak_pipeline.embedded_postgres.pgbackrest import BackupError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline_tests import s3
from daybreak_pipeline_tests.backups.conftest import PATIENTS, Site, do, needs_pgbackrest, until
from daybreak_pipeline_tests.backups.test_making import judged, switch
from daybreak_pipeline_tests.backups.test_restoring import aim, all_archived, kill, sums
from daybreak_pipeline_tests.exports import record
from daybreak_pipeline_tests.homes import server_home

pytestmark = [needs_pgbackrest, s3.needs_moto, pytest.mark.slow]


@pytest.fixture
def service(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Service]:
    with server_home() as directory, s3.served(directory) as found:
        site.set(monkeypatch, **found.settings)
        yield found


@pytest.mark.usefixtures("service")
def test_a_bucket_takes_backups_and_log_and_gives_them_back_on_an_empty_machine(
    site: Site, tmp_path: Path
) -> None:
    with site.up_with_people(tmp_path / "export", record(PATIENTS, email="zoe@example.org")) as db:
        assert judged(db).text.count("s3://backups-of-tests/of/ours at localhost:") == 1
        assert "same disk" not in judged(db).text
        do(db, "CREATE TABLE later AS SELECT n FROM generate_series(1, 1000) AS n")
        assert site.backup(db, "diff").type == "differential"
        assert [one.type for one in listing.read(site.agent)] == ["full", "differential"]
        found = drill.run(site.agent, db, keys.load())
        assert found.problems == []
        do(db, "DELETE FROM later WHERE n > 10")
        all_archived(db)
        before = sums(db)
        kill(site)
    kept = {name: (site.home / name).read_text() for name in (archiving.KEY_FILE, "encryption.key")}
    for path in site.home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in kept.items():
        (site.home / name).write_text(text)
    in_place.restore(site.home, aim(site, "latest"))
    with site.up() as db:
        assert checksums.differences(before, sums(db)) == []
        assert site.backup(db, "diff").type == "differential"


@pytest.mark.usefixtures("service")
def test_a_file_of_the_log_that_the_bucket_lost_turns_the_drill_red(site: Site) -> None:
    with site.up() as db:
        site.backup(db)
        do(db, "CREATE TABLE numbers AS SELECT 1 AS n")
        all_archived(db)
        listed = site.agent.do("repo-ls", "archive", "--recurse", without_stanza=True).split()
        lost = max(name for name in listed if name.endswith(".zst"))
        do(db, "INSERT INTO numbers VALUES (2)")
        all_archived(db)
        site.agent.do("repo-rm", f"archive/{lost}", without_stanza=True)
        assert gaps.find(site.agent, listing.read(site.agent)) == [Path(lost).name[:24]]
        assert not drill.run(site.agent, db, keys.load()).passed


def test_a_service_that_is_away_holds_nothing_up_and_the_log_waits_for_it(
    site: Site, service: s3.Service
) -> None:
    with site.up() as db:
        site.backup(db)
        service.process.kill()
        service.process.wait()
        switch(db)
        until(lambda: "takes no write-ahead log" in judged(db).text, 180)
        with pytest.raises(BackupError, match="backups-fail"):
            site.backup(db, "diff")
        begun = time.monotonic()
    assert time.monotonic() - begun < 60  # it stops without having archived the rest
    data = data_directory.existing_data(site.home)
    assert data is not None
    assert list((data / "pg_wal" / "archive_status").glob("*.ready"))
