"""One process that serves the web UI, for all tests that only ask it: starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import forget_settings
from daybreak_pipeline_tests.orchestration.web.serving import SCRAPERS_TOKEN, Served, served


@pytest.fixture(scope="session")
def ui(template: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A web UI whose login is the token, beside a database without rows."""
    home = tmp_path_factory.mktemp("web") / "home"
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            forget_settings(patch)
            given = template.environment() | {"DAYBREAK_METRICS_TOKEN": SCRAPERS_TOKEN}
            it = stack.enter_context(served(home, **given))
        yield it
