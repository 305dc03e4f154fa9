"""Dagster resources: the database, and where progress is reported.

Thin: ``database`` defines what a connection is, and ``installation`` which one to use.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import dagster as dg
import psycopg

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import DaybreakError, OutsideError, TransientError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.privacy import audit, keys, roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings

OUTSIDE = "reason_outside_the_data"
"""Metadata of a step that failed although its data may be good."""
_SECONDS_BETWEEN_LOG_LINES = 10.0
_RETRY_SECONDS = (1, 3, 9, 27, 60)
"""How long a step waits before each retry: a server that crashed or restarts is back by then."""


class HealthDatabase:
    """The daybreak_health database of an installation, whose server runs while a run needs it."""

    def __init__(self, installation: Callable[[], Installation]) -> None:
        """Take the function that returns the installation: if it fails, it fails the step, with one line."""
        self._installation = installation

    def installation(self) -> Installation:
        """Return the installation.

        Raises:
            UsageError: it is not as it must be.
        """
        return self._installation()

    def settings(self) -> DatabaseSettings:
        """Return how to reach it, for what needs no key."""
        return self._installation().database

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection that holds the encryption key, if there is one.

        Raises:
            UsageError: the server, the login, the key or the schema is not as it must be.
        """
        found = self._installation()
        roles.require_importer(found.database)
        with database.connect(found.database, key=found.key, autocommit=True, log_slow=True) as connection:
            if runner.current_revision(connection) != runner.newest_revision() and surroundings.embedded_data(
                connection
            ):
                # The program was updated, or somebody has rolled back, while ``daybreak up`` runs.
                readiness.provide_schema(found.database)
                roles.ensure(found.database)
            runner.require_newest(connection)
            if found.key:
                keys.verify(connection)
            audit.keep_ahead(connection)
            yield connection


@dg.resource(description="The database that DB_HOST and the other variables name, or the embedded one.")
def database_of_environment(_context: dg.InitResourceContext) -> Iterator[HealthDatabase]:
    """Yield the database that the environment describes, its server running for as long as the run lasts.

    For runs of the web UI and the daemon, whose processes find the installation in their environment.
    """
    with database.serving() as db:
        yield HealthDatabase(lambda: Installation.of_environment(db))


@contextmanager
def step_failures(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Iterator[None]:
    """End a step that cannot go on: fail with one line, or retry if the server was away.

    A file that cannot be imported, a missing key, an older schema: a retry would not help.
    """
    try:
        yield
    except TransientError as error:
        _try_again(context, str(error))
    except DaybreakError as error:
        raise _failure(str(error), outside=isinstance(error, OutsideError)) from None
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:  # noqa: BLE001 - Dagster would show its text and the values in its stack
        if isinstance(error, psycopg.Error) and database.is_transient(error):
            _try_again(context, explanations.meaning(error).what)
        context.log.info("%s", explanations.frames(error))
        raise _failure(explanations.explain(error), outside=_is_outside(error)) from None


def _is_outside(error: Exception) -> bool:
    if isinstance(error, psycopg.Error):
        return database.is_outside(error)
    return isinstance(error, OSError) or explanations.of_dagsters_storage(error)


def _failure(reason: str, *, outside: bool) -> dg.Failure:
    metadata = {OUTSIDE: dg.MetadataValue.bool(True)} if outside else {}
    return dg.Failure(reason, metadata=metadata, allow_retries=False)


def _try_again(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, reason: str) -> NoReturn:
    attempts = context.op_execution_context.retry_number
    if attempts >= len(_RETRY_SECONDS):
        msg = f"{reason} (tried {attempts + 1} times)"
        raise _failure(msg, outside=True) from None
    wait = _RETRY_SECONDS[attempts] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, is not a secret
    context.log.warning("%s; tried again in %.0f s", reason, wait)
    raise dg.RetryRequested(max_retries=len(_RETRY_SECONDS), seconds_to_wait=wait) from None


class ProgressLog:
    """Logs the progress of a long import. The command line has a listener of its own."""

    def listener(self, table: str, log: dg.DagsterLogManager) -> Progress:
        """Return the function that an import calls with its phase and amount; it logs every ten seconds."""
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
