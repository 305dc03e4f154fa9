"""Reads the commands of a runbook, and carries them out in one shell.

A block marked ``sh`` is run as it stands. A comment before it says what else is to be known: ``<!-- exits with 2 -->`` where
failing is what the page is about, ``<!-- not run: REASON -->`` where no test can run it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from daybreak_pipeline.settings import PROJECT_ROOT

_BLOCK = re.compile(r"^(?:<!-- (?P<note>[^\n]*) -->\n)?```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_EXITS = re.compile(r"exits with (\d+)")
_NOT_RUN = re.compile(r"not run: .{10,}")
TIMEOUT = 600


@dataclass(frozen=True)
class Block:
    """Commands of a page, one after the other. ``code`` is what the last one exits with, None for a block that is not run."""

    text: str
    code: int | None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    found = []
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        note = block["note"] or ""
        exits = _EXITS.fullmatch(note)
        assert not note or exits or _NOT_RUN.fullmatch(note), f"{page.name}: {note}"
        code = int(exits[1]) if exits else None if note else 0
        found.append(Block(block["text"], code))
    return found


def carry_out(
    page: Path, before: str, after: str, environment: dict[str, str], root: Path = PROJECT_ROOT
) -> str:
    """Make the situation, do what the page says, and see that it helped.

    Args:
        page: the runbook.
        before: shell commands that make the situation.
        after: shell commands that fail where it is not over.
        environment: variables of the person who follows the page.
        root: the checkout in which it is followed.

    Returns:
        What was printed.
    """
    script = ["set -euo pipefail", "# before", before]
    for number, block in enumerate(blocks(page), start=1):
        if block.code is None:
            continue
        script.append(f"echo {shlex.quote(f'# {page.name}, block {number}')}")
        if block.code:
            script += [
                "set +e",
                f"( set -e\n{block.text}\n)",
                "code=$?",
                "set -e",
                f"test $code = {block.code}",
            ]
        else:
            script.append(block.text)
    script += ["echo '# after'", after]
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(script)],
        cwd=root,
        env={
            **environment,
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "HOME": environment["DAYBREAK_HOME"],
            "PYTHONPATH": str(root),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
