"""Tables that were imported before and whose file an export lacks (table ``ingest.absent_files``).

No file is no fault of the rows: they stay. The ledger has rows of files only, so this is kept beside it, and only until
the table's file is looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daybreak_pipeline.importer.statements import execute

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


def note(connection: Connection, table: str, run_id: str | None, *, expected: bool) -> None:
    """Note that a table's file was looked for and is not there; ``expected``: in an export that was to be whole."""
    execute(
        connection,
        "absent: note",
        """
        INSERT INTO ingest.absent_files AS a (table_name, run_id, expected) VALUES (%(table)s, %(run_id)s, %(expected)s)
        ON CONFLICT (table_name) DO UPDATE SET last_missed_at = excluded.last_missed_at, run_id = excluded.run_id,
            expected = a.expected OR excluded.expected
        """,
        {"table": table, "run_id": run_id, "expected": expected},
    )


def forget(connection: Connection, table: str) -> None:
    """Note that a table's file is there."""
    execute(
        connection,
        "absent: forget",
        "DELETE FROM ingest.absent_files WHERE table_name = %(table)s",
        {"table": table},
    )
