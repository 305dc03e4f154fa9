"""What exit codes mean: the table in the documents is that of the commands, and each keeps to it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner

from daybreak_pipeline.checks.findings import Severity
from daybreak_pipeline.cli.common import Command, confirmed
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.cli.status import exit_code
from daybreak_pipeline.report.verdict import Answer, Kind, Problem, Verdict
from daybreak_pipeline.settings import PROJECT_ROOT


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that can be called."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join((*path, name)), command
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


LEAVES = dict(leaves(main))
PAGE = (PROJECT_ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def table() -> dict[str, tuple[str, str]]:
    """Return what the page says of 1 and 2, by command."""
    section = PAGE.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    found: dict[str, tuple[str, str]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            names = re.findall("`([^`]+)`", cells[0])
            assert not set(names) & found.keys(), "a command is there twice"
            found |= dict.fromkeys(names, (cells[1], cells[2]))
    return found


def test_the_page_has_the_codes_of_every_command() -> None:
    declared = {
        name: (exits.get(1, "—"), exits.get(2, "—"))
        for name, command in LEAVES.items()
        for exits in [getattr(command, "exits", {})]
    }
    assert table() == declared


def ends_with_another_code(command: click.Command) -> bool:
    """Return whether a command's function ends itself, with a code that is not the one of wrong usage."""
    assert command.callback
    tree = ast.parse(inspect.getsource(inspect.unwrap(command.callback)).lstrip())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit":
            found = {
                ast.unparse(leaf)
                for leaf in ast.walk(node.args[0])
                if isinstance(leaf, ast.Name | ast.Constant)
            }
            if "USAGE_EXIT" not in found:
                return True
    return False


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_command_that_can_end_with_1_says_what_that_means(name: str) -> None:
    command = LEAVES[name]
    assert ends_with_another_code(command) == (1 in getattr(command, "exits", {}))


def test_a_question_that_nobody_answers_is_wrong_usage() -> None:
    @click.command(cls=Command)
    def ask() -> None:
        confirmed("Go on?")

    done = CliRunner().invoke(ask)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "daybreak: nothing was changed")


WARNING = Problem("WARN", "documents", "orphans", "")


def verdict(answer: Answer, *problems: tuple[Severity, Kind]) -> Verdict:
    return Verdict(
        answer, (), tuple(replace(WARNING, severity=severity, kind=kind) for severity, kind in problems)
    )


@pytest.mark.parametrize(
    ("found", "codes"),
    [
        (verdict("yes"), (0, 0, 0)),
        (verdict("yes, but", ("WARN", "data")), (0, 0, 1)),
        (verdict("yes, but", ("WARN", "environment")), (0, 0, 2)),
        (verdict("no", ("ERROR", "data")), (0, 1, 1)),
        (verdict("no", ("ERROR", "data"), ("WARN", "environment")), (0, 1, 2)),
        (verdict("no", ("ERROR", "data"), ("ERROR", "environment")), (0, 2, 2)),
        (verdict("no"), (0, 1, 1)),  # nothing has been imported yet
    ],
)
def test_status_fails_on_what_it_is_told_to(found: Verdict, codes: tuple[int, ...]) -> None:
    assert tuple(exit_code(found, on) for on in (None, "error", "warn")) == codes
