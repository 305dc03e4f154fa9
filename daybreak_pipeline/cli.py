"""The ``daybreak`` command: reads arguments, calls what does the work, turns errors into exit codes.

0: done, no blocking check failed. 1: problems in the data that block. 2: wrong usage or environment.
Nothing is decided here that a test or the UI could not reach without it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from daybreak_pipeline import settings
from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from rich.console import Console

    from daybreak_pipeline.pipeline import Outcome

USAGE_EXIT = 2


class _Command(click.Command):
    """A command whose errors are one line each, with exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except DaybreakError as error:
            click.echo(f"daybreak: {error}", err=True)
            sys.exit(USAGE_EXIT)


class _Group(click.Group):
    command_class = _Command
    group_class = type


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="daybreak-pipeline")
def main() -> None:
    """Bring Daybreak's exports into PostgreSQL, and show what became of every record."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell lets its background jobs ignore it
        signal.signal(number, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End on every signal as on Ctrl-C, so that what was started is stopped."""
    raise KeyboardInterrupt


_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Directory with the export's files (default: DAYBREAK_EXPORT_DIR, or the sample).",
)
_as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of the scorecard."
)


@main.command()
@_data_dir
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the web UI (default: 3000, or the next free one)."
)
def up(data_dir: Path | None, port: int | None) -> None:
    """Start everything: server, schema, import, scorecard, and the web UI until Ctrl-C."""
    from daybreak_pipeline import pipeline, web

    export = _export(data_dir)
    console = _console()
    with pipeline.ready() as (health, environment):
        environment["DAYBREAK_EXPORT_DIR"] = str(export)
        console.print(
            f"database {health.name} at {health.host}:{health.port}, export {export}", highlight=False
        )
        _import(console, environment, export)
        chosen = web.free_port(port or web.DEFAULT_PORT)
        if port and chosen != port:
            msg = f"port {port} is in use: stop what uses it, or leave out --port"
            raise UsageError(msg)
        console.print("\nstarting the web UI …")
        with web.serving(environment, chosen) as children:
            console.print(
                f"[bold]the web UI is at http://{web.HOST}:{chosen}[/] — Ctrl-C stops everything",
                highlight=False,
            )
            try:
                while all(child.poll() is None for child in children):
                    time.sleep(0.5)
            except KeyboardInterrupt:
                console.print("stopping …")
                return
            msg = f"the web server or the daemon ended by itself: see {web.log_file()}"
            raise UsageError(msg)


