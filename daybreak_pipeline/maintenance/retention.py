"""Which rows need not be kept any longer, and deleting them in batches, each in a transaction of its own.

A new table whose old rows may go is a new rule in ``rules``. What a row's story, a check, the status or a later import
needs stays, however old: a rule says that in ``keep``. The audit trail goes by whole months (``privacy.audit``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.report.queries import SHOWN_IMPORTS
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.maintenance.giving_way import Watch

BATCH = 10_000
_MEASUREMENT_MONTHS = 6
"""Growth is fitted to four weeks; a year of plots is Prometheus' business."""


@dataclass(frozen=True)
class Rule:
    """Which rows of a table are old, and which of these stay all the same.

    ``time`` is the column that says how old a row is. ``only`` and ``keep`` are conditions on a row ``old``, with
    ``parameters``. ``key`` is a unique number by which the rows are gone through.
    """

    table: str
    time: str
    months: int
    only: sql.Composable = field(default_factory=lambda: sql.SQL("true"))
    keep: sql.Composable = field(default_factory=lambda: sql.SQL("false"))
    parameters: dict[str, Any] = field(default_factory=dict)
    key: str = "id"

    @property
    def target(self) -> sql.Identifier:
        """The table in SQL."""
        return sql.Identifier(*self.table.split("."))


_LOOKED_IN_VAIN = sql.SQL(
    "(old.status IN ('skipped', 'failed') OR old.source_sha256 IS NULL AND old.rows_read = 0 AND old.field_issues = 0)"
)
"""What loaded a file stays: rows refer to it, and by its hash a later import knows the file again."""

# For each table: the newest attempt, the newest look at its file, and all that failed since; the newest import with its
# whole run, which the checks look at; and what the report shows.
_NEEDED_IMPORTS = sql.SQL("""
    old.id >= coalesce((SELECT max(f.id) FROM ingest.file_imports f WHERE f.table_name = old.table_name), 0)
    OR old.id = (SELECT max(i.id) FROM ingest.imports i WHERE i.table_name = old.table_name)
    OR old.id = ANY (%(current)s)
    OR old.status = 'failed' AND old.id >= coalesce((
        SELECT i.id FROM ingest.imports i
        WHERE i.table_name = old.table_name AND i.source_uri <> 'quarantine:' || i.table_name AND i.status <> 'skipped'
        ORDER BY i.id DESC OFFSET %(shown)s - 1 LIMIT 1), 0)
""")
_CURRENT_IMPORTS = """
    SELECT i.id FROM ingest.imports i
    JOIN (SELECT DISTINCT ON (table_name) table_name, id, run_id FROM ingest.imports
          WHERE status = 'imported' ORDER BY table_name, id DESC) last USING (table_name)
    WHERE i.status = 'imported' AND (i.id = last.id OR i.run_id = last.run_id)
"""
# For each check of each table: the newest result, the newest that passed, and the first that failed since.
_NEEDED_RESULTS = """
    WITH passed AS (
        SELECT DISTINCT ON (table_name, check_name) table_name, check_name, id, at FROM ingest.check_results
        WHERE passed ORDER BY table_name, check_name, at DESC, id DESC
    ), newest AS (
        SELECT DISTINCT ON (table_name, check_name) id FROM ingest.check_results
        ORDER BY table_name, check_name, at DESC, id DESC
    ), first AS (
        SELECT DISTINCT ON (r.table_name, r.check_name) r.id FROM ingest.check_results r
        LEFT JOIN passed p ON (p.table_name, p.check_name) = (r.table_name, r.check_name)
        WHERE NOT r.passed AND (p.id IS NULL OR (r.at, r.id) > (p.at, p.id))
        ORDER BY r.table_name, r.check_name, r.at, r.id
    )
    SELECT id FROM passed UNION SELECT id FROM newest UNION SELECT id FROM first
"""
_ID_TYPES = """
    SELECT c.relname::text, format_type(a.atttypid, a.atttypmod)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id'
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s)
"""


def rules(connection: Connection) -> list[Rule]:
    """Return the rules, with what they must know of the database as it is."""
    current = _ids(connection, _CURRENT_IMPORTS)
    return [
        Rule(
            "ingest.imports",
            "finished_at",
            settings.ledger_months(),
            only=_LOOKED_IN_VAIN,
            keep=_NEEDED_IMPORTS,
            parameters={"current": current, "shown": SHOWN_IMPORTS},
        ),
        Rule(
            "ingest.check_results",
            "at",
            settings.check_results_months(),
            keep=sql.SQL("old.id = ANY (%(needed)s)"),
            parameters={"needed": _ids(connection, _NEEDED_RESULTS)},
        ),
        Rule(
            "ingest.quarantine",
            "resolved_at",
            settings.resolved_months(),
            only=sql.SQL("old.resolved_at IS NOT NULL"),
            keep=_origin_of_a_row(connection),
            parameters={"current": current},
        ),
        Rule(
            "ingest.field_issues",
            "resolved_at",
            settings.resolved_months(),
            only=sql.SQL("old.resolved_at IS NOT NULL"),
        ),
        Rule("ingest.server_measurements", "at", _MEASUREMENT_MONTHS),
        Rule("ingest.alerts", "at", settings.check_results_months()),
    ]


