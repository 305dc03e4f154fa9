"""``daybreak erase``: erases one person's values. ``privacy.erasure`` decides which."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import Command, confirmed, say
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.privacy import erasure, roles
from daybreak_pipeline.privacy.erasure import Erased, Person
from daybreak_pipeline.tables import TABLES

_NAMED = 10
_REMAINS = """\
what remains:
  health data under the row's id: what the views of schema reporting show
  backups made before now, until they are deleted
  the write-ahead log, until the server has recycled it
  the row's old versions, until VACUUM: daybreak psql -c 'VACUUM {table}'"""
_REMAINS_OUTSIDE = """\
  the export: importing the same record again restores nothing, but a record that its source changes from now on loads.
  Erase the person at the source as well"""


@click.command(cls=Command)
@click.argument("table", metavar="TABLE")
@click.argument("row_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(table: str, row_id: str, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Erase one person's values everywhere: in the row, search tokens, quarantine, repaired values and the audit trail.

    The row and its health data stay under its id. TABLE is one of the plan's, or one that an application has protected.
    Asks first; it cannot be undone.
    """
    with readiness.ready(migrate=False) as installation:
        roles.require_importer(installation.database)
        with database.connect(installation.database, key=installation.key, autocommit=True) as connection:
            found = erasure.find(connection, table, row_id)
            if not yes:
                _ask(found)
            done = erasure.erase(connection, table, row_id, lambda text: say(text, err=True))
    _show(found, done)


def _ask(found: Person) -> None:
    where = f"{found.table} {found.row_id}: {_counted(found)}"
    if not sys.stdin.isatty():
        msg = f"{where}; erasing them cannot be undone: repeat with --yes"
        raise UsageError(msg)
    if not confirmed(f"{where}. Erase them? This cannot be undone"):
        msg = "nothing was changed"
        raise UsageError(msg)


def _counted(found: Person | Erased) -> str:
    """Return how much there is, in words."""
    columns = f" ({', '.join(found.columns)})" if found.columns else ""
    return (
        f"personal values in {len(found.columns)} columns{columns}, records in quarantine: {found.quarantined}, "
        f"repaired values: {found.issues}, lines of the audit trail: {found.changes}"
    )


def _show(found: Person, done: Erased) -> None:
    say(f"erased of {found.table} {found.row_id}: {_counted(done)}")
    if not found.is_row and found.table in TABLES:
        say("there is no row: a record of it that was not changed since does not load")
    for table, row_id in done.coverages[:_NAMED]:
        say(f"about the same person: daybreak erase {table} {row_id}")
    if len(done.coverages) > _NAMED:
        say(f"and {len(done.coverages) - _NAMED:,} more rows")
    remains = _REMAINS.format(table=found.table)
    if found.table in TABLES:
        remains += f"\n{_REMAINS_OUTSIDE}"
    for line in remains.splitlines():
        say(line)
