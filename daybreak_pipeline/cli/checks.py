"""``daybreak checks``: what the checks find now, and what of it somebody has accepted."""

from __future__ import annotations

from datetime import datetime

import click
from rich.table import Table

from daybreak_pipeline import database
from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.cli.common import LazyGroup, json_option, say, say_json
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.screen import styled
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.report import queries
from daybreak_pipeline.report.facts import CheckResult

_COLORS = {"ERROR": "red", "WARN": "yellow", "accepted": "dim"}


@click.group(
    cls=LazyGroup,
    lazy={
        "accept": (
            "daybreak_pipeline.cli.checks_accept:accept",
            "Accept what a check finds: it counts as passed until it grows, or the day has passed.",
        ),
        "reopen": (
            "daybreak_pipeline.cli.checks_accept:reopen",
            "Take back what was accepted: it is a finding again.",
        ),
    },
)
def checks() -> None:
    """See what the checks find, accept what is known and bearable, and take that back."""


@checks.command("list")
@json_option
def list_(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """List what the checks found when they last ran: what fails, and what somebody has accepted, why and until when."""
    with readiness.looked_at() as db, database.connect(db, autocommit=True) as connection:
        accepted = acceptance.in_force(connection)
        found = [
            check
            for table in queries.read(connection).tables
            for check in table.checks
            if check.state != "passed" or (table.name, check.name) in accepted
        ]
    if as_json:
        say_json([_as_json(check, accepted) for check in found])
        return
    _show(found)
    open_ = sum(not check.finding.passed for check in found)
    say(f"open: {open_:,}, accepted: {sum(check.finding.is_accepted for check in found):,}")


def _as_json(check: CheckResult, accepted: acceptance.Accepted) -> dict[str, object]:
    return {
        "table": check.table,
        "check": check.name,
        "state": check.state,
        "count": check.finding.count,
        "summary": check.finding.summary,
        "since": _iso(check.streak.since if check.streak else None),
        "accepted": [
            {
                "column": one.column,
                "count": one.count,
                "counts": one.counts,
                "why": one.why,
                "until": str(one.until) if one.until else None,
                "accepted_at": _iso(one.accepted_at),
                "accepted_by": one.accepted_by,
            }
            for one in accepted.get((check.table, check.name), ())
        ],
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _show(found: list[CheckResult]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("state", "table", "check", "what"):
        table.add_column(heading, overflow="fold")
    for check in found:
        what = "; ".join([check.finding.summary, *check.finding.accepted])
        color = _COLORS.get(check.state, "")
        table.add_row(styled(check.state, color), check.table, check.name, what)
    if found:
        console().print(table)
