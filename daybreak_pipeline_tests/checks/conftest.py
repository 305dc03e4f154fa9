"""A database with parents, imported once for all tests of a module; what a test imports is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import Export


@pytest.fixture(scope="module")
def parents(
    databases: Databases, template: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """A database with one row of every table that others refer to."""
    with databases.copy(template.name) as db, database.connect(db, key=KEY) as connection:
        Export(tmp_path_factory.mktemp("parents"), connection).add_parents()
        connection.commit()
        yield connection


@pytest.fixture
def export(parents: Connection, tmp_path: Path) -> Iterator[Export]:
    """An export directory, imported within a transaction that is rolled back: imports are its savepoints."""
    parents.execute("SELECT 1")
    yield Export(tmp_path, parents)
    parents.rollback()
