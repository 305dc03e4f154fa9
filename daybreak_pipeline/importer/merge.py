"""Writes the accepted records into the table, in place: readers see the old rows or the new ones.

Values are cast, defaults and constants filled in, references without a parent nulled and personal columns
sealed in the same statement. No trigger and no Python sees a record one by one.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer.catalog import Column
from daybreak_pipeline.importer.expressions import call
from daybreak_pipeline.importer.validate import parents
from daybreak_pipeline.importer.work import Work


def merge(work: Work) -> None:
    """Update and insert; ``fates`` afterwards tells what really happened.

    An update is only made while the row is not newer than the record, also when an application writes to
    it at the same moment: then the record is stale.
    """
    values = _values(work)
    work.run(
        """
        WITH changed AS (
            UPDATE {target} t SET {assignments}
            FROM (SELECT f.id AS record_id, f.updated AS record_updated, {aliased} {source} AND f.outcome = 'update') v
            WHERE t.id = v.record_id AND (v.record_updated IS NULL OR t.updated_at <= v.record_updated)
            RETURNING t.id
        )
        UPDATE {fates} f SET outcome = 'stale'
        WHERE f.outcome = 'update' AND NOT EXISTS (SELECT FROM changed c WHERE c.id = f.id)
        """,
        _parameters(work),
        assignments=sql.SQL(", ").join(
            call("{} = v.{}", sql.Identifier(name), sql.Identifier(f"v{position}"))
            for position, (name, _) in enumerate(_for_update(work, values))
        ),
        aliased=sql.SQL(", ").join(
            call("{} AS {}", value, sql.Identifier(f"v{position}"))
            for position, (_, value) in enumerate(_for_update(work, values))
        ),
        source=_source(work),
    )
    work.run(
        "INSERT INTO {target} ({columns}) SELECT {values} {source} AND f.outcome = 'insert'",
        _parameters(work),
        columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in values),
        values=sql.SQL(", ").join(value for _, value in values),
        source=_source(work),
    )


def _parameters(work: Work) -> dict[str, object]:
    """Return the sub-keys, as bound parameters."""
    row = work.connection.execute(
        "SELECT privacy.required_key('seal'), privacy.required_key('search')"
    ).fetchone()
    seal, search = row or (b"", b"")
    return {"seal": seal, "search": search, "import_id": work.import_id}


def _values(work: Work) -> list[tuple[str, sql.Composable]]:
    """Return every column to write, with its value. What the file does not have keeps its default."""
    expressions = work.expressions
    catalog = work.catalog
    in_file = {column.name for column in expressions.in_file}
    written = in_file | set(expressions.constants) | expressions.derived
    result: list[tuple[str, sql.Composable]] = []
    for column in catalog.columns:
        if column.name not in written:
            continue
        if column.name in catalog.sealed:
            sealed = call("privacy.seal({}, %(seal)s)", expressions.sealed_text(column))
            result.append((f"{column.name}_encrypted", sealed))
            if column.name not in catalog.table.kept_plain:
                continue
        result.append((column.name, _referenced(work, column)))
    searchable = [catalog.by_name[name] for name in catalog.table.searchable_columns if name in in_file]
    if searchable:
        names = sql.SQL(", ").join(expressions.typed(column) for column in searchable)
        tokens = call("privacy.name_tokens(nullif(concat_ws(' ', {}), ''), %(search)s)", names)
        result.append(("name_tokens", tokens))
    if "_export_columns_encrypted" in catalog.technical and expressions.personal_unknown:
        personal = expressions.record(expressions.personal_unknown)
        sealed = call("privacy.seal(nullif({}, '{{}}')::text, %(seal)s)", personal)
        result.append(("_export_columns_encrypted", sealed))
    return [
        *result,
        ("_source_hash", sql.SQL("f.hash")),
        ("_import_id", sql.SQL("%(import_id)s::bigint")),
        ("_record_number", sql.SQL("f.record")),
    ]


def _referenced(work: Work, column: Column) -> sql.Composable:
    """Return a column's value; of a nullable reference the parent's own id, NULL where there is none."""
    for position, key in enumerate(work.catalog.foreign_keys):
        if key.column == column.name and not column.required:
            return call("{}.id", sql.Identifier(f"p{position}"))
    return work.expressions.value(column)


def _source(work: Work) -> sql.Composable:
    """Return FROM … WHERE over the staged records, their fates and the parents of nullable references."""
    in_file = {column.name for column in work.expressions.in_file}
    joins = [
        call(
            " LEFT JOIN {} {alias} ON {alias}.id = {}",
            parents(work, key),
            work.expressions.typed(work.catalog.by_name[key.column]),
            alias=sql.Identifier(f"p{position}"),
        )
        for position, key in enumerate(work.catalog.foreign_keys)
        if key.column in in_file and not work.catalog.by_name[key.column].required
    ]
    return call(
        "FROM {} s JOIN {} f ON f.record = s._record{} WHERE true",
        work.stage.table,
        work.fates,
        sql.SQL("").join(joins),
    )


def _for_update(work: Work, values: list[tuple[str, sql.Composable]]) -> list[tuple[str, sql.Composable]]:
    """Return what an update sets: not the key, and the time of the import where the file tells none."""
    result = [(name, value) for name, value in values if name != "id"]
    if "updated_at" in work.catalog.by_name and "updated_at" not in {name for name, _ in result}:
        result.append(("updated_at", sql.SQL("now()")))
    return result
