"""Fetches everything that the report says from the database, in a few statements and one snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks import acceptance, history
from daybreak_pipeline.checks.acceptance import Accepted
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer import standing
from daybreak_pipeline.importer.ledger import Entry
from daybreak_pipeline.report.facts import CheckResult, Facts, Streak, TableFacts
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

SHOWN_IMPORTS = 30
_COUNTED_BYTES = 64 * 1024 * 1024
"""Tables up to this size are counted; larger ones get the planner's estimate, since counting takes seconds."""

Rows = list[tuple[Any, ...]]


def read(connection: Connection, *, counted: bool = True) -> Facts:
    """Return the state of the data, all of it as of one moment.

    Args:
        connection: to a migrated database, not in a transaction.
        counted: whether the rows of small tables are counted, which takes a second, and not estimated too.

    Raises:
        UsageError: the schema is not there.
    """
    with database.snapshot(connection):
        known = connection.execute(
            "SELECT now(), current_database(), to_regclass('ingest.check_results') IS NOT NULL"
        ).fetchone()
        if not known or not known[2]:
            msg = "the database lacks the tables that a report is made of: run daybreak migrate up"
            raise UsageError(msg)
        checks: dict[str, list[CheckResult]] = defaultdict(list)
        accepted = acceptance.in_force(connection)
        for check in database.every(connection, _check, *_statement("checks")):
            checks[check.table].append(_in_the_light_of(accepted, check, known[0].date()))
        return Facts(
            at=known[0],
            database=known[1],
            environment=settings.environment(),
            tables=_tables(connection, checks, counted=counted),
            check_names=_columns({name: checks[name] for name in TABLES if name in checks}),
        )


def _run(connection: Connection, name: str) -> Rows:
    return connection.execute(*_statement(name)).fetchall()


def _statement(name: str) -> tuple[bytes, dict[str, Any]]:
    return text(name), {"tables": list(TABLES), "imports": SHOWN_IMPORTS}


def text(name: str) -> bytes:
    """Return a query of the report, by the name of its file."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_bytes()


def _columns(checks: Mapping[str, list[CheckResult]]) -> tuple[str, ...]:
    """Return the names of all checks: the rules' own order first, then what else has results."""
    found = {check.name for results in checks.values() for check in results}
    rules = [rule.name for rule in RULES]
    return (*rules, *sorted(found - set(rules)))


def _tables(
    connection: Connection, checks: Mapping[str, list[CheckResult]], *, counted: bool
) -> tuple[TableFacts, ...]:
    """Return the plan's tables, and anything else that checks were about."""
    ledger = _ledger(connection)
    records: dict[str, int] = {}
    quarantined: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for name, code, column, number in _run(connection, "quarantine"):
        if code is None:
            records[name] = number
        else:
            quarantined[name].append((code, column, number))
    issues: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for name, column, code, number in _run(connection, "issues"):
        issues[name].append((column, code, number))
    found = [
        TableFacts(
            name=name,
            rows=rows,
            rows_estimated=estimated,
            quarantined_records=records.get(name, 0),
            quarantined=tuple(quarantined[name]),
            issues=tuple(issues[name]),
            checks=tuple(checks.get(name, ())),
            **ledger[name],
        )
        for name, (rows, estimated) in _sizes(connection, counted=counted).items()
    ]
    others = sorted(set(checks) - set(TABLES))
    return (*found, *(TableFacts(name, checks=tuple(checks[name])) for name in others))


def _sizes(connection: Connection, *, counted: bool) -> dict[str, tuple[int, bool]]:
    """Return how many rows each table has, and whether that is an estimate."""
    sizes = _run(connection, "tables")
    missing = [name for name, exists, _, _ in sizes if not exists]
    if missing:
        msg = f"the database has no table {missing[0]}: run daybreak migrate up"
        raise UsageError(msg)
    estimates = {
        name: estimate
        for name, _, estimate, size in sizes
        if (size > _COUNTED_BYTES or not counted) and estimate is not None
    }
    left = [name for name in TABLES if name not in estimates]
    counts = (
        connection.execute(
            sql.SQL(" UNION ALL ").join(
                sql.SQL("SELECT {}, count(*) FROM {}").format(
                    sql.Literal(name), sql.Identifier("public", name)
                )
                for name in left
            )
        ).fetchall()
        if left
        else []
    )
    found = {name: (number, False) for name, number in counts}
    found |= {name: (number, True) for name, number in estimates.items()}
    return {name: found[name] for name in TABLES}


def _ledger(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return what the ledger says of each table."""
    stand = standing.read(connection, TABLES)
    tables = database.every(connection, dict[str, Any], *_statement("imports"))
    wanted = [
        number
        for table in tables
        for number in (stand[table["name"]].last, stand[table["name"]].loaded, *table["history"])
    ]
    found = database.every(
        connection, Entry.of_row, "SELECT * FROM ingest.imports WHERE id = ANY(%s)", [wanted]
    )
    entries = {entry.id: entry for entry in found}
    return {
        table["name"]: {
            "last": entries.get(now.last or 0),
            "loaded": entries.get(now.loaded or 0),
            "history": tuple(entries[number] for number in table["history"]),
            "replayed": table["replayed"],
            "failing": _streak(now.failing_since, now.failing_times),
            "error": now.error,
            "outside": bool(now.outside),
            "good_at": now.good_at,
            "absent_since": now.absent_since,
            "expected": now.expected,
            "usual": now.usual,
        }
        for table in tables
        for now in [stand[table["name"]]]
    }


def _streak(since: datetime | None, times: int) -> Streak | None:
    return Streak(since, times) if since else None


def _check(  # noqa: PLR0913 - the columns of checks.sql
    *,
    table: str,
    name: str,
    details: Mapping[str, Any],
    since: datetime | None,
    times: int,
    outdated: bool,
    yesterday: int | None,
    **found: Any,
) -> CheckResult:
    finding = history.read(found, details)
    return CheckResult(
        table,
        name,
        finding,
        _streak(since, times),
        outdated,
        known_yesterday=yesterday is not None,
        more=max(finding.count - yesterday, 0) if yesterday else 0,
    )


def _in_the_light_of(accepted: Accepted, check: CheckResult, today: date) -> CheckResult:
    judged = acceptance.judged(accepted, check.table, {check.name: check.finding}, today)
    return replace(check, finding=judged[check.name])
