"""Decides each record's fate by its key: the contract's order, up to validation.

blank, malformed, key, duplicate, skipped_deleted, stale/unchanged; what is left is to be inserted or
updated, if validation lets it.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer.catalog import Column
from daybreak_pipeline.importer.expressions import TIME_TYPES, TIME_WORDS, Expressions, call
from daybreak_pipeline.importer.work import Work

_ORDERED_BY = ("updated_at", "tx_commit_time", "_fivetran_synced")


def classify(work: Work) -> None:
    """Fill ``fates`` with one row for each staged record."""
    _read_keys(work)
    _mark_duplicates(work)
    _compare_with_table(work)
    _note_bad_keys(work)


def misfits(work: Work, columns: list[Column], source: sql.Composable) -> list[Column]:
    """Return the columns in which some staged text does not cast.

    Tries all at once, which is all that a good file needs, and column by column where that fails.
    """

    def fail(tried: list[Column]) -> bool:
        counts = sql.SQL(", ").join(_probe(work.expressions, column) for column in tried)
        query = call("SELECT {} FROM {} s", counts, source).as_string(work.connection)
        row = work.connection.execute("SELECT ingest.query_fails(%s)", [query]).fetchone()
        return bool(row and row[0])

    castable = [c for c in columns if c.type not in {"text", "character varying"}]
    if not castable or not fail(castable):
        return []
    return [column for column in castable if fail([column])]


def _probe(expressions: Expressions, column: Column) -> sql.Composable:
    """Return an aggregate that fails, as a data exception, where a text does not fit its column."""
    typed = expressions.typed(column)
    if column.type in TIME_TYPES:
        # The cast of the empty string stands for a word that PostgreSQL would take for a time.
        kind = sql.SQL(column.type)
        text = expressions.text(column.name)
        return call(
            "count(CASE WHEN {} >= 'A' AND {} ~* {} THEN ''::text::{} ELSE {} END)",
            text,
            text,
            sql.Literal(TIME_WORDS),
            kind,
            typed,
        )
    return call("count({})", typed)


def _read_keys(work: Work) -> None:
    """Read id, hash, age and deletion flag of every record into a narrow table."""
    expressions = work.expressions
    by_name = {column.name: column for column in expressions.in_file}
    keys = [by_name[name] for name in ("id", "_fivetran_deleted", *_ORDERED_BY) if name in by_name]
    expressions.lenient |= {column.name for column in misfits(work, keys, work.stage.table)}

    def typed(name: str, kind: str) -> sql.Composable:
        if name in by_name:
            return expressions.typed(by_name[name])
        return sql.SQL(f"NULL::{kind}")

    work.run(
        """
        CREATE UNLOGGED TABLE {keyed} AS
        SELECT k.*, CASE WHEN k.malformed THEN 'malformed'
                         WHEN k.blank THEN 'blank'
                         WHEN k.id_text IS NULL THEN 'missing_key'
                         WHEN k.id IS NULL THEN 'invalid_key' END AS outcome
        FROM (SELECT s._record AS record, {id} AS id, {id_text} AS id_text, {hash} AS hash,
                     {updated} AS updated, {committed} AS committed, {synced} AS synced,
                     coalesce({deleted}, false) AS deleted, s._malformed IS NOT NULL AS malformed,
                     ROW({columns}) IS NULL AS blank
              FROM {stage} s) k
        """,
        {"hash_key": _hash_key(work)},
        keyed=work.table("keyed"),
        id=typed("id", work.catalog.id_type),
        id_text=expressions.text("id"),
        hash=expressions.content_hash(),
        updated=typed("updated_at", "timestamptz"),
        committed=typed("tx_commit_time", "timestamptz"),
        synced=typed("_fivetran_synced", "timestamptz"),
        deleted=typed("_fivetran_deleted", "boolean"),
        columns=sql.SQL(", ").join(call("s.{}", column) for column in work.stage.columns),
    )
    work.run("ANALYZE {keyed} (record, id, outcome)", keyed=work.table("keyed"))


def _hash_key(work: Work) -> bytes:
    row = work.connection.execute("SELECT privacy.required_key('source_hash')").fetchone()
    return bytes(row[0]) if row else b""


def _mark_duplicates(work: Work) -> None:
    """Of the records with one id, keep the newest (contract, rule 3)."""
    work.run(
        """
        UPDATE {keyed} k SET outcome = 'duplicate'
        FROM (SELECT record, row_number() OVER (
                  PARTITION BY id ORDER BY updated DESC NULLS LAST, committed DESC NULLS LAST,
                                           synced DESC NULLS LAST, record DESC) AS place
              FROM {keyed}
              WHERE outcome IS NULL AND id IN (
                  SELECT id FROM {keyed} WHERE outcome IS NULL GROUP BY id HAVING count(*) > 1)) d
        WHERE d.place > 1 AND k.record = d.record
        """,
        keyed=work.table("keyed"),
    )


def _compare_with_table(work: Work) -> None:
    """Tell apart what is new, what is older than the row, what is the same and what changed.

    Both sides of the staleness test are the source's own times: the row's is the application's if that
    has edited it since, and then the row is newer.
    """
    work.run(
        """
        CREATE UNLOGGED TABLE {fates} AS
        SELECT k.record, k.id, k.hash, k.updated,
               CASE WHEN k.outcome IS NOT NULL THEN k.outcome
                    WHEN t.id IS NULL AND k.deleted THEN 'skipped_deleted'
                    WHEN t.id IS NULL THEN 'insert'
                    WHEN k.updated < t.updated_at THEN 'stale'
                    WHEN k.hash = t._source_hash THEN 'unchanged'
                    ELSE 'update' END AS outcome
        FROM {keyed} k LEFT JOIN {target} t ON t.id = k.id AND k.outcome IS NULL;
        DROP TABLE {keyed};
        ALTER TABLE {fates} ADD PRIMARY KEY (record);
        ANALYZE {fates} (record, id, outcome)
        """,
        keyed=work.table("keyed"),
    )


def _note_bad_keys(work: Work) -> None:
    """Give the records that have no usable key their reason, and quarantine them."""
    work.run(
        """
        INSERT INTO {faults}
        SELECT f.record,
               CASE f.outcome WHEN 'malformed' THEN 'malformed_record'
                              WHEN 'missing_key' THEN 'missing_key' ELSE 'invalid_value' END,
               CASE WHEN f.outcome <> 'malformed' THEN 'id' END,
               CASE f.outcome WHEN 'malformed' THEN s._malformed
                              WHEN 'missing_key' THEN 'the id is empty'
                              ELSE {fault} END
        FROM {fates} f JOIN {stage} s ON s._record = f.record
        WHERE f.outcome IN ('malformed', 'missing_key', 'invalid_key');
        UPDATE {fates} SET outcome = 'quarantined' WHERE outcome IN ('malformed', 'missing_key', 'invalid_key')
        """,
        fault=work.expressions.fault(work.catalog.by_name["id"]),
    )
