"""Generating an export: every table in chunks, planted faults between the clean records.

Holds at most one chunk of one table, whatever the size of the export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.generator import faults
from daybreak_pipeline.generator.expectations import expected_accounting
from daybreak_pipeline.generator.ids import bits
from daybreak_pipeline.generator.plantings import PLANTINGS
from daybreak_pipeline.generator.source_columns import SOURCES, Source
from daybreak_pipeline.generator.world import Batch, World, numbers
from daybreak_pipeline.generator.writer import CsvFile, ParquetFile, mark_directory, prepare_directory
from daybreak_pipeline.tables import EXPECTATIONS_FILE

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 50_000
"""Records made and written at a time."""

Progress = Callable[[str, int], None]


def generate_export(  # noqa: PLR0913 - what an export is made of, each by name
    out: Path,
    *,
    patients: int,
    seed: int = 0,
    faults: bool = False,
    only: Collection[str] = (),
    progress: Progress | None = None,
) -> None:
    """Write a synthetic export of 16 files into ``out``, or those of the tables ``only`` names.

    The same arguments give the same bytes (of the parquet file with the same version of pyarrow), and a
    table's file is the same whether the others are written or not.

    ``patients`` counts patients and guardians. With ``faults``, faults of every kind are planted, and
    ``expected.json`` says what a first import into an empty database must make of them; the people
    that planted records refer to come on top of ``patients``. ``progress`` gets each table's name and
    how many of its records are written so far.

    Raises:
        UsageError: fewer than one patient, faults without all tables, or a directory that holds other files.
    """
    if patients < 1:
        msg = f"cannot generate {patients} patients: the smallest export has 1"
        raise UsageError(msg)
    if faults and only:
        # Whether a reference leads nowhere depends on what else is imported.
        msg = "what must come of planted faults is known of a whole export: generate faults, or only some tables"
        raise UsageError(msg)
    world = _world(seed, patients, planted=faults)
    sources = [source for source in SOURCES if not only or source.table in only]
    prepare_directory(out)
    mark_directory(out, sources)
    for source in sources:
        write = _write_parquet if source.file.endswith(".parquet") else _write_csv
        write(out / source.file, world, source, progress or _no_progress)
    if faults:
        accounting = json.dumps(expected_accounting(world), indent=2)
        (out / EXPECTATIONS_FILE).write_text(accounting + "\n", encoding="utf-8")


def _no_progress(_table: str, _written: int) -> None:
    pass


def _world(seed: int, patients: int, *, planted: bool) -> World:
    world = World(seed, patients, planted)
    if not planted:
        return world
    most = max(faults.occurrences(plantings, patients) for plantings in PLANTINGS.values())
    # One more: a kinship takes the host of its number and the next.
    return replace(world, hosts=most + 1)


def _write_csv(path: Path, world: World, source: Source, progress: Progress) -> None:
    written = 0
    with CsvFile(path, list(_clean(world, source, 0, 0).column_names)) as file:
        for chunk in _chunks(world, source):
            file.write(chunk)
            written += len(chunk)
            progress(source.table, written)
        for records in _misshapen(world, source, faults.TOO_MANY_FIELDS, faults.TOO_FEW_FIELDS):
            file.write(records)
            written += len(records)
            progress(source.table, written)
        for record in _misshapen(world, source, faults.UNTERMINATED):
            file.break_off(record)
            progress(source.table, written + 1)


def _write_parquet(path: Path, world: World, source: Source, progress: Progress) -> None:
    written = 0
    with ParquetFile(path, _clean(world, source, 0, 1).schema) as file:
        for chunk in _chunks(world, source):
            file.write(chunk)
            written += len(chunk)
            progress(source.table, written)


def _clean(world: World, source: Source, start: int, stop: int) -> Any:
    return pa.table(source.build(Batch(world, source.table, numbers(start, stop))))


def _chunks(world: World, source: Source) -> Iterator[Any]:
    """Yield the whole file in chunks, each with its share of the planted records."""
    size = world.sizes[source.table]
    starts = range(0, max(size, 1), CHUNK)
    planted, total = _planted(world, source)
    taken = 0
    for number, start in enumerate(starts, 1):
        clean = _clean(world, source, start, min(start + CHUNK, size))
        if not total:
            yield clean
            continue
        share = []
        while taken < total * number // len(starts):
            share.append(next(planted))
            taken += len(share[-1])
        yield _shuffled(world, source, number, [clean, *share])


def _planted(world: World, source: Source) -> tuple[Iterator[Any], int]:
    """Return the planted records that have as many fields as the header, and how many there are."""
    if not world.faults:
        return iter(()), 0
    placed = [
        segment
        for segment in faults.segments(PLANTINGS[source.table], world.patients)
        if segment.planting.shape == faults.WHOLE
    ]
    total = sum(segment.times * len(segment.planting.records) for segment in placed)
    tables = (
        table
        for segment in placed
        for table in faults.planted_tables(world, source.table, segment, CHUNK // 10)
    )
    return tables, total


def _shuffled(world: World, source: Source, number: int, tables: list[Any]) -> Any:
    if source.file.endswith(".csv"):
        # Planted texts are in columns of numbers: as in the file itself, everything is text.
        tables = [
            pa.table({name: pc.cast(table[name], pa.string()) for name in table.column_names})
            for table in tables
        ]
    records = pa.concat_tables(tables).combine_chunks()
    order = np.argsort(bits(world.seed, f"{source.table}/order/{number}", numbers(0, len(records))))
    return records.take(pa.array(order))


def _misshapen(world: World, source: Source, *shapes: str) -> Iterator[Any]:
    """Yield the planted records that have more or fewer fields than the header."""
    if not world.faults:
        return
    for segment in faults.segments(PLANTINGS[source.table], world.patients):
        if segment.planting.shape not in shapes:
            continue
        for table in faults.planted_tables(world, source.table, segment, CHUNK // 10):
            if segment.planting.shape == faults.TOO_MANY_FIELDS:
                surplus = pa.array(["surplus"] * len(table))
                yield table.append_column("surplus 1", surplus).append_column("surplus 2", surplus)
            else:
                yield table.select(range(table.num_columns // 2))