def prune(connection: Connection, watch: Watch, *, dry_run: bool) -> Iterator[Freed]:
    """Delete what need not be kept, table by table, and yield what that was.

    Args:
        connection: of the tables' owner, outside any transaction and without the key.
        watch: what to give way to, asked before each batch.
        dry_run: only count.

    Raises:
        GivesWayError: an import began.
    """
    for rule in rules(connection):
        yield _counted(connection, rule) if dry_run else _deleted(connection, watch, rule)
    yield _audit_trail(connection, dry_run=dry_run)


class _Batch(NamedTuple):
    """How far a batch came (None: there was nothing left), and what it deleted."""

    last: int | None
    rows: int
    bytes: int


def _deleted(connection: Connection, watch: Watch, rule: Rule) -> Freed:
    """Go through the old rows by key: a table of millions is read once, however many batches that takes."""
    statement = sql.SQL(
        """
        WITH looked AS MATERIALIZED (
            SELECT old.* FROM {table} old
            WHERE old.{key} > %(after)s AND old.{time} < now() - make_interval(months => %(months)s) AND {only}
            ORDER BY old.{key} LIMIT %(batch)s
        ), doomed AS MATERIALIZED (
            -- Asked of this batch only: in the statement below it would be asked of the whole table.
            SELECT old.{key} AS key FROM looked old WHERE NOT coalesce({keep}, false)
        ), gone AS (
            DELETE FROM {table} old WHERE old.{key} = ANY (ARRAY(SELECT key FROM doomed))
            RETURNING pg_column_size(old.*) AS size
        )
        SELECT (SELECT max({key}) FROM looked), (SELECT count(*) FROM gone), (SELECT coalesce(sum(size), 0)::bigint FROM gone)
        """
    ).format(**_parts(rule))
    rows = size = 0
    after: int | None = -1
    while after is not None:
        watch.check()
        with connection.transaction():
            parameters = rule.parameters | {"after": after, "months": rule.months, "batch": BATCH}
            batch = _Batch(*(connection.execute(statement, parameters).fetchone() or (None, 0, 0)))
        after, rows, size = batch.last, rows + batch.rows, size + batch.bytes
    return Freed(rule.table, rows, size)


def _counted(connection: Connection, rule: Rule) -> Freed:
    statement = sql.SQL(
        """
        SELECT count(*), coalesce(sum(pg_column_size(old.*)), 0)::bigint FROM {table} old
        WHERE old.{time} < now() - make_interval(months => %(months)s) AND {only} AND NOT coalesce({keep}, false)
        """
    ).format(**_parts(rule))
    rows, size = connection.execute(statement, rule.parameters | {"months": rule.months}).fetchone() or (0, 0)
    return Freed(rule.table, rows, size)


def _parts(rule: Rule) -> dict[str, sql.Composable]:
    return {
        "table": rule.target,
        "key": sql.Identifier(rule.key),
        "time": sql.Identifier(rule.time),
        "only": rule.only,
        "keep": sql.SQL("({})").format(rule.keep),
    }


def _origin_of_a_row(connection: Connection) -> sql.Composable:
    """Return the condition that a quarantined record is what a row was loaded from, or counts for a newest import."""
    types: dict[str, str] = dict(connection.execute(_ID_TYPES, [list(TABLES)]).fetchall())
    loaded = [
        sql.SQL(
            "(old.table_name = {name} AND EXISTS (SELECT FROM {table} loaded JOIN ingest.imports i ON i.id = loaded._import_id "
            "WHERE loaded.id = ingest.try_cast(old.row_id, NULL::{type}) AND loaded._record_number = old.id "
            "AND i.source_uri = 'quarantine:' || old.table_name))"
        ).format(name=sql.Literal(name), table=sql.Identifier("public", name), type=sql.SQL(kind))
        for name, kind in sorted(types.items())
    ]
    return sql.SQL(" OR ").join([sql.SQL("old.import_id = ANY (%(current)s)"), *loaded])


def _ids(connection: Connection, query: str) -> list[int]:
    return [int(number) for (number,) in connection.execute(query.encode())]


def _audit_trail(connection: Connection, *, dry_run: bool) -> Freed:
    """Drop the months of the trail that are older than must be kept; the trail says so itself."""
    months = settings.audit_months()
    old = audit.older_partitions(connection, months)
    sizes = "SELECT coalesce(sum(pg_total_relation_size(partition)), 0)::bigint FROM audit.partitions p JOIN pg_class c "
    sizes += "ON c.oid = p.partition WHERE c.relname = ANY (%s)"
    size = int(database.value(connection, sizes.encode(), [old]))
    if dry_run or not old:
        return Freed("audit.changes", 0, size, tuple(old))
    try:
        dropped = audit.retain(connection, months)
    except UsageError as error:  # somebody holds the trail, or it is another role's: all else goes on
        return Freed("audit.changes", note=str(error))
    except psycopg.errors.QueryCanceled:
        return Freed("audit.changes", note="the server cancelled it")
    return Freed(
        "audit.changes", sum(lines for _, lines in dropped), size, tuple(name for name, _ in dropped)
    )
