"""Commands are imported when they are needed: help is quick, and what needs no Dagster does without."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import click
import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.cli.checks import checks
from daybreak_pipeline.cli.common import LazyGroup
from daybreak_pipeline.cli.main import COMMANDS, main
from daybreak_pipeline.cli.quarantine import quarantine
from daybreak_pipeline_tests.cli.test_main import given  # noqa: F401 - fixture
from daybreak_pipeline_tests.commands import Environment

LAZY: list[tuple[LazyGroup, str]] = [
    *((main, name) for name in COMMANDS),
    (quarantine, "replay"),
    (quarantine, "export"),
    (checks, "accept"),
    (checks, "reopen"),
]
AFTERWARDS = """
import json, sys
from daybreak_pipeline.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps([name for name in ("dagster", "pandas", "pyarrow", "matplotlib") if name in sys.modules]), file=sys.stderr)
"""


@pytest.mark.parametrize(("group", "name"), LAZY, ids=lambda value: value if isinstance(value, str) else "")
def test_the_help_of_a_group_says_of_a_command_what_it_says_of_itself(group: LazyGroup, name: str) -> None:
    where, said = group.lazy[name]
    module, _, attribute = where.partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    assert said == command.get_short_help_str(limit=500)
    assert command.name == name


def loaded(environment: dict[str, str], *arguments: str) -> list[str]:
    """Run a command in a process of its own, and return which of the large libraries it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, *arguments],
        env=settings.child_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "arguments", [("--help",), ("import", "--help"), ("quarantine", "--help")], ids=" ".join
)
def test_help_imports_no_command_that_it_does_not_tell_of(arguments: tuple[str, ...]) -> None:
    assert "pandas" not in loaded({}, *arguments)
    if arguments != ("import", "--help"):
        assert loaded({}, *arguments) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("trace", "documents", "00000000-0000-0000-0000-000000000000"),
        ("quarantine", "list"),
        ("checks", "list"),
        ("frames",),
        ("audit", "show"),
        ("keys", "status"),
        ("migrate", "status"),
        ("roles", "show"),
    ],
    ids=" ".join,
)
def test_a_command_that_runs_no_job_needs_no_dagster(
    given: Environment,  # noqa: F811 - fixture
    arguments: tuple[str, ...],
) -> None:
    assert loaded(given, *arguments) == []
