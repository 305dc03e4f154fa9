"""``daybreak restore``: the embedded server as it was. ``backups.restore`` does the work."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import in_place, listing, restore, targets
from daybreak_pipeline.cli.common import Command, confirmed, say
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.runbooks import Runbook


@click.command("restore", cls=Command)
@click.option(
    "--to",
    required=True,
    metavar="latest|TIME|before-import-RUN",
    help="All there is; as of a time (UTC unless it says otherwise); or before an import, named by its run.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Restore into this new directory and leave the server as it is.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore_(to: str, into: Path | None, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Restore the embedded server: everything, or as of a time, or as before an import. What was there is kept aside.

    Asks first, unless it goes into another directory. Dagster's records of runs go back, too.
    """
    agent = listing.embedded_agent()
    agent.write()
    target = targets.find(to, listing.read(agent), agent.home)
    if into:
        done = restore.into(agent, target, into.expanduser().absolute())
        say(f"restored {target.words} into {into} in {done.seconds:.0f} s")
        say(f"look at it with: DAYBREAK_HOME={into} daybreak psql")
        return
    if not yes:
        _ask(target)
    done = in_place.restore(agent.home, target)
    say(f"restored {target.words} from backup {target.backup.label} in {done.seconds:.0f} s")
    if done.kept:
        say(f"what was there before is kept in {done.kept}: delete it when nobody needs it any more")
    _say_whether_the_key_fits()
    say("Dagster's records of runs are as of then, too; the next import loads what has changed since")


def _ask(target: targets.Target) -> None:
    question = f"everything becomes as of {target.words}; what was written later is kept aside only"
    if not sys.stdin.isatty():
        msg = f"{question}: repeat with --yes"
        raise UsageError(msg)
    if not confirmed(f"{question}. Go on?"):
        msg = "nothing was changed"
        raise UsageError(msg)


def _say_whether_the_key_fits() -> None:
    key = keys.held()
    with database.serving() as db, database.connect(db, key=key) as connection:
        if database.value(connection, "SELECT to_regclass('privacy.key_check') IS NULL"):
            return
        state = keys.state(connection)
    if key is None or state.fits is False:
        where = settings.home()
        say(
            "daybreak: warning: the encryption key of now is not that of these data: put back the one of then, such as "
            f"{where}/encryption.key.old-TIME as encryption.key; {Runbook.LOST_KEY.see}",
            err=True,
        )
