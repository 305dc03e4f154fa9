"""What privacy costs: searches over sealed names, and sealing as part of an import. Prints a table in Markdown.

``python -m daybreak_pipeline_tests.benchmarks.privacy``. Not a test: nothing fails when it is slow.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import click
import psycopg
from psycopg import sql

from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.tables import CLINICIANS, PATIENTS, TABLES
from daybreak_pipeline_tests.benchmarks.__main__ import _bench
from daybreak_pipeline_tests.benchmarks.cases import Bench

SEARCHES = 50
COMMON_NAME = "maria"
PGCRYPTO_SAMPLE = 2_000
"""Values: with the default key stretching each takes up to a millisecond."""

# People drawn at random, but the same in every run; a row gives a query, or NULL where it has no such value.
_QUERIES = {
    "one word, a last name": "last_name",
    "two words, first and last name": "first_name || ' ' || last_name",
    "beginning of three letters": "left(last_name, 3) || '*'",
    "beginning of five letters": "left(last_name, 5) || '*'",
    "two beginnings": "left(first_name, 3) || '* ' || left(last_name, 4) || '*'",
    "email fragment": "split_part(email, '@', 1) || '@'",
}


@click.command()
@click.option("--people", default=1_000_000, show_default=True, help="Patients and guardians.")
@click.option("--runs", default=3, show_default=True, help="Imports of each kind; medians are reported.")
@click.option("--only", type=click.Choice(["search", "sealing"]), help="Measure just this (default: both).")
def main(people: int, runs: int, only: str | None) -> None:
    """Measure and print."""
    lines: list[str] = []
    with _bench(people) as bench:
        directory = bench.scratch / "export"
        from daybreak_pipeline.generator import generate_export

        generate_export(directory, patients=people, seed=1)
        if only != "search":
            lines += _sealing(bench, directory, runs)
        if only != "sealing":
            lines += _search(bench, directory)
    click.echo("\n".join([f"{people:,} people.", "", *lines]))


# --- Search ---------------------------------------------------------------------------------------------


def _search(bench: Bench, directory: Path) -> list[str]:
    """Return how long searches take, in milliseconds as the client sees them."""
    for table in (CLINICIANS, PATIENTS):
        bench.clear(table)
        bench.load(table, directory)
    # psycopg's own cursor: ours would begin a transaction, to give the key.
    psycopg.Cursor(bench.connection).execute("VACUUM ANALYZE patients_and_guardians, clinicians")
    bench.connection.execute("SET max_parallel_workers_per_gather = 0")  # unsealing is not for workers
    lines = ["| search | median ms | max ms | people found, median |", "|---|---|---|---|"]
    queries = {name: _drawn(bench, expression) for name, expression in _QUERIES.items()}
    queries[f"a common word, {COMMON_NAME}"] = [COMMON_NAME] * SEARCHES
    for name, texts in queries.items():
        bench.connection.execute("SELECT * FROM search_people('warm up')")
        taken, found = zip(*(_timed_search(bench, text) for text in texts), strict=True)
        median = f"{statistics.median(taken):.1f} | {max(taken):.1f} | {statistics.median(found):.0f}"
        lines.append(f"| {name} | {median} |")
    return [*lines, ""]


def _drawn(bench: Bench, expression: str) -> list[str]:
    query = sql.SQL(
        "SELECT query FROM (SELECT {} AS query FROM app.patients_and_guardians "
        "WHERE id IN (SELECT id FROM patients_and_guardians ORDER BY md5(id::text) LIMIT 1000)) drawn "
        "WHERE query ~ '^[[:alpha:]]{{3}}' AND (query !~ '[*]' OR query ~ '^([[:alpha:]]{{3,}}[*] ?)+$') LIMIT {}"
    ).format(sql.SQL(expression), sql.Literal(SEARCHES))
    return [str(text) for (text,) in bench.connection.execute(query)]


def _timed_search(bench: Bench, text: str) -> tuple[float, int]:
    begun = time.perf_counter()
    rows = bench.connection.execute("SELECT * FROM search_people(%s)", [text]).fetchall()
    return (time.perf_counter() - begun) * 1000, len(rows)


# --- Sealing --------------------------------------------------------------------------------------------


def _sealing(bench: Bench, directory: Path, runs: int) -> list[str]:
    """Return what a sealed value costs in a first import, beside pgcrypto's defaults."""
    bench.load(CLINICIANS, directory)
    without = bench.scratch / "without"
    _copy_without_personal_values(directory, without)
    seconds: dict[Path, list[float]] = {directory: [], without: []}
    values = 0
    for _ in range(runs):
        for source, taken in seconds.items():  # in turn, so that both meet the same machine
            bench.clear(PATIENTS)
            taken.append(bench.load(PATIENTS, source).seconds)
            values = max(values, _sealed_values(bench))
    sealed, plain = (statistics.median(taken) for taken in seconds.values())
    bench.clear(PATIENTS)
    bench.load(PATIENTS, directory)
    people, tokens, ours, defaults = _one_by_one(bench)
    return [
        "| sealing | is |",
        "|---|---|",
        f"| first import, {values:,} sealed values | {sealed:.2f} s |",
        f"| the same without personal values | {plain:.2f} s |",
        f"| a sealed value, search included, through the import | {(sealed - plain) / values * 1e6:.1f} µs |",
        f"| a value through privacy.seal, one core | {ours:.1f} µs |",
        f"| a value through pgp_sym_encrypt with its defaults, one core | {defaults:.1f} µs |",
        f"| the names of a person through privacy.name_tokens, one core ({people:,}) | {tokens:.1f} µs |",
        "",
    ]


