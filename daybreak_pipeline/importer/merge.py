"""Writes the accepted records into the table.

No Python sees a record. The rows are those that ``classify`` has made, completed here (``rows``). Into a table with
rows they are merged in place: readers see the old rows or the new ones and are never locked out. An empty table is
loaded in bulk (``bulk_load``).
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.importer import bulk_load, order, rows, tombstones
from daybreak_pipeline.importer.expressions import compose, listed
from daybreak_pipeline.importer.validate import parking, same_key
from daybreak_pipeline.importer.workspace import Workspace


def merge(work: Workspace, dangling: set[str]) -> None:
    """Update and insert; afterwards ``outcomes`` shows what really happened.

    Args:
        work: the import, validated.
        dangling: the references of which some lead nowhere.
    """
    values = [(value.name, rows.stored(work, value, dangling)) for value in rows.values(work)]
    if work.into_empty:
        with bulk_load.loaded(work.connection, work.target, records=work.stage.records):
            _insert(work, values)
        return
    for columns in work.catalog.unique_keys:
        _park(work, columns)
    if any(key.table == work.catalog.table.name for key in work.catalog.foreign_keys):
        _insert(work, values)  # a row that changes may refer to a new one
        _update(work, dangling)
    else:
        _update(work, dangling)
        _insert(work, values)
    tombstones.lift(work)


def _park(work: Workspace, columns: tuple[str, ...]) -> None:
    """Take the natural key from rows that give it to others, so that rows can exchange their keys.

    PostgreSQL checks keys row by row, so two rows that swap theirs would collide.
    """
    place = parking(work, columns)
    if place is None or not work.expressions.names_in_file.issuperset(columns):
        return
    # Not from a row that an application has just edited: it will not be updated, and would be left without.
    work.statements.run(
        "merge: park natural keys",
        """
        UPDATE {target} target SET {column} = {value}
        FROM {prepared_rows} prepared JOIN {outcomes} outcome ON outcome._record = prepared._record
        WHERE outcome.id = target.id AND outcome._outcome = 'update' AND {takes} AND EXISTS (
            SELECT FROM {outcomes} other
            WHERE other._outcome IN ('insert', 'update') AND other.id <> target.id AND {same})
        """,
        column=sql.Identifier(place[0]),
        value=place[1],
        takes=order.takes(work, order.prepared(work, "prepared")),
        same=same_key("target", "other", columns),
    )


def _update(work: Workspace, dangling: set[str]) -> None:
    """Update rows that still take their record, also when an application writes right now: its edit is newer."""
    work.statements.run(
        "merge: update",
        """
        WITH changed AS (
            UPDATE {target} target SET {assignments}
            FROM {prepared_rows} prepared JOIN {outcomes} outcome ON outcome._record = prepared._record
            WHERE outcome._outcome = 'update' AND target.id = outcome.id AND {takes}
            RETURNING target.id
        )
        UPDATE {outcomes} outcome SET _outcome = 'stale'
        WHERE outcome._outcome = 'update' AND NOT EXISTS (SELECT FROM changed WHERE changed.id = outcome.id)
        """,
        assignments=listed(
            compose("{} = {}", sql.Identifier(name), value) for name, value in rows.updates(work, dangling)
        ),
        takes=order.takes(work, order.prepared(work, "prepared")),
    )
    work.summarize()


def _insert(work: Workspace, values: list[tuple[str, sql.Composable]]) -> None:
    """Insert the new rows. Where most are new, leaving out the others is cheaper than a join with those that are."""
    others = compose(
        "WHERE NOT EXISTS (SELECT FROM {} outcome WHERE outcome._record = prepared._record AND outcome._outcome <> 'insert')",
        work.tables.outcomes,
    )
    work.statements.run_whole(
        "merge: insert",
        """
        INSERT INTO {target} ({columns})
        SELECT {values}
        FROM {prepared_rows} prepared {without_others}
        """,
        without_others=others if work.summary.keys() - {"insert"} else sql.SQL(""),
        columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in values),
        values=listed(value for _, value in values),
    )
