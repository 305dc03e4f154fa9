"""Shows in Dagster at once what somebody has accepted or reopened, without checking again: a result outside any run.

The alerts are about runs, so nobody is told.
"""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from daybreak_pipeline import database
from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.orchestration.asset_checks import evaluation
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES


def show(installation: Installation, changed: Collection[tuple[str, str]]) -> None:
    """Report the newest results of checks to Dagster, as they count now.

    Args:
        installation: as ``ready`` yields it.
        changed: the tables and checks.
    """
    with instance.opened(installation) as dagster_instance:
        tell(dagster_instance, installation.database, changed)


def tell(
    dagster_instance: dg.DagsterInstance, db: DatabaseSettings, changed: Collection[tuple[str, str]]
) -> None:
    """Do the same where the instance is open already."""
    with database.connect(db) as connection:
        newest = acceptance.newest(connection, changed)
    for (table, check), finding in newest.items():
        if table in TABLES:
            dagster_instance.report_runless_asset_event(evaluation(table, check, finding))
