"""What a planted fault is, and how planted records are made from clean ones.

A planted record starts as a record that the clean builder makes for an index of its own, and then has
some cells replaced. Which faults each table gets is in ``plantings.py``; what an import must make of
them is added up in ``expectations.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from daybreak_pipeline.generator.source_columns import SOURCE_OF
from daybreak_pipeline.generator.world import PLANTED, Batch, World

Cell = str | int | None | Callable[[Batch], Any]
"""What to put into a column: a value for all records, None for an empty cell, or a function."""

BLANK = "blank"
DUPLICATE = "duplicate"
INSERTED = "inserted"
QUARANTINED = "quarantined"
SKIPPED_DELETED = "skipped_deleted"

WHOLE = "whole"
TOO_MANY_FIELDS = "too many fields"
TOO_FEW_FIELDS = "too few fields"
UNTERMINATED = "unterminated quote"


@dataclass(frozen=True)
class Record:
    """One record of a planting, and what a first import must make of it.

    ``reasons`` are the codes of the quarantine, each once; ``field_issues`` has one code for each
    issue; ``orphans`` names the columns whose application-level reference leads nowhere.
    """

    outcome: str = INSERTED
    cells: Mapping[str, Cell] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    field_issues: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planting:
    """A fault: the records that make it up, which are alike but for the cells they replace.

    It occurs ``weight`` times as often as others, or, if ``once`` is set, a single time. ``shape``
    says whether its records have as many fields as the header.
    """

    name: str
    records: tuple[Record, ...]
    weight: int = 1
    once: bool = False
    shape: str = WHOLE

    def times(self, patients: int) -> int:
        """Return how often the fault occurs in an export of so many patients."""
        return 1 if self.once else self.weight * max(1, patients // 1000)


@dataclass(frozen=True)
class Segment:
    """A planting of one table with the numbers that its occurrences have."""

    planting: Planting
    start: int
    times: int


def segments(plantings: tuple[Planting, ...], patients: int) -> tuple[Segment, ...]:
    """Return where each planting of a table begins, and how often it occurs."""
    placed, start = [], 0
    for planting in plantings:
        times = planting.times(patients)
        placed.append(Segment(planting, start, times))
        start += times
    return tuple(placed)


def occurrences(plantings: tuple[Planting, ...], patients: int) -> int:
    """Return how often faults occur in a table altogether."""
    return sum(planting.times(patients) for planting in plantings)


def planted_tables(world: World, table: str, segment: Segment, chunk: int) -> Iterator[Any]:
    """Yield the records of one planting as Arrow tables of at most ``chunk`` rows each."""
    for start in range(0, segment.times, chunk):
        stop = min(start + chunk, segment.times)
        index = PLANTED + segment.start + np.arange(start, stop, dtype=np.int64)
        for record in segment.planting.records:
            yield _planted_table(Batch(world, table, index), record)


def _planted_table(batch: Batch, record: Record) -> Any:
    clean = SOURCE_OF[batch.table].build(batch)
    if record.outcome == BLANK:
        return pa.table({name: pa.nulls(len(batch), column.type) for name, column in clean.items()})
    for name, cell in record.cells.items():
        clean[name] = _fill(batch, cell, clean[name].type)
    return pa.table(clean)


def _fill(batch: Batch, cell: Cell, kind: Any) -> Any:
    if callable(cell):
        return cell(batch)
    if cell is None:
        return pa.nulls(len(batch), kind)
    # A text in a column of numbers makes the column text: in a CSV file nothing else tells them apart.
    scalar = pa.scalar(cell) if isinstance(cell, str) else pa.scalar(cell, kind)
    return pa.repeat(scalar, len(batch))
