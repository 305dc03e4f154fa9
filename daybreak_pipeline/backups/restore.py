"""Restores the embedded server beside what is there, for good or for a short look; ``in_place`` restores over it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import archiving, data_directory, replacing, server_log
from daybreak_pipeline.embedded_postgres import process as server_process
from daybreak_pipeline.embedded_postgres.archiving import Agent
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import DEFAULT_DATABASE, DatabaseSettings
from daybreak_pipeline.wording import size

if TYPE_CHECKING:
    from daybreak_pipeline.backups.targets import Target
    from daybreak_pipeline.embedded_postgres.programs import Account

_ROOM = 1.1
_WAIT_SECONDS = 1800
_POLL_SECONDS = 0.2
_LISTENS = re.compile(r"^(port|listen_addresses|unix_socket_directories) *=.*\n", re.MULTILINE)
_NOTHING_AFTER = "recovery ended before configured recovery target was reached"


@dataclass(frozen=True)
class Restored:
    """What a restore did: how long it took, and where what was there before is kept."""

    seconds: float
    kept: Path | None


def into(agent: Agent, target: Target, directory: Path) -> Restored:
    """Restore into a directory, which becomes a home of its own that archives nothing; its server is left stopped.

    Raises:
        UsageError: the directory is not empty, or the restore failed and left nothing.
    """
    begun = time.monotonic()
    if directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty: name a new directory; {Runbook.RESTORE_TO_A_TIME.see}"
        raise UsageError(msg)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = directory.resolve()
    try:
        data = data_directory.new_data(directory, agent.account)
        with recovered(agent, target, data):
            for name in (data_directory.PASSWORD_FILE, "encryption.key"):
                source = agent.home / name
                if source.exists():
                    data_directory.write_file(
                        directory / name, source.read_text(encoding="ascii"), like=directory
                    )
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)  # it was empty
        raise
    return Restored(time.monotonic() - begun, None)


@contextmanager
def scratch(agent: Agent, purpose: str) -> Iterator[Path]:
    """Yield where data go that nobody needs afterwards, beside the server's; nothing of them is left."""
    data = agent.data.with_name(f"{agent.data.name}-{purpose}")
    with _alone(agent, purpose):
        _remove(data, agent.account)
        try:
            yield data
        finally:
            _remove(data, agent.account)


@contextmanager
def _alone(agent: Agent, purpose: str) -> Iterator[None]:
    """Wait until no other command does the same: it would take this one's data for what a killed one left.

    Raises:
        UsageError: one has been at it for too long.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    descriptor = os.open(agent.state / f"{purpose}.alone", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        data_directory.own_as(agent.state, descriptor)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    msg = (
                        f"another command has been restoring for {_WAIT_SECONDS // 60} minutes: try again when it has ended; "
                        f"{Runbook.RESTORE_TO_A_TIME.see}"
                    )
                    raise UsageError(msg) from None
                time.sleep(_POLL_SECONDS)
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _remove(data: Path, account: Account) -> None:
    server_process.end_all(replacing.filling(data), account)
    if data.exists():
        server_process.stop(data)
        shutil.rmtree(data)
    shutil.rmtree(server_log.directory(data), ignore_errors=True)


@contextmanager
def recovered(agent: Agent, target: Target, data: Path) -> Iterator[DatabaseSettings]:
    """Yield a server of its own that was restored into a new data directory, and stop it afterwards.

    It archives nothing and has a port and a socket of its own, beside the server that was backed up.

    Raises:
        UsageError: it could not be restored; nothing of it is left.
    """
    require_room(data, target)
    try:
        # Else it would push its log into the repository of the server that it is a copy of.
        fetch(agent, target, data, "--archive-mode=off")
        _listen_elsewhere(data)
        with to_its_target():
            port = server_process.start(data, agent.account)
            server_process.await_recovered(data)
        password = data_directory.password(agent.home)
        if not lets_in(port, password):
            server_process.stop(data)
            server_process.set_password(data, agent.account, password)
            port = server_process.start(data, agent.account)
    except BaseException:
        server_process.stop(data) if data.exists() else None
        shutil.rmtree(data, ignore_errors=True)
        raise
    try:
        yield _login(port, password)
    finally:
        server_process.stop(data)


def _listen_elsewhere(data: Path) -> None:
    """Forget where an administrator (``ALTER SYSTEM``) has the source listen: it does so still."""
    path = data / "postgresql.auto.conf"
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    data_directory.write_file(path, _LISTENS.sub("", text), like=data)


def lets_in(port: int, password: str) -> bool:
    """Say whether a restored server knows the administrator's password of now.

    It does not where the home was lost since then, or new: with the next one comes another password.
    """
    try:
        database.connect(replace(_login(port, password), name="postgres")).close()
    except UsageError:
        return False
    return True


def _login(port: int, password: str) -> DatabaseSettings:
    login = (DEFAULT_DATABASE, data_directory.ADMINISTRATOR, password)
    return DatabaseSettings(data_directory.HOST, port, *login, sslmode="disable")


def fetch(agent: Agent, target: Target, data: Path, archive_mode: str) -> None:
    """Have pgBackRest fill a new data directory."""
    archiving.own_directory(data, agent.account)
    agent.write()
    agent.do(
        replacing.filling(data),
        agent.recovery,
        f"--set={target.backup.label}",
        archive_mode,
        *target.options,
        "restore",
    )


@contextmanager
def to_its_target() -> Iterator[None]:
    """Say what it means that a server, started or waited for in the block, does not get to the target of its recovery.

    Raises:
        UsageError: it does not get there, and why.
    """
    try:
        yield
    except UsageError as error:
        if _NOTHING_AFTER in str(error):
            msg = (
                "the log in the repository does not reach this point: if nothing was written after it, --to latest is "
                f"the same; else a part of the log is missing; {Runbook.RESTORE_TO_A_TIME.see}"
            )
            raise UsageError(msg) from None
        raise


def require_room(data: Path, target: Target) -> None:
    """Make sure that the restored data fit beside what is there."""
    free = shutil.disk_usage(data.parent).free
    needed = int(target.backup.size * _ROOM)
    if free < needed:
        msg = f"{data.parent} has {size(free)} free and the restored data need {size(needed)}; {Runbook.DISK_FULL.see}"
        raise UsageError(msg)
