"""Builds the code location: every asset, check, job, schedule and sensor, and the resources that they share.

``build_defs`` is a pure factory that the web UI, the command line and the tests share. Needs no database.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.orchestration.application_checks import (
    build_application_asset,
    build_application_checks,
)
from daybreak_pipeline.orchestration.asset_checks import build_checks
from daybreak_pipeline.orchestration.assets.backups import build_backup_assets
from daybreak_pipeline.orchestration.assets.files import build_source_assets
from daybreak_pipeline.orchestration.assets.imported_tables import build_table_assets
from daybreak_pipeline.orchestration.assets.maintenance import build_maintenance_asset
from daybreak_pipeline.orchestration.assets.monitoring import build_monitoring_assets
from daybreak_pipeline.orchestration.assets.numbers import build_numbers_assets
from daybreak_pipeline.orchestration.assets.report import build_report_asset, build_report_sensor
from daybreak_pipeline.orchestration.assets.summaries import build_summary_assets
from daybreak_pipeline.orchestration.backup_watch import backup_when_due
from daybreak_pipeline.orchestration.export_directories import ExportDirectories
from daybreak_pipeline.orchestration.jobs import JOBS
from daybreak_pipeline.orchestration.resources import ProgressLog, database_of_environment
from daybreak_pipeline.orchestration.schedules import SCHEDULES
from daybreak_pipeline.orchestration.sensors import SENSORS
from daybreak_pipeline.orchestration.trouble_watch import tell_of_trouble


def build_defs(**overrides: Any) -> dg.Definitions:
    """Return the definitions; ``overrides`` replace resources by name (``health_database=…``)."""
    return dg.Definitions(
        assets=[
            build_source_assets(),
            *build_table_assets(),
            build_report_asset(),
            build_maintenance_asset(),
            build_monitoring_assets(),
            *build_backup_assets(),
            *build_summary_assets(),
            build_numbers_assets(),
            build_application_asset(),
        ],
        asset_checks=[*build_checks(), build_application_checks()],
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=[*SENSORS, build_report_sensor(), backup_when_due, tell_of_trouble],
        resources={
            "health_database": database_of_environment,
            "progress_log": ProgressLog(),
            "export_directories": ExportDirectories(),
        }
        | overrides,
        executor=executor(),
    )


def executor() -> dg.ExecutorDefinition:
    """Return how steps run: in one process, as they are short, unless ``DAYBREAK_EXECUTOR=multiprocess``.

    A process for each step costs three seconds a step, which pays only where single tables take minutes.

    Raises:
        UsageError: the variable holds another word.
    """
    if settings.executor() == "multiprocess":
        return dg.multiprocess_executor.configured(
            {"start_method": {"forkserver": {"preload_modules": ["daybreak_pipeline.definitions"]}}}
        )
    return dg.in_process_executor
