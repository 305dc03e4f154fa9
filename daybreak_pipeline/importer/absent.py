"""Tables that were imported before and whose file an export lacks (table ``ingest.absent_files``).

No file is no fault of the rows: they stay. The ledger has rows of files only, so this is kept beside it, and only until
the table's file is looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


def note(connection: Connection, table: str, run_id: str | None) -> None:
    """Note that a table's file was looked for and is not there."""
    connection.execute(
        """
        INSERT INTO ingest.absent_files (table_name, run_id) VALUES (%s, %s)
        ON CONFLICT (table_name) DO UPDATE SET last_missed_at = excluded.last_missed_at, run_id = excluded.run_id
        """,
        [table, run_id],
    )


def forget(connection: Connection, table: str) -> None:
    """Note that a table's file is there."""
    connection.execute("DELETE FROM ingest.absent_files WHERE table_name = %s", [table])
