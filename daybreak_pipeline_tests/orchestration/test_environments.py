"""Several environments on one server: their records of Dagster are kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY, _administer

NAMES = ("env_staging", "env_production", "env_dagster", "env_dagster_too")


@pytest.fixture
def environments(
    server: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[DatabaseSettings, DatabaseSettings]]:
    """Two empty databases of one server, and the name of Dagster's, which is not there yet."""
    monkeypatch.setenv("DAYBREAK_DAGSTER_DB", "env_dagster")
    for name in NAMES[:2]:
        _administer(server, "CREATE DATABASE {}", name)
    yield replace(server, name=NAMES[0]), replace(server, name=NAMES[1])
    for name in NAMES:
        _administer(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def prepare(db: DatabaseSettings, home: Path) -> str:
    """Do what ``daybreak up`` does."""
    prepared = instance.prepare(Installation(db, KEY, home, home / "dagster"))
    instance.claim(db)
    return prepared.dagster_url


def test_a_second_environment_does_not_get_the_first_ones_records(
    environments: tuple[DatabaseSettings, DatabaseSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging, production = environments
    prepare(staging, tmp_path)
    prepare(staging, tmp_path)
    with pytest.raises(
        UsageError, match=r"of another environment, whose tables are in env_staging"
    ) as refused:
        prepare(production, tmp_path)
    assert "DAYBREAK_DAGSTER_DB" in str(refused.value)
    monkeypatch.setenv("DAYBREAK_DAGSTER_DB", "env_dagster_too")
    assert "/env_dagster_too?" in prepare(production, tmp_path)
    monkeypatch.setenv("DAYBREAK_DAGSTER_DB", "env_dagster")
    prepare(staging, tmp_path)


def test_records_of_tables_that_are_gone_are_free_for_others(
    environments: tuple[DatabaseSettings, DatabaseSettings], server: DatabaseSettings, tmp_path: Path
) -> None:
    staging, production = environments
    prepare(staging, tmp_path)
    _administer(server, "DROP DATABASE {} WITH (FORCE)", staging.name)
    first = prepare(production, tmp_path)
    assert "/env_dagster?" in first
    assert prepare(production, tmp_path) == first


def test_on_a_server_of_their_own_they_are_not_free_because_tables_are_elsewhere(
    environments: tuple[DatabaseSettings, DatabaseSettings],
    server: DatabaseSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    staging, production = environments
    prepare(staging, tmp_path)
    _administer(server, "DROP DATABASE {} WITH (FORCE)", staging.name)
    monkeypatch.setenv("DAYBREAK_DAGSTER_HOST", "localhost")  # the same server, as another one
    with pytest.raises(UsageError, match="of another environment"):
        prepare(production, tmp_path)


def test_records_from_before_belong_to_who_comes_first(
    environments: tuple[DatabaseSettings, DatabaseSettings], server: DatabaseSettings, tmp_path: Path
) -> None:
    _administer(server, "CREATE DATABASE {}", "env_dagster")
    staging, production = environments
    prepare(production, tmp_path)
    with psycopg.connect(replace(server, name="env_dagster").conninfo()) as connection:
        assert connection.execute("SELECT tables_database FROM daybreak_environment").fetchone() == (
            production.name,
        )
    with pytest.raises(UsageError):
        prepare(staging, tmp_path)
