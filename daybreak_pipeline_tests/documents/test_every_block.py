"""Every block of every document is run by a test or compared by one, or is listed with the reason why not.

A new block fails the first test until one of these is true of it. Blocks that run are named by page and language, those of
``blocks.NOT_RUN`` by page and first line.
"""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from daybreak_pipeline.cli.main import main
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline_tests.documents import blocks
from daybreak_pipeline_tests.documents.blocks import NOT_RUN, Block
from daybreak_pipeline_tests.documents.test_other_pages import COMMANDS

OTHER_PAGES = "documents/test_other_pages.py"
RUN: dict[tuple[str, str], str] = {
    ("docs/access-patterns.md", "js"): "documents/test_access_patterns.py",
    ("docs/access-patterns.md", "python"): "documents/test_access_patterns.py",
    ("docs/common-queries.md", "sql"): "schema/test_common_queries_page.py",
    ("docs/references-for-applications.md", "sql"): "schema/test_references.py",
    ("docs/references-for-applications.md", "js"): OTHER_PAGES,
    ("docs/when-the-export-is-ahead-of-the-schema.md", "sql"): OTHER_PAGES,
    ("docs/when-the-export-is-ahead-of-the-schema.md", "console"): OTHER_PAGES,
    ("docs/personal-data.md", "sql"): OTHER_PAGES,
    ("docs/commands.md", "python"): OTHER_PAGES,
    ("docs/own-server.md", "sql"): OTHER_PAGES,
    ("docs/architecture.md", "sql"): OTHER_PAGES,
    ("README.md", "sql"): OTHER_PAGES,
    ("README.md", "text"): OTHER_PAGES,
    ("docs/numbers-for-analysts.md", "sh"): OTHER_PAGES,
    ("docs/numbers-for-analysts.md", "sql"): "cli/test_frames.py",
    ("docs/protecting-a-table.md", "sh"): "privacy/test_protecting_page.py",
    ("docs/protecting-a-table.md", "sql"): "privacy/test_protecting_page.py",
    ("docs/runbooks/*.md", "sh"): "runbooks/test_runbooks.py",
    **{(page, "sh"): OTHER_PAGES for page in COMMANDS},
}
"""Which test runs, or compares with what is really printed, the blocks of a language on a page, but for those of ``NOT_RUN``."""

ORDERED = "docs/plan.md"
"""The user's own words. Tests of the schema hold the tables to it."""

BLOCKS = [block for page in blocks.documents() for block in blocks.read(page) if block.page != ORDERED]


def runs(block: Block) -> bool:
    return any(fnmatch(block.page, page) and block.language == language for page, language in RUN)


def unaccounted(found: list[Block]) -> list[str]:
    return [str(block) for block in found if not runs(block) and block.key not in NOT_RUN]


def test_every_block_is_run_or_listed() -> None:
    assert unaccounted(BLOCKS) == []


@pytest.mark.parametrize("fence", ["```\ndaybreak status\n```", "```rust\nfn main() {}\n```"])
def test_a_block_that_somebody_adds_is_found(tmp_path: Path, fence: str) -> None:
    page = tmp_path / "new.md"
    page.write_text(f"# New\n\nSay:\n\n{fence}\n")
    assert unaccounted(blocks.read(page)) == ["new.md:5"]


def test_what_is_listed_is_there() -> None:
    assert set(NOT_RUN) - {block.key for block in BLOCKS} == set()
    for page, language in RUN:
        assert any(fnmatch(block.page, page) and block.language == language for block in BLOCKS), (
            page,
            language,
        )


@pytest.mark.parametrize(("page", "language"), RUN)
def test_the_test_that_runs_a_page_reads_it(page: str, language: str) -> None:
    test = PROJECT_ROOT / "daybreak_pipeline_tests" / RUN[page, language]
    name = "runbook.page" if "*" in page else Path(page).name
    assert name in test.read_text(encoding="utf-8")


def test_every_target_of_make_that_is_told_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    told = {target for block in BLOCKS for target in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)}
    assert told >= {"up", "test", "install", "bench"}
    assert told - targets == set()


# --- Commands, run or not, have the options that they are called with ----------------------------------------------


def called(text: str) -> list[list[str]]:
    """Return the calls of ``daybreak`` in commands of a shell, each with its arguments."""
    text = re.sub(r"<<'(\w+)'\n.*?^\1$", "", text.replace("\\\n", " "), flags=re.DOTALL | re.MULTILINE)
    found = []
    for line in text.splitlines():
        for words in re.findall(r"(?:^|[|;&(!]|\$ )\s*(?:\.venv/bin/)?daybreak ([^|;&)#>]+)", line):
            try:
                found.append(shlex.split(words))
            except ValueError:  # a quotation with a sign of the shell in it
                found.append(words.partition('"')[0].partition("'")[0].split())
    return found


def parse(words: list[str]) -> None:
    """Have click read a call, and do nothing.

    Raises:
        click.UsageError: there is no such command or option.
    """
    command: click.Command | None = main
    context: click.Context | None = None
    while command is not None:
        context = click.Context(command, parent=context, **command.context_settings)
        _, words, _ = command.make_parser(context).parse_args(list(words))
        if not isinstance(command, click.Group) or not words:
            return
        _, command, words = command.resolve_command(context, words)


def test_every_command_of_a_document_can_be_called_so() -> None:
    calls = [
        (block, words)
        for block in BLOCKS
        if block.language in {"sh", "console"}
        for words in called(block.text)
    ]
    assert len(calls) > 60
    wrong = []
    for block, words in calls:
        try:
            parse(words)
        except click.UsageError as error:
            wrong.append((str(block), words, error.format_message()))
    assert wrong == []


@pytest.mark.parametrize("call", ["daybreak imprt", "daybreak import --fulll", "! daybreak checks acept"])
def test_a_command_that_is_misspelled_is_found(call: str) -> None:
    [words] = called(call)
    with pytest.raises(click.UsageError):
        parse(words)
