"""What to restore: the end of the log, a time, or a restore point; and the backup from which one gets there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline.backups import listing, points, timelines
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from daybreak_pipeline.backups.listing import Backup
    from daybreak_pipeline.backups.points import Point
    from daybreak_pipeline.backups.timelines import Timelines
    from daybreak_pipeline.embedded_postgres.archiving import Agent

LATEST = "latest"


@dataclass(frozen=True)
class Target:
    """Where a restore goes, in words, from which backup, and pgBackRest's options for it."""

    words: str
    backup: Backup
    options: tuple[str, ...]


def aim(agent: Agent, wanted: str) -> Target:
    """Return the target that ``--to`` names, as the repository and the home know it.

    Raises:
        UsageError: it cannot be restored, and why.
    """
    backups = listing.read(agent)
    return find(wanted, backups, agent.home, timelines.read(agent, backups))


def find(wanted: str, backups: list[Backup], home: Path, branches: Timelines) -> Target:
    """Return the target that ``--to`` names.

    Raises:
        UsageError: there is no such restore point, the text is no time, or no backup leads there.
    """
    if not backups:
        msg = f"there is no backup, so nothing can be restored: daybreak backup makes one; {Runbook.BACKUPS_FAIL.see}"
        raise UsageError(msg)
    if wanted == LATEST:
        usable = [one for one in backups if branches.leads(one, branches.newest)]
        return Target("the end of the log", _newest(usable, backups), ("--type=default",))
    if wanted.startswith((points.BEFORE_IMPORT, points.BEFORE_MIGRATION)):
        return to_point(_named(wanted, points.read(home)), backups, branches)
    moment = _moment(wanted)
    timeline = branches.at(moment)
    usable = [one for one in backups if one.stop <= moment and branches.leads(one, timeline)]
    options = ["--type=time", f"--target={moment:%Y-%m-%d %H:%M:%S.%f}+00", "--target-action=promote"]
    if timeline != branches.newest:  # the server was restored since then, and its log has gone another way
        options.append(f"--target-timeline={timeline}")
    return Target(f"{moment:%Y-%m-%d %H:%M:%S} UTC", _newest(usable, backups, moment), tuple(options))


def _moment(wanted: str) -> datetime:
    """Return the time that a text names; UTC unless it says otherwise.

    Raises:
        UsageError: it is none, or has not been yet.
    """
    try:
        moment = datetime.fromisoformat(wanted.strip())
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = (
            f"--to {wanted} is neither latest nor a time such as 2026-03-04T05:06:07Z nor before-import-RUN; "
            f"{Runbook.RESTORE_TO_A_TIME.see}"
        )
        raise UsageError(msg) from None
    now = datetime.now(UTC)
    if moment > now:
        msg = (
            f"--to {wanted} is in the future, it is {now:%Y-%m-%d %H:%M:%S} UTC: --to latest restores all there is; "
            f"{Runbook.RESTORE_TO_A_TIME.see}"
        )
        raise UsageError(msg)
    return moment


def to_point(point: Point, backups: list[Backup], branches: Timelines) -> Target:
    """Return a restore point as a target.

    Raises:
        UsageError: no backup leads there.
    """
    # By its place in the log, which no clock that was set changes.
    usable = [one for one in backups if one.lsn <= point.lsn and branches.leads(one, point.timeline)]
    return Target(
        f"{point.name}, {point.at:%Y-%m-%d %H:%M:%S} UTC",
        _newest(usable, backups, point.at),
        (
            "--type=name",
            f"--target={point.name}",
            # Also after another restore, from which on the log has gone another way.
            f"--target-timeline={point.timeline}",
            "--target-action=promote",
        ),
    )


def _named(wanted: str, known: list[Point]) -> Point:
    cut = points.RUN_CHARACTERS + len(points.BEFORE_IMPORT)
    name = wanted[:cut] if wanted.startswith(points.BEFORE_IMPORT) else wanted
    for point in reversed(known):
        if point.name == name:
            return point
    msg = (
        f"there is no restore point {name}: daybreak backups lists those that there are. An import that changed "
        f"nothing has none; on a new machine, give a time instead; {Runbook.UNDO_AN_IMPORT.see}"
    )
    raise UsageError(msg)


def _newest(usable: list[Backup], backups: list[Backup], moment: datetime | None = None) -> Backup:
    """Return the newest of the backups that lead to a moment.

    Raises:
        UsageError: there is none.
    """
    if usable:
        return usable[-1]
    if moment and backups[0].stop > moment:
        msg = (
            f"no backup is older than {moment:%Y-%m-%d %H:%M:%S} UTC: the first is of {backups[0].stop:%Y-%m-%d %H:%M:%S} "
            f"UTC; {Runbook.RESTORE_TO_A_TIME.see}"
        )
        raise UsageError(msg)
    msg = (
        "no backup leads there: those that there are were made on what a restore has left behind, and daybreak backup "
        f"makes one that does; {Runbook.RESTORE_TO_A_TIME.see}"
    )
    raise UsageError(msg)
