"""What the report says, as plain values. ``queries`` fetches them, and ``render`` decides how they look.

Counts, names of columns and ids of rows; never a value of a record. All times are UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from daybreak_pipeline.checks.findings import Finding, Severity
from daybreak_pipeline.importer import standing
from daybreak_pipeline.importer.ledger import Entry
from daybreak_pipeline.operations.deliveries import Waiting
from daybreak_pipeline.timetable import LATE_AFTER

State = Literal["passed", "accepted", "WARN", "ERROR", "none"]


@dataclass(frozen=True)
class Streak:
    """Since when something has failed without a break, and how often."""

    since: datetime
    times: int


@dataclass(frozen=True)
class CheckResult:
    """The newest result of one check of one table. ``outdated``: the table was imported after it.

    ``known_yesterday``: it had a result a day ago. ``more`` is by how much it has grown since, where it failed then, too.
    """

    table: str
    name: str
    finding: Finding
    streak: Streak | None = None
    outdated: bool = False
    known_yesterday: bool = False
    more: int = 0

    @property
    def state(self) -> State:
        """How the heat map shows it."""
        if self.finding.is_accepted:
            return "accepted"
        return "passed" if self.finding.passed else self.finding.severity

    @property
    def details(self) -> dict[str, int]:
        """The counts that the summary does not name already."""
        return {label: n for label, n in self.finding.counts.items() if label not in self.finding.summary}

    @property
    def percent(self) -> float | None:
        """How much of what was looked at fails, in percent, neither rounded nor limited; None where nothing was."""
        return 100 * self.finding.count / self.finding.total if self.finding.total else None


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with what imports, checks and reports need, and not with a table.

    ``clause`` are its words in the verdict, ``sentence`` says it whole, ``command`` is what helps. While one that
    ``refuses`` lasts, no file is imported.
    """

    severity: Severity
    what: str
    clause: str
    sentence: str
    since: datetime | None = None
    command: str = ""
    refuses: bool = False


@dataclass(frozen=True)
class TableFacts:
    """Everything about one table.

    ``last`` is its last import, whatever came of it; ``loaded`` the last one that read the file: a skipped
    one counts nothing. While imports fail, ``error`` says why the last one did, and ``outside`` that the data was not to
    blame. ``absent_since`` is set while its file is missing, and ``expected`` if it was to be there; ``usual`` is how far
    apart new files usually are, if that is known. ``waiting`` is a file that was delivered and never loaded; ``unread`` says
    of files that were left out.
    ``history`` holds the newest imports that read the file or failed, oldest first. ``quarantined`` counts open records by
    reason and column, ``issues`` open field issues by column and code.
    """

    name: str
    rows: int | None = None
    rows_estimated: bool = False
    last: Entry | None = None
    loaded: Entry | None = None
    good_at: datetime | None = None
    failing: Streak | None = None
    error: str | None = None
    outside: bool = False
    replayed: int = 0
    absent_since: datetime | None = None
    expected: bool = True
    usual: timedelta | None = None
    waiting: Waiting | None = None
    unread: tuple[str, ...] = ()
    history: tuple[Entry, ...] = ()
    quarantined_records: int = 0
    quarantined: tuple[tuple[str, str, int], ...] = ()
    issues: tuple[tuple[str, str, int], ...] = ()
    checks: tuple[CheckResult, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it is one of the tables that are imported (a check may be about the database as a whole)."""
        return self.rows is not None

    @property
    def never_imported(self) -> bool:
        """Whether no import of it ever succeeded."""
        return self.known and self.good_at is None

    def check(self, name: str) -> CheckResult | None:
        """Return the result of a check, if it ever ran."""
        return next((check for check in self.checks if check.name == name), None)

    def missed(self, now: datetime) -> bool:
        """Whether its file is absent, and was to be expected by now."""
        loaded_at = self.loaded.finished_at if self.loaded else None
        gone = self.absent_since is not None and self.expected
        return gone and standing.is_due(loaded_at, self.usual, now)

    def late(self, now: datetime) -> bool:
        """Whether its last good import is too long ago."""
        return self.good_at is not None and now - self.good_at > LATE_AFTER


@dataclass(frozen=True)
class Facts:
    """All tables as they were at one moment, and what is wrong around them.

    ``export`` is the directory to name in a command that imports; empty where the command looks there by itself.
    """

    at: datetime
    database: str
    environment: str
    tables: tuple[TableFacts, ...]
    check_names: tuple[str, ...]
    troubles: tuple[Trouble, ...] = ()
    export: str = ""

    @property
    def empty(self) -> bool:
        """Whether nobody ever tried to import anything."""
        return all(table.last is None for table in self.tables)
