"""What to do about a finding, and whom to ask: the next step by the kind of fault, with commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.report.facts import CheckResult, TableFacts
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.tables import TABLES

_REASONS = {
    "orphans": "missing_parent",
    "valid_enums": "invalid_enum",
    "required_values": "missing_required",
    "duplicates": "duplicate_key",
}
"""Checks that look at what was quarantined for a reason of its own (``checks.rules``)."""

ACCEPT = "Accept it"
"""What the command that accepts is called: the served report has a form for that."""
_STEPS = {
    "orphans": "Ask {sender} for the missing rows of {parents}, and import that file: what waits for them loads by itself.",
    "valid_enums": "Ask {sender} what the code means. A mistake: let them correct it. A new code: widen the list by a "
    "migration, then replay (" + Runbook.NEW_ENUM_VALUE.see + ").",
    "required_values": "Ask {sender} to fill in {columns}, and send the records again.",
    "valid_json": "Ask {sender} to send {columns} as JSON in the documented shape.",
    "placeholder_values": "Ask {sender} to leave cells without a value empty in {columns}.",
    "duplicates": "Ask {sender} which of the records is right, and to send only that one.",
    "row_accounting": "Mend what the message names, then import the table again.",
    "schema_drift": "Ask {sender} whether the change is meant. A column to keep: add it by a migration ("
    + Runbook.NEW_COLUMN.see
    + ").",
    "row_count_change": "Ask {sender} whether the file is whole; if not, for a whole one.",
    "missing_rows": "Ask {sender} whether the rows were deleted, or the file is not whole.",
    "quarantine_rate": "Send the records back to {sender} with their reasons, to be mended and sent again.",
    "constants": "Ask {sender} why {columns} differs from the one value that all rows have.",
    "plain_values": "Find out what wrote personal values in plain (" + Runbook.BREACH.see + ").",
    "sealed_values": "Find out which client sealed them, and with which key (" + Runbook.LOST_KEY.see + ").",
    "timestamps": "Ask {sender} to correct {columns}.",
    "database_matches_migrations": "Write the change as a migration, or take it back ("
    + Runbook.SCHEMA_CHANGES.see
    + ").",
}
"""The next step, by check."""


_READABLE = "Ask {sender} for a file that can be read. While daybreak up runs, it is imported by itself once it is there."
_THERE = (
    "Ask {sender} when the file comes. While daybreak up runs, it is imported by itself once it is there."
)
_BY_ITSELF = "Mend what the message names. While daybreak up runs, the file is then imported by itself."


@dataclass(frozen=True)
class Action:
    """Something to copy and run: ``language`` is ``sh`` or ``sql``."""

    label: str
    text: str
    language: Literal["sh", "sql"] = "sh"


def owner(table: str) -> str:
    """Return the team that knows a table (``Table.owner``); empty for checks of the database as a whole."""
    return TABLES[table].owner.removeprefix("team:") if table in TABLES else ""


def where(finding: Finding) -> str:
    """Return in which records of which files a finding is, as far as it names any."""
    found = finding.places
    if not found:
        return finding.file
    number = sum(map(len, found.values()))
    more = " and more" if finding.count > number else ""
    return (
        "; ".join(
            f"{file}, {'record' if len(records) == 1 else 'records'} {', '.join(map(str, sorted(records)))}"
            for file, records in found.items()
        )
        + more
    )


def step(table: str, check: str, finding: Finding) -> str:
    """Return the next step in a sentence; empty for a check that nobody announced."""
    sentence = _STEPS.get(check, "")
    columns = list(dict.fromkeys(column for tally in finding.faults for column in tally.columns))
    parents = _parents(table, columns)
    files = list(finding.places) or [finding.file or "the file"]
    return sentence.format(
        sender=f"the sender of {' and '.join(files)}",
        parents=" and ".join(parents) or "other tables",
        columns=", ".join(columns) or "the columns",
    )


def import_step(table: TableFacts, now: datetime) -> str:
    """Return the next step about a table's import in a sentence; empty where the problem says it."""
    names = TABLES[table.name].file_stems if table.name in TABLES else (table.name,)
    sender = f"the sender of {names[0]}"
    if table.failing:
        return (_BY_ITSELF if table.outside else _READABLE).format(sender=sender)
    if not table.waiting and (table.never_imported or table.missed(now)):
        return _THERE.format(sender=sender)
    return ""


def actions(table: TableFacts, check: CheckResult) -> Iterator[Action]:
    """Return what helps with a failing check: commands first, then its own query, and accepting it last."""
    found = check.finding
    reason = _REASONS.get(check.name)
    held_back = {code for code, _, _ in table.quarantined}
    listing = f"daybreak quarantine list --table {table.name}"
    if reason in held_back or (check.name == "quarantine_rate" and held_back):
        only = f" --reason {reason}" if reason else ""
        yield Action("List the records", f"{listing}{only}")
        export = f"daybreak quarantine export --table {table.name}{only} --out {table.name}-to-mend.csv"
        yield Action("Write what to send back", export)
    elif check.name == "database_matches_migrations":
        yield Action("Look at the schema", "daybreak migrate status")
    elif found.rows and table.known and not found.sql:
        yield Action("Trace the first row", shlex.join(["daybreak", "trace", table.name, found.rows[0]]))
    yield from _mending(table, check)
    if found.sql:
        yield Action("See the rows", found.sql, "sql")
    if table.known and acceptance.can_be_accepted(check.name, found):
        yield Action(ACCEPT, f"daybreak checks accept {table.name} {shlex.quote(check.name)} --why '…'")


def _mending(table: TableFacts, check: CheckResult) -> Iterator[Action]:
    """Return the commands that mend a kind of fault, once the sender has done his part."""
    columns = [column for tally in check.finding.faults for column in tally.columns]
    if check.name == "orphans":
        parents = [name for name in _parents(table.name, columns) if name != table.name]
        if parents:
            only = " ".join(f"--only {name}" for name in parents)
            yield Action("Import the parents' files", f"daybreak import {only} --only {table.name}")
    elif check.name == "valid_enums" and columns:
        yield Action("Widen the list", f"daybreak migrate new widen_{table.name}_{columns[0]}")
        yield Action("Then load what waits", f"daybreak quarantine replay --only {table.name}")
    elif check.name == "schema_drift" and columns:
        yield Action("Keep the column", f"daybreak migrate new add_{table.name}_column")
    elif check.name == "row_accounting":
        yield Action("Import it again", f"daybreak import --only {table.name}")


def _parents(table: str, columns: list[str]) -> list[str]:
    """Return the tables that some columns refer to."""
    references = TABLES[table].references if table in TABLES else ()
    return list(dict.fromkeys(name for one in references if one.column in columns for name in one.tables))
