"""``daybreak keys``: the encryption key. ``privacy.rotation`` rotates it."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import USAGE_EXIT, Group, say
from daybreak_pipeline.cli.output import progress_line
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.privacy import binding, rotation
from daybreak_pipeline.privacy import keys as key_files

_NAMED = 10


@click.group(cls=Group)
def keys() -> None:
    """Look at the encryption key, and rotate it."""


@keys.command("rotate")
def rotate() -> None:
    """Re-encrypt everything under a new key, or go on where that was stopped.

    With the embedded server the new key is made and kept beside the old one. For a given server set
    ENCRYPTION_KEY to the key in use and NEW_ENCRYPTION_KEY to the new one. From the moment the command says
    that the new key is in force, sessions with the old one are refused. It may be stopped at any moment:
    the same command goes on. Imports are refused until it has finished.
    """
    with database.serving() as db:
        readiness.provide_schema(db, migrate=False)
        exchange = key_files.exchange()
        with database.connect(db, autocommit=True) as connection, progress_line() as tell:
            try:
                outcome = rotation.rotate(connection, exchange, tell)
            except KeyboardInterrupt:
                say("daybreak keys rotate goes on where this stopped", err=True)
                raise
        old = key_files.promote() if exchange.kept else None
    _show(outcome)
    if exchange.kept:
        say(f"the new key is in {key_files.key_file()}")
        if old:
            say(f"the old one is kept in {old}: backups made before today need it")
        say("restart what was started with the old key (daybreak up, applications)")
    else:
        say(
            "set ENCRYPTION_KEY to the new key everywhere; backups made before today need the old one: keep it"
        )


def _show(outcome: rotation.Outcome) -> None:
    if outcome.finished_before:
        say("everything is under the new key already")
        return
    rows = sum(outcome.rows.values())
    say(f"everything in {rows:,} rows of {len(outcome.rows)} tables is under the new key, and was verified")
    for (relation, column), number in outcome.damaged.items():
        say(f"damaged before, and left as they are: {number:,} values of {relation}.{column}")
    if outcome.damaged:
        say("daybreak keys status names their rows")
    say(
        "the old versions of the rows take space until daybreak maintain, or its daily job, has vacuumed the tables"
    )


@keys.command("bind")
def bind() -> None:
    """Bind values that were sealed by an older version to their columns, or go on where that was stopped.

    A value that is bound shows as nothing in any other column than its own. A rotation of the key binds values too. It may
    be stopped at any moment, and imports and applications go on meanwhile.
    """
    with database.serving() as db:
        readiness.provide_schema(db, migrate=False)
        key = key_files.load()
        with database.connect(db, key=key, autocommit=True) as connection, progress_line() as tell:
            with connection.transaction():
                key_files.verify(connection)
            rows = binding.bind(connection, tell)
    if not rows:
        say("every sealed value is bound to its column already")
        return
    say(f"the values in {sum(rows.values()):,} rows of {len(rows)} tables are bound to their columns")


@keys.command("status", exits={2: "the key does not fit, or a rotation is unfinished"})
def status() -> None:
    """Say whether the key fits the database, and how far a rotation is. Exits with 2 when something is to be done."""
    with database.serving() as db:
        readiness.provide_schema(db, migrate=False)
        key = key_files.exchange().current
        with database.connect(db, key=key) as connection:
            found = rotation.status(connection)
            unbound = binding.unbound(connection)
    fits = {True: "fits the database", False: "is not the database's", None: "is new to the database"}
    say(f"the key {fits[found.fits]}" if key else f"{key_files.key_file()} is missing")
    _show_last(found)
    if found.unfinished:
        say("to finish it: daybreak keys rotate")
    elif unbound:
        say(f"values of {', '.join(unbound)} are not all bound to their columns yet: daybreak keys bind")
    sys.exit(USAGE_EXIT if found.unfinished or found.fits is False else 0)


def _show_last(found: rotation.Status) -> None:
    if found.started_at is None:
        say("it was never rotated")
        return
    state = f"finished {found.finished_at:%Y-%m-%d %H:%M:%S} UTC" if found.finished_at else "unfinished"
    say(f"rotation {found.rotation_id}, begun {found.started_at:%Y-%m-%d %H:%M:%S} UTC: {state}")
    if found.unfinished:
        for phase, relation, rows, finished in found.steps:
            say(f"  {phase} {relation}: {rows:,} rows{'' if finished else ', not finished'}")
    for relation, column, row_key in found.damaged[:_NAMED]:
        say(f"  damaged: {relation}.{column} of row {row_key}")
    if len(found.damaged) > _NAMED:
        say(f"  {len(found.damaged) - _NAMED:,} more are in privacy.damaged_values")
