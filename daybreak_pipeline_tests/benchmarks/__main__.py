"""``make bench``: our import beside what people would use instead, on the same data and machine, in one run.

Prints ratios of medians and writes them to ``docs/benchmarks.md``. Not a test: nothing fails when it is slow.
What is measured stands in ``cases`` and ``growth``, how the peers do it in ``peers``.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.schema import runner
from daybreak_pipeline_tests.benchmarks import cases, page
from daybreak_pipeline_tests.benchmarks.cases import Bench
from daybreak_pipeline_tests.benchmarks.growth import Growth, import_apart
from daybreak_pipeline_tests.benchmarks.growth import measure as measure_growth

FIRST_IMPORT = f"{cases.CASES[0].table}: first import"


@dataclass
class Timings:
    """Seconds of every run of every measurement, in the order in which they were first made."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def take(self, name: str, runs: int, measure: Callable[[], float]) -> None:
        """Measure several times."""
        for _ in range(runs):
            taken = measure()
            self.seconds.setdefault(name, []).append(taken)
            click.echo(f"  {name}: {taken:.2f} s")

    def median(self, name: str) -> float | None:
        """Return the median of a measurement in seconds, None where it was not made."""
        return statistics.median(self.seconds[name]) if name in self.seconds else None


@click.command()
@click.option("--records", default=1_000_000, show_default=True, help="Questionnaires and referrals.")
@click.option("--runs", default=3, show_default=True, help="Runs of each measurement; medians are reported.")
@click.option(
    "--peer-runs",
    default=3,
    show_default=True,
    help="Runs of pgloader, dlt and pandas, which take minutes each; 0 leaves them out.",
)
@click.option(
    "--measure",
    "what",
    type=click.Choice(["all", "cases", "growth"]),
    default="all",
    show_default=True,
    help="The cases at RECORDS, or growth from a tenth to ten times RECORDS.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice([case.table for case in cases.CASES]),
    multiple=True,
    help="Measure the cases of this table only; may be given several times.",
)
@click.option(
    "--report",
    default=page.PAGE,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to put what was measured into, as a section.",
)
def main(  # noqa: PLR0913, PLR0917 - as many as there are options
    records: int, runs: int, peer_runs: int, what: str, tables: tuple[str, ...], report: Path
) -> None:
    """Measure, print and write the report."""
    timings = Timings()
    peaks: dict[str, int] = {}
    ratios = cases.ratios()
    with _bench(records) as bench:
        version = bench.connection.execute("SHOW server_version").fetchone()

        def write() -> None:
            """Write what there is: it took an hour, and the rest may fail."""
            lines = _report(timings, records, peaks, ratios, str(version[0]) if version else "?")
            page.write(f"Imports, {datetime.now(UTC):%Y-%m-%d}", lines, report)

        if what != "growth":
            for case in [case for case in cases.CASES if not tables or case.table in tables]:
                click.echo(f"{case.table}: {records:,} records")
                cases.measure(bench, case, timings.take, runs=runs, peer_runs=peer_runs)
                write()
            bench.clear(cases.CASES[0].table)
            _, peaks[FIRST_IMPORT] = import_apart(bench.settings, cases.CASES[0].table, bench.export())
            bench.drop_export()
        if what != "cases":
            growing = Growth(cases.CASES, records, runs)
            measure_growth(bench, growing, timings.take)
            peaks |= growing.peaks
            ratios += growing.ratios()
        write()
    click.echo(report.read_text())


@contextmanager
def _bench(records: int) -> Iterator[Bench]:
    """Make data and a server of their own, removed afterwards."""
    scratch = Path(tempfile.mkdtemp(prefix="daybreak-bench-", dir=os.environ.get("DAYBREAK_BENCH_DIR")))
    scratch.chmod(0o711)
    try:
        with server.serve(scratch / "home") as settings:
            runner.upgrade(settings)
            with database.connect(settings, key=cases.KEY, autocommit=True) as connection:
                yield Bench(scratch, settings, connection, records)
    finally:
        shutil.rmtree(scratch)


def _report(
    timings: Timings,
    records: int,
    peaks: dict[str, int],
    ratios: list[tuple[str, str, str, str]],
    version: str,
) -> list[str]:
    said = (
        f"One run of `make bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, PostgreSQL {version}, "
        f"Python {platform.python_version()}, {records:,} records. Medians, in seconds; the ratio is ours to the peer's. "
        "Every peer gets a clean file in the form it likes best; ours gets the export as it is, and validates, "
        "hashes, accounts and builds all keys and indexes. dlt is measured with its own reader of CSV files, as its "
        "manual has it, and with Arrow batches, of which it looks at no record. COPY's table is without our audit trail."
    )
    lines = [
        said,
        "",
        "| measurement | seconds | runs |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {statistics.median(taken):.2f} | {', '.join(f'{t:.2f}' for t in taken)} |"
        for name, taken in timings.seconds.items()
    ]
    lines += ["", "| ratio | is | at most |", "|---|---|---|"]
    for name, above, below, limit in ratios:
        a, b = timings.median(above), timings.median(below)
        if a is not None and b:
            over = a / b > float(limit)
            lines.append(f"| {name} | {a / b:.3f}{' (over)' if over else ''} | {limit} |")
    if peaks:
        lines += ["", "| peak memory of the importing process | is | at most |", "|---|---|---|"]
        lines += [f"| {name} | {peak / 1e6:.0f} MB | 300 MB |" for name, peak in peaks.items()]
    repeat = (
        "To repeat it: `make bench` (an hour and a half), or `.venv/bin/python -m daybreak_pipeline_tests.benchmarks "
        "--help`. What sealing and searching cost is in [benchmarks-of-privacy.md](benchmarks-of-privacy.md)."
    )
    return [*lines, "", repeat]


if __name__ == "__main__":
    main()
