"""Findings that somebody has looked at and accepted (table ``ingest.accepted_findings``), and what that makes of a result.

What a check finds is kept as it was found (``history``). Whether that is accepted is decided when a result is shown, so that
accepting and reopening take effect at once. A finding is accepted kind by kind: it is open again when one kind has grown beyond
what was accepted, when another kind appears, or when the day has passed.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from daybreak_pipeline import database
from daybreak_pipeline.checks import history
from daybreak_pipeline.checks.findings import Finding, Severity, Tally, failing
from daybreak_pipeline.checks.rules import BLOCKING
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.tables import TABLES, Threshold
from daybreak_pipeline.wording import shown

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

LONGEST_REASON = 500
_IN_FORCE = """
    SELECT id, table_name AS table, check_name AS check, column_name AS column, counts, why, until, accepted_at, accepted_by
    FROM ingest.accepted_findings WHERE reopened_at IS NULL ORDER BY table_name, check_name, column_name NULLS FIRST
"""
_EVER = """
    SELECT id, table_name AS table, check_name AS check, column_name AS column, counts, why, until, accepted_at, accepted_by,
           reopened_at
    FROM ingest.accepted_findings WHERE reopened_at IS NULL OR reopened_at >= %(since)s ORDER BY id
"""
_NEWEST = """
    SELECT r.description AS summary, r.failed AS count, r.total, r.severity, r.passed, r.details
    FROM ingest.check_results r WHERE r.table_name = %(table)s AND r.check_name = %(check)s
    ORDER BY r.at DESC, r.id DESC LIMIT 1
"""
_REOPEN = """
    UPDATE ingest.accepted_findings SET reopened_at = now(), reopened_by = %(who)s
    WHERE reopened_at IS NULL AND table_name = %(table)s AND check_name = %(check)s
      AND (%(column)s::text IS NULL OR column_name = %(column)s)
"""
_ACCEPT = """
    INSERT INTO ingest.accepted_findings (table_name, check_name, column_name, counts, why, until, accepted_by)
    VALUES (%(table)s, %(check)s, %(column)s, %(counts)s, %(why)s, %(until)s, %(who)s)
"""


@dataclass(frozen=True)
class Acceptance:
    """One accepted finding, in force until somebody reopens it. ``counts`` are those that were accepted, by kind.

    ``reopened_at`` is set where it is known to be over.
    """

    id: int
    table: str
    check: str
    column: str | None
    counts: Mapping[str, int]
    why: str
    until: date | None
    accepted_at: datetime
    accepted_by: str
    reopened_at: datetime | None = None

    @property
    def count(self) -> int:
        """How many faults were accepted."""
        return sum(self.counts.values())

    def is_over(self, today: date) -> bool:
        """Whether its last day has passed."""
        return self.until is not None and self.until < today

    def was_in_force(self, moment: datetime) -> bool:
        """Whether it was accepted by then, and not reopened yet."""
        return self.accepted_at <= moment and (self.reopened_at is None or self.reopened_at > moment)

    def covers(self, tally: Tally) -> bool:
        """Whether all that a tally counts was accepted."""
        return tally.count <= self.counts.get(tally.kind, 0)

    @property
    def told(self) -> str:
        """Who accepted it, how much, when, until when and why, in words."""
        of = f" of {self.column}" if self.column else ""
        until = f" until {self.until}" if self.until else ""
        who, why = (shown(text, longest=None) for text in (self.accepted_by, self.why))
        return f"{self.count:,}{of} accepted by {who} on {self.accepted_at:%Y-%m-%d}{until}: {why}"


Accepted = Mapping[tuple[str, str], Sequence[Acceptance]]
"""What is accepted, by table and check."""


def in_force(connection: Connection) -> Accepted:
    """Return all that is accepted; nothing where the schema is older than this."""
    return _grouped(connection, _IN_FORCE, {})


def ever_since(connection: Connection, since: datetime) -> Accepted:
    """Return all that was accepted at any time since a moment, and when it was reopened."""
    return _grouped(connection, _EVER, {"since": since})


def _grouped(connection: Connection, query: str, parameters: Mapping[str, object]) -> Accepted:
    found: dict[tuple[str, str], list[Acceptance]] = defaultdict(list)
    if database.value(connection, "SELECT to_regclass('ingest.accepted_findings') IS NOT NULL"):
        for acceptance in database.every(connection, Acceptance, query, parameters):
            found[acceptance.table, acceptance.check].append(acceptance)
    return found


def judged(
    accepted: Accepted, table: str, findings: Mapping[str, Finding], today: date | None = None
) -> dict[str, Finding]:
    """Return a table's findings in the light of what was accepted: see ``judge``."""
    today = today or datetime.now(UTC).date()
    return {
        check: judge(finding, accepted.get((table, check), ()), threshold(table, check), today)
        for check, finding in findings.items()
    }


