"""``daybreak import``: the export into the database, and its checks."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click

from daybreak_pipeline.cli.common import (
    Command,
    data_dir_option,
    json_option,
    only_option,
    say,
    say_lines,
    verbose_option,
)
from daybreak_pipeline.cli.output import progress_line, report
from daybreak_pipeline.cli.runs import export_directory, keep_report, refresh_summaries, run_import
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer import statements
from daybreak_pipeline.locations import Location
from daybreak_pipeline.orchestration import readiness, runs

_EXITS = {1: "a table was not imported, its file is absent, or a blocking check failed"}


@click.command("import", cls=Command, exits=_EXITS)
@data_dir_option
@only_option
@click.option("--full", is_flag=True, help="Read files again whose content has not changed.")
@click.option(
    "--partial",
    is_flag=True,
    help="The export has some of the files only: absent ones are no problem (code 0).",
)
@click.option("--dry-run", is_flag=True, help="Do all of it, show the scorecard, and roll everything back.")
@click.option(
    "--show-sql", is_flag=True, help="With --dry-run: print every statement of the import, under its name."
)
@json_option
@verbose_option
def import_(  # noqa: PLR0913, PLR0917 - click passes the options so
    data_dir: Location | None,
    only: tuple[str, ...],
    full: bool,  # noqa: FBT001 - click passes flags so
    partial: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    show_sql: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    verbose: bool,  # noqa: FBT001
) -> None:
    """Import the export: every file that has changed, parents first, and check every table.

    A table that was imported before and whose file is absent keeps its rows, and what depends on it is imported.
    """
    if show_sql and not dry_run:
        msg = "--show-sql goes with --dry-run, which changes nothing"
        raise UsageError(msg)
    export = export_directory(data_dir)
    with readiness.ready(export_dir=export, migrate=False) as installation:
        if dry_run:
            seen = (
                statements.written(lambda text: say_lines(text, err=as_json)) if show_sql else nullcontext()
            )
            with progress_line() as tell, seen:
                outcome = runs.dry_run_import(installation, only=only, full=full, partial=partial, tell=tell)
        else:
            outcome = run_import(installation, only=only, full=full, partial=partial)
        report(outcome, export=export, as_json=as_json, verbose=verbose)
        if dry_run:
            say("a dry run: nothing was changed", err=as_json)
        else:
            refresh_summaries(installation, outcome)
            keep_report(installation)
    sys.exit(outcome.exit_code)
