"""Decides each record's outcome by its key: the contract's order, up to validation.

blank, malformed, key, duplicate, skipped_deleted, stale/unchanged; what is left is to be inserted or
updated, if validation lets it. Its values are cast here, once; all that rules look at is in one narrow table,
so that no rule has to read the wide records again.
"""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import SourceError
from daybreak_pipeline.importer import cast_errors, digests, order, rows, tombstones
from daybreak_pipeline.importer.expressions import compose, listed
from daybreak_pipeline.importer.statements import value
from daybreak_pipeline.importer.workspace import BAD_KEYS, UNSETTLED, Workspace
from daybreak_pipeline.schema.catalog import Check, Column
from daybreak_pipeline.tables import DELETED_FLAG

_THIN = 4
"""The stage is reduced to the records that are not settled when these are fewer than one in so many."""


def classify(work: Workspace) -> None:
    """Fill ``outcomes``.

    Raises:
        SourceError: a value fits no column and cannot be found.
    """
    columns = narrow_columns(work)
    if work.into_empty:
        _finish_rows(work, columns)
        work.statements.analyze(work.tables.outcomes)
        _mark_duplicates(work, work.tables.outcomes)
        work.summarize()
        if "skipped_deleted" in work.summary:
            tombstones.bury(work)
    else:
        _compare(work)
        if work.known and _meets_known(work):
            work.statements.run("classify: compare all again", "DROP TABLE {key_matches}")
            work.stage_again()
            _compare(work)
        work.statements.analyze(work.tables.key_matches)
        _mark_duplicates(work, work.tables.key_matches)
        _settle(work)
        _finish_rows(work, columns)
        # Rules and merge look up records, in case the planner takes many for one.
        work.statements.run(
            "classify: index working tables",
            "CREATE INDEX ON {prepared_rows} (_record); CREATE INDEX ON {outcomes} (id)",
        )
        work.statements.analyze(work.tables.outcomes)
        work.summarize()
    if not work.summary.keys().isdisjoint(BAD_KEYS):
        _note_bad_keys(work)


def narrow_columns(work: Workspace) -> list[Column]:
    """Return the columns that keys, order, references, CHECKs and natural keys use."""
    catalog = work.catalog
    names = {"id", DELETED_FLAG, *order.TIMES}
    names |= {key.column for key in catalog.foreign_keys}
    names |= {name for check in catalog.checks for name in check.columns}
    names |= {name for key in catalog.unique_keys for name in key}
    return [column for column in work.expressions.in_file if column.name in names]


def limited_columns(work: Workspace) -> list[Column]:
    """Return the columns whose text can be too long."""
    return [column for column in work.expressions.in_file if column.max_length]


def required_columns(work: Workspace) -> list[Column]:
    """Return the columns, besides the key, whose cell must not be empty."""
    return [column for column in work.expressions.in_file if column.needs_value and column.name != "id"]


def too_long(work: Workspace, column: Column) -> sql.Composable:
    """Return the condition that a text has more characters than its column holds."""
    text, limit = work.expressions.text(column.name), sql.Literal(column.max_length)
    return compose(
        "(octet_length({text}) > {limit} AND char_length({text}) > {limit})", text=text, limit=limit
    )


def indexed_columns(work: Workspace) -> list[Column]:
    """Return the columns whose text can be too long for an index."""
    return [column for column in work.expressions.in_file if column.name in work.catalog.index_limits]


def too_long_to_index(work: Workspace, column: Column) -> sql.Composable:
    """Return the condition that a text has more bytes than an index holds; an array then may have such an element."""
    limit = sql.Literal(work.catalog.index_limits[column.name])
    # The staged text is looked at first: it is at hand, and most are short.
    return compose(
        "(octet_length({staged}) > {limit} AND octet_length({text}) > {limit})",
        staged=work.stage.column(column.name) or sql.NULL,
        text=work.expressions.text(column.name),
        limit=limit,
    )


def checks(work: Workspace) -> list[Check]:
    """Return the CHECKs of whose columns the file has a value."""
    return [
        check for check in work.catalog.checks if work.expressions.names_in_file.issuperset(check.columns)
    ]


def broken(check: Check) -> sql.Composable:
    """Return the condition that a row of ``outcomes`` breaks a CHECK."""
    return compose("({}) IS FALSE", sql.SQL(check.expression))


def _any(conditions: list[sql.Composable]) -> sql.Composable:
    return (
        compose("coalesce({}, false)", sql.SQL(" OR ").join(conditions)) if conditions else sql.SQL("false")
    )


