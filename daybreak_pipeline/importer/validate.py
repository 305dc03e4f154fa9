"""Finds all faults of the records that are to be loaded: types, required values, CHECKs, references, keys.

Each rule is one statement over the whole set. A record with any fault is quarantined with all of them;
a value that can be repaired becomes a field issue and its record loads.
"""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from daybreak_pipeline.importer.catalog import Column, ForeignKey
from daybreak_pipeline.importer.classify import misfits
from daybreak_pipeline.importer.expressions import call
from daybreak_pipeline.importer.work import Work


def validate(work: Work) -> None:
    """Fill ``faults`` and ``issues``, and mark the refused records in ``fates`` as quarantined."""
    candidates = _candidates(work)
    _types(work, candidates)
    _lengths(work, candidates)
    _required(work, candidates)
    _checks(work, candidates)
    for key in _keys_in_file(work):
        if key.table != work.catalog.table.name:
            _references(work, candidates, key)
    _refuse(work)
    for columns in work.catalog.unique_keys:
        _natural_key(work, candidates, columns)
        _refuse(work)
    for key in _keys_in_file(work):
        if key.table == work.catalog.table.name:
            # A refused record is no parent: repeat until no more records lose theirs.
            while _references(work, candidates, key) and _refuse(work):
                pass
    work.run("DROP VIEW {candidates}", candidates=candidates)


def _candidates(work: Work) -> sql.Identifier:
    """Create a view of the staged records that are to be loaded."""
    view = work.table("candidates")
    work.run(
        """
        CREATE VIEW {candidates} AS SELECT s.* FROM {stage} s
        WHERE NOT EXISTS (SELECT FROM {fates} f WHERE f.record = s._record AND f.outcome NOT IN ('insert', 'update'))
        """,
        candidates=view,
    )
    return view


def _refuse(work: Work) -> int:
    """Mark records with faults as quarantined; returns how many more there are."""
    return work.run(
        """
        UPDATE {fates} f SET outcome = 'quarantined'
        WHERE f.outcome IN ('insert', 'update') AND f.record IN (SELECT record FROM {faults})
        """
    )


def _types(work: Work, candidates: sql.Identifier) -> None:
    """Rule 4, and rule 8 for JSONB: values that do not cast."""
    columns = [column for column in work.expressions.in_file if column.name != "id"]
    # A column that the reading of keys found misfits in casts leniently by now, and is looked into as well.
    suspects = {column.name for column in misfits(work, columns, candidates)} | work.expressions.lenient
    for column in columns:
        if column.name not in suspects:
            continue
        work.expressions.lenient.add(column.name)
        if column.type == "jsonb":
            work.run(
                """
                INSERT INTO {issues}
                SELECT s._record, {name}, 'invalid_json', {text} FROM {candidates} s
                WHERE {text} IS NOT NULL AND ingest.try_cast({text}, NULL::jsonb) IS NULL
                """,
                candidates=candidates,
                name=sql.Literal(column.name),
                text=work.expressions.text(column.name),
            )
        else:
            work.run(
                """
                INSERT INTO {faults}
                SELECT x._record, 'invalid_value', {name}, x.fault
                FROM (SELECT s._record, {fault} AS fault FROM {candidates} s WHERE {text} IS NOT NULL) x
                WHERE x.fault IS NOT NULL
                """,
                candidates=candidates,
                name=sql.Literal(column.name),
                fault=work.expressions.fault(column),
                text=work.expressions.text(column.name),
            )


def _lengths(work: Work, candidates: sql.Identifier) -> None:
    """Rule 4: text too long, counted in characters as PostgreSQL does."""
    limited = [column for column in work.expressions.in_file if column.max_length]
    _each_column(
        work,
        candidates,
        limited,
        code="invalid_value",
        bad=lambda column: call(
            "char_length({}) > {}", work.expressions.text(column.name), sql.Literal(column.max_length)
        ),
        detail=lambda column: f"longer than {column.max_length} characters",
    )


def _required(work: Work, candidates: sql.Identifier) -> None:
    """Rule 5: an empty cell in a required column without default."""
    required = [column for column in work.expressions.in_file if column.needs_value and column.name != "id"]
    _each_column(
        work,
        candidates,
        required,
        code="missing_required",
        bad=lambda column: call("{} IS NULL", work.expressions.text(column.name)),
        detail=lambda _: "the cell is empty",
    )


