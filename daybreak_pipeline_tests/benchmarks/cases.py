"""What is measured of each table: first import, re-import, and the same load by others."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Protocol

import click
from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.generator import generate_export
from daybreak_pipeline.importer.run import Result, import_table
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.benchmarks import peers as others

KEY = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"
PATIENTS_FOR_A_RECORD = 2.3
"""How many patients the generator needs for one questionnaire and one referral."""


_DAYS = 20
"""Records are changed by giving them a later day: of so many days ago, and each time of the next one."""


@dataclass(frozen=True)
class Case:
    """A table, and the tables that it refers to."""

    table: str
    parents: tuple[str, ...]
    most_of_copy: float


CASES = (
    Case("questionnaires", (), 0.9),
    Case("referrals", ("clinicians", "organizations", "contracts", "questionnaires"), 0.55),
)


class Take(Protocol):
    """Measures several times under a name."""

    def __call__(self, name: str, runs: int, measure: Callable[[], float]) -> None: ...


@dataclass
class Bench:
    """A server of the benchmark's own, and the number of records that the cases have, about."""

    scratch: Path
    settings: DatabaseSettings
    connection: Connection
    records: int

    def export(self) -> Path:
        """Return an export with what the cases need, made on first use."""
        directory = self.scratch / "export"
        if not directory.exists():
            generate(
                directory, self.records, [name for case in CASES for name in (case.table, *case.parents)]
            )
        return directory

    def drop_export(self) -> None:
        """Give back what the cases needed: the export's files, and the rows made of them."""
        shutil.rmtree(self.export())
        self.clear(*{name for case in CASES for name in (case.table, *case.parents)})

    def load(self, table: str, directory: Path, *, full: bool = False) -> Result:
        """Import one table."""
        return import_table(self.connection, table, directory, full=full)

    def clear(self, *tables: str) -> None:
        """Empty tables, forget their imports, and let the server and the disk settle."""
        for table in tables:
            self.connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier(table)))
            self.connection.execute("DELETE FROM ingest.imports WHERE table_name = %s", [table])
        self.connection.execute("CHECKPOINT")
        os.sync()  # what is measured next does not wait for the disk to have what was written before


def generate(directory: Path, records: int, tables: Sequence[str]) -> None:
    """Write an export of some tables, with about so many questionnaires and referrals."""
    generate_export(directory, patients=int(records * PATIENTS_FOR_A_RECORD), seed=1, only=tables)


def measure(bench: Bench, case: Case, take: Take, *, runs: int, peer_runs: int) -> None:
    """Measure one table in every way; the peers, which take minutes each, ``peer_runs`` times."""
    directory = bench.export()
    for parent in case.parents:
        bench.load(parent, directory)

    def first_import() -> float:
        bench.clear(case.table)
        return bench.load(case.table, directory).seconds

    take(f"{case.table}: first import", runs, first_import)
    take(f"{case.table}: re-import, file unchanged", runs, lambda: bench.load(case.table, directory).seconds)
    numbers = count(1)
    take(
        f"{case.table}: re-import, 1 % changed",
        runs,
        lambda: bench.load(case.table, _with_one_percent_changed(bench, case.table, next(numbers))).seconds,
    )
    days = count(1)
    take(
        f"{case.table}: re-import, all records changed",
        runs,
        lambda: bench.load(case.table, _with_all_changed(bench, case.table, next(days))).seconds,
    )
    take(
        f"{case.table}: re-import, the same records in another order",
        runs,
        lambda: bench.load(case.table, _in_another_order(bench, case.table)).seconds,
    )
    peer = others.Peer(bench.settings, bench.connection, bench.scratch, case.table)
    peer.write_clean_file()
    source = directory / f"{TABLES[case.table].file_stems[0]}.csv"

    def emptied(load: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            bench.clear(case.table)
            begun = time.monotonic()
            load()
            return time.monotonic() - begun

        return run

    # The audit trail is ours: what others are compared with is a table with its keys and indexes.
    with _unaudited(bench, case.table):
        take(f"{case.table}: COPY into the live table", runs, emptied(peer.copy_live))
        take(f"{case.table}: COPY into all-text staging", runs, emptied(lambda: peer.copy_text(source)))
        for name, load in peer.available() if peer_runs else []:
            try:
                take(f"{case.table}: {name}", peer_runs, emptied(load))
            except (subprocess.CalledProcessError, RuntimeError) as error:
                # The others are worth measuring all the same; what it loaded in part is no result.
                click.echo(f"  {case.table}: {name} failed and is left out: {error}")
    bench.clear(case.table)


@contextmanager
def _unaudited(bench: Bench, table: str) -> Iterator[None]:
    """Have a table without the audit trail's triggers while the block runs."""
    # PostgreSQL copies rows for a trigger that is only disabled.
    triggers = bench.connection.execute(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger "
        "WHERE tgrelid = %s::regclass AND tgfoid = 'audit.record_change'::regproc",
        [table],
    ).fetchall()
    target = sql.Identifier(table)
    for name, _ in triggers:
        bench.connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), target))
    try:
        yield
    finally:
        for name, definition in triggers:
            bench.connection.execute(definition)
            bench.connection.execute(
                sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(target, sql.Identifier(name))
            )


