"""What docs/protecting-a-table.md says is done, word for word: by the migration, the application and the owner."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from daybreak_pipeline import database
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.database import Connection
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import PATIENTS
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.privacy.test_roles import APP, READONLY, apply_with_passwords, login

PAGE = (PROJECT_ROOT / "docs" / "protecting-a-table.md").read_text(encoding="utf-8")
NEW_KEY = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff"
CHILD = uuid("a child")
PERSONAL = ("Ana", "García", "2015-02-28", "aunt")


def blocks(heading: str, language: str) -> list[str]:
    """Return the blocks of one language below a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def statements(block: str) -> list[str]:
    return [one.strip() for one in re.split(r";[^\n]*\n", block) if one.strip()]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations, and the one of the page behind them."""
    directory = tmp_path / "migrations"
    shutil.copytree(runner.MIGRATIONS, directory)
    [block] = blocks("The migration", "sh")
    [name] = re.findall(r"daybreak migrate new (\w+)", block)
    written = re.findall(
        rf"cat >> \[0-9\]\*_{name}(\.rollback)?\.sql <<'SQL'\n(.*?)^SQL$", block, re.DOTALL | re.MULTILINE
    )
    assert [kind for kind, _ in written] == ["", ".rollback"]
    for path, (_, text) in zip(runner.write_new(name, directory), written, strict=True):
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    newest = runner.migrations(directory)[-1].revision
    monkeypatch.setattr(runner, "newest_revision", lambda: newest)  # as for a team whose migration it is
    return directory


@pytest.fixture
def added(migrated: DatabaseSettings, directory: Path) -> DatabaseSettings:
    """A database with the page's table and a child."""
    with database.connect(migrated, key=KEY) as connection:
        keys.verify(connection)
        connection.execute(f"INSERT INTO {PATIENTS} (id, role) VALUES (%s, 1)", [CHILD])  # noqa: S608 - ours
    runner.upgrade(migrated, directory=directory)
    apply_with_passwords(migrated)
    return migrated


@pytest.fixture
def written(added: DatabaseSettings) -> list[list[tuple[object, ...]]]:
    """What the application's statements return, each after the other."""
    [block] = blocks("From the application", "sql")
    found = []
    with psycopg.connect(login(added, APP).conninfo(), autocommit=True) as application:
        cursor = psycopg.RawCursor(application)
        for statement in statements(block):
            parameters = [value for name, value in (("$1", KEY), ("$2", CHILD)) if name in statement]
            cursor.execute(statement.replace("$2", "$1").encode(), parameters)
            found.append(cursor.fetchall() if cursor.description else [])
    return found


@pytest.fixture
def owner(added: DatabaseSettings) -> Iterator[Connection]:
    with database.connect(added, key=KEY, autocommit=True) as connection:
        yield connection


def test_the_application_reads_what_it_wrote(
    written: list[list[tuple[object, ...]]], added: DatabaseSettings, owner: Connection
) -> None:
    *_, read, searched, _ = written
    assert [str(value) for value in read[0]] == ["Ana García", "María Inés García", "2015-02-28"]
    assert [name for _, name in searched] == ["Ana García"]
    kept = str(owner.execute("SELECT t::text FROM demographics t").fetchall())
    assert [word for word in PERSONAL if word in kept] == []
    with database.connect(login(added, READONLY)) as analyst:
        assert analyst.execute("SELECT school FROM reporting.demographics").fetchall() == [("East Side",)]
    with database.connect(login(added, APP)) as keyless, pytest.raises(psycopg.Error) as refused:
        keyless.execute("INSERT INTO demographics (child_id, legal_name) VALUES (%s, 'x')", [CHILD])
    assert refused.value.sqlstate == "28000"


def test_the_commands_erase_rotate_and_show(
    written: list[object], added: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert written
    for name, value in {
        "DB_HOST": added.host, "DB_PORT": str(added.port), "DB_NAME": added.name, "DB_USER": added.user,
        "DB_PASSWORD": added.password, "ENCRYPTION_KEY": KEY, "NEW_ENCRYPTION_KEY": NEW_KEY,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    [block] = blocks("Erasing, rotating, looking after it", "sh")
    printed = []
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "daybreak"
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        if arguments[:2] == ["keys", "rotate"]:  # as the command says
            monkeypatch.setenv("ENCRYPTION_KEY", NEW_KEY)
            monkeypatch.delenv("NEW_ENCRYPTION_KEY")
        printed.append(done.output)
    assert "personal values in 4 columns" in printed[0]
    assert "under the new key, and was verified" in printed[1]
    with database.connect(added) as connection:
        steps = connection.execute("SELECT relation, rows_done FROM privacy.rotation_steps").fetchall()
    assert ("public.demographics", 1) in steps
    assert "ERASURE" in printed[2]
    assert [word for word in PERSONAL if word in "".join(printed)] == []


def test_changes_of_the_table_work_and_so_does_the_rollback(
    written: list[object], added: DatabaseSettings, owner: Connection, directory: Path
) -> None:
    assert written
    for block in blocks("Changing it", "sql"):
        for statement in statements(block):
            owner.execute(statement.encode())
    assert owner.execute("SELECT legal_name FROM app.demographics").fetchall() == [("Ana García",)]
    before = runner.migrations(directory)[-2].revision
    with pytest.raises(Exception, match=r"changes sealed data.*no encryption key.*ENCRYPTION_KEY"):
        runner.downgrade(added, before, directory=directory)
    assert runner.tables_with_rows(owner) == [PATIENTS, "demographics", "audit.changes"]
    runner.downgrade(added, before, directory=directory, key=KEY)
    assert owner.execute(
        "SELECT to_regclass('demographics'), to_regclass('app.demographics')"
    ).fetchone() == (None, None)
