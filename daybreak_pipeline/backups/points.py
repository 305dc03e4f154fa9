"""Restore points: named places in the write-ahead log, written before something is changed that one may want to undo.

The list of them is a file in the home, since a restore would take a table of them back with everything else.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres import data_directory

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

BEFORE_IMPORT = "before-import-"
BEFORE_MIGRATION = "before-migration-"
RUN_CHARACTERS = 8
_FILE = "restore-points.jsonl"
_KEPT = 1000
_POSSIBLE = """
    SELECT current_setting('archive_mode') <> 'off' AND NOT pg_is_in_recovery()
       AND has_function_privilege('pg_create_restore_point(text)', 'EXECUTE')
"""


@dataclass(frozen=True)
class Point:
    """One restore point: its name, when and where in which timeline of the log it was written."""

    name: str
    at: datetime
    lsn: int
    timeline: int

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it."""
        return asdict(self) | {"at": self.at.isoformat()}


def before_import(connection: Connection, run_id: str) -> Point | None:
    """Write the restore point of an import, before its first change; once, however many tables it changes."""
    return write(connection, f"{BEFORE_IMPORT}{run_id[:RUN_CHARACTERS]}")


def write(connection: Connection, name: str) -> Point | None:
    """Write a restore point unless there is one of this name; None where the server keeps no log to go back with."""
    home = settings.home()
    if not database.value(connection, _POSSIBLE):
        return None
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        known = read(home)
        if any(one.name == name for one in known):
            return None
        point = create(connection, name)
        lines = [json.dumps(one.as_json()) for one in [*known, point][-_KEPT:]]
        data_directory.write_file(home / _FILE, "".join(f"{line}\n" for line in lines), like=home)
        return point


def create(connection: Connection, name: str) -> Point:
    """Write a restore point that nobody needs to find again."""
    found = database.one(
        connection,
        Point,
        """
        WITH written AS MATERIALIZED (SELECT pg_create_restore_point(%s) AS lsn)
        SELECT %s::text AS name, clock_timestamp() AS at, (lsn - '0/0'::pg_lsn)::bigint AS lsn,
               ('x' || left(pg_walfile_name(lsn), 8))::bit(32)::int AS timeline
        FROM written
        """,
        [name, name],
    )
    assert found is not None  # noqa: S101 - the query returns one row
    return found


def read(home: Path) -> list[Point]:
    """Return the restore points, oldest first."""
    path = home / _FILE
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Point(row["name"], datetime.fromisoformat(row["at"]).astimezone(UTC), row["lsn"], row["timeline"])
        for row in rows
    ]


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time write: the tables of one run may be imported by several."""
    descriptor = os.open(home / f"{_FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        data_directory.own_as(home, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
