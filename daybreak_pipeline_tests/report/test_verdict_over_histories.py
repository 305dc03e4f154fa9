"""The verdict after any history of files and failures: it follows from what is, and what is over leaves no trace.

Files come, are missing, broken, older, newer, as before; imports happen or do not, because the server is away, its disk is full
or a migration is missing. Ten lines of Python (``World.expected``) say what the verdict has to be after each step.
"""

from __future__ import annotations

import errno
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import hypothesis
import pytest

from daybreak_pipeline import tables
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.importer import find, run, standing
from daybreak_pipeline.report.facts import Facts
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.report.verdict import judge
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.checks.examining import examine
from daybreak_pipeline_tests.exports import Export, record

TABLES = ("organizations", "documents")
BROKEN = -1
Last = Literal["none", "good", "failed", "absent"]


@dataclass
class Model:
    """One table: which version its file is (None: no file), which were loaded, and what came of the last attempt."""

    file: int | None = None
    newest: int = 0
    loaded: set[int] = field(default_factory=set)
    last: Last = "none"

    def attempt(self) -> None:
        if self.file is None:
            self.last = "absent" if self.loaded else "failed"
        elif self.file == BROKEN:
            self.last = "failed"
        else:
            self.last = "good"
            self.loaded.add(self.file)

    def expected(self, refused: bool) -> tuple[str, str] | None:
        """Return severity and the beginning of what is to be said."""
        if self.last == "failed":
            return "ERROR", "import failed: "
        if not self.loaded:
            return "ERROR", "never imported"
        if self.file is not None and self.file not in self.loaded:
            return ("ERROR" if refused else "WARN"), "was delivered and is not loaded"
        if self.file is None and self.last == "absent":
            return "WARN", "its file is absent; "
        return None


class World:
    """An export and its database, what happens to them, and a model of both."""

    def __init__(self, export: Export, db: DatabaseSettings, seed: int) -> None:
        self.export, self.db = export, db
        self.random = random.Random(seed)  # noqa: S311 - the same every time
        self.models = {name: Model() for name in TABLES}
        self.pending = False
        self.export.write("contracts", record("contracts"))  # a directory with no file at all is no export

    # --- What happens ---

    def write(self, name: str, version: int) -> None:
        column = {"organizations": "name", "documents": "label"}[name]
        when = f"2025-06-25T12:{version // 60 % 60:02}:{version % 60:02}"
        self.export.write(name, record(name, **{column: f"version_{version:05}"}, updated_at=when))
        self.models[name].file = version
        self.models[name].newest = max(version, self.models[name].newest)

    def newer(self, name: str) -> None:
        self.write(name, self.models[name].newest + self.random.randint(1, 2))

    def older(self, name: str) -> None:
        self.write(name, self.random.randint(1, max(1, self.models[name].newest)))

    def absent(self, name: str) -> None:
        for path in find.candidates(self.export.directory, tables.TABLES[name]):
            Path(str(path)).unlink()
        self.models[name].file = None

    def broken(self, name: str) -> None:
        self.export.write_bytes(
            name, self.random.choice([b"", b"id\n", b"\x00\x01\x02", b"no,header\n1,2\n"])
        )
        self.models[name].file = BROKEN

    def attempt(self, name: str) -> None:
        """Import as a run does: nothing is tried while a migration is missing."""
        with suppress(DaybreakError):
            runner.require_newest(self.export.connection)
            self.models[name].attempt()
            run.import_table(self.export.connection, name, self.export.directory)
        self.export.connection.commit()

    def disk_full(self, name: str) -> None:
        if self.pending:
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(find, "find", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
            with pytest.raises(run.ImportPreventedError):
                run.import_table(self.export.connection, name, self.export.directory)
        self.export.connection.commit()
        self.models[name].last = "failed"

    def server_gone(self, _name: str) -> None:
        """Whatever was to be imported was not, and nobody wrote that down."""

    def migrations(self, *, pending: bool) -> None:
        self.pending = pending
        applied = "001" if pending else runner.newest_revision()
        self.export.connection.execute("UPDATE migrations.alembic_version SET version_num = %s", [applied])
        self.export.connection.commit()

    def step(self) -> str:
        name = self.random.choice(TABLES)
        change = self.random.choice([self.newer, self.newer, self.older, self.absent, self.broken, None])
        outcome = self.random.choice([self.attempt, self.attempt, self.disk_full, self.server_gone])
        if self.random.random() < 0.2:
            self.migrations(pending=not self.pending)
        if change:
            change(name)
        outcome(name)
        did = change.__name__ if change else "nothing new"
        return f"{name}: {did}, {outcome.__name__}{', a migration is missing' if self.pending else ''}"

    def restore(self) -> None:
        """Set everything right."""
        self.migrations(pending=False)
        for name in TABLES:
            if self.models[name].file in {None, BROKEN}:
                self.older(name)
            self.attempt(name)

    # --- What is to be seen ---

    def facts(self) -> Facts:
        found = gather(self.db)
        return replace(found, tables=tuple(table for table in found.tables if table.name in TABLES))

    def seen(self, facts: Facts) -> dict[str, tuple[str, str] | None]:
        problems = {p.table: p for p in judge(facts).problems if p.check == "import"}
        return {
            name: (problems[name].severity, problems[name].sentence) if name in problems else None
            for name in TABLES
        }

    def check(self, history: list[str]) -> None:
        facts = self.facts()
        assert [trouble.what for trouble in facts.troubles] == ["migrations"] * self.pending, history
        if facts.empty:  # said once, not of each table
            assert judge(facts).why.startswith("nothing has been imported yet"), history
            return
        for name, seen in self.seen(facts).items():
            wanted = self.models[name].expected(self.pending)
            if wanted is None or seen is None:
                assert seen is wanted, (history, name)
            else:
                assert seen[0] == wanted[0], (history, name, seen)
                assert wanted[1] in seen[1], (history, name)


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files come milliseconds apart here: what is usual is not to the point."""
    monkeypatch.setattr(standing, "is_due", lambda *_: True)


def outlive(world: World, sequences: int) -> None:
    """Take sequences of steps, each of which ends well."""
    for _ in range(sequences):
        history = []
        for _ in range(world.random.randint(1, 6)):
            history.append(world.step())
            world.check(history)
        world.restore()
        world.check([*history, "all set right"])
        for table in world.facts().tables:
            left = (table.failing, table.error, table.absent_since, table.waiting, table.unread)
            assert left == (None, None, None, None, ()), history
            assert examine(world.export, table.name)["row_accounting"].passed, history
        world.export.connection.commit()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_verdict_follows_from_what_is(export: Export, migrated: DatabaseSettings, seed: int) -> None:
    outlive(World(export, migrated, seed), 4)


@pytest.mark.slow
def test_the_verdict_follows_from_what_is_whatever_has_been(
    export: Export, migrated: DatabaseSettings
) -> None:
    """A hundred sequences; 2,000 with --hypothesis-profile=many."""
    outlive(World(export, migrated, 3), hypothesis.settings().max_examples)
