"""A database of an application, and the models that the command writes of it: made once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.documentation.scene import application_database


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with application_database(databases, template) as made:
        yield made


@pytest.fixture(scope="module")
def written(db: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the models of both languages, as the command writes them."""
    directory = tmp_path_factory.mktemp("models")
    for language in ("typescript", "python"):
        done = daybreak(db.environment(), "models", "--language", language, "--out", directory)
        assert (done.returncode, done.stderr) == (0, "")
    return directory
