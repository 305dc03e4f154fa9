"""Puts on record that a command is about to show a row, and who asked for it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from typing import TYPE_CHECKING

from daybreak_pipeline.cli.common import say
from daybreak_pipeline.privacy import audit

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


def put_on_record(connection: Connection, how: str, rows: Iterable[tuple[str, str | None]]) -> None:
    """Write a line of the audit trail for each row; where that cannot be, say so, and let the answer follow."""
    connection.rollback()  # what has been read so far; the line is committed before anything is shown
    unrecorded = audit.record_reads(connection, how, rows, person=account())
    if unrecorded:
        say(f"daybreak: warning: {unrecorded}", err=True)


def account() -> str:
    """Return the machine's account that runs the command, or the one that became root to run it."""
    number = os.getuid()
    if number == 0 and os.environ.get("SUDO_USER"):
        return f"account {os.environ['SUDO_USER']}"
    try:
        return f"account {pwd.getpwuid(number).pw_name}"
    except KeyError:  # in a container a number may have no name
        return f"account {number}"
