"""Writes the accepted records into the table.

Values are cast, defaults and constants filled in, references without a parent nulled and personal columns
sealed in the same statement. No Python sees a record. Into a table with rows, records are merged in place:
readers see the old rows or the new ones and are never locked out. An empty table is loaded bare (``bare``).
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer import bare
from daybreak_pipeline.importer.catalog import Column
from daybreak_pipeline.importer.expressions import SEAL_KEY, SEARCH_KEY, call
from daybreak_pipeline.importer.validate import parents, parking, same_key
from daybreak_pipeline.importer.work import Work


def merge(work: Work, dangling: set[str]) -> bool:
    """Update and insert; ``fates`` afterwards tells what really happened.

    Args:
        work: the import, validated.
        dangling: the references of which some lead nowhere.

    Returns:
        False where a value does not fit its type: what was written then is the caller's to roll back.
    """
    values = _values(work, dangling)
    source = _source(work, dangling)
    if work.into_empty:
        return _load_bare(work, values, source)
    for columns in work.catalog.unique_keys:
        _park(work, columns)
    steps = [_update, _insert]
    if any(key.table == work.catalog.table.name for key in work.catalog.foreign_keys):
        steps.reverse()  # a row that changes may refer to a new one
    return all(step(work, values, source) for step in steps)


def _park(work: Work, columns: tuple[str, ...]) -> None:
    """Take the natural key from rows that give it to others, so that rows can exchange their keys.

    PostgreSQL looks at a key row by row, so two rows that swap theirs would be in each other's way.
    """
    place = parking(work, columns)
    if place is None or not set(columns) <= {c.name for c in work.expressions.in_file}:
        return
    # Not from a row that an application has just edited: it will not be updated, and would be left without.
    work.run(
        """
        UPDATE {target} t SET {column} = {value} FROM {fates} m
        WHERE m.id = t.id AND m._outcome = 'update' AND {not_newer} AND EXISTS (
            SELECT FROM {fates} k WHERE k._outcome IN ('insert', 'update') AND k.id <> t.id AND {same})
        """,
        column=sql.Identifier(place[0]),
        value=place[1],
        not_newer=_not_newer(work, "m"),
        same=same_key("t", "k", columns),
    )


def _not_newer(work: Work, record: str) -> sql.Composable:
    """Return the condition that row ``t`` is not newer than its record, which an alias of ``fates`` has."""
    if not any(column.name == "updated_at" for column in work.expressions.in_file):
        return sql.SQL("true")
    time = sql.Identifier(record, "updated_at")
    return call("({time} IS NULL OR t.updated_at <= {time})", time=time)


def _update(work: Work, values: list[tuple[str, sql.Composable]], source: sql.Composable) -> bool:
    """Update rows while they are not newer than their record, also when an application writes right now."""
    assigned = _for_update(work, values)
    done = work.attempt(
        """
        WITH changed AS (
            UPDATE {target} t SET {assignments}
            FROM {fates} m, (SELECT f._record, {aliased} {source} AND f._outcome = 'update') v
            WHERE m._record = v._record AND t.id = m.id AND {not_newer}
            RETURNING t.id
        )
        UPDATE {fates} f SET _outcome = 'stale'
        WHERE f._outcome = 'update' AND NOT EXISTS (SELECT FROM changed c WHERE c.id = f.id)
        """,
        assignments=sql.SQL(", ").join(
            call("{} = v.{}", sql.Identifier(name), sql.Identifier(f"v{position}"))
            for position, (name, _) in enumerate(assigned)
        ),
        aliased=sql.SQL(", ").join(
            call("{} AS {}", value, sql.Identifier(f"v{position}"))
            for position, (_, value) in enumerate(assigned)
        ),
        not_newer=_not_newer(work, "m"),
        source=source,
    )
    return done is not None


def _insert(work: Work, values: list[tuple[str, sql.Composable]], source: sql.Composable) -> bool:
    """Insert the new records in place."""
    done = work.attempt(
        "INSERT INTO {target} ({columns}) SELECT {values} {source} AND f._outcome = 'insert'",
        columns=_names(values),
        values=sql.SQL(", ").join(value for _, value in values),
        source=source,
    )
    return done is not None


def _load_bare(work: Work, values: list[tuple[str, sql.Composable]], source: sql.Composable) -> bool:
    """Fill the empty table, by way of a table of finished rows.

    PostgreSQL casts, hashes and seals on every core when it creates a table, and on one when it inserts: the
    detour pays. Most records are new, so leaving out the others is cheaper than a join.
    """
    done = work.attempt(
        """
        CREATE UNLOGGED TABLE {finished} AS SELECT {values} {source}
        AND NOT EXISTS (SELECT FROM {fates} f WHERE f._record = s._record AND f._outcome <> 'insert')
        """,
        finished=work.finished,
        values=sql.SQL(", ").join(call("{} AS {}", value, sql.Identifier(name)) for name, value in values),
        source=source,
    )
    if done is None:
        return False
    with bare.loaded(work.connection, work.target, records=work.stage.records):
        work.run(
            "INSERT INTO {target} ({columns}) SELECT {columns} FROM {finished}",
            columns=_names(values),
            finished=work.finished,
        )
    work.run("DROP TABLE {finished}", finished=work.finished)
    return True


def _names(values: list[tuple[str, sql.Composable]]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name, _ in values)


def _values(work: Work, dangling: set[str]) -> list[tuple[str, sql.Composable]]:
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
            sealed = call("privacy.seal({}, {})", expressions.sealed_text(column), SEAL_KEY)
            result.append((f"{column.name}_encrypted", sealed))
            if column.name not in catalog.table.kept_plain:
                continue
        result.append(
            (column.name, _referenced(work, column) if column.name in dangling else expressions.value(column))
        )
    searchable = [catalog.by_name[name] for name in catalog.table.searchable_columns if name in in_file]
    if searchable:
        names = sql.SQL(", ").join(expressions.typed(column) for column in searchable)
        result.append(
            (
                "name_tokens",
                call("privacy.name_tokens(nullif(concat_ws(' ', {}), ''), {})", names, SEARCH_KEY),
            )
        )
    if "_export_columns_encrypted" in catalog.technical and expressions.personal_unknown:
        personal = expressions.record(expressions.personal_unknown)
        sealed = call("privacy.seal(nullif({}, '{{}}')::text, {})", personal, SEAL_KEY)
        result.append(("_export_columns_encrypted", sealed))
    return [
        *result,
        ("_source_hash", expressions.content_hash()),
        ("_import_id", call("{}::bigint", sql.Literal(work.import_id))),
        ("_record_number", sql.SQL("s._record")),
    ]


def _referenced(work: Work, column: Column) -> sql.Composable:
    """Return a reference's value: the parent's own id, NULL where there is no parent."""
    position = next(i for i, key in enumerate(work.catalog.foreign_keys) if key.column == column.name)
    return call("{}.id", sql.Identifier(f"p{position}"))


def _source(work: Work, dangling: set[str]) -> sql.Composable:
    """Return FROM … WHERE over the staged records, their fates, and the parents of references that dangle."""
    joins = [
        call(
            " LEFT JOIN {} {alias} ON {alias}.id = {}",
            parents(work, key),
            work.expressions.typed(work.catalog.by_name[key.column]),
            alias=sql.Identifier(f"p{position}"),
        )
        for position, key in enumerate(work.catalog.foreign_keys)
        if key.column in dangling
    ]
    fates = sql.SQL("") if work.into_empty else call(" JOIN {} f ON f._record = s._record", work.fates)
    return call("FROM {} s{}{} WHERE true", work.stage.table, fates, sql.SQL("").join(joins))


def _for_update(work: Work, values: list[tuple[str, sql.Composable]]) -> list[tuple[str, sql.Composable]]:
    """Return what an update sets: not the key, and the time of the import where the file tells none."""
    result = [(name, value) for name, value in values if name != "id"]
    if "updated_at" in work.catalog.by_name and "updated_at" not in {name for name, _ in result}:
        result.append(("updated_at", sql.SQL("now()")))
    return result
