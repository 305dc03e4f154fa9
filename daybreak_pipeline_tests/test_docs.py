"""What the documents and messages refer to exists: rules, decisions, sections of the plan, commands, files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from daybreak_pipeline.cli.main import main
from daybreak_pipeline.settings import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *PROJECT_ROOT.glob("*.md")])
SOURCES = [
    path
    for root in ("daybreak_pipeline", "daybreak_pipeline_tests")
    for path in sorted((PROJECT_ROOT / root).rglob("*"))
    if path.suffix in {".py", ".sql", ".j2"}
]
ORDERED = DOCS / "plan.md"
"""The user's own words: nothing of ours is looked for in there."""


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT))


def told(*patterns: str) -> Iterator[tuple[str, str]]:
    """Yield every place and match of patterns in documents and sources."""
    for path in [*PAGES, *SOURCES]:
        if path in {ORDERED, Path(__file__)}:
            continue
        text = path.read_text(encoding="utf-8")
        for pattern in patterns:
            yield from ((name(path), found[1]) for found in re.finditer(pattern, text))


def test_every_rule_that_is_referred_to_is_in_the_contract() -> None:
    contract = (DOCS / "import-contract.md").read_text(encoding="utf-8")
    rules = set(re.findall(r"^(\d+)\. ", contract, re.MULTILINE))
    assert rules == {str(number) for number in range(1, 16)}
    assert {(where, rule) for where, rule in told(r"\b[Rr]ule (\d+)\b") if rule not in rules} == set()


def test_every_decision_that_is_referred_to_is_on_record() -> None:
    numbers = {int(path.name[:4]) for path in (DOCS / "adr").glob("*.md")}
    assert numbers == set(range(1, len(numbers) + 1))
    assert {(where, adr) for where, adr in told(r"\bADR 0*(\d+)\b") if int(adr) not in numbers} == set()


def test_every_section_of_the_plan_that_is_referred_to_is_in_it() -> None:
    sections = set(re.findall(r"^#### (\d\.\d) ", ORDERED.read_text(encoding="utf-8"), re.MULTILINE))
    assert "2.3" in sections
    assert {
        (where, section) for where, section in told(r"\bplan, (\d\.\d)") if section not in sections
    } == set()


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(group, click.Group):
        context = click.Context(group)
        for called in group.list_commands(context):
            command = group.get_command(context, called)
            assert command is not None
            yield from commands(command, (*path, called))


COMMANDS = {" ".join(path) for path in commands(main)}


def test_every_command_that_is_recommended_exists() -> None:
    top = {command.split()[0] for command in COMMANDS}
    groups = {command.split()[0] for command in COMMANDS if " " in command}
    missing = set()
    for where, called in told(r"(?:`|``|\brun |\bRun |bin/)daybreak ((?:[a-z]+)(?: [a-z]+)?)\b"):
        first, _, second = called.partition(" ")
        if first not in top or (
            second and first in groups and f"{first} {second}" not in COMMANDS | {f"{first} says"}
        ):
            missing.add((where, called))
    assert missing == set()


@pytest.mark.parametrize("command", sorted(command for command in COMMANDS if " " not in command))
@pytest.mark.parametrize("page", ["README.md", "docs/commands.md"])
def test_every_command_is_in_the_readme_and_on_its_page(command: str, page: str) -> None:
    assert f"`daybreak {command}" in (PROJECT_ROOT / page).read_text(encoding="utf-8")


def test_every_variable_that_is_read_is_on_the_page_of_settings() -> None:
    """A family of variables is there by its first or by its prefix."""
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    read = set(
        re.findall(
            r'"((?:DAYBREAK|DB|ENCRYPTION|NEW_ENCRYPTION)_[A-Z_]+[A-Z])"',
            "".join(
                path.read_text(encoding="utf-8") for path in SOURCES if "daybreak_pipeline/" in name(path)
            ),
        )
    )
    assert "DAYBREAK_HOME" in read
    read.remove("DAYBREAK_DAGSTER_URL")  # the command sets it for Dagster; nobody else does
    assert {variable for variable in read if variable not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != ORDERED], ids=name)
def test_every_file_of_the_project_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:daybreak_pipeline|daybreak_pipeline_tests|docs|data/sample)/[\w./-]+)`",
        page.read_text("utf-8"),
    )
    assert [path for path in named if not (PROJECT_ROOT / path).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in DOCS.glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


BANNED = (
    "anew",
    "not tried: a table",
    "(?:take|takes|taken) (?:everything )?back",
    "the last one out",
    "nothing is there twice",
    "are meant",
    "misfits?",
    "rehears(?:e|al|es)",
    "every time can be",
    "heals?",
)
"""Turns that a native reader stumbles over, or words that the glossary replaces."""


def strings(path: Path) -> str:
    """Return what a module says: its strings, without the identifiers in them."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return "\n".join(
        node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_nobody_stumbles_over_banned_turns() -> None:
    banned = re.compile(rf"\b(?:{'|'.join(BANNED)})\b")
    texts = {
        name(page): page.read_text(encoding="utf-8")
        for page in PAGES
        if page not in {ORDERED, DOCS / "glossary.md"}
    }
    texts |= {
        name(path): strings(path) for path in SOURCES if path.suffix == ".py" and path != Path(__file__)
    }
    assert {(where, found[0]) for where, text in texts.items() for found in banned.finditer(text)} == set()