@main.command("import")
@_data_dir
@click.option(
    "--only",
    multiple=True,
    metavar="TABLE",
    type=click.Choice(list(TABLES)),
    help="Import this table only; may be repeated.",
)
@click.option("--full", is_flag=True, help="Read files again whose content has not changed.")
@_as_json
def import_(data_dir: Path | None, only: tuple[str, ...], full: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Import the export: every file that has changed, parents first, and check every table."""
    from daybreak_pipeline import pipeline

    export = _export(data_dir)
    with pipeline.ready(migrate=False) as (_, environment):
        outcome = _import(_console(stderr=as_json), environment, export, only=only, full=full, quiet=as_json)
    if as_json:
        click.echo(json.dumps(outcome.as_json()))
        _explain(outcome)
    sys.exit(outcome.exit_code)


@main.command()
@_as_json
def check(as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Check every table as it is now, without importing."""
    from daybreak_pipeline import pipeline, scorecard

    with pipeline.ready(migrate=False) as (_, environment):
        outcome = pipeline.run_checks(environment)
    if as_json:
        click.echo(json.dumps({"run_id": outcome.run_id, "checks": outcome.as_json()["checks"]}))
    else:
        scorecard.show(outcome, _console())
    sys.exit(outcome.exit_code)


@main.command()
@click.option(
    "--patients", required=True, type=click.IntRange(min=1), help="How many patients and guardians, about."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write; made if missing."
)
@click.option("--seed", default=0, show_default=True, help="The same seed writes the same bytes.")
@click.option("--faults", is_flag=True, help="Plant faults of every kind, and write expected.json.")
def generate(patients: int, out: Path, seed: int, faults: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Write a synthetic export of 16 files; nobody in it exists."""
    from daybreak_pipeline.generator import generate_export

    begun = time.monotonic()
    with _progress_line() as tell:
        generate_export(
            out,
            patients=patients,
            seed=seed,
            faults=faults,
            progress=lambda t, n: tell(f"{t}: {n:,} records"),
        )
    click.echo(f"wrote {out} in {time.monotonic() - begun:.1f} s")


@main.group(cls=_Group)
def migrate() -> None:
    """Apply or take back the schema's migrations."""


@migrate.command("up")
@click.option("--to", metavar="N", help="Stop after migration N (default: the newest).")
def migrate_up(to: str | None) -> None:
    """Apply the migrations that the database lacks."""
    from daybreak_pipeline import database
    from daybreak_pipeline.schema import runner

    with database.serving() as health:
        applied = runner.upgrade(health, to)
    for migration in applied:
        click.echo(f"applied {migration.revision} {migration.name}")
    if not applied:
        click.echo("nothing to apply")


@migrate.command("down")
@click.option("--to", metavar="N", help="Go back to migration N, 0 for none (default: one step back).")
@click.option("--yes", is_flag=True, help="Do not ask, also when tables hold rows.")
def migrate_down(to: str | None, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Take migrations back, newest first. Asks first when tables hold rows."""
    from daybreak_pipeline import database
    from daybreak_pipeline.schema import runner

    if to is not None and not to.isdecimal():
        msg = f"--to {to} is not the number of a migration"
        raise UsageError(msg)
    with database.serving() as health:
        with database.connect(health) as connection:
            current = runner.current_revision(connection)
            filled = runner.tables_with_rows(connection)
        if current is None:
            click.echo("nothing to take back")
            return
        if filled and not yes:
            _ask_before_loss(filled)
        for migration in runner.downgrade(health, to or str(int(current) - 1)):
            click.echo(f"took back {migration.revision} {migration.name}")


@migrate.command("status")
def migrate_status() -> None:
    """Show which migrations the database has."""
    from daybreak_pipeline import database
    from daybreak_pipeline.schema import runner

    with database.serving() as health, database.connect(health) as connection:
        current = int(runner.current_revision(connection) or 0)
    for migration in runner.migrations():
        state = "applied" if int(migration.revision) <= current else "pending"
        click.echo(f"{state}  {migration.revision} {migration.name}")


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database; arguments are psql's."""
    from daybreak_pipeline import database, server_programs

    with database.serving() as health:
        variables = {
            "PGHOST": health.host,
            "PGPORT": str(health.port),
            "PGDATABASE": health.name,
            "PGUSER": health.user,
            "PGPASSWORD": health.password,
            "PGSSLMODE": health.sslmode,
        }
        sys.exit(_run([server_programs.client("psql"), *arguments], variables))


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(command: tuple[str, ...]) -> None:
    """Run any command with the server up, and DB_*, ENCRYPTION_KEY and DAGSTER_HOME set (run -- CMD …)."""
    from daybreak_pipeline import pipeline

    with pipeline.ready(migrate=False) as (_, environment):
        sys.exit(_run(list(command), environment))


@main.command()
@_data_dir
def doctor(data_dir: Path | None) -> None:
    """Look at everything that is needed, and say what is missing."""
    from daybreak_pipeline.doctor import examine

    console = _console()
    findings = examine(data_dir or settings.export_dir())
    for finding in findings:
        mark = "[green]ok     [/]" if finding.good else "[red]missing[/]"
        console.print(f"{mark} {finding.subject}: {finding.text}", soft_wrap=True, highlight=False)
    sys.exit(0 if all(finding.good for finding in findings) else USAGE_EXIT)


def _export(data_dir: Path | None) -> Path:
    from daybreak_pipeline.importer.sources import check_export

    export = (data_dir.expanduser().absolute() if data_dir else None) or settings.export_dir()
    check_export(export)
    return export


def _import(
    console: Console, environment: dict[str, str], export: Path, *, quiet: bool = False, **options: Any
) -> Outcome:
    """Run the import with a line of progress, and show the scorecard unless ``quiet``."""
    from daybreak_pipeline import pipeline, scorecard
    from daybreak_pipeline.terminal import TerminalProgress

    begun = time.monotonic()
    with _progress_line() as tell:
        outcome = pipeline.run_import(environment, export, progress=TerminalProgress(tell), **options)
    if not quiet:
        scorecard.show(outcome, console)
        if export == settings.PROJECT_ROOT / "data" / "sample":
            console.print(
                "\nThe sample has planted faults: failing checks are meant, they show what is caught."
            )
        whole, run_itself = time.monotonic() - _STARTED, time.monotonic() - begun
        console.print(
            f"\nimport, from command to scorecard: {whole:.1f} s (the run itself {run_itself:.1f} s)",
            highlight=False,
        )
    return outcome


_STARTED = time.monotonic()


def _explain(outcome: Outcome) -> None:
    """Say on stderr why tables failed, where stdout is JSON."""
    for name, table in outcome.tables.items():
        if table.reason:
            click.echo(f"{name}: {table.reason.removeprefix(f'{name}: ')}", err=True)


def _ask_before_loss(filled: list[str]) -> None:
    question = f"{len(filled)} tables hold rows ({', '.join(filled[:3])}{' …' if len(filled) > 3 else ''}); they can be lost"  # noqa: PLR2004 - a few names show what is meant
    if not sys.stdin.isatty():
        msg = f"{question}: make a backup, then repeat with --yes"
        raise UsageError(msg)
    if not click.confirm(f"{question}. Go on?"):
        msg = "nothing was changed"
        raise UsageError(msg)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a child in the foreground, leaving Ctrl-C to it, and return its exit code."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **environment})
    except OSError as error:
        msg = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError(msg) from None
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to the child too
        return code if code >= 0 else 128 - code


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = 200
    return console


@contextmanager
def _progress_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line of progress on stderr: in place on a terminal, a plain line elsewhere."""
    console = _console(stderr=True)
    if console.is_terminal:
        with console.status("starting …") as status:
            yield status.update
    else:
        from daybreak_pipeline.terminal import sparse

        yield sparse(lambda text: click.echo(text, err=True))
