"""``daybreak restore``: the embedded server as it was. ``backups.restore`` does the work."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import in_place, listing, recovered, restore, targets
from daybreak_pipeline.cli.common import Command, confirmed, say, say_lines
from daybreak_pipeline.embedded_postgres.archiving import Agent
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
@click.option(
    "--table",
    metavar="TABLE",
    help="Bring this table back into the schema recovered, and leave everything as it is.",
)
@click.option(
    "--put-back",
    type=click.Choice(["missing", "all"]),
    help="With --table: write the rows that are missing now into the table, or also those that are different.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore_(
    to: str,
    into: Path | None,
    table: str | None,
    put_back: str | None,
    yes: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Restore the embedded server: everything, or as of a time, or as before an import. What was there is kept aside.

    Asks first, unless it goes into another directory or is one table. Dagster's records of runs go back, too.
    """
    if (table and into) or (put_back and not table):
        msg = "--table and --into do not go together, and --put-back goes with --table"
        raise UsageError(msg)
    agent = listing.embedded_agent()
    agent.write()
    target = targets.aim(agent, to)
    if table:
        _bring_back(agent, target, table, put_back)
        return
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


def _bring_back(agent: Agent, target: targets.Target, table: str, put_back: str | None) -> None:
    with database.serving() as db:
        with restore.scratch(agent, "table") as data, restore.recovered(agent, target, data) as copy:
            found = recovered.bring_back(copy, db, table)
        say(f"{found.rows:,} rows of {table}, {target.words}, are in {recovered.SCHEMA}.{found.table}")
        if put_back:
            with database.connect(db, key=keys.held(), autocommit=True) as connection:
                rows = recovered.put_back(connection, found, different=put_back == "all")
            say(f"put back into {table}: {rows:,} rows")
    if found.sql is None:
        say(f"{table} is not there any more, or has no key: there is no SQL to compare it with")
    else:
        say_lines(str(found.sql))


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
    if state.fits is False:
        where = settings.home()
        say(
            "daybreak: warning: the encryption key of now is not that of these data: put back the one of then, such as "
            f"{where}/encryption.key.old-TIME as encryption.key; {Runbook.LOST_KEY.see}",
            err=True,
        )
