"""Runs the SQL migrations: one transaction each, one at a time (ADR 13).

A migration is a pair of files in ``migrations/``: ``NNN_name.sql`` and ``NNN_name.rollback.sql``. What it does is in
its SQL, never here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import ServerUnavailableError, UsageError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.schema import extensions, preconditions, protected
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

MIGRATIONS = Path(__file__).parent / "migrations"
_FILE_NAME = re.compile(r"(?P<number>\d{3})_(?P<name>[a-z0-9_]+)\.sql")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_WITHOUT_VALUES = frozenset({"0A", "23", "2B", "42", "53", "55", "57"})
_NOTHING = "000"
"""Before the first migration."""
_VERSION_TABLE = """
    CREATE SCHEMA IF NOT EXISTS migrations;
    CREATE TABLE IF NOT EXISTS migrations.alembic_version (
        version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
    )
"""
# A migration takes as long as the data asks for, whatever limits the server has for everybody.
_WITHOUT_LIMITS = """
    SELECT set_config(name, '0', true) FROM pg_settings
    WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout') AND setting <> '0'
"""
# What a migration leaves is what the database should look like. Before the table for it exists, nothing is noted.
_RECORD_STRUCTURE = """
    DO $$ BEGIN
        IF to_regprocedure('migrations.record_objects()') IS NOT NULL THEN
            PERFORM migrations.record_objects();
        END IF;
    END $$
