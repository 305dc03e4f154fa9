"""``daybreak quarantine replay``: tries quarantined records again. A separate module, as only it runs a job."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline.cli.common import Command, json_option, only_option
from daybreak_pipeline.cli.output import report
from daybreak_pipeline.cli.runs import keep_report, refresh_summaries, run_import
from daybreak_pipeline.orchestration import readiness

_EXITS = {1: "a table's records could not be tried, or a blocking check failed"}


@click.command(cls=Command, exits=_EXITS)
@only_option
@json_option
def replay(only: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Try everything in quarantine again, without any file: after a migration, say."""
    with readiness.ready(migrate=False) as installation:
        outcome = run_import(installation, only=only, replay=True)
        report(outcome, as_json=as_json)
        refresh_summaries(installation, outcome)
        keep_report(installation)
    sys.exit(outcome.exit_code)
