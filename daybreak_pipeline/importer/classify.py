"""Decides each record's fate by its key: the contract's order, up to validation.

blank, malformed, key, duplicate, skipped_deleted, stale/unchanged; what is left is to be inserted or
updated, if validation lets it. All that rules look at is typed here once, in one narrow table, so that
no rule has to read the wide records again.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer.catalog import Column
from daybreak_pipeline.importer.expressions import call
from daybreak_pipeline.importer.work import Work

BAD_KEYS = frozenset({"malformed", "missing_key", "invalid_key"})
_ORDERED_BY = ("updated_at", "tx_commit_time", "_fivetran_synced")


def classify(work: Work) -> None:
    """Fill ``fates`` with one row for each staged record."""
    columns = narrow_columns(work)
    if not _fill_fates(work, columns):
        work.expressions.lenient |= work.misfits(columns, work.stage.table)
        _fill_fates(work, columns)
    work.run("ANALYZE {fates}")
    _mark_duplicates(work, columns)
    work.summarize()
    if work.summary.keys() & BAD_KEYS:
        _note_bad_keys(work)
    work.run(
        """
        CREATE VIEW {candidates} AS SELECT s.* FROM {stage} s
        WHERE NOT EXISTS (SELECT FROM {fates} f WHERE f._record = s._record AND f._outcome NOT IN ('insert', 'update'))
        """
    )


def narrow_columns(work: Work) -> list[Column]:
    """Return the columns that keys, order, references, CHECKs and natural keys are made of."""
    catalog = work.catalog
    names = {"id", "_fivetran_deleted", *_ORDERED_BY}
    names |= {key.column for key in catalog.foreign_keys}
    names |= {name for check in catalog.checks for name in check.columns}
    names |= {name for key in catalog.unique_keys for name in key}
    return [column for column in work.expressions.in_file if column.name in names]


def limited_columns(work: Work) -> list[Column]:
    """Return the columns whose text can be too long."""
    return [column for column in work.expressions.in_file if column.max_length]


def required_columns(work: Work) -> list[Column]:
    """Return the columns, besides the key, whose cell must not be empty."""
    return [column for column in work.expressions.in_file if column.needs_value and column.name != "id"]


def too_long(work: Work, column: Column) -> sql.Composable:
    """Return the condition that a text has more characters than its column holds."""
    text, limit = work.expressions.text(column.name), sql.Literal(column.max_length)
    return call("(octet_length({text}) > {limit} AND char_length({text}) > {limit})", text=text, limit=limit)


def indexed_columns(work: Work) -> list[Column]:
    """Return the columns whose text can be too long for an index."""
    return [column for column in work.expressions.in_file if column.name in work.catalog.index_limits]


def too_long_to_index(work: Work, column: Column) -> sql.Composable:
    """Return the condition that a text has more bytes than an index holds; an array then may have such an element."""
    limit = sql.Literal(work.catalog.index_limits[column.name])
    return call("octet_length({}) > {}", work.expressions.text(column.name), limit)


def _any(conditions: list[sql.Composable]) -> sql.Composable:
    return call("coalesce({}, false)", sql.SQL(" OR ").join(conditions)) if conditions else sql.SQL("false")


def _fill_fates(work: Work, columns: list[Column]) -> bool:
    """Create ``fates``; returns False, with nothing done, where a value does not fit its type.

    The hash is compared here and not kept: most records are unchanged, and PostgreSQL would compute an expression
    that stands twice twice. Into an empty table there is nothing to compare with.
    """
    join = sql.SQL("") if work.into_empty else call("LEFT JOIN {} t ON t.id = k.id", work.target)
    created = work.attempt(
        """
        CREATE UNLOGGED TABLE {fates} AS
        SELECT k._record, k._lacks, k._long, {names}, {outcome} AS _outcome
        FROM (SELECT s._record, s._malformed IS NOT NULL AS _malformed, {id_text} IS NULL AS _keyless,
                     ROW({columns}) IS NULL AND s._malformed IS NULL AS _blank,
                     {lacks} AS _lacks, {long} AS _long, {content} AS _content, {typed}
              FROM {stage} s) k {join}
        """,
        names=sql.SQL(", ").join(call("k.{}", sql.Identifier(column.name)) for column in columns),
        outcome=_outcome(columns, compared=not work.into_empty),
        id_text=work.expressions.text("id"),
        columns=sql.SQL(", ").join(call("s.{}", column) for column in work.stage.columns),
        lacks=_any([call("{} IS NULL", work.expressions.text(c.name)) for c in required_columns(work)]),
        long=_any(
            [too_long(work, column) for column in limited_columns(work)]
            + [too_long_to_index(work, column) for column in indexed_columns(work)]
        ),
        content=work.expressions.content_hash(),
        typed=sql.SQL(", ").join(
            call("{} AS {}", work.expressions.typed(column), sql.Identifier(column.name))
            for column in columns
        ),
        join=join,
    )
    return created is not None


def _outcome(columns: list[Column], *, compared: bool) -> sql.Composable:
    """Return what becomes of a record, so far as its key tells; ``compared`` with the row that has its id.

    Both sides of the staleness test are the source's own times: the row's is the application's if that
    has edited it since, and then the row is newer.
    """
    names = {column.name for column in columns}
    return call(
        """
        CASE WHEN k._blank THEN 'blank' WHEN k._malformed THEN 'malformed' WHEN k._keyless THEN 'missing_key'
             WHEN k.id IS NULL THEN 'invalid_key' WHEN {new} AND {deleted} THEN 'skipped_deleted'
             WHEN {new} THEN 'insert' WHEN {older} THEN 'stale' WHEN {same} THEN 'unchanged' ELSE 'update' END
        """,
        new=sql.SQL("t.id IS NULL" if compared else "true"),
        deleted=sql.SQL("coalesce(k._fivetran_deleted, false)" if "_fivetran_deleted" in names else "false"),
        older=sql.SQL("k.updated_at < t.updated_at" if compared and "updated_at" in names else "false"),
        same=sql.SQL("k._content = t._source_hash" if compared else "false"),
    )


def _mark_duplicates(work: Work, columns: list[Column]) -> None:
    """Of the records with one id, keep the newest (contract, rule 3)."""
    name = work.fates.as_string(work.connection)
    unique = work.connection.execute("SELECT ingest.is_unique(%s::text::regclass, 'id')", [name]).fetchone()
    if unique == (True,):
        return
    names = {column.name for column in columns}
    age = [call("{} DESC NULLS LAST", sql.Identifier(name)) for name in _ORDERED_BY if name in names]
    work.run(
        """
        WITH several AS MATERIALIZED (
            SELECT id FROM {fates} WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1
        ), placed AS (
            SELECT _record, row_number() OVER (PARTITION BY id ORDER BY {age}) AS place
            FROM {fates} WHERE id IN (SELECT id FROM several)
        )
        UPDATE {fates} f SET _outcome = 'duplicate' FROM placed p WHERE p.place > 1 AND f._record = p._record
        """,
        age=sql.SQL(", ").join([*age, sql.SQL("_record DESC")]),
    )


def _note_bad_keys(work: Work) -> None:
    """Give the records that have no usable key their reason, and quarantine them."""
    work.run(
        """
        INSERT INTO {faults}
        SELECT f._record,
               CASE f._outcome WHEN 'malformed' THEN 'malformed_record'
                               WHEN 'missing_key' THEN 'missing_key' ELSE 'invalid_value' END,
               CASE WHEN f._outcome <> 'malformed' THEN 'id' END,
               CASE f._outcome WHEN 'malformed' THEN s._malformed
                               WHEN 'missing_key' THEN 'the id is empty'
                               ELSE {fault} END
        FROM {fates} f JOIN {stage} s ON s._record = f._record
        WHERE f._outcome IN ('malformed', 'missing_key', 'invalid_key');
        UPDATE {fates} SET _outcome = 'quarantined' WHERE _outcome IN ('malformed', 'missing_key', 'invalid_key')
        """,
        fault=work.expressions.fault(work.catalog.by_name["id"]),
    )
