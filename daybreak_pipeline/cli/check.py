"""``daybreak check``: how good the data is."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline.cli.common import Command, json_option, say_json, verbose_option
from daybreak_pipeline.cli.output import report
from daybreak_pipeline.cli.runs import keep_report
from daybreak_pipeline.orchestration import readiness, runs
from daybreak_pipeline.privacy import keys

_EXITS = {1: "a blocking check failed"}


@click.command(cls=Command, exits=_EXITS)
@json_option
@verbose_option
def check(as_json: bool, verbose: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Check every table as it is now, without importing; what fails is shown first."""
    with readiness.ready(migrate=False, key=keys.held) as installation:
        outcome = runs.run_checks(installation)
        if as_json:
            say_json({"run_id": outcome.run_id, "checks": outcome.as_json()["checks"]})
        else:
            report(outcome, "check", verbose=verbose)
        keep_report(installation)
    sys.exit(outcome.exit_code)
