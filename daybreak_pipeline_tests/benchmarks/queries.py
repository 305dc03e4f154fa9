"""What the queries of the workload take with a million patients, with and without their indexes, and writing 10,000 people.

``python -m daybreak_pipeline_tests.benchmarks.queries``. It ends with 1 where a query is not served by its
index; how long one takes is printed, and written to docs/benchmarks.md. Nothing fails when it is slow.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import LiteralString

import click
import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline_tests import queries
from daybreak_pipeline_tests.benchmarks import page
from daybreak_pipeline_tests.benchmarks.__main__ import _bench
from daybreak_pipeline_tests.benchmarks.cases import KEY, Bench
from daybreak_pipeline_tests.queries import Query

TITLE = "What an application asks"
MOST = 25
"""Milliseconds in the median, but for queries that say why they take longer."""
_WITHOUT_RUNS = 1
_SLOWEST_WITHOUT = "20s"
_LARGE = 20_000
"""A table of so many rows is not to be read from end to end."""

_INSERT: LiteralString = """
    INSERT INTO patients_and_guardians (role, first_name, last_name, email, phone, birthdate, address)
    SELECT 1, first_name, last_name, email, '+15550100', '2012-03-04', '{"city": "Anytown", "state": "CA"}'
    FROM unnest(%(first)s::text[], %(last)s::text[], %(email)s::text[]) AS given (first_name, last_name, email)
"""
_WRITES: tuple[tuple[str, LiteralString], ...] = (
    ("insert people with seven values each, five of them sealed", _INSERT),
    (
        "change their preferred names through the view",
        "UPDATE app.patients_and_guardians SET preferred_name = 'Sam' WHERE email LIKE 'bulk.%%'",
    ),
    (
        "change their preferred names in the table",
        "UPDATE patients_and_guardians SET preferred_name = 'Kim' WHERE email LIKE 'bulk.%%'",
    ),
    (
        "change their language, which is not sealed, in the table",
        "UPDATE patients_and_guardians SET preferred_language = 'spa' WHERE email LIKE 'bulk.%%'",
    ),
)


@click.command()
@click.option(
    "--patients",
    default=1_000_000,
    show_default=True,
    help="Patients and guardians, with all that hangs on them.",
)
@click.option("--runs", default=3, show_default=True, help="Warm runs with each of up to twenty parameters.")
@click.option("--people", default=10_000, show_default=True, help="People written in one statement.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the server with its data in this directory, and use what is there already.",
)
@click.option(
    "--report",
    default=page.PAGE,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write to.",
)
def main(patients: int, runs: int, people: int, keep: Path | None, report: Path) -> None:
    """Measure, print and write the section."""
    begun = time.monotonic()
    with _kept(keep, patients) if keep else _bench(patients) as bench:
        if not database.has_rows(bench.connection, sql.Identifier("patients_and_guardians")):
            page.save_room(bench.settings)
            roles.apply(bench.settings)
            queries.fill(bench.connection, bench.scratch, patients)
        filled = time.monotonic() - begun
        click.echo(f"filled in {filled:.0f} s; {shutil.disk_usage(bench.scratch).free / 1e9:.0f} GB left")
        said = (
            f"{patients:,} patients and guardians with all that hangs on them, imported from a generated export. Each "
            "query as `daybreak_app` with the key, as the client sees it: medians of warm runs with up to twenty "
            "parameters, in milliseconds; without its indexes, with the first parameter. "
        )
        lines = [said + page.circumstances(bench.connection), ""]
        faults: list[str] = []
        for heading, asked in (
            ("likeliest", queries.likeliest()),
            ("further, for the other indexes", queries.further()),
        ):
            lines += [f"| {heading} | rows | ms | without | served by |", "|---|---|---|---|---|"]
            for query in asked:
                lines.append(_measured(bench, query, runs, faults))
                click.echo(lines[-1])
            lines.append("")
        lines += _reasons([*queries.likeliest(), *queries.further()])
        lines += _writing(bench, people)
        lines.append(
            "To repeat it: `.venv/bin/python -m daybreak_pipeline_tests.benchmarks.queries`, a quarter of an hour and 8 GB "
            "of disk; the queries are in `daybreak_pipeline_tests/queries`."
        )
        page.write(TITLE, lines, report)
    click.echo("\n".join(lines))
    sys.exit("\n".join(faults) or None)


@contextmanager
def _kept(directory: Path, patients: int) -> Iterator[Bench]:
    """Yield a server that is there again the next time."""
    directory.mkdir(mode=0o711, exist_ok=True)
    with server.serve(directory / "home") as settings:
        runner.upgrade(settings)
        with database.connect(settings, key=KEY, autocommit=True) as connection:
            yield Bench(directory, settings, connection, patients)


def _measured(bench: Bench, query: Query, runs: int, faults: list[str]) -> str:
    """Return a query's line of the table, and add what is wrong with its plan to ``faults``."""
    drawings = queries.drawn(bench.connection, query)
    plan = queries.plan(bench.connection, query, drawings[0])
    faults += [f"{query.name}: not served by {index}" for index in plan.lacks(query)]
    large = bench.connection.execute(
        "SELECT relname::text FROM pg_class WHERE relname = ANY (%s) AND reltuples > %s",
        [list(plan.read_whole), _LARGE],
    )
    faults += [f"{query.name}: reads {table} from end to end" for (table,) in large]
    with queries.application(bench.connection):
        found = statistics.median(
            len(queries.rows(bench.connection, query.statement, values)) for values in drawings
        )
    taken = queries.milliseconds(bench.connection, query, drawings, runs)
    served = ", ".join(
        f"{plan.indexes[index]} {index}" for index in sorted(query.indexes & plan.indexes.keys())
    )
    over = " (over)" if taken > MOST and not query.slow else ""
    return f"| {query.name} | {found:.0f} | {taken:.1f}{over} | {_without(bench, query, drawings[:1])} | {served} |"


