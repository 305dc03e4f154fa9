"""Restores the embedded server over what is there, which is kept aside."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline.backups import listing
from daybreak_pipeline.backups.restore import Restored, fetch, lets_in, require_room, to_its_target
from daybreak_pipeline.embedded_postgres import archiving, data_directory, replacing, server
from daybreak_pipeline.embedded_postgres import process as server_process
from daybreak_pipeline.embedded_postgres.archiving import Agent

if TYPE_CHECKING:
    from daybreak_pipeline.backups.targets import Target
    from daybreak_pipeline.embedded_postgres.programs import Account

_SEGMENT = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")


def restore(home: Path, target: Target) -> Restored:
    """Restore the server of a home. What was there is moved aside and kept; if the restore fails, it is put back.

    Nobody may be using the server. It is stopped afterwards, as before.

    Raises:
        UsageError: nothing was changed, and why.
    """
    begun = time.monotonic()
    home = home.resolve()
    with server.stopped(home) as (data, account):
        require_room(data, target)
        password = data_directory.password(home, create=True)
        agent = _agent(home, data, account)
        agent.write()
        with replacing.replacing(home, data, account) as aside:
            fetch(agent, target, data, "--archive-mode=preserve")
            if aside:
                _take_over(aside, data, account)
            archive = _archive(home, data, account)
            with to_its_target():
                port = server_process.start(data, account, archive)
                server_process.await_recovered(data)
            known = lets_in(port, password)
            server_process.stop(data)
            if not known:
                server_process.set_password(data, account, password)
    return Restored(time.monotonic() - begun, aside)


def _agent(home: Path, data: Path, account: Account) -> Agent:
    found = archiving.agent(home, data, account)
    return found or listing.embedded_agent()  # which says why there is none


def _archive(home: Path, data: Path, account: Account) -> server_process.Archive:
    return lambda port, sockets: archiving.prepare(home, data, account, port=port, sockets=sockets)


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