def _each_column(  # noqa: PLR0913 - two callers, each naming every argument
    work: Work,
    candidates: sql.Identifier,
    columns: list[Column],
    *,
    code: str,
    bad: Callable[[Column], sql.Composable],
    detail: Callable[[Column], str],
) -> None:
    """Note a fault for each column in which a condition holds, in one pass over the records."""
    if not columns:
        return
    work.run(
        """
        INSERT INTO {faults}
        SELECT s._record, {code}, v.name, v.detail
        FROM {candidates} s CROSS JOIN LATERAL (VALUES {columns}) v(name, detail, bad)
        WHERE ({any_bad}) AND v.bad
        """,
        candidates=candidates,
        code=sql.Literal(code),
        columns=sql.SQL(", ").join(
            call("({}, {}, {})", sql.Literal(c.name), sql.Literal(detail(c)), bad(c)) for c in columns
        ),
        any_bad=sql.SQL(" OR ").join(bad(c) for c in columns),
    )


def _checks(work: Work, candidates: sql.Identifier) -> None:
    """Rule 6: a CHECK that refuses the value. The expression is the database's own."""
    in_file = {column.name: column for column in work.expressions.in_file}
    for check in work.catalog.checks:
        columns = [in_file[name] for name in check.columns if name in in_file]
        if not columns:
            continue
        work.run(
            """
            INSERT INTO {faults}
            SELECT x._record, 'invalid_enum', {name}, {detail}
            FROM (SELECT s._record, {typed} FROM {candidates} s) x WHERE ({expression}) IS FALSE
            """,
            candidates=candidates,
            name=sql.Literal(columns[0].name),
            detail=sql.Literal(f"{check.name}: {check.expression}"),
            typed=sql.SQL(", ").join(
                call("{} AS {}", work.expressions.typed(c), sql.Identifier(c.name)) for c in columns
            ),
            expression=sql.SQL(check.expression),
        )


def _keys_in_file(work: Work) -> list[ForeignKey]:
    in_file = {column.name for column in work.expressions.in_file}
    return [key for key in work.catalog.foreign_keys if key.column in in_file]


def _references(work: Work, candidates: sql.Identifier, key: ForeignKey) -> int:
    """Rule 7: a reference whose parent is missing. Returns how many were found."""
    column = work.catalog.by_name[key.column]
    missing = call(
        "FROM {} s LEFT JOIN {} p ON p.id = {} WHERE {} IS NOT NULL AND p.id IS NULL",
        candidates,
        parents(work, key),
        work.expressions.typed(column),
        work.expressions.typed(column),
    )
    if column.required:
        return work.run(
            "INSERT INTO {faults} SELECT s._record, 'missing_parent', {name}, {detail} {missing}",
            name=sql.Literal(key.column),
            detail=sql.Literal(f"no such row in {key.table}"),
            missing=missing,
        )
    work.run(
        "INSERT INTO {issues} SELECT s._record, {name}, 'dangling_reference', {text} {missing}",
        name=sql.Literal(key.column),
        text=work.expressions.text(key.column),
        missing=missing,
    )
    return 0


def parents(work: Work, key: ForeignKey) -> sql.Composable:
    """Return the rows that a foreign key can point at: the table's, and for itself those being loaded."""
    table = sql.Identifier("public", key.table)
    if key.table != work.catalog.table.name:
        return table
    return call("(SELECT id FROM {} UNION SELECT id FROM {} WHERE outcome = 'insert')", table, work.fates)


def _natural_key(work: Work, candidates: sql.Identifier, columns: tuple[str, ...]) -> None:
    """Rule 3: another id with the same natural key, in the table or earlier in the file."""
    in_file = {column.name: column for column in work.expressions.in_file}
    if not set(columns) <= set(in_file):
        return
    names = [sql.Identifier(name) for name in columns]
    work.run(
        """
        WITH keyed AS (
            SELECT s._record AS record, f.id, {typed}
            FROM {candidates} s JOIN {fates} f ON f.record = s._record WHERE f.outcome IN ('insert', 'update')
        ), placed AS (
            SELECT k.record, t.id IS NOT NULL AS taken,
                   row_number() OVER (PARTITION BY t.id IS NULL, {keys} ORDER BY k.record) AS place
            FROM keyed k LEFT JOIN {target} t ON t.id <> k.id AND {same}
            WHERE {present}
        )
        INSERT INTO {faults}
        SELECT record, 'duplicate_key', {name}, CASE WHEN taken THEN 'a row of the table has this key'
                                                     ELSE 'an earlier record of the file has this key' END
        FROM placed WHERE taken OR place > 1
        """,
        candidates=candidates,
        typed=sql.SQL(", ").join(
            call("{} AS {}", work.expressions.typed(in_file[name]), sql.Identifier(name)) for name in columns
        ),
        keys=sql.SQL(", ").join(call("k.{}", name) for name in names),
        same=sql.SQL(" AND ").join(call("t.{} = k.{}", name, name) for name in names),
        present=sql.SQL(" AND ").join(call("k.{} IS NOT NULL", name) for name in names),
        name=sql.Literal(", ".join(columns)),
    )
