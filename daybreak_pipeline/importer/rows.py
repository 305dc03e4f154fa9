"""What the row of a record consists of: every column that an import writes, and the expression of its value.

A value is made in two steps. ``made`` is all that costs time (casts, seals, hashes) and needs only the staged
record; ``stored`` adds what the table and the other records have to say: defaults, and NULL for a reference that
leads nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from daybreak_pipeline.importer import digests, order
from daybreak_pipeline.importer.expressions import SEAL_KEY, SEARCH_KEY, compose
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.schema.catalog import Column
from daybreak_pipeline.tables import DELETED_FLAG, OPERATION

EXPORT_COLUMNS = "_export_columns_encrypted"


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


def values(work: Workspace) -> list[Value]:
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
            name = f"{column.name}_encrypted"
            sealed = compose(
                "privacy.seal({}, {}, {})", expressions.sealed_text(column), SEAL_KEY, expressions.tag(name)
            )
            result.append(Value(name, _if_kept(work, sealed)))
            if column.name not in catalog.table.kept_plain:
                continue
        result.append(Value(column.name, expressions.computed(column), column))
    searchable = [catalog.by_name[name] for name in catalog.table.searchable_columns if name in in_file]
    if searchable:
        names = sql.SQL(", ").join(expressions.typed(column) for column in searchable)
        tokens = compose("privacy.name_tokens(nullif(concat_ws(' ', {}), ''), {})", names, SEARCH_KEY)
        result.append(Value("name_tokens", tokens))
    if EXPORT_COLUMNS in catalog.technical and expressions.personal_unknown:
        personal = expressions.record(expressions.personal_unknown)
        sealed = compose(
            "privacy.seal(nullif({}, '{{}}')::text, {}, {})",
            personal,
            SEAL_KEY,
            expressions.tag(EXPORT_COLUMNS),
        )
        result.append(Value(EXPORT_COLUMNS, sealed))
    said = (
        order.sane(sql.SQL("prepared.updated_at"))
        if "updated_at" in in_file
        else sql.SQL("NULL::timestamptz")
    )
    return [
        *result,
        Value("_source_updated_at", said, given=True),
        Value("_source_hash", _if_kept(work, expressions.content_hash())),
        Value(digests.COLUMN, digests.of_record(work))
        if work.keeps_digests
        else Value(digests.COLUMN, sql.SQL("NULL::bytea"), given=True),
        Value("_import_id", compose("{}::bigint", sql.Literal(work.import_id)), given=True),
        Value("_record_number", sql.SQL("prepared._record"), given=True),
    ]


def _if_kept(work: Workspace, value: sql.Composable) -> sql.Composable:
    """Return a value that costs time to make, NULL where it is known that the record will not be loaded."""
    flag = work.catalog.by_name.get(DELETED_FLAG)
    if not work.into_empty or flag not in work.expressions.in_file:
        return value
    return compose("CASE WHEN {} THEN NULL ELSE {} END", work.expressions.typed(flag), value)


def stored(work: Workspace, value: Value, dangling: set[str]) -> sql.Composable:
    """Return what is stored of a value, of a row of ``prepared_rows`` with the alias ``prepared``.

    Args:
        work: the import, validated.
        value: the column.
        dangling: the references of which some lead nowhere.
    """
    made = value.made if value.given else sql.Identifier("prepared", value.name)
    column = value.column
    if value.name == digests.COLUMN and work.keeps_digests and "duplicate" in work.summary:
        # Each of several records must be seen the next time, to find the newest of them.
        return compose(
            "CASE WHEN prepared.id NOT IN (SELECT id FROM {} WHERE _outcome = 'duplicate' AND id IS NOT NULL) THEN {} END",
            work.tables.outcomes if work.into_empty else work.tables.key_matches,
            made,
        )
    if column is None:
        return made
    if column.name in dangling:
        return compose(
            "CASE WHEN prepared._record NOT IN (SELECT record FROM {issues} "
            "WHERE (column_name, code) = ({name}, 'dangling_reference')) THEN {made} END",
            issues=work.tables.issues,
            name=sql.Literal(column.name),
            made=made,
        )
    if column.takes_default and column.name not in work.expressions.constants:
        return compose("coalesce({}, {})", made, sql.SQL(column.default or "NULL"))
    return made


def helpers(work: Workspace) -> list[sql.Composable]:
    """Return what ``prepared_rows`` keeps of a record only for ``updated``."""
    if not _deletion_by_op(work):
        return []
    return [compose("{} IS NOT NULL AS _has_op", work.expressions.text(OPERATION))]


def updates(work: Workspace, dangling: set[str]) -> list[tuple[str, sql.Composable]]:
    """Return what an update sets, of row ``target`` by a row of ``prepared_rows`` with the alias ``prepared``.

    What the file does not have stays, but for what belongs to the record as a whole: its times, which are all in one
    place of the order, and that an application had changed the row.
    """
    result = {
        value.name: _kept(work, value.name, stored(work, value, dangling))
        for value in values(work)
        if value.name != "id"
    }
    for name in order.TIMES:
        if name in work.catalog.by_name and name not in result:
            result[name] = sql.SQL("now()") if name == "updated_at" else sql.NULL
    return [*result.items(), ("_edited_at", sql.NULL)]


def _kept(work: Workspace, name: str, value: sql.Composable) -> sql.Composable:
    """Return a value together with the parts of it that row ``target`` has and the file does not."""
    expressions = work.expressions
    if name == "profile_data":
        return _kept_profile(work)
    if name == "deleted_at" and _deletion_by_op(work):
        return compose("CASE WHEN prepared._has_op THEN {} ELSE target.deleted_at END", value)
    if name == EXPORT_COLUMNS:
        return compose(
            """
            CASE WHEN target._export_columns_encrypted IS NULL THEN {value}
                 ELSE privacy.seal(nullif(
                     (coalesce(privacy.as_object(privacy.unseal(target._export_columns_encrypted, {key}, {tag})), '{{}}')
                      - {names}::text[])
                     || coalesce(privacy.as_object(privacy.unseal({value}, {key}, {tag})), '{{}}'), '{{}}')::text,
                     {key}, {tag}) END
            """,
            value=value,
            key=SEAL_KEY,
            tag=expressions.tag(EXPORT_COLUMNS),
            names=sql.Literal(expressions.personal_unknown),
        )
    others = [
        column
        for column in work.catalog.table.searchable_columns
        if column in work.catalog.by_name and column not in expressions.names_in_file
    ]
    if name == "name_tokens" and others:
        return compose(
            "nullif(ARRAY(SELECT DISTINCT token FROM unnest({value} || privacy.name_tokens("
            "nullif(concat_ws(' ', {others}), ''), {search_key})) AS token ORDER BY token), '{{}}')",
            value=value,
            others=sql.SQL(", ").join(
                compose(
                    "privacy.unseal({}, {}, {})",
                    sql.Identifier("target", f"{column}_encrypted"),
                    SEAL_KEY,
                    expressions.tag(f"{column}_encrypted"),
                )
                for column in others
            ),
            search_key=SEARCH_KEY,
        )
    return value


def _kept_profile(work: Workspace) -> sql.Composable:
    expressions, column = work.expressions, work.catalog.by_name["profile_data"]
    return compose(
        "coalesce(ingest.updated_profile(target.profile_data, prepared.profile_data, {}::text[], {}), {})",
        sql.Literal(
            expressions.unknown
        ),  # a sealed one too: it may have been kept in plain by an earlier version
        sql.Literal("profile_data" in expressions.names_in_file),
        sql.SQL(column.default or "NULL") if column.takes_default else sql.NULL,
    )


def _deletion_by_op(work: Workspace) -> bool:
    """Whether ``op`` is the only column that marks deletions in the file."""
    return "deleted_at" in work.expressions.derived - work.expressions.names_in_file
