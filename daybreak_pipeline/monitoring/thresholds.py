"""What is too much: one line for each check, and the judgement of what was measured. The one place for these limits.

The alert rules for Prometheus are made of the same lines (``exposition``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from daybreak_pipeline.monitoring.metrics import METRICS, NOT_PERMITTED, NOT_VISIBLE, Measurement
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.timetable import LATE_AFTER, TOO_LATE_AFTER
from daybreak_pipeline.wording import age, percent

State: TypeAlias = Literal["passed", "WARN", "ERROR", "none"]
"""Of a check. ``none``: what it looks at is not known."""
Format: TypeAlias = Callable[[float], str]

MEGABYTE, GIGABYTE = 1 << 20, 1 << 30
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SHOWN = 3
_KILO = 1024


def duration(value: float) -> str:
    """Return seconds for people: up to three days in hours, since limits are 26, 30 and 50 of them."""
    return f"{value // _HOUR:.0f} h" if _DAY <= value < 3 * _DAY else age(int(value))


def share(value: float) -> str:
    """Return a share of 1 in percent."""
    return percent(100 * value)


def days(value: float) -> str:
    """Return days for people."""
    return f"{value:,.1f} days" if value < 10 else f"{value:,.0f} days"  # noqa: PLR2004 - two digits are enough


def count(value: float) -> str:
    """Return a number for people."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Return bytes for people, in units of 1,024."""
    number, unit = abs(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < _KILO:
            break
        number, unit = number / _KILO, larger
    sign = "-" if value < 0 else ""
    digits = 0 if unit == "B" or number >= 100 else 1  # noqa: PLR2004 - three digits are enough
    return f"{sign}{number:,.{digits}f} {unit}"


@dataclass(frozen=True)
class Threshold:
    """One check: which number, from where on it is a WARN and an ERROR, and what to do then.

    ``what`` follows the number in a sentence. ``below``: the number must not be smaller than the limits; else it must be.
    ``missing`` is the state where there is no number that could be seen.
    """

    check: str
    asset: str
    metric: str
    wants: str
    warn: float | None
    error: float | None
    shown: Format
    what: str
    remedy: str
    runbook: Runbook
    below: bool = False
    missing: State = "none"

    def state(self, value: float) -> State:
        """Return how bad a number is."""
        for state, limit in (("ERROR", self.error), ("WARN", self.warn)):
            if limit is not None and (value < limit if self.below else value >= limit):
                return "ERROR" if state == "ERROR" else "WARN"
        return "passed"

    def limit(self, state: State) -> float | None:
        """Return the limit that a state has to do with: the one that is crossed, or the first that would be."""
        return self.error if state == "ERROR" or self.warn is None else self.warn


@dataclass(frozen=True)
class Judgement:
    """What a check found. ``value`` is the worst number; None where there is none. ``summary`` is one line."""

    threshold: Threshold
    state: State
    value: float | None
    summary: str
    failing: int = 0

    @property
    def check(self) -> str:
        """The check's name."""
        return self.threshold.check


_T = Threshold
SESSIONS, STORAGE, TABLES, WAL, DATA = (
    "server_sessions",
    "server_storage",
    "server_tables",
    "server_wal",
    "data_and_backups",
)
ASSETS = {
    SESSIONS: "Who is connected, who waits for whom, and for how long.",
    STORAGE: "The size of the databases, how they grow, and when the disk is full.",
    TABLES: "Dead rows, VACUUM and ANALYZE, indexes, and how far transaction ids have come.",
    WAL: "WAL: how much is written and kept, checkpoints, archiving, replication slots.",
    DATA: "How old the imports are and the backups, and when one was last restored to prove that it can be.",
}
"""What is measured, in parts: the assets of the group ``monitoring``."""
_END_IT = "end it with SELECT pg_terminate_backend(pid), whose pid is in pg_stat_activity"
THRESHOLDS = (
    _T(
        "connections", SESSIONS, "connections_used_ratio", "The connections are not used up.", 0.80, 0.95,
            share, "of the connections used",
        "end idle sessions, put PgBouncer in between, or raise max_connections", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "role_connections", SESSIONS, "role_connections_used_ratio", "No role's own limit of connections is used up.", 0.80, 0.95,
            share, "of the role's connections used",
        "end its idle sessions, put PgBouncer in between, or raise its limit, as with DAYBREAK_APP_CONNECTION_LIMIT and "
        "daybreak roles apply", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "idle_in_transaction", SESSIONS, "idle_in_transaction_seconds", "No session is idle in a transaction for long.",
        5 * _MINUTE, 30 * _MINUTE, duration, "idle in a transaction",
        f"it keeps locks, and VACUUM from cleaning up: {_END_IT}", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "long_transactions", SESSIONS, "longest_transaction_seconds", "No transaction but an import's takes long.",
        30 * _MINUTE, 120 * _MINUTE, duration, "in one transaction",
        f"it keeps VACUUM from cleaning up: wait, or {_END_IT}", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "lock_waits", SESSIONS, "lock_wait_seconds", "Nobody waits long for a lock.", 30, 5 * _MINUTE,
            duration, "waiting for a lock",
        "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity says who blocks whom: end the one who blocks",
        Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "deadlocks", SESSIONS, "deadlocks_last_hour", "There are no deadlocks.", 1, None, count, "in the last hour",
        "an application's transactions lock rows in different orders: the server's log names the processes",
        Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "cache_hits", SESSIONS, "cache_hit_ratio", "What is read is in the server's memory.", 0.95, None,
            share, "of the blocks in memory",
        "raise shared_buffers, or look for a statement that reads whole tables", Runbook.SLOW_OR_STUCK, below=True,
    ),
    _T(
        "pool_waits", SESSIONS, "pool_wait_seconds", "Nobody waits long for a connection of PgBouncer.", 1, 10, duration,
        "waiting for a connection",
        "look for long transactions, which keep connections, or give the pool more of them", Runbook.SLOW_OR_STUCK,
        missing="WARN",
    ),
    _T(
        "certificate", SESSIONS, "certificate_seconds", "The server's certificate is good for a while.",
        30 * _DAY, 7 * _DAY, duration, "until it expires",
        "put a new one into the server's data directory, and reload its configuration",
        Runbook.ROTATE_KEYS_AND_PASSWORDS, below=True,
    ),
    _T(
        "disk_free", STORAGE, "disk_free_ratio", "The disk has room.", 0.15, 0.05, share, "of the disk free",
        "make room, or move to a bigger disk", Runbook.DISK_FULL, below=True,
    ),
    _T(
        "disk_lasts", STORAGE, "disk_full_days", "The disk is not full soon.", 30, 7, days, "until the disk is full",
        "make room, or move to a bigger disk, before then", Runbook.DISK_FULL, below=True,
    ),
    _T(
        "dagster_storage", STORAGE, "dagster_bytes", "Dagster's own records take little room.", 5 * GIGABYTE, None, size,
        "of Dagster's records", "delete old runs with their events: the ledger does not need them", Runbook.DISK_FULL,
    ),
    _T(
        "temporary_files", STORAGE, "temporary_bytes_per_hour", "Sorts and joins fit into memory.", 20 * GIGABYTE, None,
            size, "written in an hour",
        "raise work_mem for who sorts so much, or give temporary files a disk of their own", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "dead_rows", TABLES, "table_dead_ratio", "Tables are not full of dead rows.", 0.20, None, share, "dead rows",
        "VACUUM (ANALYZE) the table; if dead rows stay, an old transaction keeps them", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "vacuumed", TABLES, "table_unvacuumed_seconds", "Tables with dead rows are vacuumed.", 7 * _DAY, None,
            duration, "without VACUUM",
        "VACUUM (ANALYZE) the table, and look whether autovacuum is on", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "analyzed", TABLES, "table_unanalyzed_seconds", "Tables that changed are analyzed.", 7 * _DAY, None,
            duration, "without ANALYZE",
        "ANALYZE the table, and look whether autovacuum is on", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "table_bloat", TABLES, "table_bloat_ratio", "No big table is mostly empty.", 0.50, None, share, "empty",
        "new rows fill it again; if they will not, VACUUM (FULL) gives it back to the disk, and locks everybody out meanwhile",
        Runbook.DISK_FULL,
    ),
    _T(
        "index_bloat", TABLES, "index_bloat_ratio", "No big index is mostly empty.", 0.50, None, share, "empty",
        "daybreak maintain builds it again with REINDEX CONCURRENTLY, as it does every day", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "transaction_ids", TABLES, "transaction_id_age", "Transaction ids do not run out.", 500e6, 1200e6,
            count, "transactions not frozen",
        "VACUUM (FREEZE) that database, and end old transactions: at 2 billion the server stops taking writes",
        Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "multixact_ids", TABLES, "multixact_id_age", "Multixact ids do not run out.", 500e6, 1200e6,
            count, "multixacts not frozen",
        "VACUUM (FREEZE) that database, and end old transactions: at 2 billion the server stops taking writes",
        Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "invalid_indexes", TABLES, "index_invalid_bytes", "Every index works.", 0, None, size, "not valid",
        "nothing uses it: REINDEX INDEX CONCURRENTLY, or drop it", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "unused_indexes", TABLES, "index_unused_days", "Every big index is used.", 30, None, days, "without use",
        "each change of the table costs time for it: drop it, if no standby and no yearly report uses it",
        Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "duplicate_indexes", TABLES, "index_duplicate_bytes", "No big index is there twice.", 10 * MEGABYTE, None,
            size, "superfluous",
        "drop it: the other one does the same", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "missing_indexes", TABLES, "foreign_key_unindexed_bytes", "Foreign keys of big tables have an index.", 0, None,
            size, "without an index",
        "deleting a parent reads the whole table: CREATE INDEX CONCURRENTLY on its columns", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "checkpoints", WAL, "checkpoints_requested_per_hour", "Checkpoints come by the clock.", 12, None,
            count, "requested in an hour",
        "raise max_wal_size", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "archiving", WAL, "archive_failing_seconds", "WAL is archived.", 1, _HOUR, duration, "without an archived segment",
        "the server's log says why: until it is mended, the disk fills and the newest data cannot be restored",
        Runbook.BACKUPS_FAIL,
    ),
    _T(
        "archive_queue", WAL, "archive_waiting_files", "Archiving keeps up.", 3, 20, count, "segments waiting",
        "look at the archive's speed and at the server's log", Runbook.BACKUPS_FAIL,
    ),
    _T(
        "replication_slots", WAL, "slot_retained_bytes", "No replication slot keeps much WAL.", GIGABYTE, 5 * GIGABYTE,
            size, "of WAL kept",
        "start its standby, or drop it with SELECT pg_drop_replication_slot(…), before the disk is full", Runbook.DISK_FULL,
    ),
    _T(
        "slot_lag", WAL, "slot_lag_bytes", "Who reads from a replication slot keeps up.", 512 * MEGABYTE, None,
            size, "behind", "look whether its standby or subscriber runs, and at its log", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "lost_slots", WAL, "slot_lost", "No replication slot has lost WAL that it needs.", None, 1, count, "lost",
        "its standby or subscriber cannot go on: drop the slot with SELECT pg_drop_replication_slot(…), and set it up again",
        Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "standby_lag", WAL, "standby_lag_seconds", "Every standby keeps up.", 5 * _MINUTE, 30 * _MINUTE,
            duration, "behind", "look for a long query on it, at its disk, and at the network in between", Runbook.SLOW_OR_STUCK,
    ),
    _T(
        "imports_in_time", DATA, "import_age_seconds", "Every table was imported in time.",
        LATE_AFTER.total_seconds(), TOO_LATE_AFTER.total_seconds(), duration, "since it matched its file",
        "daybreak status says what became of it; then daybreak import", Runbook.SLOW_OR_STUCK, missing="WARN",
    ),
    _T(
        "backup_age", DATA, "backup_age_seconds", "There is a new backup.", 26 * _HOUR, 50 * _HOUR,
            duration, "since the newest backup",
        "make one, and look why the schedule did not", Runbook.BACKUPS_FAIL, missing="WARN",
    ),
    _T(
        "restore_drill", DATA, "backup_drill_age_seconds", "A backup was restored lately, to prove that it can be.",
        8 * _DAY, 15 * _DAY, duration, "since a backup was restored",
        "run the restore drill", Runbook.BACKUPS_FAIL, missing="WARN",
    ),
    _T(
        "wal_gaps", DATA, "backup_wal_gaps", "The backups lack no WAL.", None, 1, count, "segments of WAL missing",
        "make a full backup now: what came after the gap cannot be restored from the one before it", Runbook.BACKUPS_FAIL,
    ),
)  # fmt: skip
HIDDEN = _T(
    "everything_is_visible", SESSIONS, "hidden", "The role may see what is measured.", 1, None, count, "numbers hidden",
    "as an administrator: GRANT pg_monitor to it", Runbook.FIRST_INSTALLATION,
)  # fmt: skip
"""Not of one number: of how many are not permitted."""
CHECKS = (*THRESHOLDS, HIDDEN)


def judge(
    measurements: Iterable[Measurement], *, role: str, limits: Iterable[Threshold] = THRESHOLDS
) -> list[Judgement]:
    """Return what every check makes of what was measured.

    Args:
        measurements: all of them, trends among them.
        role: as whom the server was looked at.
        limits: the thresholds.
    """
    measured = list(measurements)
    by_metric: dict[str, list[Measurement]] = {}
    for measurement in measured:
        by_metric.setdefault(measurement.metric, []).append(measurement)
    return [
        *(_judged(threshold, by_metric.get(threshold.metric, [])) for threshold in limits),
        _hidden(measured, role),
    ]


def _judged(threshold: Threshold, found: list[Measurement]) -> Judgement:
    known = sorted(
        (m for m in found if m.value is not None),
        key=lambda m: m.value or 0.0,
        reverse=not threshold.below,
    )
    unknown = [m for m in found if m.value is None]
    bad = [m for m in known if threshold.state(m.value or 0.0) != "passed"]
    if bad:
        return _crossed(threshold, bad)
    if unknown:
        return _missing(threshold, unknown)
    if not known and METRICS[threshold.metric].labels:
        return Judgement(threshold, "passed", None, "there is none")
    if not known:
        return Judgement(threshold, "none", None, "not measured")
    worst = known[0]
    limit = threshold.limit("passed")
    kept = f", limit {threshold.shown(limit)}" if limit else ""
    return Judgement(threshold, "passed", worst.value, f"{_said(threshold, worst)}{kept}")


def _crossed(threshold: Threshold, bad: list[Measurement]) -> Judgement:
    worst = bad[0]
    state = threshold.state(worst.value or 0.0)
    limit = threshold.limit(state)
    named = "; ".join(_said(threshold, m) for m in bad[:_SHOWN])
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    kept = f", limit {threshold.shown(limit)}" if limit else ""
    text = f"{named}{more}{kept}: {threshold.remedy}; {threshold.runbook.see}"
    return Judgement(threshold, state, worst.value, text, len(bad))


def _missing(threshold: Threshold, unknown: list[Measurement]) -> Judgement:
    first = unknown[0]
    of = ", ".join(m.labels[name] for m in unknown[:_SHOWN] for name in m.labels)
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    said = f"{of}{more}: {first.note}" if of else first.note
    if threshold.missing == "none" or first.note == NOT_VISIBLE:
        return Judgement(threshold, "none", None, said)
    return Judgement(
        threshold,
        threshold.missing,
        None,
        f"{said}: {threshold.remedy}; {threshold.runbook.see}",
        len(unknown),
    )


def _said(threshold: Threshold, measurement: Measurement) -> str:
    of = " ".join(text for name, text in measurement.labels.items() if name not in {"active", "of", "by"})
    by = f", by {measurement.labels['by']}" if "by" in measurement.labels else ""
    number = f"{threshold.shown(measurement.value or 0.0)} {threshold.what}{by}"
    return f"{of}: {number}" if of else number


def _hidden(measured: list[Measurement], role: str) -> Judgement:
    names = sorted({m.metric for m in measured if m.note == NOT_PERMITTED})
    if not names:
        return Judgement(HIDDEN, "passed", 0, f"{role} may see everything")
    named = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    text = (
        f"{role} may not see {named}: as an administrator: GRANT pg_monitor TO {role}; {HIDDEN.runbook.see}"
    )
    return Judgement(HIDDEN, "WARN", len(names), text, len(names))
