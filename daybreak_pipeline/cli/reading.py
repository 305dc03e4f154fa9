"""Records that a command is about to show a row, and who asked for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import say
from daybreak_pipeline.privacy import audit

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


def put_on_record(connection: Connection, how: str, rows: Iterable[tuple[str, str | None]]) -> None:
    """Write a line of the audit trail for each row; if that is impossible, warn, and let the caller go on."""
    connection.rollback()  # what has been read so far; the line is committed before anything is shown
    unrecorded = audit.record_reads(connection, how, rows, person=settings.account())
    if unrecorded:
        say(f"daybreak: warning: {unrecorded}", err=True)