def judge(finding: Finding, accepted: Sequence[Acceptance], limit: Threshold, today: date) -> Finding:
    """Return a finding in the light of what was accepted of it.

    One that is accepted whole passes, and says by whom and why. Of one that is accepted in part, the rest remains, at most
    as severe as it was.
    """
    if finding.passed or not accepted:
        return finding
    now = [acceptance for acceptance in accepted if not acceptance.is_over(today)]
    open_ = [tally for tally in finding.faults if not any(one.covers(tally) for one in now)]
    covered = [tally for tally in finding.faults if tally not in open_]
    if not covered:
        return replace(finding, summary=f"{finding.summary}{_why_open(finding, accepted, today)}")
    told = tuple(one.told for one in now if any(one.covers(tally) for tally in covered))
    if not open_:
        return replace(finding, passed=True, accepted=told)
    number = sum(tally.count for tally in open_)
    severity = _of_the_rest(finding.severity, open_, finding.total, limit)
    rest = Finding.of(
        open_,
        f"{finding.summary}; {sum(tally.count for tally in covered):,} of them accepted{_why_open(finding, accepted, today)}",
        number,
        finding.total,
        severity or finding.severity,
        passed=severity is None,
    )
    return replace(rest, file=finding.file, accepted=told)


def threshold(table: str, check: str) -> Threshold:
    """Return when a check fails; checks of the database as a whole fail at the first fault."""
    return TABLES[table].threshold(check) if table in TABLES else Threshold()


def newest(connection: Connection, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Finding]:
    """Return the newest results of some tables' checks, in the light of what was accepted."""
    accepted = in_force(connection)
    found: dict[tuple[str, str], Finding] = {}
    for table, check in wanted:
        finding = as_found(connection, table, check)
        if finding:
            found[table, check] = judged(accepted, table, {check: finding})[check]
    return found


def silent(connection: Connection) -> set[tuple[str, str]]:
    """Return the tables and checks whose newest result fails, and is accepted whole."""
    found = newest(connection, in_force(connection))
    return {name for name, finding in found.items() if finding.is_accepted}


def columns(finding: Finding) -> list[str]:
    """Return the columns of a finding, each of which can be accepted alone."""
    return sorted({name for tally in finding.faults for name in tally.columns})


def seen_as(finding: Finding) -> str:
    """Return what a finding looks like to who accepts it: another text when a kind or its number changes."""
    counts = sorted((tally.kind, tally.count) for tally in finding.faults)
    return hashlib.sha256(json.dumps(counts).encode()).hexdigest()


def can_be_accepted(check: str, finding: Finding) -> bool:
    """Whether there is anything to accept: faults that were counted, and no failed or untrue import."""
    return check not in BLOCKING and bool(finding.faults)


def accept(  # noqa: PLR0913 - each is a fact of the row
    connection: Connection,
    table: str,
    check: str,
    *,
    column: str | None = None,
    until: date | None = None,
    why: str,
    who: str,
    seen: str = "",
) -> Acceptance:
    """Accept what a check found when it last ran, in a transaction; what was accepted of the same before is replaced.

    Args:
        connection: of the role that imports, or an administrator's.
        table: the table that was checked.
        check: the check that fails.
        column: of this column only.
        until: the last day on which it is accepted.
        why: the reason, for all who read the report.
        who: the person.
        seen: what the person has seen (``seen_as``), who may have looked a while ago; empty where they accept what is there.

    Raises:
        UsageError: there is nothing to accept, it cannot be accepted, is not what was seen, or the role may not.
    """
    why = " ".join(why.split())
    counts = _counts(connection, table, check, column, seen)
    _require_sound(why, until)
    parameters: dict[str, Any] = {"table": table, "check": check, "column": column, "who": who}
    try:
        with connection.transaction():
            connection.execute(_REOPEN, parameters)
            connection.execute(_ACCEPT, parameters | {"counts": Jsonb(counts), "why": why, "until": until})
    except psycopg.errors.InsufficientPrivilege:
        raise _not_allowed(connection) from None
    except psycopg.errors.UniqueViolation:
        msg = f"somebody has accepted {table}.{check} at the same moment: look at it again"
        raise UsageError(msg) from None
    return next(one for one in in_force(connection)[table, check] if one.column == column)


