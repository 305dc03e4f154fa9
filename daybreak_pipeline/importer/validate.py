"""Finds all faults of the records that are to be loaded: types, required values, CHECKs, references, keys.

Each rule is one statement over the whole set, most of them over the narrow table ``outcomes``. A record with
any fault is quarantined with all of them; a value that can be repaired becomes a field issue and its
record loads.
"""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from daybreak_pipeline.importer.classify import (
    broken,
    checks,
    indexed_columns,
    limited_columns,
    required_columns,
    too_long,
    too_long_to_index,
)
from daybreak_pipeline.importer.expressions import compose, listed
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.schema.catalog import Column, ForeignKey


def validate(work: Workspace) -> set[str]:
    """Fill ``rejections`` and ``issues``, and mark the refused records in ``outcomes`` as quarantined.

    Returns:
        The nullable references that dangle in some record.
    """
    _types(work)
    if work.too_long:
        _lengths(work)
    if work.lacking:
        _required(work)
    if work.breaking:
        _checks(work)
    dangling = _missing(work, [key for key in _keys(work) if not _self(work, key)])
    _refuse(work)
    for columns in work.catalog.unique_keys:
        _natural_key(work, columns)
        _refuse(work)
    for key in _keys(work):
        if _self(work, key):
            # A refused record is no parent: repeat until no more records lose theirs.
            while _missing(work, [key]):
                if not work.catalog.by_name[key.column].required:
                    dangling.add(key.column)
                    break
                _refuse(work)
    if work.statements.count("validate: count rejections", work.tables.rejections):
        work.statements.analyze(work.tables.outcomes)
        work.summarize()
    return dangling


def parents(work: Workspace, key: ForeignKey) -> sql.Composable:
    """Return the rows that a foreign key can point at: the table's, and for itself those being loaded."""
    table = sql.Identifier("public", key.table)
    if not _self(work, key):
        return table
    return compose(
        "(SELECT id FROM {} UNION SELECT id FROM {} WHERE _outcome = 'insert')", table, work.tables.outcomes
    )


def _refuse(work: Workspace) -> None:
    """Mark the records that have faults as quarantined."""
    work.statements.run(
        "validate: quarantine what has rejections",
        """
        UPDATE {outcomes} SET _outcome = 'quarantined'
        WHERE _outcome IN ('insert', 'update') AND _record IN (SELECT record FROM {rejections})
        """,
    )


def _types(work: Workspace) -> None:
    """Rule 4, and rule 8 for JSONB: the values that do not cast."""
    lenient = [column for column in work.expressions.in_file if column.name in work.expressions.lenient]
    if not lenient:
        return
    json = [column for column in lenient if column.type == "jsonb"]
    work.statements.run_whole(
        "validate: invalid_value",
        """
        INSERT INTO {rejections} SELECT cast_error.record, 'invalid_value', cast_error.column_name, cast_error.fault
        FROM {cast_errors} cast_error JOIN {outcomes} outcome ON outcome._record = cast_error.record
        WHERE outcome._outcome IN ('insert', 'update') AND cast_error.column_name <> ALL ({json}::text[])
        """,
        json=sql.Literal([column.name for column in json]),
    )
    for column in json:
        work.statements.run_whole(
            "validate: invalid_json",
            """
            INSERT INTO {issues} SELECT cast_error.record, cast_error.column_name, 'invalid_json', {text}
            FROM {cast_errors} cast_error JOIN {outcomes} outcome ON outcome._record = cast_error.record
            JOIN {stage} stage ON stage._record = cast_error.record
            WHERE outcome._outcome IN ('insert', 'update') AND cast_error.column_name = {name}
            """,
            name=sql.Literal(column.name),
            text=work.expressions.text(column.name),
        )


def _lengths(work: Workspace) -> None:
    """Rule 4: text too long, counted in characters as PostgreSQL does, or in bytes where an index has the limit."""
    _note_each(
        work,
        limited_columns(work),
        rule="invalid_value, too long for the column",
        flag="_long",
        code="invalid_value",
        bad=lambda column: too_long(work, column),
        detail=lambda column: f"longer than {column.max_length} characters",
    )
    _note_each(
        work,
        indexed_columns(work),
        rule="invalid_value, too long for an index",
        flag="_long",
        code="invalid_value",
        bad=lambda column: _not_indexable(work, column),
        detail=lambda column: (
            f"too long to be indexed ({work.catalog.index_limits[column.name]} bytes at most)"
        ),
    )


