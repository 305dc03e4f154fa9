"""A client as applications are: a role of its own, which owns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY

ROLE = "test_application"


@pytest.fixture
def client_settings(migrated: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A login that may write the plan's tables, and has no right on the audit trail."""
    with psycopg.connect(migrated.conninfo()) as owner:
        owner.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'test'")
        owner.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {ROLE}; "
            f"GRANT USAGE ON SCHEMA privacy TO {ROLE}"
        )
    yield replace(migrated, user=ROLE, password="test")
    with psycopg.connect(migrated.conninfo()) as owner:
        owner.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@pytest.fixture
def client(client_settings: DatabaseSettings) -> Iterator[Connection]:
    """An application's connection, with the key; each statement is a transaction."""
    with database.connect(
        client_settings, key=KEY, autocommit=True, application_name="intake form"
    ) as opened:
        yield opened


@pytest.fixture
def keyless(client_settings: DatabaseSettings) -> Iterator[Connection]:
    """As ``client``, without the key."""
    with database.connect(client_settings, autocommit=True) as opened:
        yield opened