def _copy_without_personal_values(directory: Path, target: Path) -> None:
    """Write the export's file of patients again with the personal columns empty."""
    target.mkdir()
    name = f"{TABLES[PATIENTS].file_stems[0]}.csv"
    with (
        (directory / name).open(encoding="utf-8", newline="") as source,
        (target / name).open("w", encoding="utf-8", newline="") as file,
    ):
        records = csv.reader(source)
        header = next(records)
        empty = [header.index(column) for column in TABLES[PATIENTS].sealed_columns if column in header]

        def emptied() -> Iterator[list[str]]:
            for fields in records:
                for position in empty:
                    fields[position] = ""
                yield fields

        csv.writer(file, dialect="unix").writerows([header])
        csv.writer(file, dialect="unix").writerows(emptied())


def _sealed_values(bench: Bench) -> int:
    columns = [f"{column}_encrypted" for column in catalogs.read(bench.connection, PATIENTS).sealed]
    query = sql.SQL("SELECT sum(num_nonnulls({})) FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, sorted(columns))), sql.Identifier(PATIENTS)
    )
    row = bench.connection.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def _one_by_one(bench: Bench) -> tuple[int, float, float, float]:
    """Return how many people, µs for the tokens of one, and µs for one value: ours, pgcrypto's defaults."""
    run = bench.connection.execute
    run("SET max_parallel_workers_per_gather = 0")
    run("DROP TABLE IF EXISTS pg_temp.name")
    run(
        "CREATE TEMP TABLE name AS SELECT concat_ws(' ', first_name, preferred_name, middle_name, last_name) AS name, "
        "privacy.key('search') AS key FROM app.patients_and_guardians LIMIT 50000"
    )
    row = run("SELECT count(*) FROM name").fetchone()
    people = int(row[0]) if row else 0

    def microseconds(query: LiteralString, rows: int) -> float:
        taken = []
        for _ in range(3):
            begun = time.perf_counter()
            run(query, [rows])
            taken.append(time.perf_counter() - begun)
        return statistics.median(taken) / rows * 1e6

    tokens = microseconds(
        "SELECT count(privacy.name_tokens(name, key)) FROM (SELECT * FROM name LIMIT %s) n", people
    )
    ours = microseconds("SELECT count(privacy.seal(name, key)) FROM (SELECT * FROM name LIMIT %s) n", people)
    defaults = microseconds(
        "SELECT count(pgp_sym_encrypt(name, encode(key, 'hex'))) FROM (SELECT * FROM name LIMIT %s) n",
        min(PGCRYPTO_SAMPLE, people),
    )
    return people, tokens, ours, defaults


if __name__ == "__main__":
    main()
