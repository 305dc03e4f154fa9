# ruff: noqa: S608 - what is put into statements here are this file's own names
"""What partitioning by month does to a table like ``referrals``: a plain and a partitioned copy, side by side. Prints Markdown.

``python -m daybreak_pipeline_tests.benchmarks.partitioning --rows 10000000``. Not a test: nothing fails when it is slow. The
decision that rests on it is docs/adr/0019.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import psycopg

from daybreak_pipeline.database import Connection
from daybreak_pipeline_tests.benchmarks import page
from daybreak_pipeline_tests.benchmarks.__main__ import _bench

TITLE = "Partitioned by month"
MONTHS = 36
PLAIN, PARTITIONED = "plain", "partitioned"

_COLUMNS = """
    id UUID NOT NULL, organization_id UUID NOT NULL, status INTEGER NOT NULL, created_at TIMESTAMPTZ NOT NULL, data TEXT
"""
# What the plan says of referrals, narrow: ids in no order, made in the order of time, 500 organizations.
_ROWS = f"""
    INSERT INTO {{table}}
    SELECT md5(n::text)::uuid, md5((n %% 500)::text)::uuid, n %% 5,
           timestamptz '2023-01-01 00:00+00' + n * (interval '{MONTHS * 30} days' / %(rows)s), repeat('x', 40)
    FROM generate_series(%(first)s, %(last)s) n
