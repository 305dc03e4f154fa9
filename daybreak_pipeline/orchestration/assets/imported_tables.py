"""The 16 table assets, built by one factory from ``tables.TABLES``. ``importer`` does the importing."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TypedDict

import dagster as dg
from pydantic import Field

from daybreak_pipeline import settings
from daybreak_pipeline.backups import points
from daybreak_pipeline.importer import ledger
from daybreak_pipeline.importer.run import Result, import_table, replay_table
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.orchestration import run_requests
from daybreak_pipeline.orchestration.assets.files import EXPORT_DIR, source_key
from daybreak_pipeline.orchestration.export_directories import ExportDirectories
from daybreak_pipeline.orchestration.resources import HealthDatabase, ProgressLog, step_failures
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema.catalog import TableCatalog
from daybreak_pipeline.tables import TABLES, Table
from daybreak_pipeline.timetable import LATE_AFTER, TOO_LATE_AFTER
from daybreak_pipeline.wording import shown, shown_lines

WHY_ABSENT = "why_absent"
EARLY = "absent_early"
"""Metadata of an absent file that could not be expected yet: nobody is alerted to that."""
IGNORED = "ignored_files"
"""Metadata with the files that might have been taken for a table's, and why they were not."""
_ROW_COUNT = "dagster/row_count"
_WHY_SKIPPED = "the file has not changed (full: true reads it again)"
_FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=LATE_AFTER, fail_window=TOO_LATE_AFTER)


class ImportConfig(dg.Config):
    """What can be chosen for one import, also in the launchpad."""

    export_dir: str = EXPORT_DIR
    full: bool = Field(default=False, description="Read a file again although its content has not changed.")
    replay: bool = Field(default=False, description="Read no file: try the quarantined records again.")


class _Facts(TypedDict):
    """The facts about its run that an import receives."""

    run_id: str
    launched_by: str | None
    progress: Progress
    before_change: Callable[[], object]


def build_table_assets() -> list[dg.AssetsDefinition]:
    """Return one asset for each table."""
    return [_table_asset(table) for table in TABLES.values()]


def _table_asset(table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=table.name,
        deps=[source_key(table.name), *(dg.AssetKey(parent) for parent in table.parents)],
        group_name=table.group,
        owners=[table.owner],
        kinds={"postgres", "table"},
        tags={"personal_data": "sealed" if table.sealed_columns else "none"},
        description=_description(table),
        metadata={
            "dagster/table_name": f"{settings.DEFAULT_DATABASE}.public.{table.name}",
            "quarantine": dg.MetadataValue.md(_where_quarantined(table.name)),
        },
        freshness_policy=_FRESHNESS,
    )
    def load(
        context: dg.AssetExecutionContext,
        config: ImportConfig,
        health_database: dg.ResourceParam[HealthDatabase],
        progress_log: dg.ResourceParam[ProgressLog],
        export_directories: dg.ResourceParam[ExportDirectories],
    ) -> dg.MaterializeResult[None]:
        with step_failures(context):
            directory = export_directories.chosen(config.export_dir)
        with step_failures(context), health_database.connection() as connection:
            facts: _Facts = {
                "run_id": context.run.run_id,
                "launched_by": context.run.tags.get(run_requests.LAUNCHED_BY),
                "progress": progress_log.listener(table.name, context.log),
                "before_change": partial(points.before_import, connection, context.run.run_id),
            }
            result = (
                replay_table(connection, table.name, **facts)
                if config.replay
                else import_table(
                    connection,
                    table.name,
                    directory,
                    full=config.full,
                    partial=run_requests.PARTIAL in context.run.tags,
                    **facts,
                )
            )
            catalog = catalogs.read(connection, table.name)
            contents = ledger.contents_of_run(connection, context.run.run_id)
        if contents:
            context.instance.add_run_tags(context.run.run_id, run_requests.content_tag(contents))
        if result.reason:
            context.log.warning("%s", result.reason)
        for ignored in result.ignored:
            context.log.warning("%s: %s was not read: %s", table.name, ignored.file, ignored.why)
        context.log.info("%s: %s in %.2f s", table.name, _in_words(result), result.seconds)
        return dg.MaterializeResult(
            metadata=_metadata(result, catalog, _rows(context.instance, result)),
            # Replayed records came from no file: Dagster then makes a version of its own. Where the file is absent
            # the version stays, so that nothing downstream is out of date. The step must materialize the table, or its
            # dependents would not run; Dagster's freshness then counts from today. `daybreak status` and the
            # report count from the last file.
            data_version=dg.DataVersion(result.source_sha256) if result.source_sha256 else None,
        )

    return load


