"""The jobs: import everything, check everything, look at the export's files, report, refresh the summaries, maintain, look at the
server, back up.

The command line runs these too.
"""

from __future__ import annotations

import dagster as dg

from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.monitoring.thresholds import ASSETS
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.application_checks import ASSET as APPLICATION_TABLES
from daybreak_pipeline.orchestration.assets.files import source_key
from daybreak_pipeline.orchestration.assets.monitoring import MONITOR
from daybreak_pipeline.orchestration.assets.numbers import NUMBERS
from daybreak_pipeline.orchestration.assets.report import REPORT
from daybreak_pipeline.orchestration.backup_events import BACKUP, DRILL
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.tables import TABLES

MAINTENANCE = "maintenance"
"""The asset of the maintenance."""

_FILES = dg.AssetSelection.assets(*(source_key(name) for name in TABLES))
_TABLES = dg.AssetSelection.assets(*TABLES)

# The files are observed first, so that each table's materialization names the version of its file.
import_all = dg.define_asset_job(
    "import_all",
    selection=_FILES | _TABLES | dg.AssetSelection.checks_for_assets(APPLICATION_TABLES),
    tags=run_requests.REPEATED_WHOLE,
    description="Import every table whose file has changed, parents first, and check it.",
)

check_all = dg.define_asset_job(
    "check_all",
    selection=dg.AssetSelection.checks_for_assets(*TABLES, APPLICATION_TABLES),
    description="Check every table as it is now, without importing.",
)

observe_export = dg.define_asset_job(
    "observe_export_files",
    selection=_FILES,
    description="Note the content hash of every file, so that the graph shows which tables are out of date.",
)

# A job of its own: as a step of the import it would be skipped when a table fails.
report_data_quality = dg.define_asset_job(
    "report_data_quality",
    selection=dg.AssetSelection.assets(REPORT),
    description="Make a new data-quality report, of the tables as they are now.",
)

refresh_summaries = dg.define_asset_job(
    "refresh_summaries",
    selection=dg.AssetSelection.assets(*SUMMARIES, *NUMBERS),
    description="Compute the summaries (materialized views) again, from the tables as they are now, and show the numbers "
    "for analysts.",
)

# Gives way to imports by itself (``maintenance.giving_way``).
maintain = dg.define_asset_job(
    "maintain",
    selection=dg.AssetSelection.assets(MAINTENANCE),
    description="Vacuum, indexes, and what need not be kept any longer. It stops where an import begins.",
)

monitor_server = dg.define_asset_job(
    MONITOR,
    selection=dg.AssetSelection.assets(*ASSETS),
    tags={"dagster/priority": "-10"},  # whatever else is in the queue goes first
    description="Look at the server: sessions, sizes, dead rows, WAL, the age of imports and backups.",
)

back_up = dg.define_asset_job(
    "back_up",
    selection=dg.AssetSelection.assets(BACKUP),
    description="Back up the embedded server: what changed since the last full backup, or everything.",
)

restore_drill = dg.define_asset_job(
    "restore_drill",
    selection=dg.AssetSelection.assets(DRILL),
    description="Restore the newest backup, or a dump, beside the server, and see whether every table is the same.",
)

RUNBOOKS = {
    back_up.name: Runbook.BACKUPS_FAIL,
    restore_drill.name: Runbook.BACKUPS_FAIL,
    maintain.name: Runbook.SLOW_OR_STUCK,
    monitor_server.name: Runbook.SERVER_GONE,
}
"""The page that helps when a run of a job fails. Of all others: ``IMPORT_FAILS``."""

JOBS = [
    import_all,
    check_all,
    observe_export,
    report_data_quality,
    refresh_summaries,
    maintain,
    monitor_server,
    back_up,
    restore_drill,
]