def _without(bench: Bench, query: Query, drawings: list[queries.Values]) -> str:
    """Return the milliseconds of a query without its indexes."""
    with suppress(psycopg.errors.QueryCanceled), queries.without_indexes(bench.connection, query):
        bench.connection.execute(f"SET LOCAL statement_timeout = '{_SLOWEST_WITHOUT}'".encode())
        return f"{queries.milliseconds(bench.connection, query, drawings, _WITHOUT_RUNS):.1f}"
    return f"over {_SLOWEST_WITHOUT}"


def _reasons(asked: list[Query]) -> list[str]:
    """Return why some queries may take longer, as lines of a list."""
    return [
        f"At most {MOST} ms, but for:",
        "",
        *(f"- *{query.name}*: {query.slow}." for query in asked if query.slow),
        "",
    ]


def _writing(bench: Bench, people: int) -> list[str]:
    """Return what it takes an application to write people in one statement each, as lines of a table."""
    letters = [str(number).translate(str.maketrans("0123456789", "abcdefghij")) for number in range(people)]
    given = {
        "first": [f"Bulk{word}" for word in letters],
        "last": [f"Writer{word[::-1]}" for word in letters],
        "email": [f"bulk.{word}@example.org" for word in letters],
    }
    taken: dict[str, list[float]] = {}
    for _ in range(3):
        with queries.application(bench.connection):
            for name, statement in _WRITES:
                begun = time.perf_counter()
                written = bench.connection.execute(statement, given).rowcount
                taken.setdefault(name, []).append(time.perf_counter() - begun)
                if written != people:
                    msg = f"{name}: {written} rows and not {people}"
                    raise RuntimeError(msg)
    return [
        f"| {people:,} rows in one statement, as `daybreak_app` | seconds | µs a row |",
        "|---|---|---|",
        *(
            f"| {name} | {statistics.median(runs):.2f} | {statistics.median(runs) / people * 1e6:.0f} |"
            for name, runs in taken.items()
        ),
        "",
    ]


if __name__ == "__main__":
    main()