def reopen(connection: Connection, table: str, check: str, *, column: str | None = None, who: str) -> int:
    """Open again what was accepted of a check, or of one column only, and return how many acceptances that ended.

    Raises:
        UsageError: nothing was accepted, or the role may not.
    """
    parameters = {"table": table, "check": check, "column": column, "who": who}
    try:
        with connection.transaction():
            number = connection.execute(_REOPEN, parameters).rowcount
    except psycopg.errors.InsufficientPrivilege:
        raise _not_allowed(connection) from None
    if not number:
        of = f" of {column}" if column else ""
        msg = f"nothing is accepted of {table}.{check}{of}: see daybreak checks list"
        raise UsageError(msg)
    return number


def _counts(connection: Connection, table: str, check: str, column: str | None, seen: str) -> dict[str, int]:
    """Return what there is to accept: kinds of faults, and how many of each."""
    if check in BLOCKING:
        msg = f"{check} cannot be accepted: it says that an import failed, or lost records; mend that and import again"
        raise UsageError(msg)
    found = as_found(connection, table, check)
    if found is None:
        msg = f"{table}.{check} has no result: run daybreak check first"
        raise UsageError(msg)
    if found.passed:
        msg = f"{table}.{check} passes: there is nothing to accept"
        raise UsageError(msg)
    if seen and seen != seen_as(found):
        msg = f"{table}.{check} has found something else since: look at it again"
        raise UsageError(msg)
    chosen = [tally for tally in found.faults if column is None or column in tally.columns]
    if not chosen:
        failing_columns = columns(found)
        named = (
            f"it fails for {', '.join(failing_columns)}"
            if failing_columns
            else "what it found is of no single column"
        )
        msg = f"{table}.{check} finds nothing that can be accepted" + (
            f" in {column}: {named}" if column else ": it has counted nothing"
        )
        raise UsageError(msg)
    return {tally.kind: tally.count for tally in chosen}


def _require_sound(why: str, until: date | None) -> None:
    # Dots, or what nobody sees, are no reason.
    if len(why) > LONGEST_REASON or not any(character.isalnum() for character in why):
        msg = f"it takes a reason of 1 to {LONGEST_REASON} characters, without any personal value"
        raise UsageError(msg)
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in why):
        msg = "the reason has characters that cannot be shown: write it as plain text"
        raise UsageError(msg)
    if until and until < datetime.now(UTC).date():
        msg = f"{until} has passed: name the last day on which it is to be accepted"
        raise UsageError(msg)


def as_found(connection: Connection, table: str, check: str) -> Finding | None:
    """Return what a check found when it last ran, whatever of it was accepted."""
    return database.one(connection, _finding, _NEWEST, {"table": table, "check": check})


def _finding(*, details: Mapping[str, Any], **found: Any) -> Finding:
    return history.read(found, details)


def _of_the_rest(severity: Severity, rest: Sequence[Tally], total: int, limit: Threshold) -> Severity | None:
    lost = sum(tally.count for tally in rest if tally.lost)
    found = failing(limit, sum(tally.count for tally in rest), lost, total)
    return severity if found == "ERROR" else found


def _why_open(finding: Finding, accepted: Sequence[Acceptance], today: date) -> str:
    """Say why something that was accepted is a finding again."""
    found = {tally.kind: tally.count for tally in finding.faults}
    reasons = [
        f"was accepted until {one.until}"
        if one.is_over(today)
        else f"more than the {one.count:,} that {one.accepted_by} accepted on {one.accepted_at:%Y-%m-%d}"
        for one in accepted
        if any(
            kind in found and (one.is_over(today) or found[kind] > count)
            for kind, count in one.counts.items()
        )
    ]
    return f" ({'; '.join(reasons)})" if reasons else ""


def _not_allowed(connection: Connection) -> UsageError:
    msg = (
        f"role {connection.info.user} may not accept findings: the role that imports may, and administrators"
    )
    return UsageError(msg)
