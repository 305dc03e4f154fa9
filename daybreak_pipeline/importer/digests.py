"""The digests of records in the database: those that rows have, and those of the staged records for the rows they make.

A digest in a row is that of the record's bytes (``known``), permuted by AES-256 under a key, as a content hash is (ADR 7): who
has not the key can test no guess. The server permutes all of them in one call, since ECB takes each block by itself.
"""

from __future__ import annotations

import hashlib

import numpy as np
from psycopg import sql

from daybreak_pipeline.importer import known as records
from daybreak_pipeline.importer.expressions import HASH_KEY, compose
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.importer.known import SIZE, Digests, Known, Sifting
from daybreak_pipeline.importer.statements import value
from daybreak_pipeline.importer.workspace import Workspace

COLUMN = "_record_digest"
_MOST = 4_000_000
"""So many digests are compared at most: they take 100 MB."""
_PAGES_AT_ONCE = 1 << 18
"""Of larger tables the digests are read by so many pages, 2 GB, to hold no more at a time."""
_CHUNK = 64
"""The digests of so many records are one row of a working table, small enough to be kept whole in it."""


def begin(work: Workspace, source: Source) -> Sifting | None:
    """Return what a source's records are compared with; None where that is not worth the while."""
    if source.size() < records.SMALLEST or all(part.is_parquet for part in source.parts):
        return None
    work.statements.run(
        "stage: create the table of digests",
        "CREATE UNLOGGED TABLE {digests} (chunk bigint, digests bytea)",
    )
    work.keeps_digests = True
    return Sifting(_form(work), None if work.into_empty else _of_rows(work))


def _form(work: Workspace) -> bytes:
    """Return what decides, besides a record's bytes and its file's header, what its content hash is.

    And which of its values are counted besides (``of_record``).
    """
    expressions, sealed = work.expressions, sorted(work.catalog.table.sealed_columns)
    placeholders = ""
    if sealed:
        function = "SELECT md5(prosrc) FROM pg_proc WHERE oid = 'ingest.is_placeholder(text)'::regprocedure"
        placeholders = str(value(work.connection, "stage: what a placeholder is", function))
    parts = [
        work.catalog.table.name,
        work.catalog.id_type,
        # Not yet staged, a record may hold anything: the expression is the longest that there is.
        expressions.content_hash().as_string(work.connection),
        *expressions.unknown,
        *sealed,
        placeholders,
    ]
    return hashlib.sha256("\n".join(parts).encode()).digest()


def _of_rows(work: Workspace) -> Known | None:
    """Read the digests that the table's rows have; None if none has any."""
    pages = work.statements.query(
        "stage: size of the table",
        "SELECT pg_relation_size({name}::regclass) / current_setting('block_size')::int",
        name=sql.Literal(work.target.as_string(work.connection)),
    ).fetchone()
    found: list[Digests] = []
    edited: list[Digests] = []
    size = int(pages[0]) if pages else 0
    left, are_all = (
        _MOST,
        size <= _PAGES_AT_ONCE,
    )  # between two looks a row may move, and be in neither or in both
    for begin_page in range(0, size, _PAGES_AT_ONCE):
        some = (
            sql.SQL("")
            if size <= _PAGES_AT_ONCE
            else compose(
                "AND ctid >= {}::tid AND ctid < {}::tid",
                sql.Literal(f"({begin_page},0)"),
                sql.Literal(f"({begin_page + _PAGES_AT_ONCE},0)"),
            )
        )
        cursor = work.statements.query_bytes(
            "stage: digests of the rows",
            """
            SELECT decrypt(string_agg({digest}, ''::bytea) FILTER (WHERE octet_length({digest}) = {size}),
                           {key}, 'aes-ecb/pad:none'),
                   decrypt(string_agg({digest}, ''::bytea) FILTER (WHERE octet_length({digest}) = {size}
                                                                   AND _edited_at IS NOT NULL),
                           {key}, 'aes-ecb/pad:none'),
                   coalesce(bool_and(octet_length({digest}) = {size}), true)
            FROM (SELECT {digest}, _edited_at FROM {target} WHERE {digest} IS NOT NULL {some} LIMIT {left}) kept
            """,
            digest=sql.Identifier(COLUMN),
            key=HASH_KEY,
            size=sql.Literal(SIZE),
            some=some,
            left=sql.Literal(left),
        )
        content = cursor.fetchone() or (None, None, True)
        found.append(records.from_bytes(content[0]))
        edited.append(records.from_bytes(content[1]))
        are_all = are_all and bool(content[2])
        left -= len(found[-1])
        if left <= 0:
            break
    if left == _MOST:
        return None
    return Known(np.concatenate(found), np.concatenate(edited), are_all=are_all and left > 0)


