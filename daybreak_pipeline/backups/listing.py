"""Which backups there are, as the repository says. Works without a running server."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres import archiving, data_directory, pgbackrest
from daybreak_pipeline.embedded_postgres.archiving import Agent
from daybreak_pipeline.embedded_postgres.pgbackrest import BackupError
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

TYPES = {"full": "full", "diff": "differential", "incr": "incremental"}
_READABLE = (0, 1, 2, 3)
"""pgBackRest's status of a repository that it could read, whether or not there is a backup."""


@dataclass(frozen=True)
class Backup:
    """One backup. It is consistent from ``stop`` on; sizes are in bytes.

    ``wal`` are the first and the last file of the write-ahead log that it needs, ``lsn`` is where it ends.
    """

    label: str
    type: str
    start: datetime
    stop: datetime
    size: int
    stored: int
    wal: tuple[str, str]
    lsn: int

    @property
    def seconds(self) -> int:
        """How long it took."""
        return round((self.stop - self.start).total_seconds())

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it."""
        return asdict(self) | {"start": self.start.isoformat(), "stop": self.stop.isoformat()}


def embedded_agent() -> Agent:
    """Return pgBackRest for this home's server, whether that is running or not, with its configuration written.

    Raises:
        UsageError: there are no backups here, and why.
    """
    if is_given():
        msg = (
            "DB_HOST names the server, which has its own backups: see daybreak backup config for what its machine "
            f"needs, or ask its provider; {Runbook.BACKUPS_FAIL.see}"
        )
        raise UsageError(msg)
    if not settings.backups().wanted:
        msg = f"backups are turned off: DAYBREAK_BACKUP_REPO is none; {Runbook.BACKUPS_FAIL.see}"
        raise UsageError(msg)
    if pgbackrest.program() is None:
        msg = f"{pgbackrest.MISSING}; {Runbook.BACKUPS_FAIL.see}"
        raise UsageError(msg)
    home = settings.home()
    if not home.is_dir():
        msg = f"{home} has no server yet: daybreak up makes one; {Runbook.DISASTER_RECOVERY.see}"
        raise UsageError(msg)
    home = home.resolve()
    account = data_directory.account_for(home)
    data = data_directory.existing_data(home) or data_directory.new_data(home, account)
    found = archiving.agent(home, data, account)
    assert found is not None  # noqa: S101 - both reasons are excluded above
    if (
        not found.configuration.exists()
    ):  # a new home, for which the backups of another one are to be restored
        found.write()
    return found


def is_given() -> bool:
    """Say whether the server is one that somebody else runs.

    Child processes find the embedded one in ``DB_HOST`` too (``Installation.environment``).
    """
    given = settings.given_database()
    if given is None:
        return False
    home = settings.home()
    data = data_directory.existing_data(home) if home.is_dir() else None
    if data is None or (given.host, given.user) != (data_directory.HOST, data_directory.ADMINISTRATOR):
        return True
    return archiving.listens(data)[0] != given.port


def are_expected() -> bool:
    """Say whether somebody should hear of it if no backup is made here.

    Nobody is told every day that a developer's machine lacks pgBackRest, or that a given server is not ours to back up.
    """
    if is_given() or not settings.backups().wanted:
        return False
    return pgbackrest.program() is not None or settings.environment() == "production"


def read(agent: Agent) -> list[Backup]:
    """Return the backups, oldest first.

    Raises:
        BackupError: the repository cannot be read.
    """
    stanza = _info(agent)
    backups = [_backup(entry) for entry in stanza.get("backup", []) if not entry.get("error")]
    return sorted(backups, key=lambda one: one.stop)


def _info(agent: Agent) -> dict[str, Any]:
    answer = agent.try_to("info", "--output=json")
    try:
        (stanza,) = json.loads(answer.text)
        code = int(stanza["status"]["code"])
    except (ValueError, KeyError, TypeError):
        if answer.code:
            raise pgbackrest.problem(answer) from None
        code = -1
    if code not in _READABLE:
        # What it says then may be what it read with a wrong key, with exit code 0: never passed on.
        msg = (
            f"the repository cannot be read, perhaps because its key is another: {pgbackrest.MEANINGS[pgbackrest.WRONG_KEY]}; "
            f"{Runbook.LOST_KEY.see}"
        )
        raise BackupError(msg, code)
    found: dict[str, Any] = stanza
    return found


def _backup(entry: dict[str, Any]) -> Backup:
    when = entry["timestamp"]
    return Backup(
        label=str(entry["label"]),
        type=TYPES[entry["type"]],
        start=datetime.fromtimestamp(when["start"], UTC),
        stop=datetime.fromtimestamp(when["stop"], UTC),
        size=int(entry["info"]["size"]),
        stored=int(entry["info"]["repository"]["delta"]),
        wal=(str(entry["archive"]["start"]), str(entry["archive"]["stop"])),
        lsn=parsed_lsn(entry["lsn"]["stop"]),
    )


def parsed_lsn(text: str) -> int:
    """Return a place in the write-ahead log, written as PostgreSQL does, as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


Kind = Literal["full", "diff"]
