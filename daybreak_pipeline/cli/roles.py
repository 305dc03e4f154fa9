"""``daybreak roles``: the database roles and their grants. ``privacy.roles`` defines them."""

from __future__ import annotations

import click

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import Group, say
from daybreak_pipeline.cli.pgbouncer import refresh_users
from daybreak_pipeline.privacy import roles as known
from daybreak_pipeline.privacy.roles import Applied


@click.group(cls=Group)
def roles() -> None:
    """Make the database roles and grant them what they may do."""


@roles.command("apply")
def apply() -> None:
    """Make the roles, set the passwords that the environment holds (DAYBREAK_APP_PASSWORD, DAYBREAK_READONLY_PASSWORD,
    DAYBREAK_ADMIN_PASSWORD), and grant everything again.
    """
    with database.serving() as db:
        done = known.apply(db)
        refresh_users(db)
    for line in done.lines:
        say(line)
    tell_applied(known.Applied(warnings=done.warnings))


@roles.command("show")
def show() -> None:
    """Show the roles as they are, and whether the grants are complete."""
    with database.serving() as db, database.connect(db) as connection:
        for line in known.show(connection):
            say(line)


def tell_applied(done: Applied) -> None:
    """Report on stderr what was applied along the way, and what could not be."""
    for line in done.lines:
        say(line, err=True)
    for warning in done.warnings:
        say(f"daybreak: warning: {warning}", err=True)
