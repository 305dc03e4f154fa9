"""``daybreak service``: ``daybreak up`` without a terminal, started by systemd."""

from __future__ import annotations

import sys

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import (
    USAGE_EXIT,
    Group,
    data_dir_option,
    json_option,
    say,
    say_json,
    say_lines,
)
from daybreak_pipeline.importer import find
from daybreak_pipeline.locations import Location
from daybreak_pipeline.supervision import service as services
from daybreak_pipeline.supervision.service import Service
from daybreak_pipeline.supervision.units import environment_file

_user_option = click.option(
    "--user", "of_user", is_flag=True, help="Your own service, and not the machine's."
)
_name_option = click.option(
    "--name",
    default=services.DEFAULT_NAME,
    show_default=True,
    help="The service's name, where a machine has several.",
)


@click.group(cls=Group)
def service() -> None:
    """Run all of this without a terminal, from boot on: install, look at or remove a service of systemd."""


@service.command("install")
@_user_option
@_name_option
@data_dir_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the web UI (default: 3000, or the next free one)."
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be written, without secrets, and change nothing."
)
def install(of_user: bool, name: str, data_dir: Location | None, port: int | None, dry_run: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Write the unit and a file with the settings of this environment, and start the service now and at boot.

    A file with settings that is there already is kept. Run this again after the project has moved.
    """
    found = Service(name, of_user)
    export = data_dir
    find.check_export(export or settings.export_dir())
    given = services.variables(export)
    if dry_run:
        say(f"# {found.settings_file} (mode 0600)")
        say_lines(environment_file(given, hidden=settings.secret_names()))
        say(f"# {found.unit_file}")
        say_lines(found.unit(given, port=port).text())
        return
    for line in services.install(found, given, port=port):
        say(line)


@service.command("status", exits={2: "the service does not run"})
@_user_option
@_name_option
@json_option
def status(of_user: bool, name: str, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Say whether the service is installed and runs, and where its web UI is. Exits with 2 when it does not run."""
    found = services.state(Service(name, of_user))
    running = found.active == "active" or (found.active is None and found.pid is not None)
    if as_json:
        say_json(found.as_json())
    else:
        _show(found)
    sys.exit(0 if running else USAGE_EXIT)


@service.command("remove")
@_user_option
@_name_option
def remove(of_user: bool, name: str) -> None:  # noqa: FBT001 - click passes flags so
    """Stop the service and remove its unit. Its settings and all data stay."""
    for line in services.remove(Service(name, of_user)):
        say(line)


def _show(found: services.State) -> None:
    if not found.installed:
        say(f"the service {found.name} is not installed: daybreak service install")
    elif found.active is None:
        say(f"the service {found.name} is installed; systemd does not run here")
    else:
        boot = "starts at boot" if found.starts_at_boot else "does not start at boot"
        since = f" since {found.since}" if found.since else ""
        doing = f" ({found.doing})" if found.doing else ""
        say(f"the service {found.name} is {found.active}{since}{doing}; it {boot}")
        if found.restarts:
            say(f"systemd has started it again {found.restarts} times: journalctl -u {found.name} says why")
    if found.installed and not found.up_to_date:
        say("its unit is not what this version writes: run daybreak service install again")
    if found.pid:
        say(
            f"daybreak up is process {found.pid}, its web UI {f'at {found.url}' if found.url else 'not there yet'}"
        )
