"""How it went, day by day over weeks: checks, quarantine, records and durations, from the history of checks and the ledger.

A day belongs to UTC. On a day without an import there is no number, and never a zero. The database adds up; what comes
from it is one row for each table and day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.checks import history as checks_history
from daybreak_pipeline.checks.acceptance import Accepted
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.report import queries
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

WEEKS = 12
"""How far back it goes."""
SHOWN_ALERTS = 50
T = TypeVar("T")
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class ByDay:
    """Numbers of one table, or of all together, one for each day; None where there is none.

    ``errors`` and ``warnings`` are checks that failed, ``accepted`` those that somebody had accepted by then,
    ``quarantined`` the records in quarantine at the end of the day, ``read`` the records of the file that the table was last
    loaded from, ``seconds`` how long loading it took, and ``failed`` the imports that failed.
    """

    name: str
    errors: Numbers
    warnings: Numbers
    accepted: Numbers
    quarantined: Numbers
    read: Numbers
    seconds: Numbers
    failed: Numbers


@dataclass(frozen=True)
class Alert:
    """What people were alerted to: whom it reached, and whom it did not reach."""

    at: datetime
    run_id: str | None
    message: str
    told: list[str]
    not_told: list[str]


@dataclass(frozen=True)
class Trends:
    """What there is to show of the time up to ``at``. ``days`` has every day from the first to the last, gaps too.

    ``alerts`` has the newest, the newest first.
    """

    at: datetime
    database: str
    environment: str
    days: tuple[date, ...]
    total: ByDay
    tables: tuple[ByDay, ...]
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True)
class _Checks:
    table: str
    day: date
    errors: int
    warnings: int
    on_that_day: bool
    accepted: int = 0


@dataclass(frozen=True)
class _Failed:
    """A result that fails, of a check of which something was accepted: it holds from a day to before the next one."""

    table: str
    check: str
    day: date
    next_day: date | None
    finding: Finding

    @classmethod
    def of_row(
        cls,
        *,
        table: str,
        check: str,
        day: date,
        next_day: date | None,
        details: Mapping[str, Any],
        **found: Any,
    ) -> _Failed:
        return cls(table, check, day, next_day, checks_history.read(found, details))


@dataclass(frozen=True)
class _Imports:
    table: str
    day: date
    failures: int
    looked: bool
    read: int | None
    seconds: float | None


@dataclass(frozen=True)
class _Quarantine:
    table: str
    day: date
    waiting: int


def read(connection: Connection) -> Trends:
    """Return how it went until now, all of it as of one moment.

    A history that is not there, because a migration waits, has no numbers.

    Args:
        connection: to the database, not in a transaction.
    """
    with database.snapshot(connection):
        at: datetime = database.value(connection, "SELECT now()")
        today = at.astimezone(UTC).date()
        since = datetime.combine(today - timedelta(days=7 * WEEKS - 1), time(), UTC)
        part = partial(_part, connection, {"at": at, "since": since, "alerts": SHOWN_ALERTS})
        checks = part(_Checks, "checks_by_day", "ingest.check_results")
        failed = part(_Failed.of_row, "accepted_by_day", "ingest.accepted_findings") if checks else []
        history = _History(
            list(_in_the_light_of(acceptance.ever_since(connection, since), checks, failed, at)),
            part(_Imports, "imports_by_day", "ingest.file_imports"),
            part(_Quarantine, "quarantine_by_day", "ingest.quarantine"),
        )
        alerts = part(Alert, "alerts", "ingest.alerts")
        name = str(database.value(connection, "SELECT current_database()"))
    days = history.days(since.date(), today)
    tables = tuple(history.of(table, days) for table in history.tables())
    return Trends(at, name, settings.environment(), days, history.total(days), tables, tuple(alerts))


def latest(numbers: Numbers) -> float | None:
    """Return the newest number that there is."""
    return next((value for value in reversed(numbers) if value is not None), None)


def _part(
    connection: Connection, parameters: dict[str, object], kind: Callable[..., T], name: str, source: str
) -> list[T]:
    there = database.value(connection, "SELECT to_regclass(%s) IS NOT NULL", [source])
    return database.every(connection, kind, queries.text(name), parameters) if there else []


def _in_the_light_of(
    accepted: Accepted, checks: Iterable[_Checks], failed: Iterable[_Failed], at: datetime
) -> Iterator[_Checks]:
    """Yield the numbers of checks by day, with what was accepted at the end of that day counted apart."""
    of_table: dict[str, list[_Failed]] = defaultdict(list)
    for one in failed:
        of_table[one.table].append(one)
    for numbers in checks:
        moment = min(at, datetime.combine(numbers.day + timedelta(days=1), time(), UTC))
        counted = numbers
        for one in of_table[numbers.table]:
            if one.day <= numbers.day and (one.next_day is None or numbers.day < one.next_day):
                now = [given for given in accepted[one.table, one.check] if given.was_in_force(moment)]
                limit = acceptance.threshold(one.table, one.check)
                judged = acceptance.judge(one.finding, now, limit, numbers.day)
                counted = _moved(counted, one.finding, judged)
        yield counted


def _moved(numbers: _Checks, found: Finding, judged: Finding) -> _Checks:
    """Return the numbers with one result counted as it was judged, and not as it was found."""
    errors = (judged.severity == "ERROR" and not judged.passed) - (found.severity == "ERROR")
    warnings = (judged.severity == "WARN" and not judged.passed) - (found.severity == "WARN")
    return replace(
        numbers,
        errors=numbers.errors + errors,
        warnings=numbers.warnings + warnings,
        accepted=numbers.accepted + judged.is_accepted,
    )


class _History:
    """What the database returned, by table and day."""

    def __init__(self, checks: list[_Checks], imports: list[_Imports], quarantine: list[_Quarantine]) -> None:
        self._checks = {(one.table, one.day): one for one in checks}
        self._imports = {(one.table, one.day): one for one in imports}
        self._waiting = {(one.table, one.day): one.waiting for one in quarantine}

    def tables(self) -> list[str]:
        """Return the tables with a history: those that are imported in their order, then others, which may be gone."""
        found = {table for part in (self._checks, self._imports) for table, _ in part}
        return [*(name for name in TABLES if name in found), *sorted(found - set(TABLES))]

    def days(self, first: date, last: date) -> tuple[date, ...]:
        """Return the days from the first one that anything is known of."""
        known = [day for part in (self._checks, self._imports) for _, day in part if day >= first]
        begin = min(known, default=last)
        return tuple(begin + timedelta(days=number) for number in range((last - begin).days + 1))

    def of(self, table: str, days: Iterable[date]) -> ByDay:
        """Return the numbers of one table: none on a day on which nobody looked at its file."""
        waiting = _carried(self._waiting, table)
        lines = []
        for day in days:
            check, tried = self._checks.get((table, day)), self._imports.get((table, day))
            checked = check if check and check.on_that_day else None
            looked = tried if tried and tried.looked else None
            lines.append(
                (
                    checked and checked.errors,
                    checked and checked.warnings,
                    checked and checked.accepted,
                    waiting(day) or 0 if looked or checked else None,
                    looked and looked.read,
                    looked and looked.seconds,
                    tried and tried.failures,
                )
            )
        return ByDay(table, *zip(*lines, strict=True))

    def total(self, days: Iterable[date]) -> ByDay:
        """Return the numbers of all tables together; a table that nobody looked at that day counts as it was before."""
        names = self.tables()
        waiting = [_carried(self._waiting, name) for name in names]
        read = [_carried({key: one.read for key, one in self._imports.items()}, name) for name in names]
        lines = []
        for day in days:
            checks = [one for name in names if (one := self._checks.get((name, day)))]
            tries = [tried for name in names if (tried := self._imports.get((name, day)))]
            looked = any(tried.looked for tried in tries)
            seconds = [tried.seconds for tried in tries if tried.seconds is not None]
            lines.append(
                (
                    sum(one.errors for one in checks) if checks else None,
                    sum(one.warnings for one in checks) if checks else None,
                    sum(one.accepted for one in checks) if checks else None,
                    _sum(of(day) for of in waiting) if looked or checks else None,
                    _sum(of(day) for of in read) if looked else None,
                    sum(seconds) if seconds else None,
                    sum(tried.failures for tried in tries) if tries else None,
                )
            )
        return ByDay("", *zip(*lines, strict=True))


def _sum(values: Iterable[float | None]) -> float:
    return sum(value or 0 for value in values)


def _carried(numbers: Mapping[tuple[str, date], float | None], table: str) -> Callable[[date], float | None]:
    """Return the number of a table as of a day: the newest that is known by then."""
    known = sorted(
        (day, value) for (name, day), value in numbers.items() if name == table and value is not None
    )

    def as_of(day: date) -> float | None:
        return next((value for known_day, value in reversed(known) if known_day <= day), None)

    return as_of
