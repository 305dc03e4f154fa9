"""The summaries as assets: refreshed after an import of their tables, with their own rows and freshness."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from typing import Any

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.maintenance import summaries
from daybreak_pipeline.maintenance.summaries import SUMMARIES, Summary
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.timetable import LATE_AFTER, TOO_LATE_AFTER

_CONDITION = dg.AutomationCondition


def build_summary_assets() -> list[dg.AssetsDefinition]:
    """Return one asset for each summary."""
    return [_summary_asset(summary) for summary in SUMMARIES.values()]


def _summary_asset(summary: Summary) -> dg.AssetsDefinition:
    table_name = f"{settings.DEFAULT_DATABASE}.reporting.{summary.name}"

    @dg.asset(
        key=summary.name,
        deps=list(summary.tables),
        group_name="analytics",
        owners=["team:data-engineering"],
        kinds={"postgres", "view"},
        description=f"{summary.description} A materialized view: `reporting.{summary.name}`.",
        metadata={"dagster/table_name": table_name},
        freshness_policy=dg.FreshnessPolicy.time_window(warn_window=LATE_AFTER, fail_window=TOO_LATE_AFTER),
        automation_condition=when_its_sources_are_new(),
    )
    def refresh(
        context: dg.AssetExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> dg.MaterializeResult[None]:
        with step_failures(context), health_database.connection() as connection:
            done = summaries.refresh(connection, summary)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": dg.MetadataValue.int(done.rows),
                "dagster/table_name": dg.MetadataValue.text(table_name),
                "seconds": dg.MetadataValue.float(round(done.seconds, 3)),
            }
        )

    return refresh


def when_its_sources_are_new() -> dg.AutomationCondition[Any]:
    """Return the condition: a table was imported since the last refresh, and none is being imported."""
    imported = _CONDITION.any_deps_match(_CONDITION.newly_updated()).since_last_handled()
    under_way = _CONDITION.any_deps_match(_CONDITION.in_progress()) | _CONDITION.in_progress()
    return (imported & ~under_way).with_label("imported since the last refresh, and nothing under way")
