"""pgBackRest, the program that makes backups: where it is, how to get it, how it runs, and what its errors mean.

`make install` runs this module (``python -m daybreak_pipeline.embedded_postgres.pgbackrest``). With what configuration
it runs belongs to ``archiving``; what is done with backups to the folder ``backups``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.embedded_postgres.bootstrap import provide_package
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from daybreak_pipeline.embedded_postgres.programs import Account

PACKAGE = "pgbackrest"
MISSING = (
    "pgBackRest is not installed, so there are no backups and nothing can be restored: install it (Debian, Ubuntu: "
    "`apt-get install pgbackrest`) and start the server again"
)
_ERROR = re.compile(r"ERROR: \[(\d{3})\]: ([^\n]*)")
_UNREADABLE = re.compile("CryptoError|(Json|)FormatError|ChecksumError")
"""What a wrong key leads to depends on chance: it may seem to open a file, which then makes no sense."""
_AWAY = re.compile(r"HostConnectError: (unable to connect to '[^'\n]{1,200}'[ -~]{0,100})")
_LONGEST = 300
WRONG_KEY = 29
MEANINGS = {
    28: "the repository holds backups of another server: restore them with daybreak restore --to latest, or set "
    "DAYBREAK_BACKUP_REPO to another place",
    WRONG_KEY: "the repository was encrypted with another key: set DAYBREAK_BACKUP_KEY to it, or put its file backup.key back",
    50: "another backup or restore is running: try again when it has ended",
    82: "the write-ahead log does not reach the repository: the server's log says why",
}
"""What pgBackRest's error codes mean here, where its own words would not help."""


class BackupError(UsageError):
    """pgBackRest could not do what it was asked to do. ``code`` is its own number of the error."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """What a run of the program printed, and its exit code, which alone proves nothing."""

    code: int
    text: str
    errors: str


def program() -> str | None:
    """Return the program's path, None where it is not installed."""
    found = shutil.which("pgbackrest")
    return found and os.path.realpath(found)


def run(command: list[str], account: Account, **variables: str) -> Answer:
    """Run the program to its end as the server's user, with nothing of our environment.

    Interrupted, it is ended: it cleans up after itself, and nothing half-made counts.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=programs.environment(**variables),
        start_new_session=True,
        umask=0o077,
        text=True,
        errors="replace",
        **account.popen(),
    )
    try:
        text, errors = process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
        raise
    return Answer(process.returncode, text, errors)


def problem(answer: Answer) -> BackupError:
    """Return what an answer says went wrong, in one line; never what it read with a wrong key."""
    found = _ERROR.search(answer.errors) or _ERROR.search(answer.text)
    if found is None:
        return BackupError(
            f"pgBackRest ended with code {answer.code} and said nothing; {Runbook.BACKUPS_FAIL.see}"
        )
    code, said = int(found[1]), found[2].strip()
    if not (said.isascii() and said.isprintable()):
        said = "the repository cannot be read with this key"
    if _UNREADABLE.search(answer.errors):
        code = WRONG_KEY
    away = _AWAY.search(answer.errors)
    if away:
        return BackupError(f"the repository cannot be reached, {away[1]}; {Runbook.BACKUPS_FAIL.see}", code)
    meaning = MEANINGS.get(code, f"pgBackRest says: {said[:_LONGEST]}")
    return BackupError(f"{meaning}; {Runbook.BACKUPS_FAIL.see}", code)


def install() -> bool:
    """Provide the program where root can, and return whether it is there."""
    return provide_package(PACKAGE, program)


def main() -> int:
    """Run `install` as a command. Everything else works without the program: its absence is no failure."""
    sys.stdout.write(f"pgBackRest is there: {program()}\n" if install() else f"{MISSING}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
