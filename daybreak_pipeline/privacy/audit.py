"""The audit trail: what imports write into it, its partitions, and reading it.

What clients change, triggers record (migration 012_audit_trail); what they look at by name, ``audit.record_reads``
(031_reads). The trail is append-only; old lines go by whole months. Its design is in docs/adr/0006-audit-trail.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import class_row

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# A TRUNCATE took every row of its table. Its line has no row_id: said so, that both sides can use the index.
_CHANGES = """
    SELECT c.id, c.changed_at, c.action, c.table_name, c.row_id, c.changed_columns, c.session_role, c.acting_role,
           host(c.client_address) AS client_address, c.application_name, c.transaction_id::text AS transaction_id,
           c.import_id, c.launched_by, c.rows_inserted, c.rows_updated, c.rows_deleted, c.reading, c.rows_read,
           c.before_encrypted IS NOT NULL AS sealed,
           CASE WHEN %(values)s THEN privacy.as_object(privacy.unseal(c.before_encrypted, privacy.key('seal'),
                privacy.tag('audit.changes', 'before_encrypted'))) END AS before
    FROM audit.changes c
    WHERE (c.action = 'READ') = %(reads)s
      AND (%(table)s::text IS NULL OR c.table_name = %(table)s)
      AND (%(row_id)s::text IS NULL OR c.row_id = lower(%(row_id)s) OR c.row_id IS NULL AND c.action = 'TRUNCATE')
      AND (%(since)s::timestamptz IS NULL OR c.changed_at >= %(since)s)
      AND (%(role)s::text IS NULL OR %(role)s IN (c.session_role, c.acting_role))
    ORDER BY c.changed_at DESC, c.id DESC LIMIT %(limit)s
"""


# By name, not by regproc: that would need a right on schema audit.
_NOT_RECORDED = """
    SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND 4 <> (
        SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND (n.nspname, p.proname) = ('audit', 'record_change'))
    UNION ALL
    SELECT 'audit.' || c.relname FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE s.nspname = 'audit' AND c.relkind IN ('r', 'p') AND 2 <> (
        SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE t.tgrelid = c.oid AND t.tgenabled = 'A' AND p.pronamespace = s.oid AND p.proname = 'refuse_change')
    ORDER BY 1
