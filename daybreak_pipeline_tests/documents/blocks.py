"""The fenced blocks of the documents: what a reader copies, and tests run.

A comment before a block says what else is to be known of it: ``<!-- program: sqlalchemy -->`` sets it apart from others in
its language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from daybreak_pipeline.settings import PROJECT_ROOT

_FENCE = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_PRINTED = re.compile(r"\b(?:print|console\.log)\(.*\)\)?;?\s{2,}(?:#|//) (.*)$|^// (\{.*\})$", re.MULTILINE)


NOT_RUN: dict[tuple[str, str], str] = {
    ("README.md", "make up      # everything running; a minute the first time"): (
        "the second command is what runs this test; the targets are looked up in the Makefile"
    ),
    ("README.md", ".venv/bin/daybreak up --data-dir /path/to/export"): (
        "runs until it is stopped, as tests of cli/test_up have it do; the options are looked up"
    ),
    (
        "README.md",
        "make test-slow # the tests that take longer: killed at random moments, full disks, canaries, the web UI in a browser",
    ): "take hours, and one of them runs this test; the targets are looked up in the Makefile",
    ("docs/architecture.md", "flowchart TD"): "a drawing",
    ("docs/backups.md", "daybreak restore --to before-import-1a2b3c4d"): (
        "needs backups and loses data: runbooks/undo-an-import.md runs it"
    ),
    ("docs/backups.md", "daybreak restore --to before-import-1a2b3c4d --table documents"): (
        "needs backups: runbooks/one-table-back.md runs it"
    ),
    ("docs/commands.md", "daybreak models --language typescript --out src      # src/daybreak.ts"): (
        "writes into the directory; documentation/test_models runs them in one of its own"
    ),
    (
        "docs/commands.md",
        "const { rows } = await client.query<AppCoverageStatus>('SELECT * FROM app.coverage_status WHERE user_id = $1', [id]);",
    ): "a part of a program; documentation/uses.ts is a whole one, which the compiler and Node take",
    ("docs/commands.md", 'new = PatientsAndGuardiansInsert(role=1, first_name="Ana")'): (
        "a part of a program; documentation/test_models does the same with a server"
    ),
    ("docs/exports-on-object-storage.md", "pip install 'daybreak-pipeline[s3]'"): (
        "needs a bucket; locations/test_imports runs the commands on one"
    ),
    (
        "docs/monitoring.md",
        "scrape_configs:",
    ): "a part of Prometheus' own configuration, which has no checker for a part",
    ("docs/own-server.md", "location / {"): (
        "a part of nginx' own configuration; orchestration/web/test_login is such a proxy"
    ),
    (
        "docs/personal-data.md",
        "apt-get install postgresql-15-pgaudit       # then add it to shared_preload_libraries, and restart the server",
    ): "installs into the system; privacy/test_read_log runs the commands on a server with pgaudit",
}
"""Blocks that no test runs, by page and first line, and why."""


@dataclass(frozen=True)
class Block:
    """A block of a page (named from the project's root), with the comment before it and the line on which it begins."""

    page: str
    line: int
    language: str
    text: str
    note: str = ""

    @property
    def first(self) -> str:
        """The line by which it is known when others come and go."""
        return self.text.strip().partition("\n")[0]

    @property
    def key(self) -> tuple[str, str]:
        """What it is listed by in ``NOT_RUN``."""
        return self.page, self.first

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def documents() -> list[Path]:
    """Return the pages that people read: those of docs, and those beside it."""
    return sorted([*(PROJECT_ROOT / "docs").rglob("*.md"), *PROJECT_ROOT.glob("*.md")])


def read(page: Path | str) -> list[Block]:
    """Return the blocks of a page in order."""
    path = PROJECT_ROOT / page
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            str(path.relative_to(PROJECT_ROOT)) if path.is_relative_to(PROJECT_ROOT) else path.name,
            text.count("\n", 0, found.start("text")),
            found["language"],
            found["text"],
            found["note"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


def in_language(page: str, language: str, note: str = "") -> list[Block]:
    """Return a page's blocks in one language that are to be run, with this comment before them, or with none."""
    found = [
        block
        for block in read(page)
        if (block.language, block.note) == (language, note) and block.key not in NOT_RUN
    ]
    assert found, f"{page} has nothing in {language}"
    return found


def promised(program: str) -> list[str]:
    """Return what the comments of a program say that it prints, in order."""
    return [behind or below for behind, below in _PRINTED.findall(program)]


def statements(text: str) -> list[str]:
    """Return the SQL statements of a block."""
    lines = [re.sub(r"\s+-- .*$|^--.*$", "", line) for line in text.splitlines()]
    return [one.strip() for one in "\n".join(lines).split(";\n") if one.strip(" ;\n")]