def _finish_rows(work: Workspace, columns: list[Column]) -> None:
    """Make the rows of the records that are not settled, and ``outcomes`` of them: so every value is cast once.

    PostgreSQL casts, hashes and seals on every core when it creates a table, and on one when it inserts or updates:
    the detour pays.
    """
    stored = {value.name for value in rows.values(work)}
    # A rule looks at what the record says; where the row has something else in that column, it is kept beside.
    beside = {
        column.name: sql.Identifier(f"_typed_{column.name}")
        for column in columns
        if column.name not in stored or column.name in work.expressions.derived
    }
    _attempt(
        work,
        work.expressions.in_file,
        lambda: work.statements.attempt(
            "classify: prepare rows",
            """
            CREATE UNLOGGED TABLE {prepared_rows} AS
            SELECT stage._record, {found} AS _found, {lacks} AS _lacks, {long} AS _long, {values}
            FROM {records} stage {digests} {unsettled}
            """,
            digests=digests.joined(work),
            found=_unkeyed(work) if work.into_empty else sql.SQL("key_match._outcome"),
            lacks=_lacks(work),
            long=_long(work),
            values=listed(
                [
                    *(
                        compose("{} AS {}", value.made, sql.Identifier(value.name))
                        for value in rows.values(work)
                        if not value.given
                    ),
                    *(
                        compose("{} AS {}", work.expressions.typed(column), beside[column.name])
                        for column in columns
                        if column.name in beside
                    ),
                    *rows.helpers(work),
                ]
            ),
            unsettled=sql.SQL("") if work.into_empty else _unsettled(work),
        ),
    )
    work.statements.run(
        "classify: outcomes by key",
        """
        CREATE UNLOGGED TABLE {outcomes} AS
        SELECT outcome.*, {breaks} AS _breaks FROM (
            SELECT prepared._record, prepared._lacks, prepared._long, {typed},
                   CASE WHEN prepared._found IS NOT NULL THEN prepared._found
                        WHEN prepared.id IS NULL THEN 'invalid_key'
                        WHEN {deleted} THEN 'skipped_deleted' ELSE 'insert' END AS _outcome
            FROM {prepared_rows} prepared
        ) outcome
        """,
        breaks=_any([broken(check) for check in checks(work)]),
        typed=sql.SQL(", ").join(
            compose(
                "prepared.{} AS {name}",
                beside.get(c.name, sql.Identifier(c.name)),
                name=sql.Identifier(c.name),
            )
            for c in columns
        ),
        deleted=_deleted(columns, sql.Identifier("prepared", DELETED_FLAG)),
    )


def _compare(work: Workspace) -> None:
    """Create ``key_matches``: what becomes of each record, as far as its key and the row with that key decide it.

    The hash is compared here and not kept: PostgreSQL would compute an expression twice that is written twice. The record
    that a row was last loaded from is known by it at once; what an application made of that row is newer.
    """
    decisive = {"id", *order.TIMES, *order.DELETION}
    columns = [column for column in work.expressions.in_file if column.name in decisive]
    by_name = {column.name: column for column in columns}

    def create() -> int | None:
        record = order.staged(work)
        key = work.expressions.typed(by_name["id"])
        flag = by_name.get(DELETED_FLAG)
        return work.statements.attempt(
            "classify: compare with the table",
            """
            CREATE UNLOGGED TABLE {key_matches} AS
            SELECT stage._record, coalesce(target.id, {id}) AS id, CASE WHEN target.id IS NULL THEN {newer} END AS _newer,
                   CASE WHEN {unkeyed} IS NOT NULL THEN {unkeyed}
                        WHEN target.id IS NULL THEN CASE WHEN {id} IS NULL THEN 'invalid_key'
                                                         WHEN {deleted} THEN 'skipped_deleted'
                                                         WHEN {newer} OR {unfit} THEN 'insert' ELSE 'stale' END
                        WHEN {content} = target._source_hash
                        THEN CASE WHEN target._edited_at IS NULL THEN 'unchanged' ELSE 'stale' END
                        WHEN {unfit} OR {takes} THEN 'update' ELSE 'stale'
                   END AS _outcome
            FROM {records} stage LEFT JOIN {target} target ON target.id = {id} {with_tombstones}
            """,
            id=key,
            unkeyed=_unkeyed(work),
            deleted=_deleted(columns, work.expressions.typed(flag) if flag else None),
            newer=tombstones.newer(work, record),
            with_tombstones=tombstones.joined(work, key),
            content=work.expressions.content_hash(),
            unfit=order.unfit(work),
            takes=order.takes(work, record),
        )

    # Of a partitioned table the planner has no statistics, and would sort both sides.
    with database.local_settings(work.connection, enable_mergejoin=not work.has_tombstones):
        _attempt(work, columns, create)


def _meets_known(work: Workspace) -> bool:
    """Whether a staged record has the id of one that was passed over: which of them is newer must be looked at."""
    with database.local_settings(work.connection, enable_nestloop=False):
        found = work.statements.query(
            "classify: has a row two records",
            """
            SELECT count(*) FROM {key_matches} key_match JOIN {target} target ON target.id = key_match.id WHERE {in_file}
            """,
            in_file=work.in_file("target"),
        ).fetchone()
    return bool(found and found[0])


