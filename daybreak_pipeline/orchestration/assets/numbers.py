"""The numbers for analysts as assets: the newest rows of each frame, numbers that the UI plots, and the page with plots."""

# Dagster reads the annotations of what it decorates: no postponed evaluation in this module.

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from daybreak_pipeline.orchestration.assets.summaries import when_its_sources_are_new
from daybreak_pipeline.orchestration.resources import HealthDatabase, step_failures
from daybreak_pipeline.report import numbers, numbers_page, store
from daybreak_pipeline.report.numbers import FRAMES, Frame
from daybreak_pipeline.timetable import LATE_AFTER, TOO_LATE_AFTER

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 12
"""How many rows of a frame its asset shows: the newest. The command has all."""
NUMBERS = {frame.name.replace("-", "_"): frame for frame in FRAMES.values()}
"""The frames by the name of their asset."""


def build_numbers_assets() -> dg.AssetsDefinition:
    """Return one asset for each frame."""

    @dg.multi_asset(
        name="numbers_for_analysts",
        specs=[_spec(name, frame) for name, frame in NUMBERS.items()],
        can_subset=True,
    )
    def numbers_for_analysts(
        context: dg.AssetExecutionContext, health_database: dg.ResourceParam[HealthDatabase]
    ) -> Iterator[dg.MaterializeResult[None]]:
        with step_failures(context):
            with health_database.connection() as connection:
                shown = numbers_page.read(connection)
            page = numbers_page.html(shown, beside={*store.pages(), store.NUMBERS})
            store.write(store.directory() / store.NUMBERS, page)
            made = {name: _metadata(frame, shown.frames[frame.name]) for name, frame in NUMBERS.items()}
        for name, metadata in made.items():
            if dg.AssetKey(name) in context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=name, metadata=metadata)

    return numbers_for_analysts


def _spec(name: str, frame: Frame) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        deps=[frame.view],
        group_name="analytics",
        owners=["team:data-engineering"],
        kinds={"pandas"},
        description=f"{frame.what} By week and district, without groups of fewer than 11: "
        f"[the plots](/report/numbers#{frame.name}). As a file: `daybreak frames {frame.name} --out {frame.name}.parquet`.",
        freshness_policy=dg.FreshnessPolicy.time_window(warn_window=LATE_AFTER, fail_window=TOO_LATE_AFTER),
        automation_condition=when_its_sources_are_new(),
    )


def _metadata(frame: Frame, made: "pd.DataFrame") -> dict[str, Any]:
    """Return rows, columns, the newest rows, where the plots are, and the newest numbers of all together for the UI to plot."""
    newest = numbers_page.whole(made)[-1:]
    columns = [dg.TableColumn(name, kind) for name, kind in frame.columns.items()]
    shown = [
        dg.TableRecord({name: str(value) if name == "week" else value for name, value in row.items()})
        for row in numbers.records(made.tail(_ROWS))
    ]
    found: dict[str, Any] = {
        "dagster/row_count": dg.MetadataValue.int(len(made)),
        "newest_rows": dg.MetadataValue.table(shown, dg.TableSchema(columns)),
        "plots": dg.MetadataValue.md(f"[How it went, week by week](/report/numbers#{frame.name})"),
    }
    found |= {
        name: dg.MetadataValue.int(int(row[name]))
        for row in newest
        for name in frame.numbers
        if row[name] is not None
    }
    return found
