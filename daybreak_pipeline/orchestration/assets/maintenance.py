"""The maintenance as an asset: what each day's freed, as numbers that the UI plots."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

import dagster as dg

from daybreak_pipeline.maintenance.freed import Freed, megabytes
from daybreak_pipeline.orchestration import maintenance
from daybreak_pipeline.orchestration.jobs import MAINTENANCE
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures


def build_maintenance_asset() -> dg.AssetsDefinition:
    """Return the asset, which depends on nothing: it gives way to imports by itself."""

    @dg.asset(
        key=MAINTENANCE,
        group_name="operations",
        owners=["team:data-engineering"],
        kinds={"postgres"},
        description="Vacuum where autovacuum lags, indexes built again that are mostly empty, and what need not be kept any "
        "longer dropped: see `daybreak maintain`. Never during an import: one that begins stops it, and the next day goes on.",
    )
    def maintain(
        context: dg.AssetExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> dg.MaterializeResult[None]:
        with step_failures(context):
            done = maintenance.maintain(
                health_database.installation(),
                context.instance,
                dry_run=False,
                tell=lambda freed: context.log.info("%s", told(freed)),
            )
        return dg.MaterializeResult(
            metadata={
                "rows_freed": dg.MetadataValue.int(done.rows),
                "bytes_freed": dg.MetadataValue.int(done.bytes),
                "gave_way": dg.MetadataValue.text(done.gave_way or "no"),
                "steps": dg.MetadataValue.json(done.as_json()["steps"]),
            }
        )

    return maintain


def told(freed: Freed) -> str:
    """Return what a step did in one line."""
    where = f" in {', '.join(freed.names)}" if freed.names else ""
    note = f"; {freed.note}" if freed.note else ""
    return f"{freed.step}: {freed.rows:,} rows, {megabytes(freed.bytes)}{where}{note}"
