"""``daybreak quarantine replay``: tries quarantined records again. A separate module, as only it runs a job."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from daybreak_pipeline.cli.common import Command, json_option, only_option, say, verbose_option
from daybreak_pipeline.cli.output import report
from daybreak_pipeline.cli.runs import keep_report, refresh_summaries, run_import
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.orchestration.outcomes import Outcome

_EXITS = {1: "a table's records could not be tried, or a blocking check failed"}


@click.command(cls=Command, exits=_EXITS)
@only_option
@json_option
@verbose_option
def replay(only: tuple[str, ...], as_json: bool, verbose: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Try everything in quarantine again, without any file: after a migration, say."""
    with readiness.ready(migrate=False) as installation:
        outcome = run_import(installation, only=only, replay=True)
        tried = outcome if as_json or verbose else _tried(outcome)
        if as_json or tried.tables:
            report(tried, "replay", as_json=as_json, verbose=verbose)
        if not as_json:
            say(_in_words(outcome))
        refresh_summaries(installation, outcome)
        keep_report(installation)
    sys.exit(outcome.exit_code)


def _tried(outcome: Outcome) -> Outcome:
    """Return what concerns the tables that had something in quarantine: the others were not touched."""
    tables = {name: table for name, table in outcome.tables.items() if table.accounting.read or table.reason}
    checks = {name: found for name, found in outcome.checks.items() if name in tables}
    return replace(outcome, tables=tables, checks=checks)


def _in_words(outcome: Outcome) -> str:
    counts = [table.accounting for table in outcome.tables.values()]
    tried, left = sum(one.read for one in counts), sum(one.quarantined for one in counts)
    if not tried:
        return "nothing was in quarantine"
    listed = "; daybreak quarantine list says why" if left else ""
    return f"{tried:,} tried again: {tried - left:,} are settled, {left:,} stay in quarantine{listed}"
