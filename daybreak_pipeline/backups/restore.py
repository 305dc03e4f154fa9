"""Restores the embedded server: over what is there, which is kept aside, or into another directory."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline.backups import listing
from daybreak_pipeline.embedded_postgres import archiving, data_directory, server
from daybreak_pipeline.embedded_postgres import process as server_process
from daybreak_pipeline.embedded_postgres.archiving import Agent
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DEFAULT_DATABASE, DatabaseSettings
from daybreak_pipeline.wording import size

if TYPE_CHECKING:
    from daybreak_pipeline.backups.targets import Target
    from daybreak_pipeline.embedded_postgres.programs import Account

_SEGMENT = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
_ROOM = 1.1
_NOTHING_AFTER = "recovery ended before configured recovery target was reached"


@dataclass(frozen=True)
class Restored:
    """What a restore did: how long it took, and where what was there before is kept."""

    seconds: float
    kept: Path | None


def in_place(home: Path, target: Target) -> Restored:
    """Restore the server of a home. What was there is moved aside and kept; if the restore fails, it is put back.

    Nobody may be using the server. It is stopped afterwards, as before.

    Raises:
        UsageError: nothing was changed, and why.
    """
    begun = time.monotonic()
    home = home.resolve()
    with server.stopped(home) as (data, account):
        _require_room(data, target)
        knows_password = (home / data_directory.PASSWORD_FILE).exists()
        password = data_directory.password(home, create=True)
        agent = _agent(home, data, account)
        agent.write()
        aside = _move_aside(data) if data.exists() else None
        try:
            _fetch(agent, target, data, "--archive-mode=preserve")
            if aside:
                _take_over(aside, data, account)
            archive = _archive(home, data, account)
            server_process.start(data, account, archive)
            _await(data)
            server_process.stop(data)
            if not knows_password:
                server_process.set_password(data, account, password)
        except BaseException:
            server_process.stop(data) if data.exists() else None
            shutil.rmtree(data, ignore_errors=True)
            if aside:
                aside.rename(data)
            raise
    return Restored(time.monotonic() - begun, aside)


def into(agent: Agent, target: Target, directory: Path) -> Restored:
    """Restore into a directory, which becomes a home of its own that archives nothing; its server is left stopped.

    Raises:
        UsageError: the directory is not empty, or the restore failed and left nothing.
    """
    begun = time.monotonic()
    if directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty: name a new directory"
        raise UsageError(msg)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = directory.resolve()
    data = data_directory.new_data(directory, agent.account)
    with recovered(agent, target, data):
        for name in (data_directory.PASSWORD_FILE, "encryption.key"):
            source = agent.home / name
            if source.exists():
                data_directory.write_file(
                    directory / name, source.read_text(encoding="ascii"), like=directory
                )
    return Restored(time.monotonic() - begun, None)


@contextmanager
def recovered(agent: Agent, target: Target, data: Path) -> Iterator[DatabaseSettings]:
    """Yield a server of its own that was restored into a new data directory, and stop it afterwards.

    It archives nothing and has a port and a socket of its own, beside the server that was backed up.

    Raises:
        UsageError: it could not be restored; nothing of it is left.
    """
    _require_room(data, target)
    try:
        # Else it would push its log into the repository of the server that it is a copy of.
        _fetch(agent, target, data, "--archive-mode=off")
        port = server_process.start(data, agent.account)
        _await(data)
    except BaseException:
        server_process.stop(data) if data.exists() else None
        shutil.rmtree(data, ignore_errors=True)
        raise
    login = (data_directory.ADMINISTRATOR, data_directory.password(agent.home))
    try:
        yield DatabaseSettings(data_directory.HOST, port, DEFAULT_DATABASE, *login, sslmode="disable")
    finally:
        server_process.stop(data)


def _fetch(agent: Agent, target: Target, data: Path, archive_mode: str) -> None:
    """Have pgBackRest fill a new data directory."""
    archiving.own_directory(data, agent.account)
    agent.do(
        f"--pg1-path={data}",
        f"--set={target.backup.label}",
        archive_mode,
        *target.options,
        "restore",
    )


def _await(data: Path) -> None:
    try:
        server_process.await_recovered(data)
    except UsageError as error:
        if _NOTHING_AFTER in str(error):
            msg = (
                "the log in the repository does not reach this point: if nothing was written after it, --to latest is "
                f"the same; else a part of the log is missing; {Runbook.RESTORE_TO_A_TIME.see}"
            )
            raise UsageError(msg) from None
        raise


def _agent(home: Path, data: Path, account: Account) -> Agent:
    found = archiving.agent(home, data, account)
    return found or listing.embedded_agent()  # which says why there is none


def _archive(home: Path, data: Path, account: Account) -> server_process.Archive:
    return lambda port, sockets: archiving.prepare(home, data, account, port=port, sockets=sockets)


def _move_aside(data: Path) -> Path:
    aside = data.with_name(f"{data.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    data.rename(aside)
    data_directory.flush_directory(data.parent)
    return aside


def _take_over(aside: Path, data: Path, account: Account) -> None:
    """Take over the server's log, in which the incident is, and the end of its write-ahead log.

    A server that was killed has not archived that. PostgreSQL asks the repository first, and believes no file of
    another server.
    """
    for place in ("log", "pg_wal"):
        (data / place).mkdir(mode=0o700, exist_ok=True)
        data_directory.give_to(account, data / place)
        for source in (aside / place).iterdir() if (aside / place).is_dir() else ():
            if source.is_file() and (place == "log" or _SEGMENT.fullmatch(source.name)):
                with contextlib.suppress(
                    OSError
                ):  # a file that a broken disk does not give is not needed here
                    shutil.copy2(source, data / place / source.name)
                    data_directory.give_to(account, data / place / source.name)


def _require_room(data: Path, target: Target) -> None:
    """Make sure that the restored data fit beside what is there."""
    free = shutil.disk_usage(data.parent).free
    needed = int(target.backup.size * _ROOM)
    if free < needed:
        msg = f"{data.parent} has {size(free)} free and the restored data need {size(needed)}; {Runbook.DISK_FULL.see}"
        raise UsageError(msg)
