"""``daybreak maintain``: by hand what the daily job does."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline.cli.common import USAGE_EXIT, Command, json_option, say, say_json
from daybreak_pipeline.maintenance.freed import Freed, megabytes
from daybreak_pipeline.orchestration import instance, maintenance, readiness
from daybreak_pipeline.orchestration.assets.maintenance import told


@click.command(cls=Command, exits={2: "something was left for an import or a rotation of the key"})
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would be freed.")
@json_option
def maintain(dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Vacuum, build bloated indexes again, and drop what need not be kept any longer; say what that freed.

    It gives way: while an import or a rotation of the key runs it does nothing, and one that begins stops it. Exit
    code 2 says that something was left for that reason; the same command goes on.
    """

    def tell(freed: Freed) -> None:
        if not as_json and (freed.rows or freed.bytes or freed.names or freed.note):
            say(told(freed))

    with readiness.ready(migrate=False) as installation, instance.opened(installation) as dagster_instance:
        done = maintenance.maintain(installation, dagster_instance, dry_run=dry_run, tell=tell)
    if as_json:
        say_json(done.as_json())
    else:
        freed = "would free" if dry_run else "freed"
        say(
            f"{freed} {done.rows:,} rows and files, {megabytes(done.bytes)}"
            if done.rows or done.bytes
            else "nothing to free"
        )
    if done.gave_way:
        say(f"daybreak: {done.gave_way}", err=True)
        sys.exit(USAGE_EXIT)