def send(work: Workspace, sifting: Sifting, *, final: bool) -> None:
    """Let the server have the digests of the records that were staged."""
    chunks, packed = sifting.notes.take(_CHUNK, final=final)
    if not chunks.size:
        return
    work.statements.run(
        "stage: digests of the staged records",
        """
        INSERT INTO {digests}
        WITH permuted AS MATERIALIZED (SELECT encrypt(%(packed)s::bytea, {key}, 'aes-ecb/pad:none') AS digests)
        SELECT chunk, substr(digests, ((place - 1) * {size})::int + 1, {size})
        FROM permuted, unnest(%(chunks)s::bigint[]) WITH ORDINALITY AS listed (chunk, place)
        """,
        {"chunks": chunks.tolist(), "packed": packed},
        key=HASH_KEY,
        size=sql.Literal(_CHUNK * SIZE),
    )


def list_rows(work: Workspace, known: Known | None) -> None:
    """Let the server know whose records were passed over. After that ``in_file`` tells."""
    if known is None or not known.passed:
        return
    listed, work.lists_passed = known.fewer()
    work.statements.run(
        "stage: create the list of digests",
        "CREATE UNLOGGED TABLE {listed_digests} (digest bytea NOT NULL)",
    )
    work.statements.run(
        "stage: list the digests of the rows whose record was passed over, or of the others",
        """
        INSERT INTO {listed_digests}
        WITH permuted AS MATERIALIZED (SELECT encrypt(%(listed)s::bytea, {key}, 'aes-ecb/pad:none') AS digests)
        SELECT substr(digests, place * {size} + 1, {size})
        FROM permuted, generate_series(0, length(digests) / {size} - 1) AS place
        """,
        {"listed": listed},
        key=HASH_KEY,
        size=sql.Literal(SIZE),
    )
    work.statements.analyze(work.tables.listed_digests)
    work.known = known


def forget_list(work: Workspace) -> None:
    """Take it that no record was passed over: they are staged now."""
    work.statements.run("stage: drop the list of digests", "DROP TABLE {listed_digests}; TRUNCATE {digests}")
    work.known = None


def joined(work: Workspace) -> sql.Composable:
    """Return what joins staged records ``stage`` with their digests."""
    if not work.keeps_digests:
        return sql.SQL("")
    return compose(
        "LEFT JOIN {} digest ON digest.chunk = stage._record / {}", work.tables.digests, sql.Literal(_CHUNK)
    )


def of_record(work: Workspace) -> sql.Composable:
    """Return the digest of a staged record ``stage``: NULL where nobody took it.

    So it is too where the record counts for more than its outcome: such a record must be seen each time.
    """
    digest = compose(
        "nullif(substr(digest.digests, mod(stage._record, {chunk})::int * {size} + 1, {size}), "
        "(SELECT encrypt({none}, {key}, 'aes-ecb/pad:none')))",
        chunk=sql.Literal(_CHUNK),
        size=sql.Literal(SIZE),
        none=sql.Literal(bytes(SIZE)),
        key=HASH_KEY,
    )
    if not work.counted:
        return digest
    return compose("CASE WHEN {} THEN NULL ELSE {} END", sql.SQL(" OR ").join(work.counted), digest)


def forget_of_several(work: Workspace) -> None:
    """Forget the digest of rows of whose id the file has several records: each of them must be seen the next time."""
    if not work.keeps_digests or work.into_empty or "duplicate" not in work.summary:
        return
    work.statements.run_whole(
        "merge: forget digests of rows that have several records",
        """
        UPDATE {target} target SET {digest} = NULL WHERE target.id IN (
            SELECT several.id FROM {target} several JOIN {key_matches} key_match ON key_match.id = several.id
            WHERE key_match._outcome = 'duplicate' AND several.{digest} IS NOT NULL
            FOR UPDATE OF several SKIP LOCKED)
        """,
        digest=sql.Identifier(COLUMN),
    )
