"""Whether data could be restored if they were lost now: what ``daybreak doctor`` says of backups."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daybreak_pipeline import settings
from daybreak_pipeline.backups import drill_from_dump, listing, make
from daybreak_pipeline.embedded_postgres import pgbackrest
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.wording import age

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# Nothing of it can be seen from here, so it is no advice either.
_GIVEN = (
    "not ours to make. On the machine of DB_HOST: daybreak backup config says what its administrator needs. Of a "
    "managed server, the provider's backups count: find out for how long they are kept, and restore one"
)
_TO_DRILL = "set DAYBREAK_DRILL_FROM=dump, and the drill proves at least that a dump can be restored"


@dataclass(frozen=True)
class Health:
    """A judgement on the backups. ``advice`` marks what a developer's machine may do without, and production may not."""

    good: bool
    text: str
    advice: bool = False


def judge(connection: Connection) -> Health:
    """Return whether the server could be restored. Changes nothing."""
    try:
        if listing.is_given():
            return Health(good=True, text=f"{_GIVEN}; {_drills()}; {Runbook.DISASTER_RECOVERY.see}")
        if not settings.backups().wanted:
            return _wanting("turned off: DAYBREAK_BACKUP_REPO is none")
        if pgbackrest.program() is None:
            return _wanting(pgbackrest.MISSING)
        return _judge_embedded(connection)
    except UsageError as error:
        return Health(good=False, text=str(error))


def _drills() -> str:
    """Say what the drill of a given server proves, and when it last did."""
    if not settings.drills_from_dump():
        return _TO_DRILL
    proven = drill_from_dump.proven_at()
    when = (
        f"last passed {age(int((datetime.now(UTC) - proven).total_seconds()))} ago"
        if proven
        else "never passed"
    )
    return f"the drill works from a dump, and has {when}"


def _judge_embedded(connection: Connection) -> Health:
    agent = listing.embedded_agent()
    make.require_archiving(agent, connection)
    trouble = str(make.archiver(agent, connection))
    if trouble:
        return Health(good=False, text=trouble)
    found = listing.read(agent)
    if not found:
        return _wanting("no backup yet: daybreak backup makes one")
    old = datetime.now(UTC) - found[-1].stop
    text = f"{len(found)}, the newest {age(int(old.total_seconds()))} old, in {agent.where}"
    if old > make.LATE_AFTER:
        return _wanting(f"{text}; one is due: daybreak backup")
    return Health(good=True, text=text, advice=agent.on_the_same_disk)


def _wanting(text: str) -> Health:
    production = settings.environment() == "production"
    return Health(good=not production, text=f"{text}; {Runbook.BACKUPS_FAIL.see}", advice=True)
