"""The drill: restores the newest backup beside the server, compares every table, opens sealed values, runs the checks.

It is the only proof. pgBackRest's ``verify`` exits 0 on corruption, and sees no missing file of the write-ahead log.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.backups import checksums, gaps, listing, make, points, restore, targets, timelines
from daybreak_pipeline.checks.rules import examine
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.privacy import keys, sealed_faults
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import protected, runner
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daybreak_pipeline.backups.checksums import Checksum
    from daybreak_pipeline.backups.listing import Backup
    from daybreak_pipeline.backups.points import Point
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.embedded_postgres.archiving import Agent
    from daybreak_pipeline.schema.catalog import TableCatalog
    from daybreak_pipeline.settings import DatabaseSettings

_PROVEN = "proven-at"
"""The file, beside the agent's own, that says when a drill last passed."""
_LOCK_SECONDS = 600
_ARCHIVED_SECONDS = 180
_OPENED = 100
"""How many sealed values of each column are opened: each takes 20 microseconds, and all of them an hour."""


@dataclass
class Drill:
    """What a drill found. Without ``problems`` the backup can be restored.

    ``of_dump``: it was a dump that the drill made. ``left_out`` are extensions that this machine lacks.
    """

    begun: datetime
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    restore_seconds: float = 0.0
    backup: Backup | None = None
    tables: int = 0
    rows: int = 0
    opened: int = 0
    failed_checks: int = 0
    of_dump: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the backup can be restored."""
        return not self.problems

    def __str__(self) -> str:
        """Say it in words."""
        what = "a dump of the server" if self.of_dump else "the newest backup"
        if self.problems:
            why = "; ".join(self.problems)
            page = "" if Runbook.is_named_in(why) else f"; {Runbook.BACKUPS_FAIL.see}"
            return f"{what} cannot be restored: {why}{page}"
        same = f"{self.tables} tables with {self.rows:,} rows are the same, {self.opened} sealed values open"
        if self.of_dump:
            without = f", without the extension {', '.join(self.left_out)}" if self.left_out else ""
            return (
                f"a dump of the server could be restored{without}: {same}; it took {self.restore_seconds:.0f} s. This proves "
                "nothing of the provider's own backups: restore one there"
            )
        assert self.backup is not None  # noqa: S101 - without one there is a problem
        return f"backup {self.backup.label} can be restored: {same}; restored in {self.restore_seconds:.0f} s"


def run(agent: Agent, db: DatabaseSettings, key: str) -> Drill:
    """Restore the newest backup beside the running server, and say whether it is the same. Leaves nothing behind."""
    return carried_out(
        Drill(datetime.now(UTC)), lambda drill: _run(drill, agent, db, key), agent.state / _PROVEN
    )


def carried_out(drill: Drill, work: Callable[[Drill], None], proof: Path) -> Drill:
    """Do the work of a drill, and return what it found. Where nothing is wrong, a file says that it passed, and when."""
    begun = time.monotonic()
    try:
        work(drill)
    except DaybreakError as error:
        drill.problems.append(str(error))
    except psycopg.Error as error:
        drill.problems.append(explanations.explain(error))
    drill.seconds = time.monotonic() - begun
    if drill.passed:
        data_directory.write_file(proof, f"{drill.begun.isoformat()}\n", like=proof.parent)
    return drill


def proven_at(agent: Agent) -> datetime | None:
    """Return when a drill last proved that the backup of then can be restored; None where none did."""
    return noted(agent.state / _PROVEN)


def noted(proof: Path) -> datetime | None:
    """Return when a drill last passed, as its file says; None where none did."""
    try:
        return datetime.fromisoformat(proof.read_text(encoding="utf-8").strip())
    except (FileNotFoundError, ValueError):
        return None


def _run(drill: Drill, agent: Agent, db: DatabaseSettings, key: str) -> None:
    with database.connect(db, autocommit=True) as connection:
        make.require_archiving(agent, connection)
    backups = listing.read(agent)
    branches = timelines.read(agent, backups)
    targets.find(targets.LATEST, backups, agent.home, branches)  # says so where there is none
    point, source = _compare_with(db)
    _await_archived(db, point)
    drill.problems += [f"the log lacks {gap}" for gap in gaps.find(agent, backups)]
    _verify(drill, agent)
    target = targets.to_point(point, backups, branches)
    drill.backup = target.backup
    begun = time.monotonic()
    with restore.scratch(agent, "drill") as data, restore.recovered(agent, target, data) as scratch:
        drill.restore_seconds = time.monotonic() - begun
        with database.connect(scratch, key=key, autocommit=True) as connection:
            with database.snapshot(connection):
                restored = checksums.of_every_table(connection)
            drill.tables, drill.rows = len(restored), sum(one.rows for one in restored.values())
            drill.problems += checksums.differences(source, restored)
            use(drill, connection)


def _compare_with(db: DatabaseSettings) -> tuple[Point, dict[str, Checksum]]:
    """Return a restore point, and the checksums of every table as of it.

    Nobody may write between the restore point and the snapshot: for these milliseconds all tables are locked against
    writers. The checksums, which take longer, are of the snapshot.

    Raises:
        UsageError: somebody kept writing for too long.
    """
    with database.connect(db) as reader, database.snapshot(reader):
        with database.connect(db) as locker:
            _lock(locker)
            reader.execute("SELECT pg_current_snapshot()")
            point = points.create(locker, f"drill-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        return point, checksums.of_every_table(reader)


def _lock(connection: Connection) -> None:
    """Lock every table against writers, in short attempts: others would have to wait behind a long one."""
    deadline = time.monotonic() + _LOCK_SECONDS
    names = [sql.Identifier(*name) for name in checksums.tables(connection)]
    connection.rollback()
    while names:
        try:
            connection.execute("SET LOCAL lock_timeout = '1s'")
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(names)))
        except psycopg.errors.LockNotAvailable:
            connection.rollback()
            if time.monotonic() > deadline:
                msg = (
                    f"somebody has been writing for {_LOCK_SECONDS // 60} minutes: repeat the drill when the import has ended; "
                    f"{Runbook.SLOW_OR_STUCK.see}"
                )
                raise UsageError(msg) from None
            time.sleep(1)
        else:
            return


def _await_archived(db: DatabaseSettings, point: Point) -> None:
    """Wait until the log up to a restore point is in the repository.

    Raises:
        UsageError: it does not get there.
    """
    deadline = time.monotonic() + _ARCHIVED_SECONDS
    with database.connect(db, autocommit=True) as connection:
        wanted = str(database.value(connection, "SELECT pg_walfile_name('0/0'::pg_lsn + %s)", [point.lsn]))
        connection.execute("SELECT pg_switch_wal()")
        while True:
            last = database.value(connection, "SELECT last_archived_wal FROM pg_stat_archiver") or ""
            # The name of a history file or a backup's note begins with that of a segment, too.
            if str(last)[:24] >= wanted:
                return
            if time.monotonic() > deadline:
                msg = f"the write-ahead log does not reach the repository: the server's log says why; {Runbook.BACKUPS_FAIL.see}"
                raise UsageError(msg)
            time.sleep(0.1)


def _verify(drill: Drill, agent: Agent) -> None:
    """Have pgBackRest read everything in the repository, also older backups. Only this line of it tells."""
    answer = agent.try_to("verify", "--output=text", "--verbose")
    if "status: ok" not in (line.strip() for line in answer.text.splitlines()):
        drill.problems.append("files in the repository are damaged or cannot be read with this key")


def use(drill: Drill, connection: Connection) -> None:
    """Do with the restored database what people would do: open what is sealed, and check every table."""
    if runner.current_revision(connection) is None:
        return
    if keys.state(connection).fits is False:
        drill.problems.append(
            f"the encryption key of now does not open its personal values, {Runbook.LOST_KEY.see}"
        )
        return
    for table in TABLES:
        catalog = catalogs.read(connection, table)
        _open(drill, connection, catalog)
        found = examine(connection, catalog)
        drill.failed_checks += sum(not finding.passed for finding in found.values())
    for table in protected.of_applications(connection):
        _open(drill, connection, catalogs.read(connection, table))


def _open(drill: Drill, connection: Connection, catalog: TableCatalog) -> None:
    """Open some sealed values of every column."""
    for column in catalog.columns:
        if column.name not in catalog.sealed:
            continue
        query = sql.SQL(
            """
            WITH held AS MATERIALIZED (SELECT privacy.required_key('seal') AS key),
            taken AS (SELECT {sealed} AS sealed FROM {table} WHERE {sealed} IS NOT NULL LIMIT {most})
            SELECT count(*)::int AS opened,
                   count({fault})::int AS closed
            FROM taken, held
            """
        ).format(
            sealed=sql.Identifier(f"{column.name}_encrypted"),
            table=sql.Identifier("public", catalog.table.name),
            most=sql.Literal(_OPENED),
            fault=sealed_faults.fault(catalog, column.name, sql.Identifier("sealed")),
        )
        found = database.one(connection, _Opened, query)
        if found and found.closed == found.opened > 0:
            drill.problems.append(f"no sealed value of {catalog.table.name}.{column.name} opens")
        drill.opened += found.opened - found.closed if found else 0


@dataclass(frozen=True)
class _Opened:
    opened: int
    closed: int
