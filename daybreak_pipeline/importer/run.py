"""Imports one table from one export, in one transaction, and records it in the ledger.

This module has the order of the phases, the lock and the transaction; each phase has a module of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import (
    DaybreakError,
    OutsideError,
    SourceError,
    SourceReplacedError,
    TransientError,
)
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.importer import absent, find, headers, ledger, load, names, repair, standing
from daybreak_pipeline.importer.find import AbsentSourceError, Ignored, Source
from daybreak_pipeline.importer.ledger import Accounting, Entry, Status
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.importer.statements import execute, from_file
from daybreak_pipeline.locations import Location, fresh
from daybreak_pipeline.privacy import audit, keys
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import locks, runner
from daybreak_pipeline.schema.catalog import TableCatalog
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


_ATTEMPTS = 3
"""How often a file is read that is replaced each time."""


@dataclass(frozen=True)
class Result:
    """What an import of one table did: of its file and of what it tried again, which are two rows of the ledger.

    ``seconds`` is wall time, from finding the file to the commit.

    ``rows_in_table`` is counted only when the table was touched: a skipped import takes milliseconds.
    Where the file is absent, ``reason`` says so, the source is the one that the rows came from, and ``early`` says that a new
    one could not be expected yet.
    """

    table: str
    status: Status | Literal["absent"]
    accounting: Accounting
    seconds: float
    import_id: int
    source_uri: str
    source_sha256: str | None
    rows_in_table: int | None
    unknown_columns: tuple[str, ...] = ()
    references_restored: int = 0
    ignored: tuple[Ignored, ...] = ()
    reason: str = ""
    early: bool = False


class ImportFailedError(DaybreakError):
    """The import of one table failed and changed nothing; the ledger says so too."""


class ImportPreventedError(ImportFailedError, OutsideError):
    """The reason is not in the file: a full disk, for one. Once that is set right, the same file may be imported."""


class ImportInterruptedError(ImportFailedError, TransientError):
    """The server went away or could not finish now; data and settings are not to blame."""


def import_table(  # noqa: PLR0913 - each is a fact of the one import
    connection: Connection,
    name: str,
    export_dir: Location,
    *,
    full: bool = False,
    partial: bool = False,
    run_id: str | None = None,
    launched_by: str | None = None,
    progress: Progress = lambda _phase, _amount: None,
    before_change: Callable[[], object] = lambda: None,
) -> Result:
    """Import one table from an export directory, and repair what earlier imports had to leave.

    Args:
        connection: with the encryption key set (``database.connect``).
        name: the table.
        export_dir: the directory that holds the export.
        full: read the file again even when its content is the last import's.
        partial: the export has some tables only, and nobody expects a file that it lacks.
        run_id: the Dagster run, for the ledger.
        launched_by: who launched it in the web UI, for the audit trail.
        progress: called with phase and amount.
        before_change: called before anything is changed, in the import's transaction; not where nothing is.

    Returns:
        What was done. A table that was imported before and whose file is absent keeps its rows.

    Raises:
        ImportFailedError: nothing was changed; the message says why and what to do.
        ImportInterruptedError: likewise, and the same may succeed when it is tried again.
    """
    found = find.candidates(export_dir, TABLES[name])
    begun = _Import(
        connection,
        name,
        (found[0] if found else export_dir).as_uri(),
        run_id,
        launched_by,
        progress,
        before_change,
    )
    return _accounted(begun, lambda: _import(begun, export_dir, full=full, partial=partial))


def replay_table(  # noqa: PLR0913 - as above
    connection: Connection,
    name: str,
    *,
    run_id: str | None = None,
    launched_by: str | None = None,
    progress: Progress = lambda _phase, _amount: None,
    before_change: Callable[[], object] = lambda: None,
) -> Result:
    """Try a table's quarantined records again, without any file.

    Args and errors as ``import_table``.
    """
    begun = _Import(connection, name, _quarantine_uri(name), run_id, launched_by, progress, before_change)
    return _accounted(begun, lambda: _replay(begun))


class _Import:
    """One import of one table, in its transaction: what the phases need, and what goes to the ledger."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is a fact of the one import
        self,
        connection: Connection,
        table: str,
        source_uri: str,
        run_id: str | None,
        launched_by: str | None,
        progress: Progress,
        before_change: Callable[[], object],
    ) -> None:
        self.connection = connection
        self.table = table
        self.source_uri = source_uri
        self.run_id = run_id
        self.launched_by = launched_by
        self.progress = progress
        self.before_change = before_change
        self.columns: int | None = None  # of the file, once it is known
        self.started_at = datetime.now(UTC)
        self._clock = time.monotonic()

    @cached_property
    def catalog(self) -> TableCatalog:
        return catalogs.read(self.connection, self.table)

    @cached_property
    def schema_version(self) -> str:
        return runner.current_revision(self.connection) or "none"

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._clock

    def wait(self, text: str) -> None:
        """Report whom this import waits for."""
        self.progress(text, 0)

    def entry(self, status: Status, source: Source | None = None, **facts: Any) -> Entry:
        """Begin a row of the ledger."""
        return Entry(
            id=ledger.next_id(self.connection),
            table_name=self.table,
            status=status,
            source_uri=source.uri if source else self.source_uri,
            source_bytes=source.size() if source else None,
            source_head_sha256=source.head_sha256() if source else None,
            schema_version=self.schema_version,
            started_at=self.started_at,
            run_id=self.run_id,
            **facts,
        )

    def replay(self, *, met_by: int | None = None) -> Entry:
        """Try again what is in quarantine, but for what the import ``met_by`` has just refused."""
        self.before_change()
        entry = replace(self.entry("imported"), source_uri=_quarantine_uri(self.table))
        accounting = load.load_quarantined(
            self.connection, self.catalog, entry.id, self.progress, met_by=met_by
        )
        entry = replace(entry, accounting=accounting)
        ledger.write(self.connection, entry, launched_by=self.launched_by)
        return entry

    def record_restored(self, import_id: int, restored: int) -> None:
        """Tell the audit trail of references that were restored, as of an import."""
        audit.record_import(
            self.connection, self.table, import_id, updated=restored, launched_by=self.launched_by
        )

    def result(self, entry: Entry, source: Source | None, **facts: Any) -> Result:
        """Say what was done."""
        target = sql.Identifier("public", self.table)
        return Result(
            table=self.table,
            status=entry.status,
            accounting=entry.accounting,
            seconds=self.seconds,
            import_id=entry.id,
            source_uri=entry.source_uri,
            source_sha256=entry.source_sha256,
            rows_in_table=database.count_rows(self.connection, target)
            if entry.status == "imported"
            else None,
            unknown_columns=names.unknown(source.header if source else (), self.catalog.expected),
            ignored=source.ignored if source else (),
            **facts,
        )


