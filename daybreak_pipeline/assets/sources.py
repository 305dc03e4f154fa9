"""The export's files as assets: never made here, only observed by the hash of their content.

So the UI shows which table is older than its file.
"""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg

from daybreak_pipeline import settings
from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import sources
from daybreak_pipeline.tables import TABLES, Table


def source_key(table: str) -> dg.AssetKey:
    """Return the asset key of the file that fills a table."""
    return dg.AssetKey(["export", table])


def _spec(table: Table) -> dg.AssetSpec:
    names = " or ".join(f"`{stem}`" for stem in table.file_stems)
    return dg.AssetSpec(
        source_key(table.name),
        description=f"Export file of {table.name}: {names} (.csv, .csv.gz, .csv.zst, .parquet or a directory of parts).",
        group_name="export",
        owners=[table.owner],
        kinds={"parquet" if table.name == "clinician_availabilities" else "csv"},
    )


def build_source_assets() -> dg.AssetsDefinition:
    """Return the 16 source files as one observable definition, any of which can be observed alone."""
    with warnings.catch_warnings():
        # Beta since Dagster 1.7; the alternative, SourceAsset, is superseded.
        warnings.simplefilter("ignore", dg.BetaWarning)
        observable = dg.multi_observable_source_asset(
            name="observe_export", specs=[_spec(table) for table in TABLES.values()], can_subset=True
        )

    @observable  # type: ignore[untyped-decorator]  # Dagster's decorator has no types
    def observe_export(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        """Observe the files of the export directory by content."""
        directory = settings.export_dir()
        for key in sorted(context.selected_asset_keys):
            observed = observe(directory, TABLES[key.path[-1]])
            if observed:
                yield observed
            else:
                context.log.warning("%s: no file in the export directory", key.path[-1])

    return cast("dg.AssetsDefinition", observe_export)


def observe(directory: Path, table: Table) -> dg.ObserveResult | None:
    """Return the content hash of a table's file as an observation, None where there is no such file."""
    try:
        source = sources.find(directory, table)
    except SourceError:
        return None
    return dg.ObserveResult(
        asset_key=source_key(table.name),
        data_version=dg.DataVersion(source.sha256()),
        metadata={"dagster/uri": source.uri, "bytes": source.size(), "columns": len(source.header)},
    )
