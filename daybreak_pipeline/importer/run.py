"""Imports one table from one export, in one transaction, and tells the ledger.

The order of the phases, the lock and the transaction stand here; what each phase does, in its module.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from daybreak_pipeline.errors import DaybreakError, SourceError
from daybreak_pipeline.importer import catalog as catalogs
from daybreak_pipeline.importer import classify, heal, ledger, merge, quarantine, sources, staging, validate
from daybreak_pipeline.importer.catalog import TableCatalog
from daybreak_pipeline.importer.expressions import Expressions
from daybreak_pipeline.importer.ledger import Accounting, Entry, Status
from daybreak_pipeline.importer.sources import Source
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.importer.work import Work
from daybreak_pipeline.schema import runner
from daybreak_pipeline.tables import TABLES, TRANSPORT_COLUMNS

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


@dataclass(frozen=True)
class Result:
    """What an import of one table did. ``seconds`` is wall time, from finding the file to the commit.

    ``rows_in_table`` is counted only when the table was touched: a skipped import takes milliseconds.
    """

    table: str
    status: Status
    accounting: Accounting
    seconds: float
    import_id: int
    source_uri: str
    source_sha256: str | None
    rows_in_table: int | None
    unknown_columns: tuple[str, ...] = ()
    references_restored: int = 0


class ImportFailedError(DaybreakError):
    """The import of one table failed and changed nothing; the ledger says so too."""


def import_table(  # noqa: PLR0913 - each is a fact of the one import
    connection: Connection,
    name: str,
    export_dir: Path,
    *,
    full: bool = False,
    run_id: str | None = None,
    progress: Progress = lambda _phase, _amount: None,
) -> Result:
    """Import one table from an export directory.

    Args:
        connection: with the encryption key set (``database.connect``), and no transaction open.
        name: the table.
        export_dir: the directory that holds the export.
        full: read the file again even when its content is the last import's.
        run_id: the Dagster run, for the ledger.
        progress: called with phase and amount.

    Raises:
        ImportFailedError: nothing was changed; the message says why and what to do.
    """
    begun = _Begun(name, export_dir, run_id, datetime.now(UTC), time.monotonic())
    try:
        with connection.transaction():
            return _import(connection, begun, progress, full=full)
    except SourceError as error:
        reason = str(error)
    except psycopg.Error as error:
        reason = f"{name}: {_describe(error)}"
    _record_failure(connection, begun, reason)
    raise ImportFailedError(reason)


@dataclass(frozen=True)
class _Begun:
    table: str
    export_dir: Path
    run_id: str | None
    at: datetime
    clock: float


def _import(connection: Connection, begun: _Begun, progress: Progress, *, full: bool) -> Result:
    # Two imports of one table follow each other. The lock is the transaction's: nobody can leave it behind.
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('daybreak.import'), hashtext(%s))", [begun.table]
    )
    # Triggers that touch what clients write stand aside for this very transaction.
    connection.execute("SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true)")
    connection.execute("SET LOCAL work_mem = '256MB'; SET LOCAL maintenance_work_mem = '512MB'")
    catalog = catalogs.read(connection, begun.table)
    source = sources.find(begun.export_dir, catalog.table)
    _require_columns(catalog, source)
    progress("fingerprint", source.size())
    sha256 = source.sha256()
    version = runner.current_revision(connection) or "none"
    entry = Entry(
        id=ledger.next_id(connection),
        table_name=begun.table,
        status="skipped",
        accounting=Accounting(),
        source_uri=source.uri,
        source_sha256=sha256,
        source_bytes=source.size(),
        schema_version=version,
        started_at=begun.at,
        run_id=begun.run_id,
    )
    same = ledger.last_content(connection, begun.table) == (sha256, version)
    healing = heal.possible(connection, catalog)
    if not same or full or healing:
        entry = replace(
            entry, status="imported", accounting=_load(connection, catalog, source, entry.id, progress)
        )
    restored = heal.restore_references(connection, catalog) if healing else 0
    ledger.write(connection, entry)
    return Result(
        table=begun.table,
        status=entry.status,
        accounting=entry.accounting,
        seconds=time.monotonic() - begun.clock,
        import_id=entry.id,
        source_uri=source.uri,
        source_sha256=sha256,
        rows_in_table=_count_rows(connection, begun.table) if entry.status == "imported" else None,
        unknown_columns=tuple(
            c for c in source.header if c not in catalog.by_name and c not in TRANSPORT_COLUMNS
        ),
        references_restored=restored,
    )


def _load(
    connection: Connection, catalog: TableCatalog, source: Source, import_id: int, progress: Progress
) -> Accounting:
    stage = staging.create(connection, catalog.table.name, source.header)
    work = Work(
        connection, catalog, stage, Expressions(catalog, stage), import_id, _is_empty(connection, catalog)
    )
    work.create()
    staging.fill(connection, stage, source, progress)
    progress("classify", 0)
    classify.classify(work)
    if not _validated_and_merged(work, progress):
        # Some value does not fit a column that only the merge casts. Find out which, and begin again.
        work.expressions.lenient |= work.misfits(work.expressions.in_file, work.candidates)
        if not _validated_and_merged(work, progress):
            msg = f"{catalog.table.name}: a value is too large for an index; nothing was changed"
            raise SourceError(msg)
    progress("quarantine", 0)
    quarantine.keep(work)
    accounting = ledger.count(work)
    work.drop()
    work.run("ANALYZE {target}")
    return accounting


def _validated_and_merged(work: Work, progress: Progress) -> bool:
    """Validate and merge, or do nothing and return False where a value does not fit its type."""
    with work.connection.transaction() as attempt:
        progress("validate", 0)
        dangling = validate.validate(work)
        progress("merge", 0)
        if merge.merge(work, dangling):
            return True
        raise psycopg.Rollback(attempt)
    return False


def _is_empty(connection: Connection, catalog: TableCatalog) -> bool:
    target = sql.Identifier("public", catalog.table.name)
    row = connection.execute(sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(target)).fetchone()
    return bool(row and row[0])


def _count_rows(connection: Connection, table: str) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", table))
    ).fetchone()
    return int(row[0]) if row else 0


def _require_columns(catalog: TableCatalog, source: Source) -> None:
    constants = dict(catalog.table.constants)
    missing = [
        name for name in catalog.required_in_file if name not in source.header and name not in constants
    ]
    if not source.header:
        msg = f"{catalog.table.name}: {source.path.name} is empty, it has not even a header"
        raise SourceError(msg)
    if missing:
        msg = f"{catalog.table.name}: {source.path.name} lacks the required column {', '.join(missing)}"
        raise SourceError(msg)


def _record_failure(connection: Connection, begun: _Begun, reason: str) -> None:
    """Tell the ledger. Where the server itself is gone there is nobody to tell, and nothing was changed."""
    with suppress(psycopg.Error):
        connection.rollback()
        version = runner.current_revision(connection) or "none"
        ledger.write(
            connection,
            Entry(
                id=ledger.next_id(connection),
                table_name=begun.table,
                status="failed",
                accounting=Accounting(),
                source_uri=_source_uri(begun),
                source_sha256=None,
                source_bytes=None,
                schema_version=version,
                started_at=begun.at,
                run_id=begun.run_id,
                error=reason,
            ),
        )
        connection.commit()


def _source_uri(begun: _Begun) -> str:
    found = sources.candidates(begun.export_dir, TABLES[begun.table])
    return (found[0] if found else begun.export_dir).as_uri()


def _describe(error: psycopg.Error) -> str:
    """Say what the server refused without repeating a value: its messages may quote one."""
    diagnosis = error.diag
    if diagnosis.sqlstate is None or diagnosis.sqlstate.startswith("57P"):
        return "the connection to the server was lost; nothing was changed, run the import again"
    parts = [f"the server reports {type(error).__name__} ({diagnosis.sqlstate})"]
    if diagnosis.constraint_name:
        parts.append(f"constraint {diagnosis.constraint_name}")
    if diagnosis.column_name:
        parts.append(f"column {diagnosis.column_name}")
    return ", ".join(parts) + "; nothing was changed"
