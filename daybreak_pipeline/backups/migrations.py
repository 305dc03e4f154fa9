"""What is kept before migrations run, in either direction: a restore point, and a dump of the schema as it was."""

from __future__ import annotations

import logging
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import points
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import runner

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings

LOG = logging.getLogger(__name__)
DIRECTORY = "schema-dumps"
_KEPT = 50


def keep(db: DatabaseSettings) -> Path | None:
    """Write a restore point and a dump of the schema, if the database has one; return where the dump is.

    A machine without pg_dump goes on without, and says so.
    """
    with database.connect(db, autocommit=True) as connection:
        applied = runner.current_revision(connection)
        if applied is None:
            return None
        name = f"{points.BEFORE_MIGRATION}{applied}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        points.write(connection, name)
    try:
        return _dump(db, settings.home() / DIRECTORY, name)
    except UsageError as error:
        LOG.warning("no dump of the schema before the migration: %s; %s", error, Runbook.SCHEMA_CHANGES.see)
        return None


def _dump(db: DatabaseSettings, directory: Path, name: str) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{name}.sql"
    done = subprocess.run(
        [programs.client("pg_dump"), "--schema-only", "--no-password", f"--file={path}"],
        env=settings.child_environment(**db.libpq_environment()),
        capture_output=True,
        umask=0o077,
        check=False,
    )
    if done.returncode:
        path.unlink(missing_ok=True)
        msg = f"pg_dump failed; its version must not be older than the server's; {Runbook.SCHEMA_CHANGES.see}"
        raise UsageError(msg)
    for old in sorted(directory.glob("*.sql"), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path
