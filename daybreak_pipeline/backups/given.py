"""The configuration of pgBackRest for a server that somebody else runs: files for its machine, and what to do with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres import archiving, data_directory
from daybreak_pipeline.timetable import BACKUP_AT, weekly_cron

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

DIRECTORY = "server-backups"
_DEBIAN_REPOSITORY = Path("/var/lib/pgbackrest")
_UNKNOWN = "/PATH/OF/THE/DATA"
_FACTS = "SELECT name, setting FROM pg_settings WHERE name IN ('data_directory', 'port', 'unix_socket_directories')"
_MAY_WRITE_POINTS = "SELECT has_function_privilege('pg_create_restore_point(text)', 'EXECUTE')"


@dataclass(frozen=True)
class Written:
    """The files that were written, and the steps on the server's machine, each a sentence or a command."""

    directory: Path
    steps: list[str]


def write(connection: Connection) -> Written:
    """Write pgBackRest's configuration, the server's settings and a timetable, for the machine that the server is on.

    The key of the repository is the one of this home, made if there is none. It is in the first file.

    Raises:
        UsageError: a setting cannot be used, or the key was lost.
    """
    choices = settings.backups()
    repository = choices.repository or _DEBIAN_REPOSITORY
    home = settings.home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = choices.key or archiving.kept_key(home, repository)
    facts: dict[str, str] = dict(connection.execute(_FACTS).fetchall())
    directory = home / DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    socket = facts.get("unix_socket_directories", "").split(",")[0].strip()
    lines = [
        "# For /etc/pgbackrest.conf of the server's machine. It has the key of the repository: mode 0640, for postgres.",
        "[global]",
        *archiving.repository_lines(repository),
        "repo1-cipher-type=aes-256-cbc",
        f"repo1-cipher-pass={key}",
        "repo1-retention-full-type=time",
        f"repo1-retention-full={choices.days}",
        "repo1-bundle=y",
        "compress-type=zst",
        "compress-level=1",
        "start-fast=y",
        "neutral-umask=n",
        "# Beyond this the log is given up: a full disk would stop the server.",
        f"archive-push-queue-max={choices.queue}",
        f"[{archiving.STANZA}]",
        f"pg1-path={facts.get('data_directory', _UNKNOWN)}",
        f"pg1-port={facts.get('port', connection.info.port)}",
        *([f"pg1-socket-path={socket}"] if socket.startswith("/") else []),
    ]
    server = [
        "# Lines for the server's postgresql.conf; they take a restart.",
        "archive_mode = on",
        f"archive_command = 'pgbackrest --stanza={archiving.STANZA} archive-push %p'",
        f"archive_timeout = {archiving.ARCHIVE_SECONDS}",
    ]
    command = f"pgbackrest --stanza={archiving.STANZA} backup"
    times = [
        "# Lines for postgres's crontab: a full backup on Sundays, what changed since then on other days.",
        f"{weekly_cron(BACKUP_AT, '0')} {command} --type=full",
        f"{weekly_cron(BACKUP_AT, '1-6')} {command} --type=diff",
    ]
    for name, text in (("pgbackrest.conf", lines), ("postgresql.conf", server), ("crontab", times)):
        data_directory.write_file(directory / name, "\n".join(text) + "\n", like=home)
    return Written(directory, _steps(connection, directory))


def _steps(connection: Connection, directory: Path) -> list[str]:
    steps = [
        f"copy {directory}/pgbackrest.conf to /etc/pgbackrest.conf there, for the user postgres alone",
        f"add {directory}/postgresql.conf to the server's settings, and restart it",
        f"as postgres: pgbackrest --stanza={archiving.STANZA} stanza-create",
        f"as postgres: pgbackrest --stanza={archiving.STANZA} check",
        f"as postgres: pgbackrest --stanza={archiving.STANZA} backup --type=full",
        f"add {directory}/crontab to the crontab of postgres",
    ]
    try:
        may = database.value(connection, _MAY_WRITE_POINTS)
    except psycopg.Error:
        may = True
    if not may:
        user = sql.Identifier(connection.info.user).as_string(connection)
        steps.append(
            "so that imports write restore points, as an administrator: "
            f"GRANT EXECUTE ON FUNCTION pg_create_restore_point(text) TO {user}"
        )
    return steps
