"""What to restore: the end of the log, a time, or a restore point; and the backup from which one gets there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline.backups import points
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.runbooks import Runbook

if TYPE_CHECKING:
    from daybreak_pipeline.backups.listing import Backup
    from daybreak_pipeline.backups.points import Point

LATEST = "latest"


@dataclass(frozen=True)
class Target:
    """Where a restore goes, in words, from which backup, and pgBackRest's options for it."""

    words: str
    backup: Backup
    options: tuple[str, ...]


def find(wanted: str, backups: list[Backup], home: Path) -> Target:
    """Return the target that ``--to`` names.

    Raises:
        UsageError: there is no such restore point, the text is no time, or no backup is old enough.
    """
    if not backups:
        msg = f"there is no backup, so nothing can be restored: daybreak backup makes one; {Runbook.BACKUPS_FAIL.see}"
        raise UsageError(msg)
    if wanted == LATEST:
        return Target("the end of the log", backups[-1], ("--type=default",))
    if wanted.startswith((points.BEFORE_IMPORT, points.BEFORE_MIGRATION)):
        return to_point(_named(wanted, points.read(home)), backups)
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        msg = (
            f"--to {wanted} is neither latest nor a time such as 2026-03-04T05:06:07Z nor before-import-RUN; "
            f"{Runbook.RESTORE_TO_A_TIME.see}"
        )
        raise UsageError(msg) from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    if moment > datetime.now(UTC):
        msg = f"--to {wanted} is in the future: --to latest restores all there is; {Runbook.RESTORE_TO_A_TIME.see}"
        raise UsageError(msg)
    backup = _before(moment, [one for one in backups if one.stop <= moment], backups)
    target = f"--target={moment:%Y-%m-%d %H:%M:%S.%f}+00"
    return Target(
        f"{moment:%Y-%m-%d %H:%M:%S} UTC", backup, ("--type=time", target, "--target-action=promote")
    )


def to_point(point: Point, backups: list[Backup]) -> Target:
    """Return a restore point as a target.

    Raises:
        UsageError: no backup is old enough.
    """
    earlier = [one for one in backups if one.stop <= point.at and one.lsn <= point.lsn]
    return Target(
        f"{point.name}, {point.at:%Y-%m-%d %H:%M:%S} UTC",
        _before(point.at, earlier, backups),
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


def _before(moment: datetime, usable: list[Backup], backups: list[Backup]) -> Backup:
    if usable:
        return usable[-1]
    msg = (
        f"no backup is older than {moment:%Y-%m-%d %H:%M:%S} UTC: the first is of {backups[0].stop:%Y-%m-%d %H:%M:%S} UTC; "
        f"{Runbook.RESTORE_TO_A_TIME.see}"
    )
    raise UsageError(msg)
