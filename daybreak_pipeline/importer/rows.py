"""What the row of a record consists of: every column that an import writes, and the expression of its value.

A value is made in two steps. ``made`` is all that costs time (casts, seals, hashes) and needs only the staged
record; ``stored`` adds what the table and the other records have to say: defaults, and NULL for a reference that
leads nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from daybreak_pipeline.importer.catalog import Column
from daybreak_pipeline.importer.expressions import SEAL_KEY, SEARCH_KEY, call
from daybreak_pipeline.importer.work import Work


@dataclass(frozen=True)
class Value:
    """One column to write.

    ``column`` is None where it is the importer's own and no source can fill it. What is ``given`` costs nothing to make
    and is not kept beside the record.
    """

    name: str
    made: sql.Composable
    column: Column | None = None
    given: bool = False


def values(work: Work) -> list[Value]:
    """Return every column to write. What the file does not have keeps its default."""
    expressions = work.expressions
    catalog = work.catalog
    in_file = expressions.names_in_file
    written = in_file | set(expressions.constants) | expressions.derived
    result: list[Value] = []
    for column in catalog.columns:
        if column.name not in written:
            continue
        if column.name in catalog.sealed:
            sealed = call("privacy.seal({}, {})", expressions.sealed_text(column), SEAL_KEY)
            result.append(Value(f"{column.name}_encrypted", sealed))
            if column.name not in catalog.table.kept_plain:
                continue
        result.append(Value(column.name, expressions.computed(column), column))
    searchable = [catalog.by_name[name] for name in catalog.table.searchable_columns if name in in_file]
    if searchable:
        names = sql.SQL(", ").join(expressions.typed(column) for column in searchable)
        tokens = call("privacy.name_tokens(nullif(concat_ws(' ', {}), ''), {})", names, SEARCH_KEY)
        result.append(Value("name_tokens", tokens))
    if "_export_columns_encrypted" in catalog.technical and expressions.personal_unknown:
        personal = expressions.record(expressions.personal_unknown)
        sealed = call("privacy.seal(nullif({}, '{{}}')::text, {})", personal, SEAL_KEY)
        result.append(Value("_export_columns_encrypted", sealed))
    return [
        *result,
        Value("_source_hash", expressions.content_hash()),
        Value("_import_id", call("{}::bigint", sql.Literal(work.import_id)), given=True),
        Value("_record_number", sql.SQL("s._record"), given=True),
    ]


def stored(work: Work, value: Value, dangling: set[str]) -> sql.Composable:
    """Return what is stored of a value, of a row of ``finished`` with the alias ``s``.

    Args:
        work: the import, validated.
        value: the column.
        dangling: the references of which some lead nowhere.
    """
    made = value.made if value.given else sql.Identifier("s", value.name)
    column = value.column
    if column is None:
        return made
    if column.name in dangling:
        return call(
            "CASE WHEN s._record NOT IN (SELECT record FROM {issues} "
            "WHERE (column_name, code) = ({name}, 'dangling_reference')) THEN {made} END",
            issues=work.issues,
            name=sql.Literal(column.name),
            made=made,
        )
    if column.takes_default and column.name not in work.expressions.constants:
        return call("coalesce({}, {})", made, sql.SQL(column.default or "NULL"))
    return made
