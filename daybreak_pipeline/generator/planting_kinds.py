"""The kinds of faults: what each changes in a record, and what an import must make of it.

Only CSV files get faults, since their cells are texts. Which table gets which is in ``plantings.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daybreak_pipeline.generator import faults
from daybreak_pipeline.generator.faults import (
    BLANK,
    DUPLICATE,
    QUARANTINED,
    SKIPPED_DELETED,
    Cell,
    Planting,
    Record,
)
from daybreak_pipeline.generator.text import join

if TYPE_CHECKING:
    from collections.abc import Callable

    from daybreak_pipeline.generator.world import Batch

# Older than anything in the clean export.
_OLD = {"created_at": "2021-03-04T05:06:07.000001", "updated_at": "2021-03-05T05:06:07"}
_SYNCED_EARLY = {"_fivetran_synced": "2021-03-06 02:34:59.5 UTC"}


def another_id(batch: Batch) -> Any:
    """Return ids that no other record of the table has."""
    return batch.draws.uuids("twin")


def no_uuid(batch: Batch) -> Any:
    """Return invalid ids, all different."""
    return join("not-a-uuid-", batch.number)


def nowhere(name: str) -> Callable[[Batch], Any]:
    """Return a cell with ids that no record of any table has."""
    return lambda batch: batch.nowhere(name)


def one(name: str, record: Record, weight: int = 1) -> Planting:
    """Return a fault that is one record."""
    return Planting(name, (record,), weight=weight)


def refused(name: str, /, *reasons: str, **cells: Cell) -> Planting:
    """Return a record with these cells that is quarantined for these reasons."""
    return one(name, Record(QUARANTINED, cells, reasons=reasons))


def invalid(column: str, value: Cell) -> Planting:
    """Return a value that does not cast, is out of range or too long."""
    return refused(f"invalid {column}", "invalid_value", **{column: value})


def missing(column: str) -> Planting:
    """Return an empty cell in a required column without default."""
    return refused(f"missing {column}", "missing_required", **{column: None})


def bad_enum(column: str, code: str) -> Planting:
    """Return a code that the CHECK constraint refuses."""
    return refused(f"unlisted {column}", "invalid_enum", **{column: code})


def missing_parent(column: str) -> Planting:
    """Return a required foreign key that leads nowhere."""
    return refused(f"no parent for {column}", "missing_parent", **{column: nowhere(column)})


def dangling(column: str, weight: int = 1) -> Planting:
    """Return an optional foreign key that leads nowhere: the record loads without it."""
    record = Record(cells={column: nowhere(column)}, field_issues=("dangling_reference",))
    return one(f"dangling {column}", record, weight)


def orphan(column: str, weight: int = 1) -> Planting:
    """Return an application-level reference that leads nowhere: the record loads with it."""
    return one(f"orphan {column}", Record(cells={column: nowhere(column)}, orphans=(column,)), weight)


def no_json(column: str, text: str) -> Planting:
    """Return text in a JSONB column: it is kept as a JSON string."""
    return one(f"no JSON in {column}", Record(cells={column: text}, field_issues=("invalid_json",)))


def fine(name: str, /, **cells: Cell) -> Planting:
    """Return an unusual record that loads."""
    return one(name, Record(cells=cells))


def deleted(weight: int = 1, /, **cells: Cell) -> Planting:
    """Return a soft-deleted record; what else is wrong with it does not matter."""
    record = Record(SKIPPED_DELETED, {"_fivetran_deleted": "true", **cells})
    return one("soft-deleted" + "".join(f", with a fault in {name}" for name in cells), record, weight)


def twins(**cells: Cell) -> Planting:
    """Two ids with the same natural key: either may load, the other is refused."""
    twin = Record(QUARANTINED, {"id": another_id, **cells}, reasons=("duplicate_key",))
    return Planting("same natural key", (Record(), twin))


def duplicates(*, synced: bool = True) -> tuple[Planting, ...]:
    """Return versions of one record: the newest wins, whatever then becomes of it."""
    versions = (
        Planting("older version", (Record(), Record(DUPLICATE, _OLD), Record(DUPLICATE, _OLD))),
        Planting("exact copy", (Record(), Record(DUPLICATE))),
    )
    if not synced:
        return versions
    deleted = Record(SKIPPED_DELETED, {"_fivetran_deleted": "true"})
    return (
        *versions,
        Planting("synced earlier", (Record(), Record(DUPLICATE, _SYNCED_EARLY))),
        Planting("newest version is soft-deleted", (Record(DUPLICATE, _OLD), deleted)),
    )


def newest_is_refused(column: str, value: str) -> Planting:
    """Return two versions of a record, the newer of which is refused: neither loads."""
    newest = Record(QUARANTINED, {column: value}, reasons=("invalid_value",))
    return Planting("newest version is refused", (Record(DUPLICATE, _OLD), newest))


def common(*, synced: bool = True, soft_deleted: int = 1) -> tuple[Planting, ...]:
    """Return the faults that every CSV file can have."""
    deletions = (deleted(soft_deleted), invalid("_fivetran_deleted", "perhaps")) if synced else ()
    return (
        one("blank", Record(BLANK)),
        refused("no id", "missing_key", id=None),
        refused("malformed id", "invalid_value", id=no_uuid),
        *duplicates(synced=synced),
        *deletions,
        invalid("created_at", "2025-02-30T10:00:00.000001"),
        fine("defaults", created_at=None, updated_at=None),
    )


def ragged() -> tuple[Planting, ...]:
    """Return records with more and with fewer fields than the header."""
    record = (Record(QUARANTINED, reasons=("malformed_record",)),)
    return tuple(
        Planting(shape, record, shape=shape) for shape in (faults.TOO_MANY_FIELDS, faults.TOO_FEW_FIELDS)
    )