def _accounted(begun: _Import, work: Callable[[], Result], attempts: int = _ATTEMPTS) -> Result:
    """Do the work in a transaction, alone on the table; when it fails, nothing was changed and the ledger says so.

    A file that was replaced while it was read is read again, from its beginning.
    """
    connection = begun.connection
    file_is_there = False
    try:
        with connection.transaction():
            # Two imports of one table follow each other. The lock is the transaction's: nobody can leave it behind.
            locks.take(connection, f"import {begun.table}", tell=begun.wait)
            locks.take_table(connection, begun.table, tell=begun.wait)
            patience = sql.Literal(f"{settings.lock_seconds()}s")
            execute(connection, "begin: settings", from_file("begin"), lock_timeout=patience)
            keys.hold(connection, begun.wait)
            return work()
    except SourceError as error:
        if isinstance(error, SourceReplacedError) and attempts > 1:
            return _accounted(begun, work, attempts - 1)
        kind = ImportPreventedError if isinstance(error, OutsideError) else ImportFailedError
        failure: ImportFailedError = kind(str(error))
        file_is_there = not isinstance(error, AbsentSourceError)
    except locks.LockedError as error:
        msg = f"{begun.table}: {error}"
        raise locks.LockedError(msg) from None
    except DaybreakError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the ledger says that the import failed, and why
        kind = _kind(error, connection)
        why = explanations.explain(error, connection, columns=begun.columns, besides="nothing was changed")
        failure = kind(f"{begun.table}: {why}")
    # Where the server itself is gone there is nobody to tell.
    with suppress(psycopg.Error), connection.transaction():
        outside = isinstance(failure, OutsideError)
        ledger.write(connection, begun.entry("failed", error=str(failure), outside=outside))
        if file_is_there:
            absent.forget(connection, begun.table)
    raise failure


