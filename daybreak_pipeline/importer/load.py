"""Takes staged records to their outcome: classify -> validate -> quarantine -> merge, and counts them.

The same way for records of a file and for those that wait in quarantine. Runs inside the transaction that
``run`` opened; which records, and what the ledger says of it, is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.importer import (
    classify,
    digests,
    ledger,
    merge,
    missing,
    names,
    quarantine,
    rows,
    staging,
    tombstones,
    validate,
)
from daybreak_pipeline.importer import stage as stages
from daybreak_pipeline.importer.expressions import TEXT_TYPES, Expressions, compose
from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.importer.ledger import Accounting
from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.importer.working_tables import in_the_databases_own, in_their_tablespace
from daybreak_pipeline.importer.workspace import Workspace
from daybreak_pipeline.schema.catalog import TableCatalog
from daybreak_pipeline.tables import OPERATION

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_ENOUGH_TO_ANALYZE = 20
"""Statistics are renewed when one record in so many was written; below that the server's own upkeep will do.

At once only of the columns that keys and rules are made of, which the next imports and checks need.
"""


class Loaded(NamedTuple):
    """What became of the records of a file.

    ``unknown_values`` counts the values of each column that the schema does not know, ``placeholder_values`` the words
    for nothing in sealed columns.
    """

    accounting: Accounting
    unknown_values: dict[str, int]
    placeholder_values: dict[str, int]


def load_file(  # noqa: PLR0913 - each is a fact of the one import
    connection: Connection,
    catalog: TableCatalog,
    source: Source,
    import_id: int,
    progress: Progress,
    *,
    earlier_imports: Callable[[], Sequence[int]],
) -> Loaded:
    """Load every record of a source; what ``earlier_imports`` returns is asked only where the table has rows.

    Raises:
        UsageError: the working tables cannot be where ``DAYBREAK_STAGING_TABLESPACE`` wants them.
    """
    with in_their_tablespace(connection):
        return _load_file(connection, catalog, source, import_id, progress, earlier_imports)


def _load_file(  # noqa: PLR0913, PLR0917 - each is a fact of the one import
    connection: Connection,
    catalog: TableCatalog,
    source: Source,
    import_id: int,
    progress: Progress,
    earlier_imports: Callable[[], Sequence[int]],
) -> Loaded:
    work = _begin(connection, catalog, source.header, import_id)
    work.earlier_imports = earlier_imports
    _stage(work, source, progress)
    unknown = _counted(work, "count({})", work.expressions.unknown)
    sealed = [
        name
        for name in catalog.table.sealed_columns
        if name not in catalog.table.kept_plain
        and name in work.expressions.names_in_file
        and catalog.by_name[name].type in TEXT_TYPES
    ]
    placeholders = _counted(work, "count(*) FILTER (WHERE ingest.is_placeholder({}))", sealed)
    if work.keeps_digests:
        work.counted = _met(work, "{} IS NOT NULL", unknown) + _met(
            work, "ingest.is_placeholder({})", placeholders
        )
    _process(work, progress)
    quarantine.resolve(work, whole_file=True)
    missing.note(work)
    return Loaded(_finish(work), unknown, placeholders)


def _stage(work: Workspace, source: Source, progress: Progress) -> None:
    """Stage a source's records, but for those that rows are known to come from."""
    sifting = digests.begin(work, source)
    if sifting is None:
        staging.fill(work.connection, work.stage, source, progress)
        return

    def send(*, final: bool) -> None:
        digests.send(work, sifting, final=final)

    def again() -> None:
        digests.forget_list(work)
        work.statements.run("stage: empty it", "TRUNCATE {stage} RESTART IDENTITY")
        staging.fill(
            work.connection, work.stage, source, progress, replace(sifting, known=None), send=send, alone=True
        )
        _refuse_contradictions(work)

    staging.fill(work.connection, work.stage, source, progress, sifting, send=send)
    digests.list_rows(work, sifting.known)
    work.stage_again = again


def _met(work: Workspace, condition: str, counted: dict[str, int]) -> list[sql.Composable]:
    """Return conditions by which a staged record has one of the values that were counted."""
    return [
        compose(condition, compose("stage.{}", work.stage.column(name) or sql.NULL))
        for name, number in counted.items()
        if number
    ]


