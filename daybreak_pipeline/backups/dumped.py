"""A copy of a server that can only be reached through the network: a dump, restored into a scratch server beside.

The dump goes from pg_dump to pg_restore through a pipe and is never on a disk. The scratch server belongs to nobody else,
keeps no promise about crashes, and is removed with its data.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline import settings
from daybreak_pipeline.embedded_postgres import data_directory, programs, server_log
from daybreak_pipeline.embedded_postgres import process as server_process
from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DEFAULT_DATABASE, DatabaseSettings
from daybreak_pipeline.wording import size

if TYPE_CHECKING:
    from daybreak_pipeline.embedded_postgres.programs import Account

_DIRECTORY = "drill"
_ROOM = 1.1
_LOOK_SECONDS = 20
LOCK_SECONDS = 5
"""For how long a table may be locked by somebody else: who waits behind a dump that waits, waits that long too."""
_LONGEST = 300
_FOR_A_SHORT_LIFE = (
    "fsync = off",
    "full_page_writes = off",
    "wal_level = minimal",
    "max_wal_senders = 0",
    "autovacuum = off",
)
_SAID = re.compile(r"^pg_(?:dump|restore): (?:error|detail): (.*)$", re.MULTILINE)
_ENTRY = re.compile(r"^pg_restore: from TOC entry \d+; \d+ \d+ (.*)$", re.MULTILINE)
_AT_A_LOCK = re.compile("query was: LOCK TABLE", re.IGNORECASE)
_REFUSED = re.compile(r"could not execute query: \w+: +(.*)")
# What the server says of these is about the schema: no row has been read yet that it could quote.
_OF_THE_SCHEMA = re.compile(
    "ACL|COMMENT|DEFAULT ACL|DOMAIN|EXTENSION|FUNCTION|POLICY|ROW SECURITY|SCHEMA|SEQUENCE|TABLE(?! DATA)|TRIGGER|TYPE|VIEW"
)


class DumpError(DaybreakError):
    """The server could not be dumped, or the dump could not be restored."""


class LockedError(DumpError):
    """Somebody has locked a table, or waits to lock it. Nothing was dumped."""


@dataclass(frozen=True)
class Tools:
    """PostgreSQL's programs of one version: the server's, which begin a scratch server, and those that dump and restore."""

    major: int
    dump: str
    restore: str


def tools(major: int) -> Tools:
    """Return programs that can dump a server of a version, and restore that.

    Raises:
        UsageError: there are only older ones, or none.
    """
    directory = programs.find(major)
    found = programs.version(directory)
    if found < major:
        msg = (
            f"the server is PostgreSQL {major} and the programs in {directory} are of {found}, which cannot dump it: install "
            f"PostgreSQL {major} here, or set DAYBREAK_PG_BIN to its programs; {Runbook.BACKUPS_FAIL.see}"
        )
        raise UsageError(msg)
    # Those beside the server's programs are of its version.
    paths = [
        str(directory / name) if os.access(directory / name, os.X_OK) else programs.client(name)
        for name in ("pg_dump", "pg_restore")
    ]
    return Tools(found, *paths)


@contextmanager
def scratch(tools: Tools, needed: int) -> Iterator[DatabaseSettings]:
    """Yield an empty database of a server that nobody else knows; nothing of it is left.

    Args:
        tools: programs that fit.
        needed: how many bytes will be restored into it.

    Raises:
        UsageError: another drill runs, there is no room, or the server does not start.
    """
    outer = settings.home()
    programs.make_directories(outer.parent)
    outer.mkdir(mode=0o700, exist_ok=True)
    outer = outer.resolve()
    home = outer / _DIRECTORY
    with _alone(outer):
        _remove(home)  # what a drill left that was killed
        home.mkdir(mode=0o700)
        try:
            account = data_directory.account_for(outer)
            data = data_directory.new_data(home, account)
            programs.make_directories(data.parent)
            _require_room(data.parent, needed)
            yield _started(tools, home, data, account)
        finally:
            _remove(home)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    descriptor = os.open(
        home / f"{_DIRECTORY}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        data_directory.own_as(home, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        msg = f"another drill runs already: wait until it has ended; {Runbook.BACKUPS_FAIL.see}"
        raise UsageError(msg) from None
    finally:
        os.close(descriptor)


def _started(tools: Tools, home: Path, data: Path, account: Account) -> DatabaseSettings:
    server_process.initialise(home, data, account, major=tools.major)
    port = server_process.start(data, account, lambda _port, _sockets: _FOR_A_SHORT_LIFE)
    login = (data_directory.ADMINISTRATOR, data_directory.password(home))
    db = DatabaseSettings(data_directory.HOST, port, DEFAULT_DATABASE, *login, sslmode="disable")
    with psycopg.connect(db.conninfo(dbname="postgres"), autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
        connection.execute(create.format(sql.Identifier(db.name)))
    return db


def _remove(home: Path) -> None:
    data = data_directory.existing_data(home) if home.exists() else None
    if data is not None:
        if data.exists():
            server_process.stop(data)
            shutil.rmtree(data)
        shutil.rmtree(server_log.directory(data), ignore_errors=True)
    if home.exists():
        shutil.rmtree(home)


def _require_room(directory: Path, needed: int) -> None:
    free, wanted = shutil.disk_usage(directory).free, int(needed * _ROOM)
    if free < wanted:
        msg = (
            f"{directory} has {size(free)} free and the restored dump needs {size(wanted)}: make room, or set DAYBREAK_HOME to "
            f"a bigger disk; {Runbook.DISK_FULL.see}"
        )
        raise UsageError(msg)


def copy(  # noqa: PLR0913 - the two servers, and what is known of them
    tools: Tools, source: DatabaseSettings, snapshot: str, target: DatabaseSettings, *, only: Sequence[str],
    meanwhile: Callable[[], None],
) -> None:  # fmt: skip
    """Dump a database as of a snapshot, straight into an empty one.

    Args:
        tools: programs that fit both servers.
        source: where to dump from.
        snapshot: as ``pg_export_snapshot`` names it; its transaction is open.
        target: the empty database, by the login of a superuser.
        only: the extensions that the target can have; all where it is empty.
        meanwhile: called again and again until it is done.

    Raises:
        LockedError: somebody has locked a table; the target is as empty as before.
        DumpError: it cannot be dumped or restored, and at which object, without any value.
    """
    dump = [
        tools.dump, "--format=custom", "--compress=0", f"--snapshot={snapshot}", "--no-password", "--enable-row-security",
        f"--lock-wait-timeout={1000 * LOCK_SECONDS}",
        "--no-unlogged-table-data", "--no-tablespaces", "--no-publications", "--no-subscriptions", "--no-security-labels",
        "--exclude-schema=recovered", *(f'--extension="{name}"' for name in only),
    ]  # fmt: skip
    # The summaries' owner fills them again, who is subject to the policies of the tables: without them it is refused.
    restore = [
        tools.restore, "--exit-on-error", "--no-password", "--enable-row-security", f"--dbname={target.name}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as dump_said, tempfile.TemporaryFile() as restore_said:
        # As daybreak, it is no stranger's transaction that monitoring would complain about.
        dumping = _run(
            dump, source.libpq_environment() | {"PGAPPNAME": "daybreak"}, dump_said, output=subprocess.PIPE
        )
        restoring = None
        try:
            restoring = _run(restore, target.libpq_environment(), restore_said, given=dumping.stdout)
            assert dumping.stdout is not None  # noqa: S101 - asked for above
            dumping.stdout.close()  # only the other program reads it: when that ends, this one does
            for process in (restoring, dumping):
                _await(process, meanwhile)
        except BaseException:
            for process in filter(None, (dumping, restoring)):
                process.kill()
                process.wait()
            raise
        if dumping.returncode or restoring.returncode:
            raise _failure(_text(dump_said), _text(restore_said), restored=restoring.returncode == 0)


def _run(
    command: list[str],
    variables: Mapping[str, str],
    said: IO[bytes],
    *,
    given: IO[bytes] | None = None,
    output: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    passed = settings.child_environment(only=["HOME"]) | settings.libpq_variables()
    return subprocess.Popen(
        command,
        stdin=given or subprocess.DEVNULL,
        stdout=output,
        stderr=said,
        cwd="/",
        env=programs.environment(**(passed | dict(variables))),
        start_new_session=True,
        umask=0o077,
    )


def _await(process: subprocess.Popen[bytes], meanwhile: Callable[[], None]) -> None:
    while True:
        try:
            process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            meanwhile()
        else:
            return


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read(data_directory.MEGABYTE).decode(errors="replace")


def _failure(dump_said: str, restore_said: str, *, restored: bool) -> DumpError:
    """Return what went wrong, by the names of objects. What pg_restore quotes from rows is not passed on."""
    if _AT_A_LOCK.search(dump_said):
        return LockedError(f"somebody keeps a table locked; {Runbook.SLOW_OR_STUCK.see}")
    entry = _ENTRY.search(restore_said)
    if restored or (entry is None and "could not write" not in dump_said and dump_said.strip()):
        found = _SAID.search(dump_said)
        said = found[1][:_LONGEST] if found else "it said nothing"
        return DumpError(f"pg_dump failed: {said}; {Runbook.BACKUPS_FAIL.see}")
    if entry is None:
        return DumpError(f"pg_restore ended before the dump did; {Runbook.BACKUPS_FAIL.see}")
    refused = _REFUSED.search(restore_said) if _OF_THE_SCHEMA.match(entry[1]) else None
    why = f": {refused[1][:_LONGEST]}" if refused else ""
    return DumpError(f"the dump does not come back at {entry[1]}{why}; {Runbook.BACKUPS_FAIL.see}")
