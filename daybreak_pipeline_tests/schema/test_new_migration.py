"""A migration of one's own: nothing is applied before it is written, and none changes unnoticed once it is applied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daybreak_pipeline import database
from daybreak_pipeline.cli.main import main
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY

SHIPPED = runner.migrations()
NUMBER = f"{len(SHIPPED) + 1:03d}"
BEFORE = f"{len(SHIPPED):03d}"


@pytest.fixture
def directory(migrated: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped migrations with a new pair of files, which the commands take for their own."""
    copy = tmp_path / "migrations"
    shutil.copytree(runner.MIGRATIONS, copy)
    runner.write_new("audience", copy)
    found = runner.migrations
    monkeypatch.setattr(runner, "migrations", lambda _=None: found(copy))
    for name, value in {
        **migrated.environment(),
        "ENCRYPTION_KEY": KEY,
        "DAYBREAK_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    return copy


def write(directory: Path, upgrade: str | None = None, rollback: str | None = None) -> None:
    for suffix, text in ((".sql", upgrade), (".rollback.sql", rollback)):
        if text is not None:
            path = directory / f"{NUMBER}_audience{suffix}"
            path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def migrate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["migrate", *arguments])


def revision(settings: DatabaseSettings) -> str | None:
    with database.connect(settings) as connection:
        return runner.current_revision(connection)


@pytest.mark.parametrize(
    ("upgrade", "rollback", "lacks"),
    [
        (None, None, f"{NUMBER}_audience.sql"),
        ("/* to\n be */ ;\n", "SELECT 1;", f"{NUMBER}_audience.sql"),
        ("SELECT 1;", None, f"{NUMBER}_audience.rollback.sql"),
    ],
)
def test_what_is_not_written_yet_is_not_applied(
    directory: Path, migrated: DatabaseSettings, upgrade: str | None, rollback: str | None, lacks: str
) -> None:
    write(directory, upgrade, rollback)
    # The program goes on with the schema that there is: imports may run while somebody writes.
    assert runner.newest_revision() == BEFORE
    done = migrate("up")
    assert done.exit_code == 2
    assert f"{lacks} has no statement yet: write it, or delete both files" in done.stderr
    assert f"{lacks} has no statement yet" in migrate("up", "--to", NUMBER).stderr
    assert revision(migrated) == BEFORE
    assert migrate("status").stdout.splitlines()[-1] == f"unwritten  {NUMBER} audience"


def test_it_is_applied_once_both_files_are_written(directory: Path, migrated: DatabaseSettings) -> None:
    write(
        directory,
        "ALTER TABLE documents ADD COLUMN audience text;",
        "ALTER TABLE documents DROP COLUMN audience;",
    )
    done = migrate("up")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"applied {NUMBER} audience")
    assert revision(migrated) == NUMBER
    assert migrate("status").stdout.splitlines()[-1] == f"applied  {NUMBER} audience"


def test_one_that_was_changed_after_it_was_applied_is_told(directory: Path) -> None:
    write(
        directory,
        "ALTER TABLE documents ADD COLUMN audience text;",
        "ALTER TABLE documents DROP COLUMN audience;",
    )
    migrate("up")
    write(directory, "\nCOMMENT ON COLUMN documents.audience IS 'Who reads it.';")
    assert migrate("status").stdout.splitlines()[-1] == f"changed since it was applied  {NUMBER} audience"
    done = migrate("up")
    assert done.exit_code == 2
    assert f"was changed after it was applied: run daybreak migrate down --to {int(BEFORE)}, " in done.stderr
    assert migrate("down", "--to", str(int(BEFORE)), "--yes").exit_code == 0
    assert migrate("up").exit_code == 0
    assert migrate("up").stdout.splitlines()[0] == "nothing to apply"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "\nALTER TABLE documents ADD COLUM audience text x;",
            ', line 3: syntax error at or near "text" (42601)',
        ),
        ("\nSELECT 1; ALTER TABLE nowhere ADD COLUMN a text;", ': relation "nowhere" does not exist (42P01)'),
        (
            "ALTER TABLE documents ALTER COLUMN label TYPE integer USING label::integer;",
            ": InvalidTextRepresentation (22P02)",
        ),
        (
            "ALTER TABLE documents ADD CONSTRAINT short CHECK (label = 'x');",
            ': check constraint "short" of relation "documents" is violated by some row (23514)',
        ),
    ],
)
def test_what_the_server_does_not_take_is_told_in_one_line_without_a_value(
    directory: Path, migrated: DatabaseSettings, statement: str, told: str
) -> None:
    with database.connect(migrated) as connection:
        connection.execute("INSERT INTO documents (id, label) VALUES (gen_random_uuid(), 'Zoe')")
    write(directory, statement, "SELECT 1;")
    done = migrate("up")
    assert done.exit_code == 2
    assert done.stderr == f"daybreak: {NUMBER}_audience.sql{told}; nothing of it was done\n"
    assert revision(migrated) == BEFORE


def test_other_line_ends_are_no_change(directory: Path, migrated: DatabaseSettings) -> None:
    write(
        directory,
        "ALTER TABLE documents\nADD COLUMN audience text;",
        "ALTER TABLE documents DROP COLUMN audience;",
    )
    migrate("up")
    path = directory / f"{NUMBER}_audience.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with database.connect(migrated) as connection:
        assert runner.changed(connection) == []


def test_a_migration_after_one_that_is_not_written_waits_too(
    directory: Path, migrated: DatabaseSettings
) -> None:
    _, rollback = runner.write_new("later", directory)
    rollback.write_text("SELECT 1;")
    rollback.with_name(rollback.name.replace(".rollback", "")).write_text("SELECT 1;")
    with pytest.raises(UsageError, match=r"audience\.sql has no statement yet"):
        runner.upgrade(migrated, f"{len(SHIPPED) + 2}", directory=directory)
    assert runner.upgrade(migrated, directory=directory) == []
