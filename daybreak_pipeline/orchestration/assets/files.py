"""The export's files as assets: never made here, only observed by the hash of their content.

So the UI shows which table is older than its file.
"""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

import warnings
from collections.abc import Iterator
from typing import Any, cast

import dagster as dg
from pydantic import Field

from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import find
from daybreak_pipeline.importer.formats import SUFFIXES
from daybreak_pipeline.locations import Location
from daybreak_pipeline.orchestration.export_directories import ExportDirectories
from daybreak_pipeline.orchestration.resources import step_failures
from daybreak_pipeline.tables import TABLES, Table

EXPORT_DIR: Any = Field(
    default="",
    description=(
        "Directory with the export's files, one that the operator allows (DAYBREAK_EXPORT_ROOTS); empty: "
        "DAYBREAK_EXPORT_DIR, or the sample."
    ),
)


def source_key(table: str) -> dg.AssetKey:
    """Return the asset key of the file that fills a table."""
    return dg.AssetKey(["export", table])


def _spec(table: Table) -> dg.AssetSpec:
    names = " or ".join(f"`{stem}`" for stem in table.file_stems)
    return dg.AssetSpec(
        source_key(table.name),
        description=(
            f"Export file of {table.name}: {names}, in any case and with or without a date behind it "
            f"({', '.join(SUFFIXES)}, or a directory of parts)."
        ),
        group_name="export",
        owners=[table.owner],
        kinds={"parquet" if table.name == "clinician_availabilities" else "csv"},
    )


OBSERVE_OP = "observe_export"


class ObserveConfig(dg.Config):
    """What can be chosen for an observation, also in the launchpad."""

    export_dir: str = EXPORT_DIR


def build_source_assets() -> dg.AssetsDefinition:
    """Return the 16 source files as one observable definition; each can be observed alone."""
    with warnings.catch_warnings():
        # Beta since Dagster 1.7; the alternative, SourceAsset, is superseded.
        warnings.simplefilter("ignore", dg.BetaWarning)
        observable = dg.multi_observable_source_asset(
            name=OBSERVE_OP, specs=[_spec(table) for table in TABLES.values()], can_subset=True
        )

    @observable  # type: ignore[untyped-decorator]  # Dagster's decorator has no types
    def observe_export(
        context: dg.AssetExecutionContext,
        config: ObserveConfig,
        export_directories: dg.ResourceParam[ExportDirectories],
    ) -> Iterator[dg.ObserveResult]:
        """Observe the files of the export directory by content."""
        with step_failures(context):
            directory = export_directories.chosen(config.export_dir)
        for unknown in find.unknown(directory):
            context.log.warning("%s", unknown)
        for key in sorted(context.selected_asset_keys):
            yield observe(directory, TABLES[key.path[-1]])

    return cast("dg.AssetsDefinition", observe_export)


def observe(directory: Location, table: Table) -> dg.ObserveResult:
    """Return the content hash of a table's file as an observation; a missing file is an observation, too."""
    try:
        source = find.find(directory, table)
    except SourceError as error:
        return dg.ObserveResult(
            asset_key=source_key(table.name),
            data_version=dg.DataVersion("missing"),
            metadata={"problem": str(error)},
        )
    return dg.ObserveResult(
        asset_key=source_key(table.name),
        data_version=dg.DataVersion(source.sha256()),
        metadata={"dagster/uri": source.uri, "bytes": source.size(), "columns": len(source.header)},
    )