"""


@dataclass(frozen=True)
class Change:
    """One line of the trail. ``before`` holds old values, or what was searched for, where they were asked for.

    ``launched_by`` is for whom an import or a reading was, as far as that is known. ``sealed`` tells whether old values
    were kept: not where the session that changed them had no key.
    """

    id: int
    changed_at: datetime
    action: str
    table_name: str
    row_id: str | None
    changed_columns: list[str] | None
    session_role: str
    acting_role: str
    client_address: str | None
    application_name: str
    transaction_id: str
    import_id: int | None
    launched_by: str | None
    rows_inserted: int | None
    rows_updated: int | None
    rows_deleted: int | None
    reading: str | None
    rows_read: int | None
    sealed: bool
    before: dict[str, Any] | None

    @property
    def what(self) -> str:
        """Which columns, how many rows or how it was read, in words; empty for a row that was inserted or deleted."""
        if self.reading is not None:
            return self.reading if self.rows_read is None else f"{self.reading}: {self.rows_read} found"
        if self.changed_columns is not None:
            return ", ".join(self.changed_columns)
        if self.import_id is not None:
            return f"import {self.import_id}: {self.rows_inserted} inserted, {self.rows_updated} updated"
        return f"rows: {self.rows_deleted}" if self.rows_deleted is not None else ""

    @property
    def who(self) -> str:
        """The role, the one it acted as where that is another, and for whom where that is known."""
        acting = f" as {self.acting_role}" if self.acting_role != self.session_role else ""
        launched = f" for {self.launched_by}" if self.launched_by else ""
        return f"{self.session_role}{acting}{launched}"

    @property
    def origin(self) -> str:
        """Address and application of the client."""
        return f"{self.client_address or 'local'} ({self.application_name or 'unnamed'})"

    def describe(self) -> str:
        """Return the line in words, without any value."""
        what = f" {self.what}" if self.what else ""
        return f"{self.changed_at:%Y-%m-%d %H:%M:%S} UTC {self.action}{what} by {self.who} from {self.origin}"


def changes(  # noqa: PLR0913 - each narrows the search
    connection: Connection,
    *,
    table: str | None = None,
    row_id: str | None = None,
    since: datetime | None = None,
    role: str | None = None,
    limit: int | None = None,
    values: bool = False,
    reads: bool = False,
) -> list[Change]:
    """Return lines of the trail, newest first: changes, or readings.

    Args:
        connection: of a role that may read the trail; with the key if ``values``.
        table: of this table only.
        row_id: of this row only, and of TRUNCATEs, which take every row.
        since: not older than this; UTC unless it has a zone.
        role: by sessions that logged in, or acted, as this role.
        limit: how many at the most; all where None.
        values: unseal the old values, or what was searched for: personal data.
        reads: who looked at what, in place of who changed what.

    Raises:
        UsageError: the role may not read the trail.
    """
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    parameters = {
        "table": table,
        "row_id": row_id,
        "since": since,
        "role": role,
        "limit": limit,
        "values": values,
        "reads": reads,
    }
    try:
        with connection.cursor(row_factory=class_row(Change)) as cursor:
            return cursor.execute(_CHANGES, parameters).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        msg = f"role {connection.info.user} may not read the audit trail: log in as one that may"
        raise UsageError(msg) from None


def record_import(  # noqa: PLR0913 - each is a fact of the line
    connection: Connection,
    table: str,
    import_id: int,
    *,
    inserted: int = 0,
    updated: int = 0,
    launched_by: str | None = None,
) -> None:
    """Write the one line of an import, in its transaction; none where it changed no row.

    The triggers stand aside for it: a line for each of ten million records would say less.
    """
    if inserted or updated:
        connection.execute(
            "INSERT INTO audit.changes (table_name, action, import_id, rows_inserted, rows_updated, launched_by) "
            "VALUES (%s, 'IMPORT', %s, %s, %s, %s)",
            [table, import_id, inserted, updated, launched_by],
        )


def record_reads(
    connection: Connection, how: str, rows: Iterable[tuple[str, str | None]], *, person: str | None = None
) -> str | None:
    """Write a line for each row that somebody is about to be shown, committed before they are.

    Args:
        connection: outside any transaction; a standby's, or one of a role without the right, can write nothing.
        how: the command.
        rows: table and id of each; an id of None where there was no single row.
        person: who asked, as far as that is known.

    Returns:
        Why nothing was recorded, as a warning for the caller; None if it was.
    """
    tables, row_ids = [list(part) for part in zip(*rows, strict=True)] or [[], []]
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('daybreak.person', %s, true)", [person or ""])
            recorded = database.value(
                connection, "SELECT audit.record_reads(%s, %s::text[], %s::text[])", [how, tables, row_ids]
            )
    except psycopg.errors.InsufficientPrivilege:
        return (
            f"role {connection.info.user} may not write to the audit trail, so this reading is not on record"
        )
    return None if recorded else "the database is read-only, so this reading is not on record"


def require_whole(connection: Connection) -> None:
    """Make sure that every table's changes are recorded, and that no line can be changed.

    Raises:
        UsageError: somebody has disabled or dropped a trigger.
    """
    tables = [name for (name,) in connection.execute(_NOT_RECORDED)]
    if tables:
        msg = (
            f"triggers of the audit trail are missing or disabled on {', '.join(tables)}: find out who did that, then "
            "ALTER TABLE … ENABLE ALWAYS TRIGGER …, or SELECT audit.watch('…') where they are gone"
        )
        raise UsageError(msg)


def keep_ahead(connection: Connection) -> None:
    """Make the trail's partitions for the coming months, where this session's role owns it.

    Never inside a long transaction: a new partition is locked until the end of it.
    """
    owned = "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'audit'"
    # Somebody else holds the table: three months are made ahead, and meanwhile there is a default partition.
    with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
        if database.value(connection, owned):
            connection.execute("SELECT audit.ensure_partitions()")


def older_partitions(connection: Connection, months: int) -> list[str]:
    """Return the partitions that ``retain`` would drop, oldest first."""
    rows = connection.execute(
        "SELECT c.relname FROM audit.partitions p JOIN pg_class c ON c.oid = p.partition "
        "WHERE p.ends <= clock_timestamp() - make_interval(months => %s) ORDER BY p.ends",
        [months],
    )
    return [name for (name,) in rows]


def retain(connection: Connection, months: int) -> list[tuple[str, int]]:
    """Drop partitions whose lines are all older than so many months; the trail itself says so afterwards.

    Returns:
        Name and number of lines of each.

    Raises:
        UsageError: the partitions are not this role's to drop, or somebody holds them.
    """
    try:
        with connection.transaction():
            return connection.execute("SELECT * FROM audit.retain(%s)", [months]).fetchall()
    except psycopg.errors.LockNotAvailable:
        msg = "somebody is writing to the audit trail in a long transaction: nothing was dropped, try again later"
        raise UsageError(msg) from None
    except psycopg.errors.InsufficientPrivilege:
        msg = "only the owner of the audit trail can drop old parts of it: log in as the role that migrates"
        raise UsageError(msg) from None