"""
_INDEXES = {
    PLAIN: (
        "ALTER TABLE plain ADD PRIMARY KEY (id)",
        "CREATE INDEX ON plain (organization_id)",
        "CREATE INDEX ON plain (created_at)",
    ),
    PARTITIONED: (
        "ALTER TABLE partitioned ADD PRIMARY KEY (id, created_at)",
        "CREATE INDEX ON partitioned (organization_id)",
        "CREATE INDEX ON partitioned (created_at)",
    ),
}
_REPEAT = "`.venv/bin/python -m daybreak_pipeline_tests.benchmarks.partitioning`"
_LOOKUPS = 200
_MERGED = 100
"""One row of so many is merged."""


@click.command()
@click.option("--rows", default=10_000_000, show_default=True, help="Rows of each table.")
@click.option(
    "--report",
    default=page.PAGE,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write to.",
)
def main(rows: int, report: Path) -> None:
    """Measure, print and write the section."""
    taken: dict[str, dict[str, float]] = {}
    with (
        _bench(rows) as bench,
        psycopg.connect(bench.settings.conninfo(), autocommit=True) as connection,
    ):
        page.save_room(bench.settings)
        for table in (PLAIN, PARTITIONED):
            _make(connection, table)
            for name, seconds in _measured(connection, table, rows).items():
                taken.setdefault(name, {})[table] = seconds
                click.echo(f"{table}: {name}: {seconds:.4f} s")
        said = (
            f"{rows:,} rows like those of `referrals`, narrow, over {MONTHS} months; the partitioned table has one "
            f"partition for each. {page.circumstances(connection)}"
        )
        lines = [
            said,
            "",
            "| measurement | plain | partitioned | ratio |",
            "|---|---|---|---|",
            *(
                f"| {name} | {_said(one[PLAIN])} | {_said(one[PARTITIONED])} | {one[PARTITIONED] / one[PLAIN]:.2f} |"
                for name, one in taken.items()
            ),
            "",
            f"What it means is in [ADR 19](adr/0019-no-partitions-yet.md). To repeat it: {_REPEAT}.",
        ]
        page.write(TITLE, lines, report)
    click.echo("\n".join(lines))


def _said(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _make(connection: Connection, table: str) -> None:
    parted = " PARTITION BY RANGE (created_at)" if table == PARTITIONED else ""
    _run(connection, f"CREATE TABLE {table} ({_COLUMNS}){parted}")
    for number in range(MONTHS) if parted else ():
        bounds = (
            f"timestamptz '2023-01-01 00:00+00' + interval '{30 * n} days'" for n in (number, number + 1)
        )
        _run(
            connection,
            f"CREATE TABLE partitioned_{number} PARTITION OF partitioned FOR VALUES FROM ({next(bounds)}) TO ({next(bounds)})",
        )
    _run(
        connection,
        f"CREATE TABLE IF NOT EXISTS {table}_late PARTITION OF {table} DEFAULT" if parted else "SELECT",
    )


def _measured(connection: Connection, table: str, rows: int) -> dict[str, float]:
    """Return the seconds of everything, in the order in which it is done."""
    taken = {}
    loading = {"rows": rows, "first": 1, "last": rows - rows // _MERGED}
    taken["load, without indexes"] = _run(connection, _ROWS.format(table=table), loading)
    taken["build key and two indexes"] = sum(_run(connection, statement) for statement in _INDEXES[table])
    _run(connection, f"ANALYZE {table}")
    connection.execute("CHECKPOINT")
    more = loading | {"first": loading["last"] + 1, "last": rows}
    taken["insert 1 % more into the indexes"] = _run(connection, _ROWS.format(table=table), more)
    key = f"SELECT status FROM {table} WHERE id = md5((%(n)s)::text)::uuid"
    taken["a row by its id"] = _each(connection, key, [{"n": n * 7919 % rows + 1} for n in range(_LOOKUPS)])
    known = f"{key} AND created_at = %(at)s"
    times = [
        {"n": n, "at": at}
        for n, at in connection.execute(
            f"SELECT n, created_at FROM (SELECT n * 7919 %% %(rows)s + 1 AS n FROM generate_series(0, %(most)s) n) drawn "
            f"JOIN {table} ON id = md5(n::text)::uuid",
            {"rows": rows, "most": _LOOKUPS - 1},
        ).fetchall()
    ]
    taken["a row by its id and time"] = _each(connection, known, times)
    taken["rows of an organization, all times"] = _each(
        connection,
        f"SELECT count(status) FROM {table} WHERE organization_id = md5((%(n)s)::text)::uuid",
        [{"n": n} for n in range(5)],
    )
    taken["the newest 50 of all"] = _each(
        connection,
        f"SELECT id FROM {table} ORDER BY created_at DESC LIMIT 50",
        [{}] * 20,
    )
    between = (
        f"SELECT count(status) FROM {table} "
        "WHERE created_at >= %(at)s AND created_at < %(at)s::timestamptz + %(days)s * interval '1 day'"
    )
    for days, name in ((1, "a day, counted"), (30, "a month, counted")):
        taken[name] = _each(
            connection, between, [{"at": f"2024-0{n}-15 00:00+00", "days": days} for n in range(1, 6)]
        )
    taken["update 1 % by id, as a merge does"] = _run(
        connection,
        f"UPDATE {table} t SET status = 9 FROM (SELECT md5((n * %(each)s)::text)::uuid AS id "
        "FROM generate_series(1, %(many)s) n) s WHERE t.id = s.id",
        {"each": _MERGED, "many": rows // _MERGED},
    )
    removal = (
        ["DROP TABLE partitioned_0"]
        if table == PARTITIONED
        else [
            f"DELETE FROM {table} WHERE created_at < timestamptz '2023-01-01 00:00+00' + interval '30 days'"
        ]
    )
    taken["remove the oldest month"] = sum(_run(connection, statement) for statement in removal)
    taken["VACUUM afterwards"] = _run(connection, f"VACUUM {table}")
    return taken


def _run(connection: Connection, statement: str, parameters: dict[str, Any] | None = None) -> float:
    begun = time.perf_counter()
    connection.execute(statement.encode(), parameters)
    return time.perf_counter() - begun


def _each(connection: Connection, statement: str, drawings: Sequence[dict[str, Any]]) -> float:
    """Return the median of a query, each parameter asked twice and the second time counted."""
    for parameters in drawings:
        _run(connection, statement, parameters)
    return statistics.median(_run(connection, statement, parameters) for parameters in drawings)


if __name__ == "__main__":
    main()
