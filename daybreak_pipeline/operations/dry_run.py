"""A dry run: the whole import in one transaction that is rolled back, with its checks.

It runs the same code as a real import, table by table, and leaves nothing behind, not even a used number of the
ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.checks.rules import BLOCKING, examine
from daybreak_pipeline.importer.run import ImportFailedError, Result, import_table
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.locations import Location
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# A rollback does not give numbers back, but it does restore a restarted sequence. The audit trail's is not restarted:
# that would block all writers until the dry run ends, and its numbers may have gaps.
_KEEP_SEQUENCES = """
    DO $$
    DECLARE
        sequence REGCLASS;
        next BIGINT;
    BEGIN
        FOR sequence IN
            SELECT oid::regclass FROM pg_class WHERE relnamespace = 'ingest'::regnamespace AND relkind = 'S' ORDER BY oid
        LOOP
            EXECUTE format('SELECT last_value + is_called::int FROM %s', sequence) INTO next;
            EXECUTE format('ALTER SEQUENCE %s RESTART WITH %s', sequence, next);
        END LOOP;
    END $$
"""


@dataclass
class DryRun:
    """What an import would do: results, findings of the checks, and why tables would fail."""

    results: dict[str, Result] = field(default_factory=dict)
    findings: dict[str, dict[str, Finding]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    not_tried: list[str] = field(default_factory=list)


def dry_run(
    connection: Connection,
    export_dir: Location,
    names: Sequence[str],
    *,
    full: bool,
    listener: Callable[[str], Progress],
) -> DryRun:
    """Import tables, parents first, check them, and roll everything back.

    Args:
        connection: with the key, and no transaction open.
        export_dir: the directory with the export's files.
        names: the tables, in the order of import.
        full: read files again whose content has not changed.
        listener: returns the function that is called with a table's progress.
    """
    outcome = DryRun()
    stopped: set[str] = set()
    with connection.transaction(force_rollback=True):
        connection.execute(_KEEP_SEQUENCES)
        for name in names:
            if stopped & set(TABLES[name].parents):
                outcome.not_tried.append(name)
                stopped.add(name)
                continue
            try:
                outcome.results[name] = import_table(
                    connection, name, export_dir, full=full, progress=listener(name)
                )
            except ImportFailedError as error:
                outcome.failures[name] = str(error)
                stopped.add(name)
                continue
            found = examine(connection, catalogs.read(connection, name))
            findings = acceptance.judged(acceptance.in_force(connection), name, found)
            outcome.findings[name] = findings
            if any(not findings[check].passed for check in BLOCKING):
                stopped.add(name)
    return outcome
