"""What enforced references cost an application and an import, beside the same without.

``python -m daybreak_pipeline_tests.benchmarks.references`` prints it and writes it to docs/benchmarks.md. Not a test: nothing
fails when it is slow. Each is measured enforced and released in turn, in one run.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import LiteralString

import click

from daybreak_pipeline.privacy import roles
from daybreak_pipeline.schema import references
from daybreak_pipeline_tests.benchmarks import page
from daybreak_pipeline_tests.benchmarks.__main__ import _bench
from daybreak_pipeline_tests.benchmarks.cases import Bench

TITLE = "What enforced references cost"
# Two references each, to people in no order.
_ROWS: LiteralString = """
    INSERT INTO questionnaires (subject_id, respondent_id, type, question_answers)
    SELECT md5((n * 29 %% %(people)s)::text)::uuid, md5((n * 13 %% %(people)s)::text)::uuid, 3, '{"question_1_answer": 1}'
    FROM generate_series(1, %(rows)s) n
"""
_CHANGES: LiteralString = """
    UPDATE questionnaires SET subject_id = respondent_id
    WHERE id IN (SELECT id FROM questionnaires WHERE subject_id <> respondent_id LIMIT %(rows)s)
"""
_DELETIONS: LiteralString = """
    DELETE FROM patients_and_guardians WHERE id IN (SELECT md5((-n)::text)::uuid FROM generate_series(1, %(rows)s) n)
"""


@click.command()
@click.option("--people", default=300_000, show_default=True, help="Patients to refer to.")
@click.option("--rows", default=10_000, show_default=True, help="Rows in one statement.")
@click.option("--runs", default=5, show_default=True, help="Runs of each; medians are printed.")
@click.option(
    "--report",
    default=page.PAGE,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write to.",
)
def main(people: int, rows: int, runs: int, report: Path) -> None:
    """Measure, print and write the section."""
    taken: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with _bench(people) as bench:
        roles.apply(bench.settings)
        bench.connection.execute(
            "INSERT INTO patients_and_guardians (id, role) SELECT md5(n::text)::uuid, 1 "
            "FROM generate_series(-%s::int, %s) n",
            [rows, people],
        )
        bench.connection.execute(_ROWS, {"people": people, "rows": rows})
        bench.connection.execute("ANALYZE patients_and_guardians, questionnaires")
        for enforced in (False, True) * runs:
            change = references.enforce if enforced else references.release
            change(bench.connection, references.tables())
            for name, statement, role, many in (
                (f"an application inserts {rows:,} rows", _ROWS, roles.APP.name, rows),
                ("an application inserts one row", _ROWS, roles.APP.name, 1),
                (f"an application changes {rows:,} references", _CHANGES, roles.APP.name, rows),
                (f"an application deletes {rows:,} people", _DELETIONS, roles.APP.name, rows),
                (f"the owner inserts {rows * 20:,} rows", _ROWS, "none", rows * 20),
            ):
                parameters = {"people": people, "rows": many}
                taken[name, enforced].append(_seconds(bench, statement, role, parameters))
        lines = [
            f"Medians of {runs} runs, in milliseconds; {people:,} people. {page.circumstances(bench.connection)}",
            "",
            "| measurement | released | enforced | more for a row |",
            "|---|---|---|---|",
        ]
    for name in dict.fromkeys(name for name, _ in taken):
        before, after = (statistics.median(taken[name, one]) for one in (False, True))
        number = int(next(word.replace(",", "") for word in f"{name} 1".split() if word[0].isdigit()))
        lines.append(
            f"| {name} | {before * 1e3:.1f} | {after * 1e3:.1f} | {(after - before) / number * 1e6:.1f} µs |"
        )
    lines += ["", "To repeat it: `.venv/bin/python -m daybreak_pipeline_tests.benchmarks.references`."]
    page.write(TITLE, lines, report)
    click.echo("\n".join(lines))


def _seconds(bench: Bench, statement: LiteralString, role: str, parameters: dict[str, int]) -> float:
    """Return how long a statement takes with all that is looked at for it; what it wrote is rolled back."""
    with bench.connection.transaction(force_rollback=True):
        bench.connection.execute("SELECT set_config('role', %s, true)", [role])
        begun = time.perf_counter()
        bench.connection.execute(statement, parameters)
        bench.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