def _kind(error: Exception, connection: Connection) -> type[ImportFailedError]:
    """Return what kind of failure an unforeseen error is."""
    if isinstance(error, psycopg.Error):
        if database.is_transient(error, connection):
            return ImportInterruptedError
        return ImportPreventedError if database.is_outside(error, connection) else ImportFailedError
    # The machine's: a file that cannot be used for what is in it is a SourceError.
    return ImportPreventedError if isinstance(error, OSError) else ImportFailedError


def _replay(begun: _Import) -> Result:
    entry = begun.replay()
    restored = repair.restore_references(begun.connection, begun.catalog, to_others=True, to_itself=True)
    begun.record_restored(entry.id, restored)
    return begun.result(entry, None, references_restored=restored)


def _import(begun: _Import, export_dir: Location, *, full: bool, partial: bool) -> Result:
    try:
        source = find.find(fresh(export_dir), TABLES[begun.table])
    except AbsentSourceError:
        last = ledger.last_look(begun.connection, begun.table)
        if last is None:
            raise
        return _keep(begun, export_dir, last, expected=not partial)
    return _import_file(begun, source, full=full)


def _keep(begun: _Import, export_dir: Location, last: Entry, *, expected: bool) -> Result:
    """Leave the rows of a table whose file is absent, but for what can be repaired without it."""
    connection, catalog = begun.connection, begun.catalog
    absent.note(connection, begun.table, begun.run_id, expected=expected)
    now = standing.read(connection, [begun.table])[begun.table]
    repairable = repair.repairable(connection, catalog, begun.schema_version)
    if repairable.references:
        begun.before_change()
    accounting = begun.replay().accounting if repairable.records else Accounting()
    restored = repair.restore_references(
        connection, catalog, to_others=repairable.references, to_itself=accounting.inserted > 0
    )
    begun.record_restored(last.id, restored)
    return Result(
        table=begun.table,
        status="absent",
        accounting=accounting,
        seconds=begun.seconds,
        import_id=last.id,
        source_uri=last.source_uri,
        source_sha256=last.source_sha256,
        rows_in_table=None,
        references_restored=restored,
        early=not standing.is_due(now.loaded_at, now.usual, begun.started_at),
        reason=(
            f"{begun.table}: its file is absent from {export_dir}; its rows of {last.finished_at:%Y-%m-%d} stay"
            + find.hint(export_dir, catalog.table)
        ),
    )


def _import_file(begun: _Import, source: Source, *, full: bool) -> Result:
    connection, catalog = begun.connection, begun.catalog
    constants = dict(catalog.table.constants)
    required = [name for name in catalog.required_in_file if name not in constants]
    source = replace(source, header=headers.require(begun.table, source.parts, required, catalog.known_names))
    begun.columns = len(source.header)
    begun.progress("fingerprint", source.size())
    last = ledger.last_content(connection, begun.table)
    repairable = repair.repairable(connection, catalog, begun.schema_version)
    entry = begun.entry("skipped", source)
    with ThreadPoolExecutor(1, "fingerprint") as beside:
        fingerprint = beside.submit(source.sha256)
        # If a glance shows that this is another file, there is no need to wait for its hash.
        same = last is not None and last.may_be(entry) and last.source_sha256 == fingerprint.result()
        if not same or full or repairable.references:
            begun.before_change()
        if not same or full:
            loaded = load.load_file(
                connection,
                catalog,
                source,
                entry.id,
                begun.progress,
                earlier_imports=lambda: ledger.imports_of(connection, begun.table, fingerprint.result()),
            )
            entry = replace(
                entry,
                status="imported",
                accounting=loaded.accounting,
                source_columns=source.header,
                unknown_values=loaded.unknown_values,
                placeholder_values=loaded.placeholder_values,
            )
        sha256 = fingerprint.result()
    entry = replace(entry, source_sha256=sha256)
    ledger.write(connection, entry, launched_by=begun.launched_by)
    absent.forget(connection, begun.table)
    if repairable.records:
        again = begun.replay(met_by=entry.id)
        entry = replace(entry, id=again.id, status="imported", accounting=entry.accounting + again.accounting)
    restored = repair.restore_references(
        connection, catalog, to_others=repairable.references, to_itself=entry.accounting.inserted > 0
    )
    begun.record_restored(entry.id, restored)
    return begun.result(entry, source, references_restored=restored)


def _quarantine_uri(table: str) -> str:
    return f"quarantine:{table}"