"""


@dataclass(frozen=True)
class Migration:
    """One pair of SQL files. ``revision`` is the three-digit number that orders them."""

    revision: str
    name: str
    upgrade_file: Path
    rollback_file: Path

    @property
    def sha256(self) -> str:
        """The SHA-256 of the SQL that applies it, in hex, whatever its line ends are."""
        return hashlib.sha256(self.upgrade_file.read_text(encoding="utf-8").encode()).hexdigest()

    @property
    def unwritten(self) -> Path | None:
        """The file of the pair that has no statement yet, as ``write_new`` leaves it; None if both have one."""
        for path in (self.upgrade_file, self.rollback_file):
            if not _COMMENT.sub("", path.read_text(encoding="utf-8")).strip(" \t\r\n;"):
                return path
        return None


def migrations(directory: Path = MIGRATIONS) -> list[Migration]:
    """Return the migrations of a directory in their order.

    Raises:
        UsageError: a number occurs twice or is missing, or a migration has no rollback.
    """
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if not match:
            continue
        rollback = path.with_name(f"{path.stem}.rollback.sql")
        if not rollback.exists():
            msg = f"migration {path.name} has no {rollback.name} beside it"
            raise UsageError(msg)
        found.append(Migration(match["number"], match["name"], path, rollback))
    for position, migration in enumerate(found, start=1):
        if int(migration.revision) != position:
            msg = f"migration {migration.upgrade_file.name} should have number {position:03d}"
            raise UsageError(msg)
    return found


def newest_revision() -> str:
    """Return the number of the newest migration that this program brings."""
    return _newest(migrations())


def current_revision(connection: Connection) -> str | None:
    """Return the number of the newest migration applied to the database, None when there is none."""
    if not _exists(connection, "migrations.alembic_version"):
        return None
    number: str | None = database.value(connection, "SELECT version_num FROM migrations.alembic_version")
    return number


def changed(connection: Connection, directory: Path = MIGRATIONS) -> list[Migration]:
    """Return the applied migrations whose SQL is no longer what was applied."""
    if not _exists(connection, "migrations.applied_files"):
        return []
    rows = connection.execute("SELECT revision, sha256 FROM migrations.applied_files").fetchall()
    applied: dict[str, str] = dict(rows)
    return [m for m in migrations(directory) if applied.get(m.revision, m.sha256) != m.sha256]


def require_written(directory: Path = MIGRATIONS) -> None:
    """Make sure that no migration waits for being written.

    Raises:
        UsageError: one does, and with it all after it.
    """
    for migration in migrations(directory):
        if migration.unwritten:
            msg = (
                f"{migration.unwritten} has no statement yet: write it, or delete both files of the migration"
            )
            raise UsageError(msg)


def write_new(name: str, directory: Path = MIGRATIONS) -> tuple[Path, Path]:
    """Write the pair of files of a new migration, to be filled in, and return their paths.

    Raises:
        UsageError: the name has other characters than a-z, 0-9 and _.
    """
    number = len(migrations(directory)) + 1
    path = directory / f"{number:03d}_{name}.sql"
    if not _FILE_NAME.fullmatch(path.name):
        msg = "a migration's name has only lower-case letters, digits and underscores, such as widen_kinship_labels"
        raise UsageError(msg)
    rollback = path.with_name(f"{path.stem}.rollback.sql")
    path.write_text(f"-- {name.replace('_', ' ')}: say here what changes and why. Runs in one transaction.\n")
    rollback.write_text(f"-- Takes back {path.stem}.\n")
    return path, rollback


def require_newest(connection: Connection) -> None:
    """Make sure that the database has the schema that this program is written for.

    Raises:
        UsageError: it has another.
    """
    applied = current_revision(connection)
    if applied != newest_revision():
        has = f"migration {applied}" if applied else "no schema yet"
        msg = f"the database has {has}, this program needs migration {newest_revision()}: run daybreak migrate up"
        raise UsageError(msg)


def upgrade(
    settings: DatabaseSettings,
    to: str | None = None,
    *,
    directory: Path = MIGRATIONS,
    key: str | None = None,
) -> list[Migration]:
    """Apply every migration that the database lacks, up to and including ``to``.

    Args:
        settings: the database.
        to: the last migration to apply, None for the newest.
        directory: where the migrations are.
        key: the encryption key, which a migration needs that changes sealed data where there is some.

    Returns:
        The migrations that were applied, in order.

    Raises:
        UsageError: there is no such migration, it is not written yet, one that is applied was changed afterwards, it
            needs the key, the database is newer than this program, or the server is not as it must be.
    """
    known = migrations(directory)
    newest = _newest(known)
    with database.connect(settings) as connection:
        preconditions.require(connection)
        _require_unchanged(changed(connection, directory))

    def step(current: str) -> _Step | None:
        target = _revision(known, to) if to is not None else newest
        if target > newest:
            require_written(directory)
        return next(
            (_Step(m, m.upgrade_file, m.revision) for m in known if current < m.revision <= target), None
        )

    return _run(settings, known, step, key)


def downgrade(
    settings: DatabaseSettings, to: str, *, directory: Path = MIGRATIONS, key: str | None = None
) -> list[Migration]:
    """Roll back every migration after ``to``; ``"0"`` rolls back all. ``key`` as in ``upgrade``.

    Returns:
        The migrations that were rolled back, newest first.

    Raises:
        UsageError: there is no such migration, it is not applied, it needs the key, or the server is not as it must be.
    """
    known = migrations(directory)
    with database.connect(settings) as connection:
        preconditions.require(connection)
    before = {m.revision: previous.revision for previous, m in pairwise(known)}

    def step(current: str) -> _Step | None:
        require_applied(current, to, directory)
        target = _NOTHING if int(to) == 0 else _revision(known, to)
        found = next((m for m in reversed(known) if target < m.revision == current), None)
        return _Step(found, found.rollback_file, before.get(current, _NOTHING)) if found else None

    return _run(settings, known, step, key)


def require_applied(current: str, to: str, directory: Path = MIGRATIONS) -> None:
    """Make sure that a database at migration ``current`` can go back to ``to``; ``"0"`` is before the first.

    Raises:
        UsageError: there is no such migration, or it is not applied.
    """
    target = _NOTHING if int(to) == 0 else _revision(migrations(directory), to)
    if current < target:
        msg = f"migration {target} is not applied: the database has {current}"
        raise UsageError(msg)


def tables_with_rows(connection: Connection) -> list[str]:
    """Return which tables of the plan, and protected ones of applications, hold rows, and the audit trail where it does."""
    result = []
    names = [*TABLES, *protected.of_applications(connection)]
    for schema, name in [*(("public", name) for name in names), ("audit", "changes")]:
        if _exists(connection, sql.Identifier(schema, name).as_string(connection)) and database.has_rows(
            connection, sql.Identifier(schema, name)
        ):
            result.append(name if schema == "public" else f"{schema}.{name}")
    return result


def _newest(known: list[Migration]) -> str:
    """Return the number of the last migration before the first that has no statement yet."""
    return list(takewhile(lambda migration: migration.unwritten is None, known))[-1].revision


def _exists(connection: Connection, table: str) -> bool:
    return bool(database.value(connection, "SELECT to_regclass(%s) IS NOT NULL", [table]))


def _require_unchanged(changes: list[Migration]) -> None:
    for migration in changes:
        msg = (
            f"{migration.upgrade_file} was changed after it was applied: run daybreak migrate down --to "
            f"{int(migration.revision) - 1}, which takes it back as its rollback file now says, and then daybreak migrate up"
        )
        raise UsageError(msg)


def _revision(known: list[Migration], wanted: str) -> str:
    for migration in known:
        if wanted.isdecimal() and int(migration.revision) == int(wanted):
            return migration.revision
    msg = f"there is no migration {wanted}: they go from {known[0].revision} to {known[-1].revision}"
    raise UsageError(msg)


@dataclass(frozen=True)
class _Step:
    """One file to run, and the revision that the database has afterwards."""

    migration: Migration
    file: Path
    leads_to: str


def _run(
    settings: DatabaseSettings, known: list[Migration], step: Callable[[str], _Step | None], key: str | None
) -> list[Migration]:
    """Run the steps that follow from the database's revision, each in a transaction of its own.

    Two commands that migrate at once take turns: each waits for the other's step and continues from its revision.
    """
    applied: list[Migration] = []
    with database.connect(
        settings, key=key, autocommit=True, application_name="daybreak migrate"
    ) as connection:
        _make_version_table(connection)
        while True:
            with connection.transaction():
                connection.execute(_WITHOUT_LIMITS)
                current = _locked_revision(connection)
                if current > known[-1].revision:
                    msg = (
                        f"the database has migration {current}, this program knows up to {known[-1].revision}: "
                        "update the program, or roll the newer ones back with the one that applied them (daybreak migrate down)"
                    )
                    raise UsageError(msg)
                next_step = step(current)
                if next_step is None:
                    return applied
                _execute(connection, next_step)
            applied.append(next_step.migration)


def _make_version_table(connection: Connection) -> None:
    """Make the table that says which migration the database has; its form is Alembic's, which made it until ADR 13."""
    if _exists(connection, "migrations.alembic_version"):
        return
    try:
        with connection.transaction():
            connection.execute(_VERSION_TABLE)
    except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateSchema):
        return  # another command was first


