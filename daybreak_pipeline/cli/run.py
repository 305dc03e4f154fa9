"""``daybreak run`` and ``daybreak psql``: other programs, with the server up and what they need in their environment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli.common import Command
from daybreak_pipeline.embedded_postgres import programs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.settings import DatabaseSettings, variables

_OF_OTHERS = settings.secret_names() | {variables.DB_USER.name}
"""Variables that an application does not get from us: a program that read them would log in as the tables' owner."""
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
@click.option(
    "--application",
    "as_application",
    is_flag=True,
    help="Set what an application needs, and nothing of DB_USER's: PG* for the role daybreak_app, whose password is in "
    "DAYBREAK_APP_PASSWORD, and ENCRYPTION_KEY.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(command: tuple[str, ...], as_application: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Run any command with the server up, and DB_*, ENCRYPTION_KEY and DAGSTER_HOME set (run -- CMD …).

    Files that the command makes may be read by you alone (umask 077): Dagster's programs, say, write below
    DAYBREAK_HOME. Set another umask in the command if its output is for others: run -- sh -c 'umask 022; …'.
    """
    with readiness.ready(migrate=False) as installation:
        if as_application:
            sys.exit(foreground(list(command), _application(installation), without=_OF_OTHERS))
        environment = installation.environment()
        # The command finds the export as we have: where nobody has set one, what was delivered is looked for elsewhere.
        del environment["DAYBREAK_EXPORT_DIR"]
        sys.exit(foreground(list(command), environment))


def _application(installation: Installation) -> dict[str, str]:
    """Return what an application finds in its environment, once its login was seen to work.

    Raises:
        UsageError: its password is not known, or the server refuses it.
    """
    password = settings.role_login(roles.APP.name).password
    if not password:
        msg = f"set DAYBREAK_APP_PASSWORD to the password of {roles.APP.name}, or to a new one and run daybreak roles apply"
        raise UsageError(msg)
    login: DatabaseSettings = replace(installation.database, user=roles.APP.name, password=password)
    try:
        database.connect(login).close()
    except UsageError as error:
        msg = f"{error}; daybreak roles apply sets the password of {roles.APP.name} to DAYBREAK_APP_PASSWORD"
        raise UsageError(msg) from None
    found = login.libpq_environment()
    if found["PGSSLMODE"] == "prefer":  # libpq's own default, which Node's driver takes for verify-full
        del found["PGSSLMODE"]
    return found | ({"ENCRYPTION_KEY": installation.key} if installation.key else {})


def foreground(
    command: list[str], environment: dict[str, str], *, umask: int = -1, without: Collection[str] = ()
) -> int:
    """Run a child in the foreground, leaving Ctrl-C to it, and return its exit code.

    Args:
        command: the program and its arguments.
        environment: variables for the child, in addition to this process's own.
        umask: the child's; this process's where it is -1.
        without: variables of this process that the child does not get.
    """
    passed = {
        name: value for name, value in settings.child_environment().items() if name not in without
    } | environment
    try:
        child = subprocess.Popen(command, env=passed, umask=umask)
    except OSError as error:
        msg = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError(msg) from None
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to the child too
        return code if code >= 0 else 128 - code
