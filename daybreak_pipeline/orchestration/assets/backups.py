"""Backups and the drill as assets. ``backups`` does the work; a given server has its own, and these steps say so."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from daybreak_pipeline import database
from daybreak_pipeline.backups import drilling, listing, make
from daybreak_pipeline.orchestration import backup_events
from daybreak_pipeline.orchestration.backup_events import BACKUP, DRILL, RESTORABLE
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.runbooks import Runbook


class BackupConfig(dg.Config):
    """What can be chosen for one backup, also in the launchpad."""

    full: bool = Field(
        default=False, description="Of everything, not only of what changed since the last full backup."
    )


def build_backup_assets() -> list[dg.AssetsDefinition]:
    """Return the newest backup and the drill that proves it."""
    return [_backup_asset(), _drill_asset()]


def _backup_asset() -> dg.AssetsDefinition:
    @dg.asset(
        key=BACKUP,
        group_name="operations",
        owners=["team:data-engineering"],
        kinds={"pgbackrest"},
        description="The newest encrypted backup of the embedded server. `daybreak backups` lists all that there are.",
    )
    def database_backup(
        context: dg.AssetExecutionContext,
        config: BackupConfig,
        health_database: dg.ResourceParam[HealthDatabase],
    ) -> dg.MaterializeResult[None]:
        with step_failures(context):
            agent = listing.embedded_agent()
            with health_database.connection() as connection:
                full = config.full or make.is_full_due(agent)
                made = make.make(agent, connection, "full" if full else "diff")
        return dg.MaterializeResult(metadata=backup_events.of_backup(made, agent.where))

    return database_backup


def _drill_asset() -> dg.AssetsDefinition:
    @dg.asset(
        key=DRILL,
        deps=[BACKUP],
        group_name="operations",
        owners=["team:data-engineering"],
        kinds={"pgbackrest"},
        check_specs=[
            dg.AssetCheckSpec(
                RESTORABLE,
                asset=DRILL,
                blocking=True,
                metadata={"runbook": Runbook.BACKUPS_FAIL.page},
                description="The newest backup, or a dump where the provider makes the backups, was restored beside the server, "
                "and every table is the same.",
            )
        ],
        description="Restores the newest backup into a server of its own, compares the rows and a checksum of every table with "
        "the source, opens sealed values with the current key, runs the checks, and throws it away. With "
        "`DAYBREAK_DRILL_FROM=dump` it restores a dump that it makes of the server. By hand: `daybreak backup drill`.",
    )
    def backup_drill(
        context: dg.AssetExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> Iterator[dg.MaterializeResult[None]]:
        with step_failures(context):
            with health_database.connection():  # says what is wrong with the server itself
                pass
            with database.serving() as db:
                found = drilling.run(db, keys.load())
        yield dg.MaterializeResult(
            metadata=backup_events.of_drill(found), check_results=[backup_events.checked(found)]
        )

    return backup_drill
