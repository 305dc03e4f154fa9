"""The state of every table: its last import, how old that is, what waits for repair, and which checks fail.

Answered from the ledger and the history of checks alone: milliseconds, whatever the size of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from daybreak_pipeline import database
from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.importer import standing
from daybreak_pipeline.importer.standing import Standing
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_STATUS = """
    SELECT t.name AS table,
           extract(epoch FROM now() - t.good_at)::bigint AS age_seconds, greatest(c.reltuples, 0)::bigint AS rows,
           (SELECT count(*) FROM ingest.quarantine q WHERE q.table_name = t.name AND q.resolved_at IS NULL)
               AS quarantined,
           (SELECT count(*) FROM ingest.field_issues f WHERE f.table_name = t.name AND f.resolved_at IS NULL)
               AS field_issues,
           ARRAY(SELECT r.check_name FROM (
                     SELECT DISTINCT ON (check_name) check_name, passed FROM ingest.check_results
                     WHERE table_name = t.name ORDER BY check_name, at DESC, id DESC) r
                 WHERE NOT r.passed ORDER BY r.check_name) AS failed_checks,
           (SELECT max(at) FROM ingest.check_results WHERE table_name = t.name) AS checked_at
    FROM unnest(%(tables)s::text[], %(good_at)s::timestamptz[]) WITH ORDINALITY AS t(name, good_at, place)
    LEFT JOIN pg_class c ON c.oid = to_regclass('public.' || t.name)
    ORDER BY t.place
"""


@dataclass(frozen=True)
class TableStatus:
    """The state of one table, from several rows of the ledger and from what waits for repair. Times are UTC.

    Attributes:
        table: its name.
        status: of the last attempt: imported, skipped, absent, failed; None before the first.
        attempted_at: when that ended.
        error: why it failed.
        absent_since: since when its file is missing; None where it is there.
        imported_at: when a file was last loaded.
        records: how many that file had.
        age_seconds: since the table was last known to match its file: loaded, or seen not to have changed.
        rows: in the table, as of its statistics.
        quarantined: records that wait for repair.
        field_issues: values that wait for repair.
        failed_checks: that failed when they last ran.
        checked_at: when a check last ran.
    """

    table: str
    status: str | None
    attempted_at: datetime | None
    error: str | None
    absent_since: datetime | None
    imported_at: datetime | None
    records: int | None
    age_seconds: int | None
    rows: int
    quarantined: int
    field_issues: int
    failed_checks: list[str]
    checked_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of the table, times in ISO format."""
        facts = {name: value for name, value in vars(self).items() if name != "table"}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()
        }


def read(connection: Connection) -> list[TableStatus]:
    """Return the state of all tables, in the order of their declaration. What was accepted is no failed check."""
    stand = standing.read(connection, TABLES)
    parameters = {"tables": list(TABLES), "good_at": [stand[name].good_at for name in TABLES]}
    silent = acceptance.silent(connection)
    return [
        replace(
            table,
            failed_checks=[check for check in table.failed_checks if (table.table, check) not in silent],
        )
        for table in database.every(
            connection, lambda **found: _joined(stand[found["table"]], found), _STATUS, parameters
        )
    ]


def _joined(now: Standing, found: Mapping[str, Any]) -> TableStatus:
    return TableStatus(
        **found,
        status="failed" if now.failing_since else "absent" if now.absent_since else now.status,
        attempted_at=now.attempted_at,
        error=now.error,
        absent_since=now.absent_since,
        imported_at=now.loaded_at,
        records=now.records,
    )