def load_quarantined(
    connection: Connection, catalog: TableCatalog, import_id: int, progress: Progress, *, met_by: int | None
) -> Accounting:
    """Try the records again that wait in quarantine, but for those that the import ``met_by`` has just refused.

    In the stage they are numbered by their quarantine row, which knows file and record.

    Raises:
        UsageError: as ``load_file``.
    """
    with in_their_tablespace(connection):
        header = quarantine.unseal(connection, catalog.table.name, met_by=met_by)
        work = _begin(connection, catalog, header, import_id)
        work.again = True
        quarantine.stage_again(work)
        _process(work, progress)
        quarantine.resolve(work, whole_file=False)
        return _finish(work)


def _begin(
    connection: Connection, catalog: TableCatalog, header: tuple[str, ...], import_id: int
) -> Workspace:
    stage = stages.create(connection, catalog.table.name, header, catalog.known_names)
    buried = tombstones.exist(connection, catalog.table.name)
    into_empty = not buried and not database.has_rows(
        connection, sql.Identifier("public", catalog.table.name)
    )
    work = Workspace(connection, catalog, stage, Expressions(catalog, stage), import_id, into_empty, buried)
    work.create()
    return work


def _process(work: Workspace, progress: Progress) -> None:
    _refuse_contradictions(work)
    progress("classify", 0)
    classify.classify(work)
    progress("validate", 0)
    dangling = validate.validate(work)
    progress("quarantine", 0)
    quarantine.keep_records(work)
    # Nobody reads the stage after this: its room on the disk is given back before the table takes as much.
    work.statements.run("merge: empty the stage", "TRUNCATE {stage}")
    progress("merge", work.stage.records)
    with in_the_databases_own(work.connection):
        merge.merge(work, dangling)
    digests.forget_of_several(work)
    quarantine.keep_issues(work)


def _refuse_contradictions(work: Workspace) -> None:
    """Where the file has a column several times, the first counts: mark the records in which another differs.

    Such a record is malformed: nobody knows which of its values is meant. An empty repeat contradicts nothing.
    """
    read = work.expressions.names_in_file | (
        {OPERATION} if "deleted_at" in work.expressions.derived else set()
    )
    several = {again: first for again, first in names.repeats(work.stage.header).items() if first in read}
    if not several:
        return
    differ = {
        again: compose(
            "({again} IS NOT NULL AND {again} IS DISTINCT FROM {first})",
            again=work.stage.column(again) or sql.NULL,
            first=work.stage.column(first) or sql.NULL,
        )
        for again, first in several.items()
    }
    reasons = [
        compose("CASE WHEN {} THEN {} END", differ[again], sql.Literal(f"{first} and {again} differ"))
        for again, first in several.items()
    ]
    work.statements.run(
        "stage: repeated columns that differ",
        "UPDATE {stage} SET {malformed} = concat_ws('; ', {reasons}) WHERE {malformed} IS NULL AND ({any})",
        malformed=stages.MALFORMED,
        reasons=sql.SQL(", ").join(reasons),
        any=sql.SQL(" OR ").join(differ.values()),
    )


def _counted(work: Workspace, count: str, names: Sequence[str]) -> dict[str, int]:
    """Count something of staged columns, by an aggregate of each that counts nothing in an empty column."""
    counted = dict.fromkeys(names, 0)
    filled = [name for name in names if name not in work.stage.empty]
    if filled:
        counts = sql.SQL(", ").join(compose(count, work.stage.column(name) or sql.NULL) for name in filled)
        found = work.statements.query(
            "stage: count values", "SELECT {counts} FROM {stage} stage", counts=counts
        ).fetchone()
        counted |= zip(filled, found or (), strict=True)
    return counted


def _finish(work: Workspace) -> Accounting:
    accounting = ledger.count(work)
    work.drop()
    if (accounting.inserted + accounting.updated) * _ENOUGH_TO_ANALYZE > accounting.read:
        stored = {value.name for value in rows.values(work)}
        names = [sql.Identifier(c.name) for c in classify.narrow_columns(work) if c.name in stored]
        work.statements.run(
            "end: statistics", "ANALYZE {target} ({columns})", columns=sql.SQL(", ").join(names)
        )
    return accounting
