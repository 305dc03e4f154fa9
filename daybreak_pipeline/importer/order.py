"""Which of two records is newer, and whether a record may change the row that it meets (contract, 4.1; ADR 10).

The order is that of three times: ``updated_at``, ``tx_commit_time``, ``_fivetran_synced``. A time that
the source did not give, and an impossible ``updated_at``, come before everything else. A row keeps the times of the record
that it was last loaded from; what an application wrote is newer than the record that it overwrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from daybreak_pipeline.importer.expressions import compose
from daybreak_pipeline.importer.statements import value
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.tables import COMMITTED_AT, DELETED_FLAG, SYNCED_AT

TIMES = ("updated_at", COMMITTED_AT, SYNCED_AT)
PLACE_COLUMNS = {
    "updated_at": "source_updated_at",
    COMMITTED_AT: "tx_commit_time",
    SYNCED_AT: "fivetran_synced",
}
"""The columns of quarantine and tombstones with the times by which records are ordered here."""
DELETION = (DELETED_FLAG, "deleted_at")
_NEVER = sql.SQL("'-infinity'::timestamptz")


@dataclass(frozen=True)
class Record:
    """SQL for what decides about a record: its number, its times by column, and whether it says that it is deleted."""

    number: sql.Composable
    times: dict[str, sql.Composable]
    deleted: sql.Composable

    @property
    def said(self) -> sql.Composable:
        """Its ``updated_at``, if that can be."""
        return self.times["updated_at"]

    @property
    def place(self) -> sql.Composable:
        """Its place in the order."""
        return place(list(self.times.values()))


def sane(time: sql.Composable) -> sql.Composable:
    """Return an ``updated_at`` that takes part in the order: finite, and no more than an hour in the future.

    A CASE would repeat the cast for each mention of the time.
    """
    return compose(
        "nullif(nullif(least({}, {limit}), {limit}), {never})",
        time,
        limit=sql.SQL("now() + interval '1 hour 1 microsecond'"),
        never=_NEVER,
    )


def staged(work: Workspace) -> Record:
    """Return a staged record, with the alias ``stage``."""
    expressions, by_name = work.expressions, work.catalog.by_name
    computed = {
        name: expressions.computed(by_name[name])
        for name in (*TIMES, *DELETION)
        if name in expressions.names_in_file | expressions.derived
    }
    return _record(work, sql.SQL("stage._record"), computed)


def tried(work: Workspace) -> Record:
    """Return a staged record, with the alias ``stage``, whose times may not cast; only its times are known."""
    times: dict[str, sql.Composable] = {
        column.name: compose(
            "ingest.try_cast({}, NULL::{})", work.expressions.text(column.name), sql.SQL(column.type)
        )
        for column in work.expressions.in_file
        if column.name in TIMES
    }
    return _record(work, sql.SQL("stage._record"), times)


def prepared(work: Workspace, alias: str) -> Record:
    """Return a record of ``prepared_rows``, or as far as the order goes of ``outcomes``, with an alias."""
    expressions = work.expressions
    columns: dict[str, sql.Composable] = {
        name: sql.Identifier(alias, name)
        for name in (*TIMES, *DELETION)
        if name in expressions.names_in_file | expressions.derived
    }
    return _record(work, sql.Identifier(alias, "_record"), columns)


def unfit(work: Workspace) -> sql.Composable:
    """Return the condition that a staged record has a time or a mark that does not cast: validation will refuse it."""
    lenient = sorted(work.expressions.lenient & {*TIMES, *DELETION})
    if not lenient:
        return sql.SQL("false")
    return compose("coalesce(stage._cast_errors && {}::text[], false)", sql.Literal(lenient))


def waiting(work: Workspace) -> Record:
    """Return a record that waits in quarantine, with the alias ``waiting``."""
    times: dict[str, sql.Composable] = {
        name: sql.Identifier("waiting", PLACE_COLUMNS[name]) for name in TIMES if name in work.catalog.by_name
    }
    return Record(sql.NULL, times, sql.SQL("false"))


def newer(record: Record) -> sql.Composable:
    """Return the condition that a record is newer than row ``target``."""
    return compose(
        """
        CASE WHEN target._edited_at IS NOT NULL
             THEN coalesce({said} > greatest(target._edited_at, target._source_updated_at), false)
             WHEN target._import_id IS NULL THEN coalesce({said} > coalesce({written}, {never}), false)
             ELSE {place} > {row_place} END
        """,
        said=record.said,
        written=sane(sql.SQL("target.updated_at")),
        never=_NEVER,
        place=record.place,
        row_place=_row_place(record),
    )


def takes(work: Workspace, record: Record) -> sql.Composable:
    """Return the condition that row ``target`` takes a record with other content than it was last loaded from.

    The merge asks again what ``classify`` has asked: an application may have written to the row since.
    """
    row_is_deleted = [
        compose(test, sql.Identifier("target", name))
        for name, test in zip(DELETION, ("{} IS TRUE", "{} IS NOT NULL"), strict=True)
        if name in work.catalog.by_name
    ]
    return compose(
        """
        CASE WHEN target._edited_at IS NULL AND target._import_id IS NOT NULL AND {place} = {row_place}
             THEN {tie} AND ({deleted} OR NOT ({row_is_deleted}))
             ELSE {newer} END
        """,
        newer=newer(record),
        place=record.place,
        row_place=_row_place(record),
        tie=_tie(work, record),
        deleted=record.deleted,
        row_is_deleted=sql.SQL(" OR ").join(row_is_deleted) if row_is_deleted else sql.SQL("false"),
    )


def _record(work: Workspace, number: sql.Composable, columns: dict[str, sql.Composable]) -> Record:
    times = {
        name: columns.get(name, sql.SQL("NULL::timestamptz"))
        for name in TIMES
        if name in work.catalog.by_name
    }
    if "updated_at" in columns:
        times["updated_at"] = sane(columns["updated_at"])
    deleted = [
        compose(test, columns[name])
        for name, test in zip(DELETION, ("coalesce({}, false)", "{} IS NOT NULL"), strict=True)
        if name in columns
    ]
    return Record(
        number, times, compose("({})", sql.SQL(" OR ").join(deleted)) if deleted else sql.SQL("false")
    )


def _row_place(record: Record) -> sql.Composable:
    """Return the place of row ``target``: of the record that it was last loaded from.

    A row from before migration 019 does not tell what a source said and what was filled in: its ``updated_at`` counts
    against a record that has one.
    """
    said = compose(
        "CASE WHEN target._source_updated_at > '-infinity' THEN target._source_updated_at "
        "WHEN target._source_updated_at = '-infinity' AND {said} IS NOT NULL THEN {written} END",
        said=record.said,
        written=sane(sql.SQL("target.updated_at")),
    )
    return place([said, *(sql.Identifier("target", name) for name in record.times if name != "updated_at")])


def place(times: list[sql.Composable]) -> sql.Composable:
    """Return the place in the order that times amount to: what was not said comes before everything."""
    return compose("ROW({})", sql.SQL(", ").join(compose("coalesce({}, {})", time, _NEVER) for time in times))


def _tie(work: Workspace, record: Record) -> sql.Composable:
    """Return the condition that a record of row ``target``'s place is taken, although neither is newer.

    It is if its file was never imported before: a correction that forgot to change its times. A record that waited in
    quarantine was one when its file came, and still is unless the row has been loaded since.
    """
    if work.again:
        return compose(
            "EXISTS (SELECT FROM ingest.quarantine waiting WHERE waiting.id = {} AND waiting.import_id > target._import_id)",
            record.number,
        )
    earlier = work.earlier_imports()
    if not earlier:
        return sql.SQL("true")
    if not _waits(work, earlier):
        return sql.SQL("false")
    return compose(
        "EXISTS (SELECT FROM ingest.quarantine waiting WHERE waiting.table_name = {} AND waiting.row_id = target.id::text "
        "AND waiting.resolved_at IS NULL AND waiting.import_id > target._import_id AND waiting.import_id = ANY ({}))",
        sql.Literal(work.catalog.table.name),
        sql.Literal(list(earlier)),
    )


def _waits(work: Workspace, imports: Sequence[int]) -> bool:
    """Whether any record of some imports is in quarantine."""
    found = value(
        work.connection,
        "classify: does a record of the same content wait",
        "SELECT EXISTS (SELECT FROM ingest.quarantine WHERE table_name = %(table)s AND row_id IS NOT NULL "
        "AND resolved_at IS NULL AND import_id = ANY (%(imports)s))",
        {"table": work.catalog.table.name, "imports": list(imports)},
    )
    return bool(found)
