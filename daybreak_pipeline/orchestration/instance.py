"""The Dagster instance: its home directory, and its storage in a database of its own.

Commands, web server, daemon and runs share it, so that a run of the command line shows in the UI.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from daybreak_pipeline import settings
from daybreak_pipeline.database import refusals
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DatabaseSettings

if TYPE_CHECKING:
    import dagster as dg

_CONFIGURATION = """\
# Written by daybreak at every start. Storage is in PostgreSQL; telemetry and the newsletter are off.
storage:
  postgres:
    postgres_url:
      env: DAYBREAK_DAGSTER_URL
# Steps print nothing: what they have to say is in the run's log. So no process captures their output.
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
# The processes print what steps say. Every other event is in the run's log alone; a run has hundreds.
python_logs:
  python_log_level: INFO
# Runs of the web UI carry who launched them.
run_coordinator:
  module: daybreak_pipeline.orchestration.attribution
  class: AttributedRuns
telemetry:
  enabled: false
nux:
  enabled: false
# Tables say by when they must have been looked at (FreshnessPolicy).
freshness:
  enabled: true
# A run that never starts or never ends its cancellation is given up.
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  cancel_timeout_seconds: 120
# Ticks of schedules and sensors. Runs are pruned by `daybreak maintain`.
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days:
      skipped: 7
      failure: 30
      success: 90
# A run whose process died is started again. One that failed by itself is not: it would fail again.
run_retries:
  enabled: true
  max_retries: 3
  retry_on_asset_or_op_failure: false
"""
_OURS = _CONFIGURATION.splitlines()[0]


def prepare(installation: Installation) -> Installation:
    """Make the instance's directory and database, and return the installation with the address of the latter.

    A ``DAGSTER_HOME`` with its own ``dagster.yaml`` is used as it is.

    Raises:
        UsageError: the database for Dagster is missing and cannot be created, or the directory
            cannot be made.
    """
    home = installation.dagster_home
    file = home / "dagster.yaml"
    if settings.given_dagster_home() and file.exists() and not file.read_text().startswith(_OURS):
        return installation
    storage = settings.dagster_database(installation.database)
    _ensure_database(installation.database, storage)
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != _CONFIGURATION:
            file.write_text(_CONFIGURATION)
    except OSError as error:
        msg = f"cannot write {home}: {error.strerror}; set DAYBREAK_HOME to a directory that can be written"
        raise UsageError(msg) from None
    return replace(installation, dagster_url=storage_url(storage))


def is_ours(installation: Installation) -> bool:
    """Return whether the instance keeps its records where ``prepare`` has put them, and not where somebody else chose."""
    try:
        return (installation.dagster_home / "dagster.yaml").read_text().startswith(_OURS)
    except OSError:
        return False


@contextmanager
def opened(installation: Installation) -> Iterator[dg.DagsterInstance]:
    """Yield the instance, as ``prepare`` left it."""
    import dagster as dg

    # Dagster finds its home only in the environment, and the address of its storage too: the file names the variable,
    # so that it holds no password. A run takes nothing else from the environment.
    with settings.own_environment(**installation.dagster_environment()), dg.DagsterInstance.get() as instance:
        # A run stores hundreds of events. By default each opens a connection of its own, and logging in
        # costs more than storing.
        instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=20)
        yield instance


@contextmanager
def storage_errors() -> Iterator[None]:
    """Tell an error of Dagster's storage in one line.

    Raises:
        ServerUnavailableError: the server went away while Dagster wrote its records, or does not answer.
    """
    try:
        yield
    except Exception as error:
        if explanations.of_dagsters_storage(error):
            raise ServerUnavailableError(explanations.explain(error)) from None
        raise


def storage_url(storage: DatabaseSettings) -> str:
    """Return the SQLAlchemy URL of a database, with the driver that dagster-postgres needs.

    SQLAlchemy 2.1 takes a bare ``postgresql://`` for psycopg 3, which dagster-postgres does not support.
    """
    login = f"{quote(storage.user, safe='')}:{quote(storage.password, safe='')}"
    options = urlencode(
        {
            "sslmode": storage.sslmode,
            **({"sslrootcert": storage.sslrootcert} if storage.sslrootcert else {}),
            "application_name": "dagster",
        }
    )
    return f"postgresql+psycopg2://{login}@{storage.host}:{storage.port}/{quote(storage.name)}?{options}"


def _ensure_database(db: DatabaseSettings, storage: DatabaseSettings) -> None:
    try:
        psycopg.connect(storage.conninfo()).close()
    except psycopg.OperationalError as error:
        refused = refusals.refusal(storage, error)
    else:
        return
    try:
        beside = replace(storage, name=db.name)
        with psycopg.connect(beside.conninfo(), autocommit=True) as connection:
            if _exists(connection, storage.name):
                raise UsageError(refused.text)
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(storage.name)))
            # The database is new, so nobody else has connected yet; by default every role could.
            connection.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(storage.name))
            )
    except psycopg.errors.DuplicateDatabase:
        return  # another command was first
    except psycopg.Error:
        msg = (
            f"the server has no database {storage.name} for Dagster's own records and user {db.user} may not "
            f"create it: run CREATE DATABASE {storage.name} OWNER {db.user} as an administrator"
        )
        raise UsageError(msg) from None


_OWNER = "SELECT tables_database FROM public.daybreak_environment"
_NOTE = """
    CREATE TABLE IF NOT EXISTS public.daybreak_environment (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        tables_database text NOT NULL
    );
    COMMENT ON TABLE public.daybreak_environment IS 'Which database of tables the runs in here are about.'
"""
_SET_OWNER = """
    INSERT INTO public.daybreak_environment (tables_database) VALUES (%s)
    ON CONFLICT (only_row) DO UPDATE SET tables_database = excluded.tables_database
"""


def claim(db: DatabaseSettings) -> None:
    """Note in Dagster's database to which tables it belongs; that of tables which are gone is free for others.

    For who runs a daemon: those of two environments that share one would launch each other's runs. Single commands do no
    harm there.

    Raises:
        UsageError: it belongs to others.
    """
    storage = settings.dagster_database(db)
    try:
        with psycopg.connect(storage.conninfo(), autocommit=True) as connection:
            there = connection.execute(
                "SELECT to_regclass('public.daybreak_environment') IS NOT NULL"
            ).fetchone()
            if there != (True,):
                with suppress(psycopg.errors.UniqueViolation):  # another command makes it at this moment
                    connection.execute(_NOTE)
            owner = connection.execute(_OWNER).fetchone()
            if owner == (db.name,):
                return
            same_server = (db.host, db.port) == (storage.host, storage.port)
            if owner and not (same_server and not _exists(connection, owner[0])):
                msg = (
                    f"the database {storage.name} at {storage.host}:{storage.port} holds Dagster's records of another "
                    f"environment, whose tables are in {owner[0]}: set DAYBREAK_DAGSTER_DB to one of its own, such as "
                    f"{settings.DAGSTER_DATABASE}_{db.name} (if the tables were only renamed, "
                    f"drop the table daybreak_environment in it); {Runbook.FIRST_INSTALLATION.see}"
                )
                raise UsageError(msg)
            connection.execute(_SET_OWNER, [db.name])
    except psycopg.errors.InsufficientPrivilege:
        return  # Dagster itself will say that it may not write there
    except psycopg.OperationalError as error:
        raise UsageError(refusals.refusal(storage, error).text) from None


def _exists(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> bool:
    return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
