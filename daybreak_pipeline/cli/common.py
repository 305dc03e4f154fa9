"""What all ``daybreak`` commands share: one-line errors, options, the console, running the import.

No command stands here; they are in ``cli`` and the other ``cli_`` modules.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daybreak_pipeline import settings
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline.wording import shown

if TYPE_CHECKING:
    from daybreak_pipeline.cli.screen import Screen
    from daybreak_pipeline.orchestration.installation import Installation
    from daybreak_pipeline.orchestration.runs import Outcome

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
BROKEN_PIPE_EXIT = 141
_STARTED = time.monotonic()


class Command(click.Command):
    """A command whose errors are one line each, with exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except DaybreakError as error:
            say(f"daybreak: {error}", err=True)
            sys.exit(USAGE_EXIT)
        except KeyboardInterrupt:
            say("daybreak: interrupted; what was being written was rolled back", err=True)
            sys.exit(INTERRUPTED_EXIT)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:  # noqa: BLE001 - a person gets one line, whatever it is
            if isinstance(error, BrokenPipeError) and _unheard():
                sys.exit(BROKEN_PIPE_EXIT)
            from daybreak_pipeline.failures import explanations

            say(f"daybreak: {explanations.explain(error)}", err=True)
            sys.exit(USAGE_EXIT)


def _unheard() -> bool:
    """Return whether nobody reads the output any more (head has seen enough, say), and then write no more of it."""
    closed = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        if poll.poll(0):  # nothing is asked for but whether the other end is gone
            # What is left would be written when Python ends, with a complaint.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            closed = True
    return closed


def say(text: object, *, err: bool = False) -> None:
    """Print one line of text, which may hold what came from outside (``wording``)."""
    click.echo(shown(text), err=err)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence."""
        listed = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=500)) for name, one in listed if one])

    group_class = type


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Directory with the export's files (default: DAYBREAK_EXPORT_DIR, or the sample).",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text for people."
)
only_option = click.option(
    "--only",
    multiple=True,
    metavar="TABLE",
    type=click.Choice(list(TABLES)),
    help="This table only; may be repeated.",
)


def export_directory(data_dir: Path | None) -> Path:
    """Return the export's directory, given or from the environment.

    Raises:
        UsageError: it cannot be an export.
    """
    from daybreak_pipeline.importer.find import check_export

    export = data_dir.expanduser().absolute() if data_dir else settings.export_dir()
    check_export(export)
    return export


def run_import(installation: Installation, **options: Any) -> Outcome:
    """Run the import with a line of progress."""
    from daybreak_pipeline.cli.progress import TerminalProgress
    from daybreak_pipeline.orchestration import runs

    with progress_line() as tell:
        return runs.run_import(installation, progress=TerminalProgress(tell), **options)


def keep_report(installation: Installation) -> None:
    """Make the data-quality report, and say on stderr where it is, or why there is none.

    What an import did stands, whatever becomes of the report.
    """
    from daybreak_pipeline.orchestration import runs

    try:
        say(f"data-quality report: {runs.render_report(installation)}", err=True)
    except DaybreakError as error:
        say(f"no data-quality report: {error}", err=True)


def report(
    outcome: Outcome, what: str = "import", *, export: Path | None = None, as_json: bool = False
) -> None:
    """Print the scorecard, or one JSON object and on stderr why tables failed.

    Of the sample it says that its faults are planted, so that nobody takes its red checks for trouble.
    """
    if as_json:
        click.echo(json.dumps(outcome.as_json()))
        for name, table in outcome.tables.items():
            if table.reason:
                say(f"{name}: {table.reason.removeprefix(f'{name}: ')}", err=True)
        return
    from daybreak_pipeline.cli import scorecard

    scorecard.show(outcome, console())
    if export == settings.PROJECT_ROOT / "data" / "sample":
        click.echo("\nThe sample has planted faults: failing checks are expected, they show what is caught.")
    click.echo(f"\n{what}, from command to scorecard: {time.monotonic() - _STARTED:.1f} s")


def console(*, stderr: bool = False) -> Screen:
    """Return the console."""
    from daybreak_pipeline.cli.screen import Screen

    return Screen(stderr=stderr)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line of progress on stderr: in place on a terminal, now and then a line elsewhere."""
    screen = console(stderr=True)
    if screen.is_terminal:
        from daybreak_pipeline.cli.screen import line

        with screen.status("starting …") as status:
            yield lambda text: status.update(line(text))
    else:
        from daybreak_pipeline.cli.progress import sparse

        yield sparse(_say_if_heard)


def _say_if_heard(text: str) -> None:
    """Say how far an import is, which must not end because nobody listens any more."""
    with suppress(BrokenPipeError):
        say(text, err=True)
