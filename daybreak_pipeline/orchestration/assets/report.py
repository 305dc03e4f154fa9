"""The data-quality report as an asset: made again after every import and every check, whatever their result.

It cannot be a step of the import's own run: Dagster skips what is downstream of a failed step or a failed
blocking check, and a failed import is when the report matters most. So it has a job of its own. The command line
runs that after its imports (``runs.render_report``); after all other runs the daemon does, by the condition below.
"""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from typing import Any

import dagster as dg

from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.orchestration.assets.numbers import NUMBERS
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.report import render, store, trends, trends_page
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.report.trends import ByDay
from daybreak_pipeline.report.verdict import judge
from daybreak_pipeline.tables import TABLES

REPORT = "data_quality_report"
LATEST = "latest_report"
"""Name of the metadata that says where the newest report is."""

_CONDITION = dg.AutomationCondition


def build_report_asset() -> dg.AssetsDefinition:
    """Return the report, which depends on all tables."""

    @dg.asset(
        key=REPORT,
        deps=list(TABLES),
        group_name="data_quality",
        owners=["team:data-engineering"],
        kinds={"html"},
        automation_condition=_whenever_a_run_has_ended(),
        description="Can I trust today's data? What broke, since when, and what to do: one page of HTML, complete in "
        "itself, for every import. [Here is the newest](/report), and [how it went, day by day](/report/trends). The last 30 "
        f"are kept as files, beside the one whose path is under `{LATEST}` below.",
    )
    def data_quality_report(
        context: dg.AssetExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> dg.MaterializeResult[None]:
        try:
            facts = gather(health_database.settings(), for_report=True)
            with health_database.connection() as connection:
                history = trends.read(connection)
            beside = {*store.pages(), store.TRENDS, store.LATEST}
            store.write(store.directory() / store.TRENDS, trends_page.html(history, beside=beside))
            latest, dated = store.keep(render.html(facts, beside=beside), facts.at, context.run.run_id)
        except DaybreakError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        except Exception as error:  # noqa: BLE001 - Dagster would show its text and the values in its stack
            context.log.info("%s", explanations.frames(error))
            raise dg.Failure(explanations.explain(error), allow_retries=False) from None
        verdict = judge(facts)
        errors = sum(problem.severity == "ERROR" for problem in verdict.problems)
        return dg.MaterializeResult(
            metadata={
                "can_data_be_trusted": dg.MetadataValue.text(verdict.answer),
                "summary": dg.MetadataValue.md(render.markdown(facts)),
                LATEST: dg.MetadataValue.path(latest),
                "report_of_this_run": dg.MetadataValue.path(dated),
                "errors": dg.MetadataValue.int(errors),
                "warnings": dg.MetadataValue.int(len(verdict.problems) - errors),
                **_plotted(history.total),
            }
        )

    return data_quality_report


def _plotted(total: ByDay) -> dict[str, dg.MetadataValue]:
    """Return the newest numbers of all tables together, which the UI plots; what there is none of is left out."""
    numbers = {
        "check_errors": total.errors,
        "check_warnings": total.warnings,
        "accepted_findings": total.accepted,
        "records_in_quarantine": total.quarantined,
        "records_in_files": total.read,
        "seconds_of_imports": total.seconds,
    }
    newest = {name: trends.latest(of) for name, of in numbers.items()}
    return {name: dg.MetadataValue.float(float(value)) for name, value in newest.items() if value is not None}


def _whenever_a_run_has_ended() -> dg.AutomationCondition[Any]:
    """Return the condition: an import or a check has ended since the last report, and none is running."""
    happened = _CONDITION.any_deps_match(
        _CONDITION.newly_updated()
        | _CONDITION.execution_failed().newly_true()
        | _CONDITION.any_checks_match(_CONDITION.newly_updated())
    )
    under_way = _CONDITION.any_deps_match(
        _CONDITION.in_progress() | _CONDITION.any_checks_match(_CONDITION.in_progress())
    )
    return (happened.since_last_handled() & ~under_way & ~_CONDITION.in_progress()).with_label(
        "imported or checked since the last report, and nothing under way"
    )


def build_report_sensor() -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that makes the daemon evaluate the condition, turned on by default."""
    return dg.AutomationConditionSensorDefinition(
        name="report_after_runs",
        target=dg.AssetSelection.assets(REPORT, *SUMMARIES, *NUMBERS),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the data-quality report again when an import or a check has ended, whatever came of it, and "
        "refreshes the summaries of what was imported, and what is shown of them.",
    )
