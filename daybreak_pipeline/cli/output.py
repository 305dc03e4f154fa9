"""What commands print besides single lines: the scorecard, the console, a line of progress. Independent of Dagster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from daybreak_pipeline import settings
from daybreak_pipeline.cli import scorecard
from daybreak_pipeline.cli.common import STARTED, say, say_json, say_lines
from daybreak_pipeline.cli.screen import Screen, line
from daybreak_pipeline.locations import Location
from daybreak_pipeline.orchestration.outcomes import Outcome

_SECONDS_BETWEEN_PLAIN_LINES = 5.0


def report(
    outcome: Outcome,
    what: str = "import",
    *,
    export: Location | None = None,
    as_json: bool = False,
    verbose: bool = False,
) -> None:
    """Print the scorecard (all of it when ``verbose``), or one JSON object and on stderr why tables failed.

    For the sample, say that its faults are planted, so that nobody mistakes its red checks for real problems.
    """
    if as_json:
        say_json(outcome.as_json())
        for name, table in outcome.tables.items():
            if table.reason:
                say(f"{name}: {table.reason.removeprefix(f'{name}: ')}", err=True)
        return
    scorecard.show(outcome, console(), verbose=verbose)
    if export == settings.PROJECT_ROOT / "data" / "sample":
        say_lines("\nThe sample has planted faults: failing checks are expected, they show what is caught.")
    say_lines(f"\n{what}, from command to scorecard: {time.monotonic() - STARTED:.1f} s")


def console(*, stderr: bool = False) -> Screen:
    """Return the console."""
    return Screen(stderr=stderr)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows progress on stderr: in place on a terminal, elsewhere as occasional lines."""
    screen = console(stderr=True)
    if screen.is_terminal:
        spinner = "dots" if screen.encoding.startswith("utf") else "line"
        with screen.status("starting …", spinner=spinner) as status:
            yield lambda text: status.update(line(text))
    else:
        yield _sparse(_say_if_heard)


def _say_if_heard(text: str) -> None:
    """Show how far an import is. A closed stderr must not end the import."""
    with suppress(BrokenPipeError):
        say(text, err=True)


def _sparse(write: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that writes at most one plain line every five seconds, for logs and pipes."""
    last = time.monotonic()

    def tell(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_PLAIN_LINES:
            last = time.monotonic()
            write(text)

    return tell
