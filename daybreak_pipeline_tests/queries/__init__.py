"""The workload: what an application asks, in SQL files, and asking it as ``daybreak_app`` with the key.

Tests and the benchmark read the same queries. What a query reads by which index is seen in the plans of all
statements that ran for it, those inside functions too (``auto_explain``).
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.generator import generate_export
from daybreak_pipeline.importer.run import import_table
from daybreak_pipeline.maintenance import summaries
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.privacy.roles import APP
from daybreak_pipeline.tables import import_order

HERE = Path(__file__).parent
KEPT = "Kept for the plan's sake"
"""How the comment of an index begins that none of the queries uses."""
_MIDDLE = "80000000-0000-0000-0000-000000000000"
"""Ids are random, so what comes after this one is a sample."""
_SMALL = 10_000
_PAYERS = 3_000

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Query:
    """One query of the files: each of ``uses`` are indexes of which one must serve it; ``slow`` is why it may take longer."""

    name: str
    statement: str
    parameters: str
    uses: tuple[frozenset[str], ...]
    plain: str = ""
    slow: str = ""

    @property
    def indexes(self) -> frozenset[str]:
        """All indexes that serve it, alternatives too."""
        return frozenset().union(*self.uses)


@dataclass(frozen=True)
class Plan:
    """What the server did for a query: the indexes it used, with the kind of node, and the tables it read whole."""

    indexes: Mapping[str, str]
    read_whole: frozenset[str]

    def lacks(self, query: Query) -> list[str]:
        """Return the indexes that should have served and did not."""
        return [" | ".join(sorted(either)) for either in query.uses if not either & self.indexes.keys()]


@cache
def likeliest() -> tuple[Query, ...]:
    """Return the 25 queries that applications ask most."""
    return _read(HERE / "likeliest.sql")


@cache
def further() -> tuple[Query, ...]:
    """Return the queries that the other indexes are for."""
    return _read(HERE / "further.sql")


def _read(path: Path) -> tuple[Query, ...]:
    _, *parts = path.read_text(encoding="utf-8").split("\n-- query: ")
    return tuple(map(_query, parts))


def _query(part: str) -> Query:
    name, *lines = part.strip().splitlines()
    sections: dict[str, list[str]] = {}
    for line in lines:
        heading = line.removeprefix("-- ").partition(":")[0]
        if line.startswith("-- ") and heading in {"uses", "slow", "parameters", "statement", "plain"}:
            sections[heading] = [line.partition(": ")[2]] if ": " in line else []
        else:
            sections[list(sections)[-1]].append(line)
    said = {heading: "\n".join(text).strip() for heading, text in sections.items()}
    uses = tuple(
        frozenset(name.strip() for name in either.split("|")) for either in said.pop("uses").split(",")
    )
    return Query(name, uses=uses, **said)


# --- Data -------------------------------------------------------------------------------------------------


def fill(connection: Connection, scratch: Path, patients: int) -> None:
    """Import a generated export of so many patients with all that hangs on them, table by table, and add what it lacks."""
    keys.verify(connection)
    for table in import_order():
        directory = scratch / table  # each gone before the next comes
        generate_export(directory, patients=patients, seed=1, only=[table])
        import_table(connection, table, directory)
        shutil.rmtree(directory)
    additions = {
        "one_in": 3 if patients < _SMALL else 2_000,
        "companies": 10 if patients < _SMALL else _PAYERS,
    }
    for statement in (HERE / "additions.sql").read_text(encoding="utf-8").split(";\n"):
        connection.execute(statement.encode(), additions)
    for summary in summaries.SUMMARIES.values():
        summaries.refresh(connection, summary)
    psycopg.Cursor(connection).execute("VACUUM (ANALYZE)")  # ours would begin a transaction, to give the key


# --- Asking -----------------------------------------------------------------------------------------------


def drawn(connection: Connection, query: Query) -> list[Values]:
    """Return the parameters that a query is asked with."""
    cursor = connection.execute(query.parameters.encode(), {"middle": _MIDDLE})
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


@contextmanager
def application(connection: Connection, **given: str) -> Iterator[None]:
    """Run the block as the application, with settings that only a superuser may change; all of it is rolled back."""
    with connection.transaction(force_rollback=True):
        for name, value in (given | {"role": APP.name}).items():
            connection.execute("SELECT set_config(%s, %s, true)", [name.replace("__", "."), value])
        yield


def rows(connection: Connection, statement: str, values: Values) -> list[tuple[Any, ...]]:
    """Return what a statement finds."""
    return connection.execute(statement.encode(), values).fetchall()


def milliseconds(connection: Connection, query: Query, drawings: list[Values], runs: int) -> float:
    """Return how long a query takes an application, warm: the median of some runs with each of its parameters."""
    taken = []
    with application(connection):
        for values in drawings:
            rows(connection, query.statement, values)
            for _ in range(runs):
                begun = time.perf_counter()
                rows(connection, query.statement, values)
                taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


@contextmanager
def without_indexes(connection: Connection, query: Query) -> Iterator[None]:
    """Run the block without the indexes of a query that are no primary keys; they are there again afterwards."""
    with connection.transaction(force_rollback=True):
        for index in sorted(query.indexes):
            constraint = connection.execute(
                "SELECT conrelid::regclass::text, contype FROM pg_constraint "
                "WHERE conindid = to_regclass(%s) AND contype IN ('p', 'u')",
                [index],
            ).fetchone()
            if constraint is None:
                schema = "reporting" if index.startswith("onboarding") else "public"
                connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index)))
            elif constraint[1] == "u":
                connection.execute(
                    sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                        sql.Identifier(constraint[0]), sql.Identifier(index)
                    )
                )
        yield


# --- Plans ------------------------------------------------------------------------------------------------


def plan(connection: Connection, query: Query, values: Values) -> Plan:
    """Return what the server did for a query. The connection is a superuser's."""
    connection.execute("LOAD 'auto_explain'")
    told: list[str] = []

    def listen(notice: Any) -> None:
        told.append(notice.message_primary or "")

    connection.add_notice_handler(listen)
    try:
        with application(
            connection,
            auto_explain__log_min_duration="0",
            auto_explain__log_nested_statements="on",
            auto_explain__log_format="json",
            client_min_messages="log",
        ):
            rows(connection, query.statement, values)
    finally:
        connection.remove_notice_handler(listen)
    indexes: dict[str, str] = {}
    read_whole: set[str] = set()
    for text in told:
        if "plan:\n" not in text:
            continue
        for node in _nodes(json.loads(text.partition("plan:\n")[2])["Plan"]):
            if "Index Name" in node:
                indexes[node["Index Name"]] = node["Node Type"]
            elif node["Node Type"] == "Seq Scan":
                read_whole.add(node["Relation Name"])
    return Plan(indexes, frozenset(read_whole))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for part in node.get("Plans", []):
        yield from _nodes(part)
