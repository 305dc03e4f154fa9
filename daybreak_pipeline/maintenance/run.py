"""All of the maintenance in its order: half-built indexes, what need not be kept, vacuum, indexes, files.

It may stop after any statement: what is left is found again the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from daybreak_pipeline import database
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.maintenance import home_files, retention, upkeep
from daybreak_pipeline.maintenance.freed import Freed
from daybreak_pipeline.maintenance.giving_way import Watch
from daybreak_pipeline.settings import DatabaseSettings

MANY_ROWS = 1_000
"""After so many deleted rows a table is vacuumed: the server's own counts may come later than we look."""


def steps(  # noqa: PLR0913 - each is a fact of the one maintenance
    db: DatabaseSettings,
    dagsters: DatabaseSettings | None,
    home: Path,
    watch: Watch,
    *,
    dry_run: bool,
    prune_runs: Callable[[], list[Freed]] = list,
) -> Iterator[Freed]:
    """Do it all, and yield what each step freed.

    Args:
        db: of the tables' owner.
        dagsters: where Dagster keeps its records, if that is ours to look after.
        home: the directory for state.
        watch: what to give way to.
        dry_run: change nothing, and yield what would be freed.
        prune_runs: drops what Dagster need not keep.

    Raises:
        GivesWayError: an import or a rotation of the key began. What was yielded is done.
    """
    watch.check()
    with database.connect(db, autocommit=True) as connection:
        yield upkeep.drop_half_built(connection, watch, dry_run=dry_run)
        pruned = []
        for freed in retention.prune(connection, watch, dry_run=dry_run):
            pruned.append(freed)
            yield freed
        yield from prune_runs()
        emptied = [one.step for one in pruned if one.rows >= MANY_ROWS and one.step != "audit.changes"]
        yield upkeep.vacuum(connection, watch, dry_run=dry_run, also=emptied)
        yield upkeep.reindex(connection, watch, dry_run=dry_run)
    if dagsters is not None:
        yield from _of_dagster(dagsters, watch, dry_run=dry_run)
    yield from home_files.prune(home, dry_run=dry_run)


def _of_dagster(db: DatabaseSettings, watch: Watch, *, dry_run: bool) -> Iterator[Freed]:
    """Look after Dagster's own tables too: each run adds and takes away hundreds of rows."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(database.connect(db, autocommit=True))
        except DaybreakError as error:
            yield Freed("vacuum of Dagster's records", note=str(error))
            return
        for step in (upkeep.drop_half_built, upkeep.vacuum, upkeep.reindex):
            freed = step(connection, watch, dry_run=dry_run)
            yield Freed(
                f"{freed.step} of Dagster's records", freed.rows, freed.bytes, freed.names, freed.note
            )
