"""Writes the accepted records into the table.

No Python sees a record. Into a table with rows, records are merged in place, and their values cast, sealed and completed
(``rows``) in the same statement: readers see the old rows or the new ones and are never locked out. An empty table is
loaded bare (``bare``), with rows that ``classify`` has made.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer import bare, rows
from daybreak_pipeline.importer.expressions import call
from daybreak_pipeline.importer.validate import parking, same_key
from daybreak_pipeline.importer.work import Work


def merge(work: Work, dangling: set[str]) -> bool:
    """Update and insert; ``fates`` afterwards tells what really happened.

    Args:
        work: the import, validated.
        dangling: the references of which some lead nowhere.

    Returns:
        False where a value does not fit its type: what was written then is the caller's to roll back.
    """
    if work.into_empty:
        _load_bare(work, dangling)
        return True
    values = [(value.name, rows.stored(work, value, value.made, dangling)) for value in rows.values(work)]
    for columns in work.catalog.unique_keys:
        _park(work, columns)
    steps = [_update, _insert]
    if any(key.table == work.catalog.table.name for key in work.catalog.foreign_keys):
        steps.reverse()  # a row that changes may refer to a new one
    return all(step(work, values) for step in steps)


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


def _update(work: Work, values: list[tuple[str, sql.Composable]]) -> bool:
    """Update rows while they are not newer than their record, also when an application writes right now."""
    assigned = _for_update(work, values)
    done = work.attempt(
        """
        WITH changed AS (
            UPDATE {target} t SET {assignments}
            FROM (SELECT f.*, {aliased} FROM {stage} s JOIN {fates} f ON f._record = s._record
                  WHERE f._outcome = 'update') v
            WHERE t.id = v.id AND {not_newer}
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
        not_newer=_not_newer(work, "v"),
    )
    return done is not None


def _insert(work: Work, values: list[tuple[str, sql.Composable]]) -> bool:
    """Insert the new records in place."""
    done = work.attempt(
        "INSERT INTO {target} ({columns}) SELECT {values} FROM {stage} s JOIN {fates} f ON f._record = s._record "
        "WHERE f._outcome = 'insert'",
        columns=_names(values),
        values=sql.SQL(", ").join(value for _, value in values),
    )
    return done is not None


def _load_bare(work: Work, dangling: set[str]) -> None:
    """Fill the empty table with the rows that ``classify`` has made of the records.

    Most records are new, so leaving out the others is cheaper than a join with those that are.
    """
    values = [
        (value.name, rows.stored(work, value, sql.Identifier("s", value.name), dangling))
        for value in rows.values(work)
    ]
    with bare.loaded(work.connection, work.target, records=work.stage.records):
        work.run(
            "INSERT INTO {target} ({columns}) SELECT {values} FROM {finished} s "
            "WHERE NOT EXISTS (SELECT FROM {fates} f WHERE f._record = s._record AND f._outcome <> 'insert')",
            columns=_names(values),
            values=sql.SQL(", ").join(value for _, value in values),
            finished=work.finished,
        )
    work.run("DROP TABLE {finished}", finished=work.finished)


def _names(values: list[tuple[str, sql.Composable]]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name, _ in values)


def _for_update(work: Work, values: list[tuple[str, sql.Composable]]) -> list[tuple[str, sql.Composable]]:
    """Return what an update sets: not the key, and the time of the import where the file tells none."""
    result = [(name, value) for name, value in values if name != "id"]
    if "updated_at" in work.catalog.by_name and "updated_at" not in {name for name, _ in result}:
        result.append(("updated_at", sql.SQL("now()")))
    return result