def _not_indexable(work: Workspace, column: Column) -> sql.Composable:
    """Return the condition that a text, or an element of an array, does not fit into an index."""
    condition = too_long_to_index(work, column)
    if column.type != "text[]":
        return condition
    return compose(
        "({condition} AND EXISTS (SELECT FROM unnest(ingest.try_cast({text}, NULL::text[])) element "
        "WHERE octet_length(element) > {limit}))",
        condition=condition,
        text=work.expressions.text(column.name),
        limit=sql.Literal(work.catalog.index_limits[column.name]),
    )


def _required(work: Workspace) -> None:
    """Rule 5: an empty cell in a required column without default."""
    _note_each(
        work,
        required_columns(work),
        rule="missing_required",
        flag="_lacks",
        code="missing_required",
        bad=lambda column: compose("{} IS NULL", work.expressions.text(column.name)),
        detail=lambda _: "the cell is empty",
    )


def _note_each(  # noqa: PLR0913 - two callers, each naming every argument
    work: Workspace,
    columns: list[Column],
    *,
    rule: str,
    flag: str,
    code: str,
    bad: Callable[[Column], sql.Composable],
    detail: Callable[[Column], str],
) -> None:
    """Note a fault for each column in which a condition holds, of the records that ``outcomes`` has flagged."""
    if not columns:
        return
    work.statements.run_whole(
        f"validate: {rule}",
        """
        INSERT INTO {rejections} SELECT stage._record, {code}, cell.name, cell.detail
        FROM {outcomes} outcome JOIN {stage} stage ON stage._record = outcome._record
        CROSS JOIN LATERAL (VALUES {columns}) cell(name, detail, bad)
        WHERE outcome.{flag} AND outcome._outcome IN ('insert', 'update') AND cell.bad
        """,
        flag=sql.Identifier(flag),
        code=sql.Literal(code),
        columns=listed(
            compose("({}, {}, {})", sql.Literal(c.name), sql.Literal(detail(c)), bad(c)) for c in columns
        ),
    )


def _checks(work: Workspace) -> None:
    """Rule 6: a CHECK that refuses the value. The expression is the database's own."""
    for check in checks(work):
        work.statements.run(
            "validate: invalid_enum",
            """
            INSERT INTO {rejections} SELECT _record, 'invalid_enum', {name}, {detail} FROM {outcomes}
            WHERE _outcome IN ('insert', 'update') AND {broken}
            """,
            name=sql.Literal(check.columns[0]),
            detail=sql.Literal(f"{check.name}: {check.expression}"),
            broken=broken(check),
        )


def _keys(work: Workspace) -> list[ForeignKey]:
    return [key for key in work.catalog.foreign_keys if key.column in work.expressions.names_in_file]


def _self(work: Workspace, key: ForeignKey) -> bool:
    return key.table == work.catalog.table.name


def _missing(work: Workspace, keys: list[ForeignKey]) -> set[str]:
    """Rule 7: references whose parent is missing. Returns the columns in which some were found.

    All are looked for at once, by way of a table of their own, which PostgreSQL fills on every core.
    """
    if not keys:
        return set()
    lost = [
        compose(
            "(outcome.{} IS NOT NULL AND {}.id IS NULL)",
            sql.Identifier(key.column),
            sql.Identifier(f"parent_{position}"),
        )
        for position, key in enumerate(keys, 1)
    ]
    found = work.statements.run(
        "validate: missing_parent and dangling_reference, find",
        """
        CREATE UNLOGGED TABLE {missing} AS
        SELECT outcome._record,
               {values}
        FROM {outcomes} outcome
        {joins}
        WHERE outcome._outcome IN ('insert', 'update') AND ({any})
        """,
        missing=work.tables.missing,
        values=listed(
            compose(
                "CASE WHEN {} THEN outcome.{column}::text END AS {column}",
                condition,
                column=sql.Identifier(key.column),
            )
            for condition, key in zip(lost, keys, strict=True)
        ),
        joins=sql.SQL("\n").join(
            compose(
                "LEFT JOIN {} {parent} ON {parent}.id = outcome.{}",
                parents(work, key),
                sql.Identifier(key.column),
                parent=sql.Identifier(f"parent_{position}"),
            )
            for position, key in enumerate(keys, 1)
        ),
        any=sql.SQL("\n    OR ").join(lost),
    )
    columns = {key.column for key in keys if _note_missing(work, key)} if found else set()
    work.statements.run(
        "validate: missing_parent and dangling_reference, end",
        "DROP TABLE {missing}",
        missing=work.tables.missing,
    )
    return columns


