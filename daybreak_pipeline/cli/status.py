"""``daybreak status``: can the data be trusted, and the state of every table."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from daybreak_pipeline import database, timetable
from daybreak_pipeline.cli.common import Command, json_option, say_json, say_lines
from daybreak_pipeline.cli.output import console
from daybreak_pipeline.cli.screen import line, styled
from daybreak_pipeline.operations import status as statuses
from daybreak_pipeline.operations.status import TableStatus
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.report.facts import Facts, TableFacts
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.report.verdict import IMPORT, Verdict, judge
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.wording import age

_EXITS = {
    1: "with `--fail-on`: something is wrong with the data",
    2: "with `--fail-on`: something is wrong with the environment",
}
_SAID = ("import failed: ", "its file is absent; ")
_COLORS = {"yes": "green", "yes, but": "yellow", "no": "red", "ERROR": "red", "WARN": "yellow"}


@click.command(cls=Command, exits=_EXITS)
@json_option
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warn"]),
    help="Exit with 1 if something is wrong with the data, with 2 if with the environment: an error, or a warning too.",
)
def status(as_json: bool, fail_on: str | None) -> None:  # noqa: FBT001 - click passes flags so
    """Say whether the data can be trusted, and show every table: last import, age, what waits, failed checks."""
    with readiness.looked_at() as db:
        facts = gather(db)
        found = _tables(db, facts) if facts.tables else []
    verdict = judge(facts)
    upcoming = timetable.next_daily(timetable.DAILY_IMPORT_AT, datetime.now(UTC))
    if as_json:
        tables = {table.table: table.as_json() for table in found}
        say_json({"next_import_at": upcoming.isoformat(), "tables": tables, "verdict": _as_json(verdict)})
    else:
        _show(verdict, found)
        say_lines(
            f"\nnext scheduled import: {upcoming:%Y-%m-%d %H:%M} UTC, while daybreak up or a Dagster daemon runs"
        )
    sys.exit(exit_code(verdict, fail_on))


def exit_code(verdict: Verdict, fail_on: str | None) -> int:
    """Return 0 where nothing is wrong that counts, 2 where something with the environment is, else 1.

    What is wrong with the environment comes first: it may be why the data is, and others may have to mend it.
    """
    counting = {"error": {"ERROR"}, "warn": {"ERROR", "WARN"}}.get(fail_on or "", set())
    kinds = {problem.kind for problem in verdict.problems if problem.severity in counting}
    if fail_on and verdict.answer == "no":
        kinds |= {"data"}  # nothing has been imported yet, for one
    return 2 if "environment" in kinds else 1 if kinds else 0


def _tables(db: DatabaseSettings, facts: Facts) -> list[TableStatus]:
    with database.connect(db) as connection:
        found = statuses.read(connection)
    gathered = {table.name: table for table in facts.tables}
    return [_as_gathered(one, gathered[one.table]) for one in found]


def _as_gathered(one: TableStatus, table: TableFacts) -> TableStatus:
    """Return the state of a table without an absence that is over: the file is there again."""
    if one.absent_since is None or table.absent_since is not None:
        return one
    return replace(one, status=table.last.status if table.last else None, absent_since=None)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "answer": verdict.answer,
        "why": verdict.why,
        "problems": [
            {
                "severity": problem.severity,
                "kind": problem.kind,
                "table": problem.table or None,
                "check": problem.check or None,
                "what": problem.sentence,
                "since": problem.streak.since.isoformat() if problem.streak else None,
                "times": problem.streak.times if problem.streak else None,
                "failed": problem.failed,
                "commands": [action.text for action in problem.actions if action.language == "sh"],
            }
            for problem in verdict.problems
        ],
    }


def _show(verdict: Verdict, found: list[TableStatus]) -> None:
    screen = console()
    answer = styled(verdict.answer.capitalize(), f"bold {_COLORS[verdict.answer]}")
    screen.print(line("Can the data be trusted? ", answer, f": {verdict.why}"), soft_wrap=True)
    screen.print()
    if found:
        _show_tables(found)
    for one in found:
        if one.error:
            screen.print(line(styled("failed", "red"), f" {one.error}"), soft_wrap=True)
        elif one.absent_since:
            since = f"{one.absent_since:%Y-%m-%d %H:%M}"
            told = f" {one.table}: no file of it since {since}; its rows stay"
            screen.print(line(styled("absent", "yellow"), told), soft_wrap=True)
    for problem in verdict.problems:  # what a check found is in the table, and in the report
        news = problem.check == IMPORT and not problem.sentence.startswith(_SAID)
        if (news and problem.sentence != "never imported") or not problem.table:
            told = f" {problem.table or problem.check}: {problem.sentence}"
            screen.print(line(styled(problem.severity, _COLORS[problem.severity]), told), soft_wrap=True)


def _show_tables(found: list[TableStatus]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("table", "last import", "status"):
        table.add_column(heading)
    for heading in ("records", "rows", "age", "quarantine", "issues"):
        table.add_column(heading, justify="right")
    table.add_column("failed checks")
    for one in found:
        color = {"failed": "red", "absent": "yellow", None: "yellow"}.get(one.status, "green")
        table.add_row(
            one.table,
            f"{one.imported_at:%Y-%m-%d %H:%M}" if one.imported_at else "never",
            styled(one.status or "never imported", color),
            "-" if one.records is None else f"{one.records:,}",
            f"{one.rows:,}",
            age(one.age_seconds),
            _number(one.quarantined),
            _number(one.field_issues),
            _checks(one),
        )
    console().print(table)


def _number(number: int) -> Text:
    return styled(f"{number:,}", "") if number else styled("·", "dim")


def _checks(one: TableStatus) -> Text:
    if one.checked_at is None:
        return styled("not checked", "dim")
    return styled(", ".join(one.failed_checks), "red") if one.failed_checks else styled("none", "green")
