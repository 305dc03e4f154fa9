"""Disaster recovery where there is nothing: a bare Debian, the project's source, the repository, the two keys, and the page.

It takes about five minutes, most of it for fetching packages. What it measured is printed: ``pytest -rP`` shows it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline.embedded_postgres import archiving
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline_tests import bare_debian
from daybreak_pipeline_tests.backups.conftest import PATIENTS, Site, do, needs_pgbackrest
from daybreak_pipeline_tests.backups.test_restoring import all_archived, kill
from daybreak_pipeline_tests.exports import record
from daybreak_pipeline_tests.runbooks import pages

pytestmark = [needs_pgbackrest, pytest.mark.slow]
STRANGER = 4711
"""The number of a user that the new machine does not have: a disk comes with the owners of another system."""


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Path]:
    """A bare Debian, which in the end takes almost two gigabytes."""
    reason = bare_debian.why_not()
    if reason:
        pytest.skip(reason)
    try:
        bare_debian.make(tmp_path / "bare")
        yield tmp_path / "bare"
    finally:
        shutil.rmtree(tmp_path / "bare", ignore_errors=True)


def source(directory: Path) -> None:
    """Make a repository of the project's source as it is now, to be cloned."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no checkout: its source cannot be told from what was built in it")
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT_ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, directory / name)
    git = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.org", "-C", str(directory)]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as it is"]):
        subprocess.run([*git, *command], check=True)


def test_the_page_the_repository_and_the_keys_are_enough(
    site: Site, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_BACKUP_REPO", str(site.home / "repository"))
    with site.up_with_people(tmp_path / "export", record(PATIENTS, email="zoe@example.org")) as db:
        do(db, "CREATE TABLE later AS SELECT n FROM generate_series(1, 4321) AS n")
        all_archived(db)
        shutil.rmtree(kill(site))
    source(bare / "srv" / "daybreak")
    shutil.copytree(site.home / "repository", bare / "srv" / "repository", symlinks=True)
    for path in (bare / "srv" / "repository", *(bare / "srv" / "repository").rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    (bare / "srv" / "escrow").mkdir()
    for key in (archiving.KEY_FILE, "encryption.key"):
        shutil.copy(site.home / key, bare / "srv" / "escrow")

    printed = bare_debian.run(bare, "\n".join([*BEFORE, *steps(), *AFTER]))
    assert printed.splitlines()[-1] == "over"
    sys.stdout.write("\n".join(line for line in printed.splitlines() if line.startswith("after ")))


BEFORE = (
    "set -euo pipefail; cd; begun=$(date +%s)",
    'passed() { echo "after $(( $(date +%s) - begun )) s: $1"; }',
    "export SOURCE=/srv/daybreak DAYBREAK_HOME=/var/lib/daybreak/home DAYBREAK_BACKUP_REPO=/srv/repository",
    "export ESCROW=/srv/escrow EXPORT=/srv/daybreak/data/sample",
)
AFTER = (
    "daybreak keys status | grep 'the key fits the database'",
    "test \"$(daybreak psql -Atc 'SELECT count(*) FROM later')\" = 4321",
    "daybreak backup drill",
    "passed 'proved by the drill'",
    "echo over",
)


def steps() -> list[str]:
    """Return all commands of the page, in order, also those that other tests leave out; each with the time."""
    found = pages.blocks(PROJECT_ROOT / Runbook.DISASTER_RECOVERY.page)
    return [f"{block.text}\npassed 'block {number}'" for number, block in enumerate(found, start=1)]
