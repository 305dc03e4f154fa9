"""``daybreak migrate``: the schema's migrations. ``schema`` runs them."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline import database
from daybreak_pipeline.backups import migrations
from daybreak_pipeline.cli.common import Group, confirmed, say
from daybreak_pipeline.cli.pgbouncer import refresh_users
from daybreak_pipeline.cli.roles import tell_applied
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys, roles
from daybreak_pipeline.schema import runner

_NAMED = 3


@click.group(cls=Group)
def migrate() -> None:
    """Apply or roll back the schema's migrations."""


@migrate.command("up")
@click.option("--to", metavar="N", help="Stop after migration N (default: the newest).")
def up(to: str | None) -> None:
    """Apply the migrations that the database lacks."""
    with database.serving() as db:
        roles.require_importer(db)
        migrations.keep(db)
        applied = runner.upgrade(db, to, key=keys.held())
        for migration in applied:
            say(f"applied {migration.revision} {migration.name}")
        if not applied:
            say("nothing to apply")
        with database.connect(db) as connection:
            newest = runner.current_revision(connection) == runner.newest_revision()
        if newest:  # the grants are written for the newest schema
            applied_roles = roles.ensure(db)
            tell_applied(applied_roles)
            if applied_roles.lines:
                refresh_users(db)
        if to is None:
            runner.require_written()


@migrate.command("down")
@click.option("--to", metavar="N", help="Go back to migration N, 0 for none (default: one step back).")
@click.option("--yes", is_flag=True, help="Do not ask, also when tables hold rows.")
def down(to: str | None, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Take migrations back, newest first. Asks first when tables hold rows."""
    if to is not None and not to.isdecimal():
        msg = f"--to {to} is not the number of a migration"
        raise UsageError(msg)
    with database.serving() as db:
        roles.require_importer(db)
        with database.connect(db) as connection:
            current = runner.current_revision(connection)
            filled = runner.tables_with_rows(connection)
        if current is None:
            say("nothing to roll back")
            return
        if to is not None:
            runner.require_applied(current, to)  # before anybody is asked, or told to make a backup
        if filled and not yes:
            _ask_before_loss(filled)
        migrations.keep(db)
        for migration in runner.downgrade(db, to or str(int(current) - 1), key=keys.held()):
            say(f"took back {migration.revision} {migration.name}")


@migrate.command("status")
def status() -> None:
    """Show which migrations the database has."""
    with database.serving() as db, database.connect(db) as connection:
        current = int(runner.current_revision(connection) or 0)
        changed = runner.changed(connection)
    for migration in runner.migrations():
        state = "applied" if int(migration.revision) <= current else "pending"
        if migration in changed:
            state = "changed since it was applied"
        elif migration.unwritten:
            state = "unwritten"
        say(f"{state}  {migration.revision} {migration.name}")


@migrate.command("new")
@click.argument("name")
def new(name: str) -> None:
    """Write the pair of files of a new migration, to be filled in."""
    for path in runner.write_new(name):
        say(path)


def _ask_before_loss(filled: list[str]) -> None:
    more = " …" if len(filled) > _NAMED else ""
    question = f"{len(filled)} tables hold rows ({', '.join(filled[:_NAMED])}{more}); they can be lost"
    if not sys.stdin.isatty():
        msg = f"{question}: make a backup, then repeat with --yes"
        raise UsageError(msg)
    if not confirmed(f"{question}. Go on?"):
        msg = "nothing was changed"
        raise UsageError(msg)
