"""``daybreak run`` and ``daybreak psql``: other programs, with the server up and what they need in their environment."""

from __future__ import annotations

import subprocess
import sys

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli.common import Command
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness

_EXITS = {1: "the program's own", 2: "the program's own"}


@click.command(
    cls=Command,
    exits=_EXITS,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database; arguments are psql's."""
    with database.serving() as db:
        # Files that a person writes with \\o or \\copy get that person's own umask.
        umask = settings.users_umask()
        sys.exit(foreground([programs.client("psql"), *arguments], db.libpq_environment(), umask=umask))


@click.command(
    cls=Command,
    exits=_EXITS,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(command: tuple[str, ...]) -> None:
    """Run any command with the server up, and DB_*, ENCRYPTION_KEY and DAGSTER_HOME set (run -- CMD …).

    Files that the command makes may be read by you alone (umask 077): Dagster's programs, say, write below
    DAYBREAK_HOME. Set another umask in the command if its output is for others: run -- sh -c 'umask 022; …'.
    """
    with readiness.ready(migrate=False) as installation:
        sys.exit(foreground(list(command), installation.environment()))


def foreground(command: list[str], environment: dict[str, str], *, umask: int = -1) -> int:
    """Run a child in the foreground, leaving Ctrl-C to it, and return its exit code.

    Args:
        command: the program and its arguments.
        environment: variables for the child, in addition to this process's own.
        umask: the child's; this process's where it is -1.
    """
    try:
        child = subprocess.Popen(command, env=settings.child_environment(**environment), umask=umask)
    except OSError as error:
        msg = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError(msg) from None
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to the child too
        return code if code >= 0 else 128 - code