def _locked_revision(connection: Connection) -> str:
    """Return the database's revision, which nobody else can change until the transaction ends."""
    connection.execute("LOCK TABLE migrations.alembic_version IN SHARE ROW EXCLUSIVE MODE")
    return current_revision(connection) or _NOTHING


def _execute(connection: Connection, step: _Step) -> None:
    """Run one SQL file in the transaction that is open, and note what the database has then.

    It runs as it is written, but for the schema of the extensions' functions.

    The reporting views show whatever columns there are. They step aside meanwhile, since a column that a view
    shows can be neither dropped nor changed, and come back as the tables are then.
    """
    migration, path = step.migration, step.file
    _tend_reporting(connection, "SELECT reporting.clear()")
    connection.execute("SELECT set_config('search_path', %s, true)", [extensions.search_path(connection)])
    statements = extensions.qualified(connection, path.read_text(encoding="utf-8"))
    try:
        connection.execute(statements.encode())
    except psycopg.Error as error:
        kind = ServerUnavailableError if database.is_transient(error) else UsageError
        raise kind(_refusal(step, statements, error, connection)) from None
    _tend_reporting(connection, "SELECT reporting.refresh()")
    connection.execute(_RECORD_STRUCTURE)
    if _exists(connection, "migrations.applied_files"):
        connection.execute("DELETE FROM migrations.applied_files WHERE revision = %s", [migration.revision])
        if path == migration.upgrade_file:
            connection.execute(
                "INSERT INTO migrations.applied_files (revision, sha256) VALUES (%s, %s)",
                [migration.revision, migration.sha256],
            )
    connection.execute("DELETE FROM migrations.alembic_version")
    if step.leads_to != _NOTHING:
        connection.execute(
            "INSERT INTO migrations.alembic_version (version_num) VALUES (%s)", [step.leads_to]
        )


def _refusal(step: _Step, statements: str, error: psycopg.Error, connection: Connection) -> str:
    """Say why the server did not run a migration's file, without a value of the data."""
    migration, path, diagnosis = step.migration, step.file, error.diag
    if isinstance(error, psycopg.errors.InvalidAuthorizationSpecification):
        return (
            f"migration {migration.revision} changes sealed data, and {diagnosis.message_primary}: "
            "set ENCRYPTION_KEY to the key of this database"
        )
    if isinstance(error, psycopg.errors.RaiseException):  # what a migration has to tell people
        return f"migration {migration.revision}: {diagnosis.message_primary}"
    if diagnosis.sqlstate is None:
        return explanations.explain(error, connection, besides=f"nothing of {path.name} was done")
    line = ""
    if diagnosis.statement_position:
        before = statements[: int(diagnosis.statement_position)]
        line = f", line {before.count(chr(10)) + 1}"
    # What is said of a statement or a constraint has names only; what is said of a value quotes it.
    told = diagnosis.message_primary if diagnosis.sqlstate[:2] in _WITHOUT_VALUES else type(error).__name__
    return f"{path.name}{line}: {told} ({diagnosis.sqlstate}); nothing of it was done"


def _tend_reporting(connection: Connection, statement: LiteralString) -> None:
    """Run a statement on the reporting views, where the database has them."""
    if database.value(connection, "SELECT to_regprocedure('reporting.refresh()') IS NOT NULL"):
        connection.execute(statement)
