"""A database with parents, imported once for all tests of a module; what a test imports is rolled back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY, _administer
from daybreak_pipeline_tests.exports import Export

_NAMES = (f"checks_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def parents(
    server: DatabaseSettings, template: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """A database with one row of every table that others refer to."""
    settings = replace(server, name=next(_NAMES))
    _administer(server, "CREATE DATABASE {} TEMPLATE {}", settings.name, template.name)
    with database.connect(settings, key=KEY) as connection:
        Export(tmp_path_factory.mktemp("parents"), connection).add_parents()
        connection.commit()
        yield connection
    _administer(server, "DROP DATABASE {} WITH (FORCE)", settings.name)


@pytest.fixture
def export(parents: Connection, tmp_path: Path) -> Iterator[Export]:
    """An export directory, imported within a transaction that is rolled back: imports are its savepoints."""
    parents.execute("SELECT 1")
    yield Export(tmp_path, parents)
    parents.rollback()