def _settle(work: Workspace) -> None:
    """Count the records that ``key_matches`` settles, remember deletions, and let them go from the stage if they are most."""
    outcomes = work.statements.query(
        "classify: count key matches", "SELECT _outcome, count(*) FROM {key_matches} GROUP BY 1"
    ).fetchall()
    work.settled = {outcome: number for outcome, number in outcomes if outcome not in UNSETTLED}
    if "skipped_deleted" in work.settled:
        tombstones.bury(work)
    if (work.stage.records - sum(work.settled.values())) * _THIN < work.stage.records:
        work.statements.run(
            "classify: thin the stage",
            """
            CREATE UNLOGGED TABLE {thinned} AS SELECT stage.* FROM {stage} stage {unsettled};
            DROP TABLE {stage_tables}
            """,
            thinned=work.tables.thinned,
            unsettled=_unsettled(work),
        )
        work.stage.table, work.stage.beside = work.tables.thinned, ()
    for outcome, number in work.known.outcomes.items() if work.known else ():
        work.settled[outcome] = work.settled.get(outcome, 0) + number


def _unsettled(work: Workspace) -> sql.Composable:
    """Return what reduces the staged records ``stage`` to those that ``key_matches``, then ``key_match``, leaves open."""
    return compose(
        "JOIN {} key_match ON key_match._record = stage._record WHERE key_match._outcome = ANY ({})",
        work.tables.key_matches,
        sql.Literal(list(UNSETTLED)),
    )


def _attempt(work: Workspace, columns: list[Column], create: Callable[[], int | None]) -> None:
    """Create a table of casts; where a value does not fit, find all that do not, and create it again."""
    if create() is not None:
        return
    cast_errors.find(work, columns)
    if create() is None:
        msg = f"{work.catalog.table.name}: a value fits no column, and it cannot be told which; nothing was changed"
        raise SourceError(msg)


def _unkeyed(work: Workspace) -> sql.Composable:
    """Return what is wrong with a record that has no key, NULL where it has one."""
    return compose(
        """
        CASE WHEN stage._malformed IS NOT NULL THEN 'malformed'
             WHEN {id} IS NULL THEN CASE WHEN ROW({columns}) IS NULL THEN 'blank' ELSE 'missing_key' END END
        """,
        id=work.expressions.text("id"),
        columns=sql.SQL(", ").join(compose("stage.{}", column) for column in work.stage.columns),
    )


def _lacks(work: Workspace) -> sql.Composable:
    return _any([compose("{} IS NULL", work.expressions.text(c.name)) for c in required_columns(work)])


def _long(work: Workspace) -> sql.Composable:
    return _any(
        [too_long(work, column) for column in limited_columns(work)]
        + [too_long_to_index(work, column) for column in indexed_columns(work)]
    )


def _deleted(columns: list[Column], flag: sql.Composable | None) -> sql.Composable:
    if flag is None or DELETED_FLAG not in {column.name for column in columns}:
        return sql.SQL("false")
    return compose("coalesce({}, false)", flag)


def _mark_duplicates(work: Workspace, table: sql.Identifier) -> None:
    """Of the records with one id, keep the newest (contract, rule 3)."""
    unique = value(
        work.connection,
        "classify: are ids unique",
        "SELECT ingest.is_unique({name}::text::regclass, 'id')",
        name=sql.Literal(table.as_string(work.connection)),
    )
    if unique:
        return
    work.statements.run_whole(
        "classify: duplicate",
        """
        WITH several AS MATERIALIZED (
            SELECT id FROM {table} WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1
        ), placed AS (
            SELECT keyed._record,
                   row_number() OVER (PARTITION BY keyed.id ORDER BY {place} DESC, keyed._record DESC) AS place
            FROM {table} keyed JOIN {stage} stage ON stage._record = keyed._record
            WHERE keyed.id IN (SELECT id FROM several)
        )
        UPDATE {table} keyed SET _outcome = 'duplicate' FROM placed
        WHERE placed.place > 1 AND keyed._record = placed._record
        """,
        table=table,
        place=order.tried(work).place,
    )


def _note_bad_keys(work: Workspace) -> None:
    """Give the records that have no usable key their reason, and quarantine them."""
    work.statements.run_whole(
        "classify: malformed_record, missing_key, invalid key",
        """
        INSERT INTO {rejections}
        SELECT outcome._record,
               CASE outcome._outcome WHEN 'malformed' THEN 'malformed_record'
                                     WHEN 'missing_key' THEN 'missing_key' ELSE 'invalid_value' END,
               CASE WHEN outcome._outcome <> 'malformed' THEN 'id' END,
               CASE outcome._outcome WHEN 'malformed' THEN stage._malformed
                                     WHEN 'missing_key' THEN 'the id is empty'
                                     ELSE {fault} END
        FROM {outcomes} outcome JOIN {stage} stage ON stage._record = outcome._record
        WHERE outcome._outcome IN ('malformed', 'missing_key', 'invalid_key');
        UPDATE {outcomes} SET _outcome = 'quarantined' WHERE _outcome IN ('malformed', 'missing_key', 'invalid_key')
        """,
        fault=work.expressions.fault(work.catalog.by_name["id"]),
    )
