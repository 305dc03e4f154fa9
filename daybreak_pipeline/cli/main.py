"""The ``daybreak`` command: reads arguments, calls what does the work, turns errors into exit codes.

0: done, no blocking check failed. 1: problems in the data that block. 2: wrong usage or environment, or a fault of our
own. 141: nobody reads the output any more.
Nothing is decided here that a test or the UI could not reach without it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli.audit import audit
from daybreak_pipeline.cli.check import check, status
from daybreak_pipeline.cli.common import (
    USAGE_EXIT,
    Group,
    console,
    data_dir_option,
    export_directory,
    json_option,
    keep_report,
    only_option,
    progress_line,
    report,
    run_import,
    say,
)
from daybreak_pipeline.cli.keys import keys
from daybreak_pipeline.cli.migrate import migrate
from daybreak_pipeline.cli.quarantine import quarantine
from daybreak_pipeline.cli.report import report as report_command
from daybreak_pipeline.cli.roles import roles
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline.wording import shown_lines


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="daybreak-pipeline")
def main() -> None:
    """Bring Daybreak's exports into PostgreSQL, and show what became of every record."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell lets its background jobs ignore it
        signal.signal(number, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End on every signal as on Ctrl-C, so that what was started is stopped."""
    raise KeyboardInterrupt


main.add_command(audit)
main.add_command(keys)
main.add_command(migrate)
main.add_command(quarantine)
main.add_command(roles)
main.add_command(report_command)
main.add_command(check)
main.add_command(status)


@main.command()
@data_dir_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the web UI (default: 3000, or the next free one)."
)
def up(data_dir: Path | None, port: int | None) -> None:
    """Start everything: server, schema, import, scorecard, and the web UI until Ctrl-C."""
    from daybreak_pipeline.orchestration import process_locks, runs, webserver

    export = export_directory(data_dir)
    for setting in (
        settings.notifier,
        settings.settle_seconds,
        settings.executor,
        settings.sensor_seconds,
    ):
        setting()  # what is needed at night is right from the start
    _port(port)  # before anything is written
    with runs.ready(export_dir=export) as installation:
        db = installation.database
        say(f"database {db.name} at {db.host}:{db.port}, export {export}")
        report(run_import(installation), export=export)
        keep_report(installation)
        chosen = _port(port)
        click.echo("\nstarting the web UI …")
        lost = runs.lost_runs(installation)
        with process_locks.held(db, "web"), webserver.serving(installation, chosen) as children:
            try:
                webserver.cancel(chosen, lost)
            except (
                UsageError
            ) as error:  # what is imported from now on is worth more than how old runs are shown
                say(f"daybreak: {error}", err=True)
            click.echo(f"the web UI is at {webserver.url(chosen)} — Ctrl-C stops everything")
            try:
                while all(child.poll() is None for child in children):
                    time.sleep(0.5)
            except KeyboardInterrupt:
                click.echo("stopping …")
                return
            msg = f"the web server or the daemon ended by itself: see {webserver.log_file()}"
            raise UsageError(msg)


def _port(wanted: int | None) -> int:
    """Return a free port: the wanted one, or the first from the default on."""
    from daybreak_pipeline.orchestration import webserver

    chosen = webserver.free_port(wanted or webserver.DEFAULT_PORT)
    if wanted and chosen != wanted:
        msg = f"port {wanted} is in use: stop what uses it, or leave out --port"
        raise UsageError(msg)
    return chosen


@main.command("import")
@data_dir_option
@only_option
@click.option("--full", is_flag=True, help="Read files again whose content has not changed.")
@click.option(
    "--partial",
    is_flag=True,
    help="The export has some of the files only: absent ones are no problem (code 0).",
)
@click.option("--dry-run", is_flag=True, help="Do all of it, show the scorecard, and roll everything back.")
@click.option(
    "--show-sql", is_flag=True, help="With --dry-run: print every statement of the import, under its name."
)
@json_option
def import_(  # noqa: PLR0913, PLR0917 - click passes the options so
    data_dir: Path | None,
    only: tuple[str, ...],
    full: bool,  # noqa: FBT001 - click passes flags so
    partial: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    show_sql: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Import the export: every file that has changed, parents first, and check every table.

    A table that was imported before and whose file is absent keeps its rows, and what depends on it is imported.
    """
    from daybreak_pipeline.importer import statements
    from daybreak_pipeline.orchestration import runs

    if show_sql and not dry_run:
        msg = "--show-sql goes with --dry-run, which changes nothing"
        raise UsageError(msg)
    export = export_directory(data_dir)
    with runs.ready(export_dir=export, migrate=False) as installation:
        if dry_run:
            seen = (
                statements.written(lambda text: click.echo(shown_lines(text), err=as_json))
                if show_sql
                else nullcontext()
            )
            with progress_line() as tell, seen:
                outcome = runs.dry_run_import(installation, only=only, full=full, partial=partial, tell=tell)
        else:
            outcome = run_import(installation, only=only, full=full, partial=partial)
        report(outcome, export=export, as_json=as_json)
        if dry_run:
            click.echo("a dry run: nothing was changed", err=as_json)
        else:
            keep_report(installation)
    sys.exit(outcome.exit_code)


@main.command()
@click.argument("table", type=click.Choice(list(TABLES)), metavar="TABLE")
@click.argument("row_id", metavar="ID")
def trace(table: str, row_id: str) -> None:
    """Tell the story of one row: files, hashes, record numbers, what was wrong, repaired and changed by whom."""
    from daybreak_pipeline import database
    from daybreak_pipeline.operations.row_history import trace as story
    from daybreak_pipeline.orchestration import runs

    with runs.ready(migrate=False) as installation, database.connect(installation.database) as connection:
        for line in story(connection, table, row_id):
            say(line)


@main.command()
@click.option(
    "--patients", required=True, type=click.IntRange(min=1), help="How many patients and guardians, about."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write; made if missing."
)
@click.option("--seed", default=0, show_default=True, help="The same seed writes the same bytes.")
@click.option("--faults", is_flag=True, help="Plant faults of every kind, and write expected.json.")
@only_option
def generate(
    patients: int,
    out: Path,
    seed: int,
    faults: bool,  # noqa: FBT001 - click passes flags so
    only: tuple[str, ...],
) -> None:
    """Write a synthetic export of 16 files, or of some tables; nobody in it exists."""
    from daybreak_pipeline.generator import generate_export

    begun = time.monotonic()
    with progress_line() as tell:
        generate_export(
            out,
            patients=patients,
            seed=seed,
            faults=faults,
            only=only,
            progress=lambda table, records: tell(f"{table}: {records:,} records"),
        )
    say(f"wrote {out} in {time.monotonic() - begun:.1f} s")


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database; arguments are psql's."""
    from daybreak_pipeline import database
    from daybreak_pipeline.embedded_postgres import programs

    with database.serving() as db:
        variables = {
            "PGHOST": db.host,
            "PGPORT": str(db.port),
            "PGDATABASE": db.name,
            "PGUSER": db.user,
            "PGPASSWORD": db.password,
            "PGSSLMODE": db.sslmode,
            **({"PGSSLROOTCERT": db.sslrootcert} if db.sslrootcert else {}),
        }
        sys.exit(_run([programs.client("psql"), *arguments], variables))


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(command: tuple[str, ...]) -> None:
    """Run any command with the server up, and DB_*, ENCRYPTION_KEY and DAGSTER_HOME set (run -- CMD …)."""
    from daybreak_pipeline.orchestration import runs

    with runs.ready(migrate=False) as installation:
        sys.exit(_run(list(command), installation.environment()))


@main.command()
@data_dir_option
def doctor(data_dir: Path | None) -> None:
    """Look at everything that is needed, and say what is missing."""
    from daybreak_pipeline.cli.doctor import examine
    from daybreak_pipeline.cli.screen import line, styled

    screen = console()
    findings = examine(data_dir or settings.export_dir())
    for finding in findings:
        mark = styled("ok     ", "green") if finding.good else styled("missing", "red")
        screen.print(line(mark, f" {finding.subject}: {finding.text}"), soft_wrap=True)
    sys.exit(0 if all(finding.good for finding in findings) else USAGE_EXIT)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a child in the foreground, leaving Ctrl-C to it, and return its exit code."""
    try:
        child = subprocess.Popen(command, env=settings.child_environment(**environment))
    except OSError as error:
        msg = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError(msg) from None
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to the child too
        return code if code >= 0 else 128 - code
