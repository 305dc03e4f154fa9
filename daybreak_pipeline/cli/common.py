"""What all ``daybreak`` commands share: one-line errors, options, and groups that import commands on demand.

Every command imports this module, even for ``--help``: it must not import anything slow.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from daybreak_pipeline import settings
from daybreak_pipeline.errors import DaybreakError, SettingsError
from daybreak_pipeline.locations import Location, locate
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline.wording import shown, shown_lines

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
BROKEN_PIPE_EXIT = 141
STARTED = time.monotonic()
"""When this process started work, on the monotonic clock."""


def _of_click(error: click.UsageError | click.Abort) -> str:
    if isinstance(error, click.Abort):  # a question that nobody answered
        return "nothing was changed"
    command = error.ctx.command_path if error.ctx else "daybreak"
    message = error.format_message().rstrip(".")
    return f"{message}{' See' if message.endswith('?') else '; see'} {command} --help"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn any error in the block into one line on stderr and an exit code."""
    try:
        yield
    except SettingsError as error:
        for fault in error.faults:
            say(f"daybreak: {fault}", err=True)
        sys.exit(USAGE_EXIT)
    except DaybreakError as error:
        say(f"daybreak: {error}", err=True)
        sys.exit(USAGE_EXIT)
    except KeyboardInterrupt:
        say("daybreak: interrupted; what was being written was rolled back", err=True)
        sys.exit(INTERRUPTED_EXIT)
    except click.exceptions.NoArgsIsHelpError:
        raise  # help, not an error
    except (click.UsageError, click.Abort) as error:
        say(f"daybreak: {_of_click(error)}", err=True)
        sys.exit(USAGE_EXIT)
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:  # noqa: BLE001 - a person gets one line, whatever the error
        if isinstance(error, BrokenPipeError) and _unheard():
            sys.exit(BROKEN_PIPE_EXIT)
        # Importing psycopg takes as long as all the rest of --help.
        from daybreak_pipeline.failures import explanations

        say(f"daybreak: {explanations.explain(error)}", err=True)
        sys.exit(USAGE_EXIT)


class Command(click.Command):
    """A command whose errors are one line each, with exit code 2, and that begins with a look at all settings.

    ``exits`` says what its exit codes mean besides: 1 only where data can be at fault (docs/commands.md has them all).
    """

    def __init__(
        self,
        *arguments: Any,
        looks_at_settings: bool = True,
        exits: Mapping[int, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.looks_at_settings = looks_at_settings
        self.exits = exits or {}

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        with errors_in_one_line():
            if self.looks_at_settings:
                for line in settings.unknown():
                    say(f"daybreak: warning: {line}", err=True)
                settings.require_sound()
            return super().invoke(context)


_PLAIN = {
    "…": "...",
    "—": "-",
    "\u2013": "-",
    "·": ".",
    "→": "->",
    "\u2018": "'",
    "\u2019": "'",
    "“": '"',
    "”": '"',
    "✓": "ok",
    "▲": "!",
    "✕": "x",
}
"""How our own signs are written where the terminal's encoding lacks them."""


def soften_output() -> None:
    """Print what a terminal's encoding lacks (an ASCII terminal's, say) in other characters, where Python would raise."""
    codecs.register_error("daybreak.plain", _plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="daybreak.plain")


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        signs = error.object[error.start : error.end]
        return "".join(_PLAIN.get(sign, ascii(sign)[1:-1]) for sign in signs), error.end
    return codecs.backslashreplace_errors(error)


def _unheard() -> bool:
    """Return whether the reader has closed the output (as head does); if so, discard the rest."""
    closed = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        if poll.poll(0):  # asks only whether the other end is closed
            # Otherwise Python would write the rest when it exits, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            closed = True
    return closed


def say(text: object, *, err: bool = False) -> None:
    """Print one line of text, which may hold what came from outside (``wording``)."""
    say_lines(shown(text), err=err)


def say_json(value: object) -> None:
    """Print a value as JSON in one line."""
    say_lines(json.dumps(value, default=str))


def say_lines(text: str, *, err: bool = False) -> None:
    """Print lines of text; each may contain text from outside.

    Invisible characters are escaped as in JSON, which leaves JSON unchanged. Everything that commands print goes
    through here or through ``screen``; a test enforces that.
    """
    click.echo(shown_lines(text), err=err)


def confirmed(question: str) -> bool:
    """Ask a one-line question, and return whether the answer was yes."""
    return click.confirm(shown(question))


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.first_sentence(context, name)) for name in self.list_commands(context)]
            )

    def first_sentence(self, context: click.Context, name: str) -> str:
        """Return a command's first sentence."""
        command = self.get_command(context, name)
        return command.get_short_help_str(limit=500) if command else ""

    group_class = type


class LazyGroup(Group):
    """A group whose commands are imported when they are needed (click's pattern of that name).

    ``lazy`` holds each command's location (``module:attribute``) and short help, so that the group's own help imports
    no command.
    """

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in order."""
        return sorted([*super().list_commands(ctx), *self.lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the called command; for an unknown name, suggest a similar one."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the shell completions, without importing a command."""
        named = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [
            *(CompletionItem(name, help=self.first_sentence(ctx, name)) for name in named),
            *click.Command.shell_complete(self, ctx, incomplete),  # the options; Group's would import
        ]

    def first_sentence(self, context: click.Context, name: str) -> str:
        """Return a command's first sentence, without importing it."""
        return self.lazy[name][1] if name in self.lazy else super().first_sentence(context, name)


class Place(click.ParamType[Location]):
    """A directory, or a prefix of an object storage."""

    name = "place"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        """Return the place that a text names."""
        try:
            return locate(str(value))
        except ValueError:
            self.fail("it is neither a path nor s3://, gs:// or az:// with BUCKET/PREFIX", param, ctx)


data_dir_option = click.option(
    "--data-dir",
    type=Place(),
    metavar="PLACE",
    help="Directory with the export's files, or s3://BUCKET/PREFIX (default: DAYBREAK_EXPORT_DIR, or the sample).",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text for people."
)
verbose_option = click.option(
    "--verbose", is_flag=True, help="Show every finding in full, not the ten worst."
)
only_option = click.option(
    "--only",
    multiple=True,
    metavar="TABLE",
    type=click.Choice(list(TABLES)),
    help="This table only; may be repeated.",
)
