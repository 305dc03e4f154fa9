"""A database to maintain: a connection as the maintenance has it, and a watch that sees what is at work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.maintenance.giving_way import Watch, watching
from daybreak_pipeline.settings import DatabaseSettings


@pytest.fixture
def worker(migrated: DatabaseSettings) -> Iterator[Connection]:
    """A connection without the key, outside any transaction."""
    with database.connect(migrated, autocommit=True) as connection:
        yield connection


@pytest.fixture
def watch(migrated: DatabaseSettings) -> Iterator[Watch]:
    with watching(migrated) as found:
        yield found
