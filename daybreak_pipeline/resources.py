"""Dagster resources: the database, and who hears of progress.

Thin: what a connection is, ``database`` knows; what the environment says, ``settings``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import PrivateAttr

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.privacy import audit, keys, roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings

_SECONDS_BETWEEN_LOG_LINES = 10.0


class HealthDatabase(dg.ConfigurableResource["HealthDatabase"]):
    """The daybreak_health database, the embedded server running while a run needs it.

    Settings come from the environment (``DB_HOST`` …), as for every command.
    """

    _settings: DatabaseSettings | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[HealthDatabase]:
        """Keep the server up for as long as the run lasts."""
        del context
        with database.serving() as settings:
            self._settings = settings
            yield self

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection that holds the encryption key.

        Raises:
            UsageError: the server, the login, the key or the schema is not as it must be.
        """
        if self._settings is None:
            msg = "the database is only there during a run"
            raise UsageError(msg)
        roles.require_importer(self._settings)
        with database.connect(self._settings, key=keys.load(), autocommit=True) as connection:
            runner.require_newest(connection)
            keys.verify(connection)
            audit.keep_ahead(connection)
            yield connection


class ProgressLog:
    """Tells the run log how far a long import is. The command line brings its own listener."""

    def listener(self, table: str, log: dg.DagsterLogManager) -> Progress:
        """Return what an import calls with its phase and amount; speaks up every ten seconds."""
        begun = last = time.monotonic()

        def hear(phase: str, amount: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _SECONDS_BETWEEN_LOG_LINES:
                last = now
                staged = (
                    f", {amount / 1e6:,.0f} MB at {amount / 1e6 / (now - begun):,.0f} MB/s"
                    if phase == "stage"
                    else ""
                )
                log.info("%s: %s after %.0f s%s", table, phase, now - begun, staged)

        return hear
