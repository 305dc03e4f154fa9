"""Which drill is carried out: of the newest backup, or of a dump, as ``DAYBREAK_DRILL_FROM`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daybreak_pipeline import settings
from daybreak_pipeline.backups import drill, drill_from_dump, listing
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from datetime import datetime

    from daybreak_pipeline.backups.drill import Drill
    from daybreak_pipeline.settings import DatabaseSettings

NOT_HERE = (
    "the backups of the server that DB_HOST names cannot be restored from here: DAYBREAK_DRILL_FROM=dump has the drill dump it "
    "and restore that"
)


def run(db: DatabaseSettings, key: str) -> Drill:
    """Carry out the drill that the settings ask for.

    Raises:
        UsageError: there is nothing here to restore, and what to set.
    """
    if settings.drills_from_dump():
        return drill_from_dump.run(db, key)
    if listing.is_given():
        msg = f"{NOT_HERE}; {Runbook.BACKUPS_FAIL.see}"
        raise UsageError(msg)
    return drill.run(listing.embedded_agent(), db, key)


def is_expected() -> bool:
    """Say whether the drill should be carried out by itself."""
    return settings.drills_from_dump() or listing.are_expected()


def proven_at() -> datetime | None:
    """Return when the drill that the settings ask for last passed; None where it never did.

    Raises:
        UsageError: no backups are made here.
    """
    if settings.drills_from_dump():
        return drill_from_dump.proven_at()
    return drill.proven_at(listing.embedded_agent())
