"""What Dagster's own records say of the runs that have ended, by SQL: without Dagster, whose import takes seconds.

Only where a ``daybreak up`` has noted that they are those of this database (``orchestration.instance.claim``); elsewhere
nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import DaybreakError

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings

IMPORT, CHECK, REPORT = "import_all", "check_all", "report_data_quality"
"""The jobs, as ``orchestration.jobs`` names them."""
_KNOWN = """
    SELECT to_regclass('public.runs') IS NOT NULL AND to_regclass('public.daybreak_environment') IS NOT NULL
"""
_OURS = "SELECT EXISTS (SELECT FROM public.daybreak_environment WHERE tables_database = %s)"
_LAST = """
    SELECT DISTINCT ON (pipeline_name) pipeline_name AS job, run_id, status = 'FAILURE' AS failed,
           coalesce(to_timestamp(end_time), update_timestamp AT TIME ZONE 'UTC') AS at
    FROM public.runs WHERE pipeline_name = ANY(%s) AND status IN ('SUCCESS', 'FAILURE') ORDER BY pipeline_name, id DESC
"""


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and whether it failed."""

    job: str
    run_id: str
    failed: bool
    at: datetime


def last_ended(db: DatabaseSettings) -> list[Ended]:
    """Return the last run of each job that imports, checks or reports; nothing where these records cannot be read."""
    try:
        with database.connect(settings.dagster_database(db), connect_timeout=3) as connection:
            if not database.value(connection, _KNOWN) or not database.value(connection, _OURS, [db.name]):
                return []
            return database.every(connection, Ended, _LAST, [[IMPORT, CHECK, REPORT]])
    except (DaybreakError, psycopg.Error):
        return []
