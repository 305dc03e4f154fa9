"""How the import grows: a tenth, once and ten times the records, each imported by a process of its own.

Only the files that are needed are generated, and each is deleted as soon as it is imported, so that ten million
records need no more disk than their tables do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click

from daybreak_pipeline.locations import Location
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.benchmarks.cases import KEY, Bench, Case, Take, generate

STEPS = (0.1, 1, 10)
DISK_FOR_A_RECORD = {"questionnaires": 2900, "referrals": 4600}
"""Bytes at the worst moment at most: file, staging, finished rows, WAL, the table and those it refers to.

Measured when staging lasted to the import's end; now it is given back before the table is filled.
"""

# ru_maxrss would also count the process that this one was started from: an exec hands its peak on.
_PROGRAM = """
import json, sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from daybreak_pipeline import database, settings
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.locations import locate

result = import_table(database.connect(settings.given_database(), key=sys.argv[3]), sys.argv[1], locate(sys.argv[2]))
status = Path("/proc/self/status")
if status.exists():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
else:
    peak = getrusage(RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": result.seconds, "peak": peak}))
"""


@dataclass
class Growth:
    """How often each size is imported, the most memory that any took, in bytes, and the ratios of its times to report."""

    cases: tuple[Case, ...]
    records: int
    runs: int
    peaks: dict[str, int] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """How many records are imported, about, one size after the other."""
        return [int(self.records * step) for step in STEPS]

    def ratios(self) -> list[tuple[str, str, str, str]]:
        """Return the ratios: name, numerator, denominator, and what it should be at most.

        Ten times the records take ten times the time, and a little more for sorting them.
        """
        return [
            (f"{_name(case, more)} / {fewer:,}", _name(case, more), _name(case, fewer), "11")
            for case in self.cases
            for fewer, more in zip(self.sizes, self.sizes[1:], strict=False)
        ]


def measure(bench: Bench, growth: Growth, take: Take) -> None:
    """Import every size of every table that the disk has room for, and leave nothing behind."""
    for records in growth.sizes:
        for case in growth.cases:
            if _has_room(bench.scratch, case, records):
                _measure_one(bench, growth, case, records, take)
        bench.clear(*(name for case in growth.cases for name in (case.table, *case.parents)))


def _measure_one(bench: Bench, growth: Growth, case: Case, records: int, take: Take) -> None:
    directory = bench.scratch / f"growth-{records}"
    measured = {other.table for other in growth.cases}
    # A table that is measured too has been imported before, and is there.
    parents = [name for name in case.parents if name not in measured]
    generate(directory, records, [case.table, *parents])
    try:
        for parent in parents:
            bench.load(parent, directory)

        def first_import() -> float:
            bench.clear(case.table)
            seconds, peak = import_apart(bench.settings, case.table, directory)
            growth.peaks[_name(case, records)] = max(peak, growth.peaks.get(_name(case, records), 0))
            return seconds

        take(_name(case, records), growth.runs, first_import)
    finally:
        shutil.rmtree(directory)


def import_apart(
    settings: DatabaseSettings, table: str, directory: Location, **variables: str
) -> tuple[float, int]:
    """Import a table in a process of its own. Returns the import's seconds, and the process's peak memory in bytes.

    ``variables`` are what its environment has besides the settings of the database.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, table, str(directory), KEY],
        env=settings.environment() | variables | {"PATH": ""},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    told = json.loads(done.stdout)
    return told["seconds"], told["peak"]


def _name(case: Case, records: int) -> str:
    return f"growth: {case.table}, {records:,} records"


def _has_room(scratch: Path, case: Case, records: int) -> bool:
    """Whether the disk holds so many records; says so where it does not."""
    needed = records * DISK_FOR_A_RECORD[case.table]
    free = shutil.disk_usage(scratch).free
    if free < needed:
        click.echo(
            f"  {_name(case, records)}: left out, it needs {needed / 1e9:.0f} GB below {scratch.parent} and "
            f"{free / 1e9:.0f} GB are free: name another directory in DAYBREAK_BENCH_DIR, or fewer --records"
        )
    return free >= needed