def _description(table: Table) -> str:
    lines = [table.description, ""]
    for reference in table.references:
        kind = "foreign key" if reference.enforced else "checked by the orphan check"
        target = " or ".join(f"`{name}.{reference.target_column}`" for name in reference.tables)
        lines.append(f"- `{reference.column}` → {target} ({kind})")
    if table.sealed_columns:
        lines.append(f"- sealed: {', '.join(f'`{name}`' for name in table.sealed_columns)}")
    return "\n".join(lines).rstrip()


def _where_quarantined(table: str) -> str:
    return (
        f"`daybreak quarantine list --table {table}`, or in SQL:\n\n```sql\n"
        "SELECT id, record_number, row_id, reasons, first_seen_at FROM ingest.quarantine\n"
        f"WHERE table_name = '{table}' AND resolved_at IS NULL ORDER BY record_number;\n```"
    )


def _in_words(result: Result) -> str:
    counts = [f"{value:,} {name}" for name, value in asdict(result.accounting).items() if value]
    return f"{result.status}{': ' if counts else ''}{', '.join(counts)}"


def _rows(instance: dg.DagsterInstance, result: Result) -> int | None:
    """Return how many rows the table had when it was last counted: a skipped import counts none."""
    if result.rows_in_table is not None:
        return result.rows_in_table
    event = instance.get_latest_materialization_event(dg.AssetKey(result.table))
    before = event.asset_materialization if event else None
    counted = before.metadata.get(_ROW_COUNT) if before else None
    return counted.value if isinstance(counted, dg.IntMetadataValue) else None


def _metadata(result: Result, catalog: TableCatalog, rows: int | None) -> dict[str, dg.MetadataValue]:
    """Return counts, names and the column schema with the database's comments; no value of any record."""
    columns = [
        dg.TableColumn(
            shown(column.name),
            shown(column.sql_type),
            description=column.comment and shown_lines(column.comment),
            constraints=dg.TableColumnConstraints(nullable=not column.required),
        )
        for column in catalog.columns
    ]
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/table_name": dg.MetadataValue.text(f"{settings.DEFAULT_DATABASE}.public.{result.table}"),
        "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
        "dagster/uri": dg.MetadataValue.text(result.source_uri),
        "status": dg.MetadataValue.text(result.status),
        "seconds": dg.MetadataValue.float(round(result.seconds, 3)),
        "import_id": dg.MetadataValue.int(result.import_id),
        "references_restored": dg.MetadataValue.int(result.references_restored),
    }
    if result.reason:
        metadata[WHY_ABSENT] = dg.MetadataValue.text(result.reason)
    if result.early:
        metadata[EARLY] = dg.MetadataValue.bool(True)
    if result.status == "skipped":
        metadata["why_skipped"] = dg.MetadataValue.text(_WHY_SKIPPED)
    if rows is not None:
        metadata[_ROW_COUNT] = dg.MetadataValue.int(rows)
    if result.status == "imported":  # else no record was read: the UI would plot zeros
        metadata |= {name: dg.MetadataValue.int(value) for name, value in asdict(result.accounting).items()}
    if result.ignored:
        metadata[IGNORED] = dg.MetadataValue.json([asdict(ignored) for ignored in result.ignored])
    if result.unknown_columns:
        metadata["unknown_columns"] = dg.MetadataValue.text(shown(", ".join(result.unknown_columns)))
    return metadata
