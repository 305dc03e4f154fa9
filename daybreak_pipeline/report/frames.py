"""What the ledger and the checks know, as pandas frames with the right types: for notebooks and a closer look.

Records do not pass through frames on their way to the database; these hold counts, columns and row ids, never values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from psycopg import sql

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_TIME = "datetime64[us, UTC]"
_WHOLE = "Int64"
_WORD = "category"
_IMPORTS = {
    "id": _WHOLE,
    "run_id": "string",
    "table_name": _WORD,
    "started_at": _TIME,
    "finished_at": _TIME,
    "status": _WORD,
    "error": "string",
    "source_bytes": _WHOLE,
    "rows_read": _WHOLE,
    "rows_inserted": _WHOLE,
    "rows_updated": _WHOLE,
    "rows_unchanged": _WHOLE,
    "rows_stale": _WHOLE,
    "rows_duplicate": _WHOLE,
    "rows_skipped_deleted": _WHOLE,
    "rows_blank": _WHOLE,
    "rows_quarantined": _WHOLE,
    "field_issues": _WHOLE,
}
_QUARANTINE = {
    "id": _WHOLE,
    "import_id": _WHOLE,
    "table_name": _WORD,
    "record_number": _WHOLE,
    "row_id": "string",
    "reasons": "object",
    "first_seen_at": _TIME,
    "last_seen_at": _TIME,
    "resolved_at": _TIME,
    "resolution": _WORD,
}
_ISSUES = {
    "id": _WHOLE,
    "import_id": _WHOLE,
    "table_name": _WORD,
    "row_id": "string",
    "column_name": _WORD,
    "code": _WORD,
    "first_seen_at": _TIME,
    "resolved_at": _TIME,
}


def imports(connection: Connection) -> pd.DataFrame:
    """Return every import, the oldest first: when, from what, and the counts of its records."""
    return _frame(connection, "imports", _IMPORTS)


def quarantine(connection: Connection) -> pd.DataFrame:
    """Return every record that was refused, without its text; ``reasons`` is a list of code, column and detail."""
    return _frame(connection, "quarantine", _QUARANTINE)


def field_issues(connection: Connection) -> pd.DataFrame:
    """Return every value that was repaired, without the value."""
    return _frame(connection, "field_issues", _ISSUES)


def _frame(connection: Connection, table: str, types: Mapping[str, str]) -> pd.DataFrame:
    names = sql.SQL(", ").join(sql.Identifier(name) for name in types)
    query = sql.SQL("SELECT {} FROM {} ORDER BY id").format(names, sql.Identifier("ingest", table))
    return pd.DataFrame(connection.execute(query).fetchall(), columns=list(types)).astype(dict(types))
