"""Notes which rows that came from exports the newest full file of their table no longer has (check ``missing_rows``).

They stay: a file that was cut short, or filtered, is no reason to lose anything. A file of change data is never full.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.importer.expressions import compose
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.schema.catalog import TableCatalog
from daybreak_pipeline.tables import DELETED_FLAG

_NONE_MISSING = ("end: no missing rows", "DELETE FROM ingest.missing_rows WHERE table_name = {table}")
_MARKS = {DELETED_FLAG: "{} IS NOT TRUE", "deleted_at": "{} IS NULL"}


def live_rows(catalog: TableCatalog) -> sql.Composable:
    """Return the condition that a row came from an export and is not deleted."""
    conditions = [
        compose(test, sql.Identifier(name)) for name, test in _MARKS.items() if name in catalog.by_name
    ]
    return sql.SQL(" AND ").join([sql.SQL("_import_id IS NOT NULL"), *conditions])


def note(work: Workspace) -> None:
    """Replace the list of a table's missing rows, after an import of a file; those that are still missing keep their time."""
    if work.catalog.table.change_data:
        return
    table = sql.Literal(work.catalog.table.name)
    if work.into_empty:
        work.statements.run(*_NONE_MISSING, table=table)
        return
    parts = {
        "live": live_rows(work.catalog),
        "table": table,
        "import_id": sql.Literal(work.import_id),
        "unseen": compose(
            "NOT EXISTS (SELECT FROM {} key_match WHERE key_match.id = target.id){}",
            work.tables.key_matches,
            compose(" AND {} IS NOT TRUE", work.in_file("target")) if work.known else sql.SQL(""),
        ),
    }
    # To count them uses every core, which to write them does not; mostly there are none.
    gone = compose(
        "(SELECT FROM {} target WHERE {} AND {}) gone", work.target, parts["live"], parts["unseen"]
    )
    with database.local_settings(work.connection, enable_nestloop=False):
        count = work.statements.count("end: count missing rows", gone)
    if not count:
        work.statements.run(*_NONE_MISSING, table=table)
        return
    work.statements.run_whole(
        "end: note missing rows",
        """
        WITH gone AS MATERIALIZED (
            SELECT target.id::text AS row_id FROM {target} target
            WHERE {live} AND {unseen}
        ), back AS (
            DELETE FROM ingest.missing_rows noted WHERE noted.table_name = {table}
            AND NOT EXISTS (SELECT FROM gone WHERE gone.row_id = noted.row_id)
        )
        INSERT INTO ingest.missing_rows (table_name, row_id, import_id) SELECT {table}, row_id, {import_id} FROM gone
        ON CONFLICT (table_name, row_id) DO NOTHING
        """,
        **parts,
    )