def _note_missing(work: Workspace, key: ForeignKey) -> int:
    """Note the references of one column that lead nowhere. Returns how many."""
    required = work.catalog.by_name[key.column].required
    return work.statements.run(
        "validate: missing_parent" if required else "validate: dangling_reference",
        "INSERT INTO {rejections} SELECT _record, 'missing_parent', {name}, {detail} FROM {missing} WHERE {column} IS NOT NULL"
        if required
        else "INSERT INTO {issues} SELECT _record, {name}, 'dangling_reference', {column} FROM {missing} "
        "WHERE {column} IS NOT NULL",
        missing=work.tables.missing,
        name=sql.Literal(key.column),
        detail=sql.Literal(f"no such row in {key.table}"),
        column=sql.Identifier(key.column),
    )


def _natural_key(work: Workspace, columns: tuple[str, ...]) -> None:
    """Rule 3: another id with the same natural key, in the table or earlier in the file."""
    if not work.expressions.names_in_file.issuperset(columns):
        return
    names = [sql.Identifier(name) for name in columns]
    parts = {
        "keys": sql.SQL(", ").join(compose("outcome.{}", name) for name in names),
        "present": sql.SQL(" AND ").join(compose("outcome.{} IS NOT NULL", name) for name in names),
        "name": sql.Literal(", ".join(columns)),
    }
    work.statements.run(
        "validate: duplicate_key in the file",
        """
        WITH several AS MATERIALIZED (
            SELECT {keys} FROM {outcomes} outcome
            WHERE outcome._outcome IN ('insert', 'update') AND {present} GROUP BY {keys} HAVING count(*) > 1
        ), placed AS (
            SELECT outcome._record,
                   row_number() OVER (PARTITION BY {keys} ORDER BY target.id IS NULL, outcome._record) AS place
            FROM {outcomes} outcome LEFT JOIN {target} target ON target.id = outcome.id AND {same}
            WHERE outcome._outcome IN ('insert', 'update') AND ({keys}) IN (SELECT * FROM several)
        )
        INSERT INTO {rejections}
        SELECT _record, 'duplicate_key', {name}, 'another record of the file has this key' FROM placed WHERE place > 1
        """,
        same=same_key("target", "outcome", columns),
        **parts,
    )
    _refuse(work)
    # A row that gives up its key in this import makes room for another, unless its own record is refused.
    while not work.into_empty and work.statements.run(
        "validate: duplicate_key in the table",
        """
        INSERT INTO {rejections} SELECT outcome._record, 'duplicate_key', {name}, 'a row of the table has this key'
        FROM {outcomes} outcome JOIN {target} target ON {same} AND target.id <> outcome.id
        LEFT JOIN {outcomes} mover ON mover.id = target.id AND mover._outcome = 'update' AND NOT ({stays})
        WHERE outcome._outcome IN ('insert', 'update') AND {present}
          AND NOT (({parkable} OR outcome._outcome = 'insert') AND mover.id IS NOT NULL)
        """,
        same=same_key("target", "outcome", columns),
        stays=compose("coalesce({}, false)", same_key("mover", "target", columns)),
        parkable=sql.Literal(parking(work, columns) is not None),
        **parts,
    ):
        _refuse(work)


def same_key(one: str, other: str, columns: tuple[str, ...]) -> sql.Composed:
    """Return the condition that two aliases have the same natural key."""
    return sql.SQL(" AND ").join(
        compose("{} = {}", sql.Identifier(one, name), sql.Identifier(other, name)) for name in columns
    )


def parking(work: Workspace, columns: tuple[str, ...]) -> tuple[str, sql.SQL] | None:
    """Return a column of a natural key, and the value that it takes while rows exchange keys.

    The value is NULL where the column may be NULL, or else an id that no row has, where no foreign key demands a row with it.
    None if all columns are required references: PostgreSQL then accepts only keys that lead to rows.
    """
    bound = {key.column for key in work.catalog.foreign_keys}
    places = [
        (name, sql.SQL("gen_random_uuid()" if column.required else "NULL"))
        for name in columns
        if not (column := work.catalog.by_name[name]).required
        or (column.type == "uuid" and name not in bound)
    ]
    return places[0] if places else None
