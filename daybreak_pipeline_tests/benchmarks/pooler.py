"""What an application notices of an import: a hundred clients through PgBouncer, idle system and import. Prints Markdown.

``python -m daybreak_pipeline_tests.benchmarks.pooler``. Not a test: nothing fails when it is slow, and failed transactions are
told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
import pytest

from daybreak_pipeline import settings
from daybreak_pipeline.privacy import keys, roles
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import import_order
from daybreak_pipeline_tests.benchmarks.__main__ import _bench
from daybreak_pipeline_tests.benchmarks.cases import CASES, KEY, Bench, generate
from daybreak_pipeline_tests.pgbouncer import pooled
from daybreak_pipeline_tests.workload import CLIENTS, Workload

MOST = 3
"""How many times as long 95 of 100 transactions may take while an import runs."""
SPELL = 15
"""Seconds of pgbench at a time."""


@click.command()
@click.option("--records", default=1_000_000, show_default=True, help="Questionnaires that are imported.")
@click.option("--seconds", default=60, show_default=True, help="How long the idle system is measured.")
@click.option(
    "--rate",
    "rates",
    default=[0, 50],
    show_default=True,
    multiple=True,
    help="Transactions a second; 0 for as many as the clients can.",
)
def main(records: int, seconds: int, rates: tuple[int, ...]) -> None:
    """Measure and print."""
    table = CASES[0].table
    lines = [
        f"{CLIENTS} clients, pools of {settings.pooler().size}, {records:,} {table}.",
        "",
        "| clients | phase | transactions | failed | median ms | p95 ms | import took |",
        "|---|---|---|---|---|---|---|",
    ]
    ratios = ["", "| p95 during the import / idle | is | at most |", "|---|---|---|"]
    with _bench(records) as bench, _application(bench) as app:
        generate(bench.scratch / "export", records, [table])
        for rate in rates:
            what = f"{rate} transactions a second" if rate else "as fast as they can"
            load = Workload(app, KEY, rate)
            idle = load.run(seconds)
            begun = time.monotonic()
            took: list[float] = []

            def work(since: float = begun, into: list[float] = took) -> None:
                bench.load(table, bench.scratch / "export")
                into.append(time.monotonic() - since)

            busy = load.run_while(work, SPELL)
            bench.clear(table)
            for phase, measured, import_ in (("idle", idle, ""), ("import", busy, f"{took[0]:.1f} s")):
                lines.append(
                    f"| {what} | {phase} | {len(measured.milliseconds):,} | {measured.failed} | "
                    f"{measured.quantile(0.5):.0f} | {measured.quantile(0.95):.0f} | {import_} |"
                )
            ratio = busy.quantile(0.95) / idle.quantile(0.95)
            ratios.append(f"| {what} | {ratio:.2f}{' (over)' if ratio > MOST else ''} | {MOST} |")
            click.echo(lines[-1])
    click.echo("\n".join([*lines, *ratios]))


@contextmanager
def _application(bench: Bench) -> Iterator[DatabaseSettings]:
    """Yield an application's login through PgBouncer as ``daybreak up`` runs it, with the sample in the database."""
    keys.verify(bench.connection)
    for name in import_order():
        bench.load(name, PROJECT_ROOT / "data" / "sample")
    bench.clear(CASES[0].table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(settings.role_variable(roles.APP.name, "PASSWORD"), "benchmark")
        roles.apply(bench.settings)
    pools = settings.pooler()
    with pooled(bench.settings, size=pools.size, clients=pools.clients) as (through, _):
        yield replace(through, user=roles.APP.name, password="benchmark")


if __name__ == "__main__":
    main()
