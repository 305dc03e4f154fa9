"""``daybreak checks accept`` and ``reopen``. A separate module, as only these show Dagster and the report what has changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.cli.common import Command, json_option, say, say_json
from daybreak_pipeline.cli.runs import keep_report
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import acceptances, readiness
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.report import queries, verdict
from daybreak_pipeline.report.facts import Facts
from daybreak_pipeline.tables import TABLES

_CHECKS = click.Choice([rule.name for rule in RULES])
_column_option = click.option("--column", metavar="COLUMN", help="Of this column only.")


@click.command(cls=Command)
@click.argument("table", type=click.Choice(list(TABLES)), metavar="TABLE", required=False)
@click.argument("check", type=_CHECKS, metavar="CHECK", required=False)
@_column_option
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day, in UTC, on which it is accepted; without it there is no end.",
)
@click.option(
    "--why",
    required=True,
    help="The reason, for all who read the report. It is stored as it is and must not hold a personal value: no name, "
    "no phone number, nothing from a record.",
)
@click.option("--all", "everything", is_flag=True, help="Everything that fails now: of the table, or of all.")
@json_option
def accept(  # noqa: PLR0913, PLR0917 - click passes each option
    table: str | None,
    check: str | None,
    column: str | None,
    until: datetime | None,
    why: str,
    everything: bool,  # noqa: FBT001 - click passes flags so
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Accept what a check finds: it counts as passed until it grows, or the day has passed.

    What is accepted is what the check found when it last ran. One more of the same kind, or another kind, and it fails
    again. Who accepted what, when and why is kept and shown.
    """
    if everything == bool(check) or (everything and column):
        msg = "name a table and a check, or --all in place of the check"
        raise UsageError(msg)
    with readiness.ready(migrate=False, key=keys.held) as installation:
        with database.connect(installation.database, autocommit=True) as connection:
            facts = queries.read(connection)
            chosen = [(table, check)] if table and check else _failing(facts, table)
            last_day = until.date() if until else None
            with connection.transaction():
                done = [
                    acceptance.accept(
                        connection, name, rule, column=column, until=last_day, why=why, who=settings.account()
                    )
                    for name, rule in chosen
                ]
        answer = _show_change(installation, chosen)
        if as_json:
            accepted = [{"table": one.table, "check": one.check, "count": one.count} for one in done]
            say_json({"accepted": accepted, "can_data_be_trusted": answer})
            return
        for one in done:
            of = f", {one.column}" if one.column else ""
            say(
                f"accepted: {one.table}.{one.check}{of}: {one.count:,}{f' until {last_day}' if last_day else ''}"
            )
        say(f"can today's data be trusted: {answer}")


@click.command(cls=Command)
@click.argument("table", type=click.Choice(list(TABLES)), metavar="TABLE")
@click.argument("check", type=_CHECKS, metavar="CHECK")
@_column_option
@json_option
def reopen(table: str, check: str, column: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Take back what was accepted: it is a finding again."""
    with readiness.ready(migrate=False, key=keys.held) as installation:
        with database.connect(installation.database, autocommit=True) as connection:
            number = acceptance.reopen(connection, table, check, column=column, who=settings.account())
        answer = _show_change(installation, [(table, check)])
        if as_json:
            say_json({"reopened": number, "can_data_be_trusted": answer})
            return
        say(f"open again: {table}.{check}{f', {column}' if column else ''}")
        say(f"can today's data be trusted: {answer}")


def _failing(facts: Facts, table: str | None) -> list[tuple[str, str]]:
    """Return every check that fails and can be accepted, of one table or of all."""
    found = [
        (one.name, check.name)
        for one in facts.tables
        if one.known and table in {None, one.name}
        for check in one.checks
        if not check.finding.passed and acceptance.can_be_accepted(check.name, check.finding)
    ]
    if not found:
        msg = f"no check of {table or 'any table'} fails that could be accepted"
        raise UsageError(msg)
    return found


def _show_change(installation: Installation, changed: Collection[tuple[str, str]]) -> str:
    """Show Dagster and the report what was accepted or reopened, and return the report's answer."""
    acceptances.show(installation, changed)
    keep_report(installation)
    with database.connect(installation.database) as connection:
        return verdict.judge(queries.read(connection)).answer
