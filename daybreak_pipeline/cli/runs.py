"""What the commands share that run Dagster's jobs: which export, the import with its progress, the report after it."""

from __future__ import annotations

from typing import Any

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import say
from daybreak_pipeline.cli.output import progress_line
from daybreak_pipeline.cli.progress import TerminalProgress
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.importer import find
from daybreak_pipeline.locations import Location
from daybreak_pipeline.orchestration import runs
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.outcomes import Outcome
from daybreak_pipeline.supervision import alone


def export_directory(data_dir: Location | None) -> Location:
    """Return the export's directory, given or from the environment.

    Raises:
        UsageError: it cannot be an export.
    """
    export = data_dir or settings.export_dir()
    find.check_export(export)
    return export


def run_import(installation: Installation, **options: Any) -> Outcome:
    """Run the import with a line of progress."""
    with progress_line() as tell:
        return runs.run_import(installation, progress=TerminalProgress(tell), **options)


def keep_report(installation: Installation) -> None:
    """Make the data-quality report, and say on stderr where it is, or why there is none.

    The import's results are kept even if the report fails.
    """
    there = alone.present(settings.home())
    served = f", or {there.url}/report" if there and there.url else ""
    try:
        say(f"data-quality report: {runs.render_report(installation)}{served}", err=True)
    except DaybreakError as error:
        say(f"no data-quality report: {error}", err=True)


def refresh_summaries(installation: Installation, outcome: Outcome) -> None:
    """Refresh the summaries if the import changed a row, and say on stderr where that failed."""
    done = [table.accounting for table in outcome.tables.values()]
    if not any(one.inserted + one.updated for one in done):
        return
    try:
        runs.refresh_summaries(installation)
    except DaybreakError as error:
        say(f"the summaries are as they were: {error}", err=True)
