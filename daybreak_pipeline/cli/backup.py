"""``daybreak backup``: makes a backup, proves it. ``backups`` does the work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from daybreak_pipeline import database
from daybreak_pipeline.backups import drilling, given, listing, make
from daybreak_pipeline.cli.common import Group, say
from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.orchestration import backup_events
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.wording import size


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--full", is_flag=True, help="Of everything, not only of what changed since the last full backup."
)
@click.pass_context
def backup(context: click.Context, full: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Back up the embedded server, encrypted; what has expired is deleted."""
    if context.invoked_subcommand:
        return
    agent = listing.embedded_agent()
    with database.serving() as db, database.connect(db, autocommit=True) as connection:
        made = make.make(agent, connection, "full" if full else "diff")
        say(
            f"backup {made.label}: {made.type}, {size(made.size)} in {made.seconds} s, {size(made.stored)} stored"
        )
        say(f"kept in {agent.where}")
        with _shown_in_dagster():
            backup_events.show_backup(db, made, agent.where)


@backup.command("drill", exits={1: "the newest backup cannot be restored, or differs"})
def drill_() -> None:
    """Restore the newest backup, or a dump, beside the server, compare every table, open sealed values, run the checks.

    DAYBREAK_DRILL_FROM says which: a dump, where the server's provider makes the backups.
    """
    with database.serving() as db:
        found = drilling.run(db, keys.load())
        say(found)
        say(f"the drill took {found.seconds:.0f} s and left nothing behind", err=True)
        with _shown_in_dagster():
            backup_events.show_drill(db, found)
    sys.exit(0 if found.passed else 1)


@contextmanager
def _shown_in_dagster() -> Iterator[None]:
    """Say on stderr where Dagster could not be told: what the command did is done all the same."""
    try:
        yield
    except DaybreakError as error:
        say(f"the web UI does not show it: {error}", err=True)


@backup.command("config")
def config() -> None:
    """Write what the machine of a given server (DB_HOST) needs to be backed up by pgBackRest, and say what to do there.

    Of a managed server, the provider's own backups count.
    """
    if not listing.is_given():
        msg = "the embedded server is configured by itself at every start: set DB_HOST to the server that is meant"
        raise UsageError(msg)
    with database.serving() as db, database.connect(db) as connection:
        written = given.write(connection)
    say(f"written to {written.directory}, with the key of the backups in it; on the server's machine:")
    for number, step in enumerate(written.steps, start=1):
        say(f"{number}. {step}")