def _with_one_percent_changed(bench: Bench, table: str, number: int) -> Path:
    """Write the file again with every hundredth record younger and with another value, and return its directory."""
    return _changed(bench, table, f"NR % 100 == {number}", days_ago=_DAYS)


def _with_all_changed(bench: Bench, table: str, number: int) -> Path:
    """Write the file again with all records younger than in the one before, and return its directory."""
    return _changed(bench, table, "1", days_ago=_DAYS - number)


def _changed(bench: Bench, table: str, which: str, *, days_ago: int) -> Path:
    """Write the file again with some records younger and with another value, and return its directory.

    A fixed-width piece of each record's text is replaced, so that only the records differ, not the format.
    """
    changed = bench.scratch / "changed"
    changed.mkdir(exist_ok=True)
    name = f"{TABLES[table].file_stems[0]}.csv"
    script = f'NR > 1 && {which} {{ gsub(/20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T/, day "T") }} {{ print }}'
    day = f"day={datetime.now(UTC) - timedelta(days=days_ago):%Y-%m-%d}"
    with (changed / name).open("wb") as output:
        subprocess.run(["awk", "-v", day, script, str(bench.export() / name)], stdout=output, check=True)
    return changed


def _in_another_order(bench: Bench, table: str) -> Path:
    """Write the changed file again with its records in another order, and return its directory."""
    other = bench.scratch / "in another order"
    other.mkdir(exist_ok=True)
    name = f"{TABLES[table].file_stems[0]}.csv"
    header, *lines = (bench.scratch / "changed" / name).read_bytes().splitlines(keepends=True)
    random.shuffle(lines)
    (other / name).write_bytes(b"".join([header, *lines]))
    return other


def ratios() -> list[tuple[str, str, str, str]]:
    """Return the ratios to report: name, numerator, denominator, and what it should be at most."""
    result = []
    for case in CASES:
        first = f"{case.table}: first import"
        limits = [
            ("COPY into the live table", str(case.most_of_copy)),
            ("COPY into all-text staging", "5"),
            ("pgloader", "0.2"),
            ("dlt merge", "0.15"),
            ("dlt merge of Arrow batches", "0.15"),
            ("pandas to_sql", "0.5"),
        ]
        result += [(f"{first} / {peer}", first, f"{case.table}: {peer}", limit) for peer, limit in limits]
        for again, limit in (
            ("file unchanged", "0.03"),
            ("1 % changed", "0.20"),
            ("the same records in another order", "0.25"),
            ("all records changed", "1.6"),
        ):
            name = f"{case.table}: re-import, {again}"
            result.append((f"{name} / first import", name, first, limit))
    return result
