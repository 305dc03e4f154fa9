"""Makes a backup of the running embedded server, and says whether its archive works."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.backups import listing
from daybreak_pipeline.backups.listing import Backup, Kind
from daybreak_pipeline.embedded_postgres import archiving, pgbackrest
from daybreak_pipeline.embedded_postgres.archiving import Agent
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

FULL_AFTER = timedelta(days=7)
LATE_AFTER = timedelta(hours=26)
GIVEN_UP = "given up"
FAILING = "failing"


def make(agent: Agent, connection: Connection, kind: Kind) -> Backup:
    """Back up the running server and return the backup. What has expired is deleted.

    Raises:
        BackupError: there is no new backup; earlier ones are as they were.
        UsageError: the server archives nothing.
    """
    require_archiving(agent, connection)
    archiving.create_stanza(agent)  # the repository may have been lost since the server was started
    begun = datetime.now(UTC)
    agent.do("backup", f"--type={kind}")
    backups = listing.read(agent)
    if not backups or backups[-1].stop < begun - timedelta(seconds=2):
        msg = f"pgBackRest said nothing, but there is no new backup in {agent.repository}; {Runbook.BACKUPS_FAIL.see}"
        raise pgbackrest.BackupError(msg)
    # Whatever was given up before is behind this backup now.
    (agent.state / archiving.GIVEN_UP).unlink(missing_ok=True)
    return backups[-1]


def is_full_due(agent: Agent) -> bool:
    """Say whether the next backup should be a full one: the last is a week old, or there is none."""
    full = [one for one in listing.read(agent) if one.type == "full"]
    return not full or datetime.now(UTC) - full[-1].stop > FULL_AFTER


def require_archiving(agent: Agent, connection: Connection) -> None:
    """Make sure that the server hands its write-ahead log over.

    Raises:
        UsageError: it does not, and what to do.
    """
    if database.value(connection, "SHOW archive_mode") != "off":
        return
    reason = archiving.why_off(agent.data) or (
        "it was started without: stop all daybreak commands and start it again"
    )
    msg = f"the server archives nothing: {reason}; {Runbook.BACKUPS_FAIL.see}"
    raise UsageError(msg)


@dataclass(frozen=True)
class Archiver:
    """How the server's archiver is doing. ``waiting`` counts files; ``given_up`` says when one was given up last."""

    waiting: int
    failing: bool
    given_up: str

    @property
    def kind(self) -> str:
        """What is wrong in one word, empty where nothing is."""
        return GIVEN_UP if self.given_up else FAILING if self.failing else ""

    def __str__(self) -> str:
        """Say it in words, empty where nothing is wrong."""
        if self.given_up:
            return (
                f"a part of the write-ahead log was given up, last at {self.given_up}: make a backup, moments before it "
                f"are missing; {Runbook.BACKUPS_FAIL.see}"
            )
        if self.failing:
            return (
                f"the repository takes no write-ahead log, {self.waiting} files wait: the server's log says why; "
                f"{Runbook.BACKUPS_FAIL.see}"
            )
        return ""


def archiver(agent: Agent, connection: Connection) -> Archiver:
    """Return how the archiver is doing."""
    note = agent.state / archiving.GIVEN_UP
    lines = note.read_text(encoding="utf-8").split() if note.exists() else []
    found = database.one(
        connection,
        Archiver,
        """
        SELECT (SELECT count(*)::int FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready') AS waiting,
               coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing,
               %s::text AS given_up
        FROM pg_stat_archiver
        """,
        [lines[-1] if lines else ""],
    )
    return found or Archiver(0, failing=False, given_up="")
