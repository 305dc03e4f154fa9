"""What reaches the terminal: all of it through one place, and nothing of the data steers it or is taken for markup."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import daybreak_pipeline
from daybreak_pipeline.cli import common
from daybreak_pipeline.cli.screen import Screen
from daybreak_pipeline_tests.cli.test_main import given  # noqa: F401 - fixture
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.exports import NOON, Export, record, uuid

PACKAGE = Path(daybreak_pipeline.__file__).parent
MAY_PRINT = {
    "cli/common.py": "the one place for lines; it also closes streams that nobody reads any more",
    "cli/screen.py": "the one place for tables and colours, which rich writes",
    "cli/up.py": "asks whether there is a terminal",
    "orchestration/web/__main__.py": "the error of a child process, into its log",
    "orchestration/readiness.py": "a warning where no command is there to say it",
    "failures/explanations.py": "the trace of an error, for DAYBREAK_DEBUG, wherever it happened",
    "embedded_postgres/bootstrap.py": "runs before the package is installed, with nothing but Python",
    "embedded_postgres/programs.py": "as above: it says what it installs",
    "embedded_postgres/pgbackrest.py": "as above",
    "supervision/child.py": "hands this process's own stderr on to its children",
    "supervision/systemd.py": "asks whether stderr is the journal, and writes nothing",
    "pooler/programs.py": "runs as a step of `make pooler`",
    "documentation/__main__.py": "names the pages that it has written, whose names are ours",
    "settings/__main__.py": "prints a page of the documentation, which is our own text",
}
"""All else asks ``cli.common`` or ``cli.screen``."""
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
CLICKS = {"echo", "secho", "echo_via_pager", "progressbar", "prompt", "confirm"}


def prints(source: str) -> bool:
    """Return whether a module writes to the terminal by itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in {"print", "pprint"}:
            return True
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = node.value.id
            if (owner == "sys" and node.attr in STREAMS) or (owner == "click" and node.attr in CLICKS):
                return True
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            taken = {
                "sys": STREAMS,
                "click": CLICKS,
                "rich": {"print", "get_console"},
                "rich.console": {"Console"},
            }
            if names & taken.get(node.module or "", set()):
                return True
    return False


def test_all_that_is_printed_goes_through_one_place() -> None:
    files = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
    assert {name for name, path in files.items() if prints(path.read_text("utf-8"))} == set(MAY_PRINT)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("print('a')", True),
        ("import click\nclick.secho('a')", True),
        ("from click import echo", True),
        ("import sys\nsys.stderr.write('a')", True),
        ("from rich.console import Console", True),
        ("screen.print('a')", False),
        ("say('a')", False),
    ],
)
def test_every_way_to_the_terminal_is_seen(source: str, found: bool) -> None:
    assert prints(source) is found


# ------------------------------------------------------------------ text of others

ESCAPES = "\x1b[31m\x1b]0;title\x07\x9b2J\x7f\r\u202e\u2066\b"
NASTY = f"{ESCAPES}[red]a[/red] :smile: "


def controls(printed: str) -> set[str]:
    """Return what of a text a terminal would obey, or could not show."""
    return {character for character in printed if not character.isprintable() and character != "\n"}


def test_lines_keep_their_ends_and_nothing_else_that_cannot_be_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    common.say(f"{NASTY}\0\nb")
    common.say_lines(f"{NASTY}\0\nb")
    common.say_json({NASTY: f"{NASTY}\0\nb"})
    printed = capsys.readouterr().out
    assert controls(printed) == set()
    one, first, second, value = printed.splitlines()
    assert (one, second) == (f"{first}\\nb", "b")
    assert "[red]a[/red] :smile: " in first
    assert json.loads(value) == {NASTY: f"{NASTY}\0\nb"}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_screen_prints_text_and_is_steered_by_none(is_terminal: bool) -> None:
    screen = Screen(file=io.StringIO(), force_terminal=is_terminal, color_system=None, width=500)
    table = Table(NASTY, box=None, title=NASTY, caption=Text(NASTY))
    table.add_row(NASTY)
    table.add_row(Text(NASTY))
    for one in (table, NASTY, Text(NASTY), Text.assemble(NASTY, "b")):
        screen.print(one)
    written = screen.file.getvalue()  # type: ignore[attr-defined]  # the file above
    assert controls(written) == set()
    assert written.count("[red]a[/red] :smile:") == 8


def test_nothing_of_an_export_steers_the_terminal(
    export: Export,
    given: Environment,  # noqa: F811 - fixture
) -> None:
    nasty = ESCAPES + "[red]"
    header = f'id,label,updated_at,kind,"{nasty}","note{ESCAPES}"\n'.encode()
    good = f'{uuid("a")},"{nasty}",{NOON},7,"{nasty}",\n'.encode()
    bad = f'{uuid("b")},x,"{nasty}",7,,\n{nasty}"b,c\n'.encode() + b"d\0,\x1b[2J\n"
    export.write_bytes("documents", header + good + bad)
    (export.directory / f"docments{nasty}.csv".replace("/", "")).write_bytes(b"id\n1\n")
    (export.directory / f"orgs{nasty} (1).csv").write_bytes(nasty.encode())
    export.write("kinships", record("kinships", kind=nasty))
    commands: list[tuple[str | Path, ...]] = [
        ("import", "--data-dir", export.directory),
        ("import", "--data-dir", export.directory, "--full", "--json"),
        ("status",),
        ("trace", "documents", uuid("a")),
        ("trace", "documents", nasty),
        ("quarantine", "list"),
        ("quarantine", "list", "--json"),
    ]
    for command in commands:
        done = daybreak(given, *command)
        assert done.stdout + done.stderr, command
        assert controls(done.stdout + done.stderr) == set(), command
    numbers = export.connection.execute(
        "SELECT id FROM ingest.quarantine WHERE table_name = 'documents' ORDER BY record_number"
    ).fetchall()
    assert len(numbers) == 4  # a carriage return outside quotes ends a record
    for (number,) in numbers[1:]:
        done = daybreak(given, "quarantine", "show", str(number))
        assert controls(done.stdout + done.stderr) == set()
        assert "_raw" in done.stdout
