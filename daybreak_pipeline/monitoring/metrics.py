"""Every number that is measured: name, unit, meaning. The SQL files, Prometheus' output and its rules use these names."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_PERMITTED = "not permitted"
"""Why there is no value: the role may not see it."""
NOT_VISIBLE = "not visible"
"""Why there is no value: nobody can see it from here."""


@dataclass(frozen=True)
class Metric:
    """One number. ``group`` is the SQL file or function that measures it; ``kept``: trends are computed from it.

    A name ends with its unit, as Prometheus has it; one that ends with ``_total`` only grows until the server forgets it.
    """

    name: str
    group: str
    meaning: str
    labels: tuple[str, ...] = ()
    kept: bool = False

    @property
    def is_counter(self) -> bool:
        """Whether it counts since the server began to, and not what there is now."""
        return self.name.endswith("_total")


@dataclass(frozen=True)
class Measurement:
    """A metric at one moment. Without a value, ``note`` says why there is none."""

    metric: str
    value: float | None
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""


_TABLE = ("table",)
_ROLE = ("role",)
_SLOT = ("slot", "active")
_DATABASE = ("database",)
_POOL = ("database", "role")
_METRICS = (
    # sessions
    Metric("connections", "sessions", "Connections by role and state.", ("role", "state")),
    Metric("connections_used", "sessions", "Connections of clients.", kept=True),
    Metric("connections_limit", "sessions", "Connections that there may be, without those kept for administrators."),
    Metric("role_connections_limit", "sessions", "Connections that a role may have, where it has a limit of its own.", _ROLE),
    Metric("role_connections_used_ratio", "sessions", "Share of a role's own limit that is used.", _ROLE),
    Metric("connections_used_ratio", "sessions", "Share of the connections that is used."),
    Metric("idle_in_transaction_seconds", "sessions", "For how long a session has been idle in a transaction, at most."),
    Metric("longest_transaction_seconds", "sessions", "How old the oldest transaction is, other than imports."),
    Metric("longest_import_seconds", "sessions", "How old the oldest transaction of an import is."),
    Metric("lock_waiters", "sessions", "Sessions that wait for a lock, other than imports for each other."),
    Metric("lock_wait_seconds", "sessions", "For how long one of them has waited, at most."),
    # databases
    Metric("database_bytes", "databases", "Size of a database: of the tables, and of Dagster's records.", _DATABASE, kept=True),
    Metric("dagster_bytes", "databases", "Size of Dagster's own records, where they are on this server."),
    Metric("transaction_id_age", "databases", "Transactions since the oldest that is not frozen.", _DATABASE),
    Metric("multixact_id_age", "databases", "Multixacts since the oldest that is not frozen.", _DATABASE),
    Metric("commits_total", "databases", "Transactions that were committed."),
    Metric("rollbacks_total", "databases", "Transactions that were rolled back."),
    Metric("deadlocks_total", "databases", "Deadlocks.", kept=True),
    Metric("temporary_bytes_total", "databases", "What sorts and joins wrote to disk.", kept=True),
    Metric("block_hits_total", "databases", "Blocks that were found in the server's memory.", kept=True),
    Metric("block_reads_total", "databases", "Blocks that were not, and were read.", kept=True),
    Metric("server_uptime_seconds", "databases", "For how long the server has been up."),
    # tables
    Metric("table_bytes", "tables", "Size of a table with its indexes.", _TABLE, kept=True),
    Metric("table_rows", "tables", "Rows of a table, as of its statistics.", _TABLE),
    Metric("table_dead_rows", "tables", "Rows that are gone and still take space.", _TABLE),
    Metric("table_dead_ratio", "tables", "Share of dead rows in tables with at least 10,000 of them.", _TABLE),
    Metric("table_unvacuumed_seconds", "tables", "Time since a table with 1,000 dead rows was vacuumed.", _TABLE),
    Metric("table_unanalyzed_seconds", "tables", "Time since a table was analyzed of which a tenth has changed.", _TABLE),
    # indexes
    Metric("index_invalid_bytes", "indexes", "Size of an index that is not used because making it failed.", ("index",)),
    Metric("index_unused_bytes", "indexes", "Size of an index of over 10 MB that no query has used.", ("index",), kept=True),
    Metric("index_duplicate_bytes", "indexes", "Size of an index that another one makes superfluous.", ("index", "of")),
    Metric(
        "foreign_key_unindexed_bytes", "indexes", "Size of a table of over 10 MB with a foreign key without index.",
        ("table", "constraint"),
    ),
    # bloat: measured by pgstattuple, or estimated from statistics
    Metric("table_bloat_bytes", "bloat", "Empty space in a table of over 10 MB.", ("table", "by")),
    Metric("table_bloat_ratio", "bloat", "Share of a table of over 100 MB that is empty.", ("table", "by")),
    Metric("index_bloat_bytes", "bloat", "Empty space in a B-tree index of over 10 MB.", ("index", "by")),
    Metric("index_bloat_ratio", "bloat", "Share of a B-tree index of over 10 MB that is empty.", ("index", "by")),
    # checkpoints, wal
    Metric("checkpoints_timed_total", "checkpoints", "Checkpoints that came by the clock."),
    Metric("checkpoints_requested_total", "checkpoints", "Checkpoints that came early, because of much WAL.", kept=True),
    Metric("wal_bytes_total", "wal", "WAL since the server was made.", kept=True),
    Metric("archive_enabled", "wal", "1 where WAL is archived."),
    Metric("archived_total", "wal", "Segments of WAL that were archived."),
    Metric("archive_failures_total", "wal", "Tries to archive a segment that failed."),
    Metric("archive_failing_seconds", "wal", "For how long archiving has failed; 0 where the last try succeeded."),
    Metric("slot_retained_bytes", "wal", "WAL that a replication slot keeps from being removed.", _SLOT),
    Metric("slot_lag_bytes", "wal", "WAL that who uses a replication slot has not got yet.", _SLOT),
    Metric("slot_lost", "wal", "1 where WAL is gone that a replication slot still needs.", _SLOT),
    Metric("standby_lag_seconds", "wal", "For how long what was written has not been replayed by a standby.", ("standby",)),
    Metric("wal_directory_bytes", "wal_directory", "Size of pg_wal."),
    Metric("archive_waiting_files", "archive_queue", "Segments that wait to be archived."),
    Metric("archive_waiting_seconds", "archive_queue", "For how long the first of them has waited."),
    # statements
    Metric("statement_calls_total", "statements", "Calls of one of the slowest statements.", ("statement",)),
    Metric("statement_seconds_total", "statements", "Seconds that they took in all.", ("statement",)),
    # pools
    Metric("pool_clients_active", "pools", "Clients of PgBouncer that have a connection to the server.", _POOL),
    Metric("pool_clients_waiting", "pools", "Clients of PgBouncer that wait for one.", _POOL),
    Metric("pool_servers_active", "pools", "Connections of PgBouncer that a client has.", _POOL),
    Metric("pool_servers_idle", "pools", "Connections of PgBouncer that no client has.", _POOL),
    Metric("pool_wait_seconds", "pools", "For how long a client of PgBouncer has waited, at most.", _POOL),
    Metric("pool_transactions_total", "pools", "Transactions through PgBouncer.", _DATABASE),
    Metric("pool_queries_total", "pools", "Statements through PgBouncer.", _DATABASE),
    # surroundings
    Metric("certificate_seconds", "certificate", "For how long the server's certificate is good."),
    Metric("disk_free_bytes", "disk", "Free space of the file system with the embedded server's data.", kept=True),
    Metric("disk_bytes", "disk", "Size of that file system."),
    Metric("disk_free_ratio", "disk", "Share of that file system that is free."),
    Metric("import_age_seconds", "imports", "Time since a table was last known to match its file.", _TABLE),
    Metric("quarantined_records", "imports", "Records that wait in quarantine.", _TABLE),
    Metric("checks_failed", "imports", "Data-quality checks of a table that failed when they last ran.", _TABLE),
    Metric("backup_age_seconds", "backups", "Age of the newest backup."),
    Metric("backup_drill_age_seconds", "backups", "Time since a backup was last restored to prove that it can be."),
    Metric("backup_wal_gaps", "backups", "Segments of WAL that are missing from the backups."),
    # trends
    Metric("database_growth_bytes_per_day", "trends", "How a database grows by the day.", _DATABASE),
    Metric("table_growth_bytes_per_day", "trends", "How a table grows by the day.", _TABLE),
    Metric("disk_full_days", "trends", "Days until the disk is full, if it goes on like this."),
    Metric("cache_hit_ratio", "trends", "Share of the last hour's blocks that were in the server's memory."),
    Metric("deadlocks_last_hour", "trends", "Deadlocks in the last hour."),
    Metric("temporary_bytes_per_hour", "trends", "What sorts and joins wrote to disk in an hour."),
    Metric("wal_bytes_per_hour", "trends", "WAL of an hour."),
    Metric("checkpoints_requested_per_hour", "trends", "Checkpoints in an hour that came early."),
    Metric("index_unused_days", "trends", "For how long an index is known to be unused.", ("index",)),
    # verdict
    Metric("check_state", "verdict", "A threshold: 0 kept, 1 WARN, 2 ERROR, -1 not known.", ("check",)),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _METRICS}


def of_group(group: str) -> list[Metric]:
    """Return the metrics that one SQL file or function measures."""
    return [metric for metric in _METRICS if metric.group == group]
