"""``daybreak audit reads``: has the server log reads of the decrypting views. ``privacy.read_log`` does it."""

from __future__ import annotations

import click

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import Group, say
from daybreak_pipeline.privacy import read_log


@click.group(cls=Group)
def reads() -> None:
    """Have reads of the app views logged by the server, whoever's SQL they are: pgaudit, where the server has it."""


@reads.command("on")
def on() -> None:
    """Log them, in sessions that begin from now on; never a statement's text. Takes a superuser."""
    with database.serving() as db, database.connect(db) as connection:
        read_log.turn_on(connection)
        say(f"reads: {read_log.state(connection).describe()}")


@reads.command("off")
def off() -> None:
    """Log them no more, in sessions that begin from now on."""
    with database.serving() as db, database.connect(db) as connection:
        read_log.turn_off(connection)
        say(f"reads: {read_log.state(connection).describe()}")


@reads.command("status")
def status() -> None:
    """Say whether they are logged, and what is missing."""
    with database.serving() as db, database.connect(db) as connection:
        say(f"reads: {read_log.state(connection).describe()}")
