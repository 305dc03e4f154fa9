"""What Dagster shows of a backup and of a drill: as a step of a run tells it, or outside any run, when a command made it.

The commands need Dagster for nothing else: where it cannot be reached, the backup is made all the same.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from daybreak_pipeline.backups.drill import Drill
from daybreak_pipeline.backups.listing import Backup
from daybreak_pipeline.orchestration import check_labels as labels
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.orchestration.assets.monitoring import NEWS
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import DatabaseSettings

BACKUP = "database_backup"
DRILL = "backup_drill"
RESTORABLE = "backup_is_restorable"


def show_backup(db: DatabaseSettings, made: Backup, where: str) -> None:
    """Report to Dagster a backup that a command made.

    Raises:
        UsageError: Dagster has no database.
        ServerUnavailableError: it cannot be reached.
    """
    _report(db, dg.AssetMaterialization(BACKUP, metadata=of_backup(made, where)))


def show_drill(db: DatabaseSettings, found: Drill) -> None:
    """Report to Dagster a drill that a command carried out, and its check.

    Raises:
        UsageError: Dagster has no database.
        ServerUnavailableError: it cannot be reached.
    """
    result = checked(found)
    _report(
        db,
        dg.AssetMaterialization(DRILL, metadata=of_drill(found)),
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(DRILL),
            check_name=RESTORABLE,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        ),
    )


def of_backup(made: Backup, where: str) -> dict[str, dg.MetadataValue]:
    """Return the numbers of a backup that was just made, which is kept ``where``."""
    return {
        "label": dg.MetadataValue.text(made.label),
        "type": dg.MetadataValue.text(made.type),
        "seconds": dg.MetadataValue.int(made.seconds),
        "bytes": dg.MetadataValue.int(made.size),
        "stored_bytes": dg.MetadataValue.int(made.stored),
        "repository": dg.MetadataValue.text(where),
    }


def of_drill(found: Drill) -> dict[str, dg.MetadataValue]:
    """Return the numbers of a drill."""
    metadata: dict[str, dg.MetadataValue] = {
        "restored": dg.MetadataValue.text("a dump" if found.of_dump else "a backup"),
        "seconds": dg.MetadataValue.float(round(found.seconds, 1)),
        "restore_seconds": dg.MetadataValue.float(round(found.restore_seconds, 1)),
        "tables": dg.MetadataValue.int(found.tables),
        "rows": dg.MetadataValue.int(found.rows),
        "sealed_values_opened": dg.MetadataValue.int(found.opened),
        "failed_checks_of_the_data": dg.MetadataValue.int(found.failed_checks),
    }
    if found.backup:
        metadata["backup"] = dg.MetadataValue.text(found.backup.label)
    if found.backup or found.of_dump:
        age = datetime.now(UTC) - (found.backup.stop if found.backup else found.begun)
        metadata["backup_age_hours"] = dg.MetadataValue.float(round(age.total_seconds() / 3600, 1))
    return metadata


def checked(found: Drill) -> dg.AssetCheckResult:
    """Return whether the backup can be restored, as the drill proved it."""
    return dg.AssetCheckResult(
        check_name=RESTORABLE,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=str(found),
        metadata={
            labels.FAILING: dg.MetadataValue.int(len(found.problems)),
            NEWS: dg.MetadataValue.bool(True),
            **of_drill(found),
        },
    )


def _report(db: DatabaseSettings, *events: dg.AssetMaterialization | dg.AssetCheckEvaluation) -> None:
    installation = instance.prepare(Installation.of_environment(db, key=lambda: None))
    with instance.storage_errors(), instance.opened(installation) as dagster_instance:
        for event in events:
            dagster_instance.report_runless_asset_event(event)
