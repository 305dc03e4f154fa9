"""What is kept before a migration: a dump of the schema, and a restore point where the server keeps its log."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from daybreak_pipeline.backups import migrations, points, targets
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.backups.conftest import Site, needs_pgbackrest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_schema_is_dumped_without_a_row_and_for_its_owner_alone(
    migrated: DatabaseSettings, home: Path
) -> None:
    path = migrations.keep(migrated)
    assert path is not None
    assert path.parent == home / "schema-dumps"
    text = path.read_text(encoding="utf-8")
    assert "CREATE TABLE public.documents" in text
    assert "COPY " not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name.startswith(f"before-migration-{runner.newest_revision()}-")


def test_a_database_without_a_schema_has_nothing_to_keep(empty: DatabaseSettings, home: Path) -> None:
    assert migrations.keep(empty) is None
    assert not home.exists()


def test_a_machine_without_pg_dump_goes_on_and_says_so(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(_name: str) -> str:
        msg = "pg_dump was not found"
        raise UsageError(msg)

    monkeypatch.setattr(programs, "client", missing)
    with caplog.at_level(logging.WARNING):
        assert migrations.keep(migrated) is None
    assert "docs/runbooks/schema-changes.md" in caplog.text


def test_only_the_last_dumps_are_kept(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(migrations, "_KEPT", 2)
    made = [migrations.keep(migrated) for _ in range(3)]
    assert {*(home / "schema-dumps").iterdir()} == {*made[1:]}


@needs_pgbackrest
@pytest.mark.slow
def test_an_older_schema_is_kept_before_a_start_migrates_it(site: Site) -> None:
    older = f"{int(runner.newest_revision()) - 1}"
    with site.up() as db:
        runner.upgrade(db, older)
        backup = site.backup(db)
        readiness.provide_schema(db)
        (point,) = points.read(site.home)
        assert point.name.startswith(f"before-migration-{int(older):03d}-")
        assert targets.aim(site.agent, point.name).backup == backup
        readiness.provide_schema(db)  # nothing is left to migrate
        assert points.read(site.home) == [point]
