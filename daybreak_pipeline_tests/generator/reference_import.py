"""A second, plain implementation of the import contract, to hold ``expected.json`` against.

Reads the files record by record with Python's own csv module, takes the rules for columns from the
migrations, and keeps everything in memory. It knows nothing about what the generator planted.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import daybreak_pipeline
from daybreak_pipeline.generator.source_columns import SOURCE_OF
from daybreak_pipeline.tables import TABLES, import_order

OUTCOMES = (
    "inserted",
    "updated",
    "unchanged",
    "stale",
    "duplicate",
    "skipped_deleted",
    "blank",
    "quarantined",
)
_MIGRATION = Path(daybreak_pipeline.__file__).parent / "schema" / "migrations" / "002_tables.sql"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEGINNING = dt.datetime(1, 1, 1, tzinfo=dt.UTC)

Cells = dict[str, str]


@dataclass
class Column:
    type: str
    required: bool


@dataclass
class Schema:
    columns: dict[str, Column] = field(default_factory=dict)
    codes: dict[str, set[int]] = field(default_factory=dict)
    natural_key: tuple[str, ...] = ()


@dataclass
class Outcome:
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    issues: Counter[str] = field(default_factory=Counter)
    orphans: Counter[str] = field(default_factory=Counter)


def read_schema() -> dict[str, Schema]:
    schemas = {}
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", _MIGRATION.read_text(), re.DOTALL):
        schema = schemas[table] = Schema()
        for line in (line.strip().rstrip(",") for line in body.splitlines()):
            if found := re.search(r"CHECK \((\w+) IN \((.*?)\)\)", line):
                schema.codes[found[1]] = {int(code) for code in found[2].split(",")}
            elif found := re.match(r"UNIQUE \((.*?)\)", line):
                schema.natural_key = tuple(found[1].split(", "))
            elif found := re.match(r"(\w+) (VARCHAR\(\d+\)|[A-Z]+(?:\[\])?)(.*)", line):
                required = "NOT NULL" in found[3] and "DEFAULT" not in found[3]
                schema.columns[found[1]] = Column(found[2], required)
                if "UNIQUE" in found[3]:
                    schema.natural_key = (found[1],)
    return schemas


def _casts(kind: str, value: str) -> bool:
    try:
        if kind == "INTEGER":
            return -(2**31) <= int(value) < 2**31
        if kind.startswith("VARCHAR"):
            return len(value) <= int(kind[8:-1])
        if kind == "UUID":
            return _UUID.fullmatch(value) is not None
        if kind == "BOOLEAN":
            return value in {"true", "false"}
        if kind == "DATE":
            dt.date.fromisoformat(value)
        if kind == "TIMESTAMPTZ":
            _moment(value)
    except ValueError:
        return False
    return True


def _moment(value: str) -> dt.datetime:
    # Any number of decimals, with or without a zone; all are UTC.
    text = value.removesuffix(" UTC").replace("T", " ").removesuffix("+00:00")
    whole, _, fraction = text.partition(".")
    moment = dt.datetime.fromisoformat(whole).replace(tzinfo=dt.UTC)
    return moment.replace(microsecond=int(fraction.ljust(6, "0") or 0))


def _version(cells: Cells, number: int) -> tuple[Any, ...]:
    def moment(column: str) -> dt.datetime:
        value = cells.get(column, "")
        return _moment(value) if value and _casts("TIMESTAMPTZ", value) else _BEGINNING

    return (*(moment(c) for c in ("updated_at", "tx_commit_time", "_fivetran_synced")), number)


def read_records(path: Path) -> tuple[list[str], list[list[str]]]:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
        return table.column_names, [list(record) for record in zip(*columns, strict=True)]
    with path.open(newline="", encoding="utf-8") as file:
        header, *records = csv.reader(file)
    return header, records


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class Database:
    """What is loaded so far: the rows of each table."""

    def __init__(self) -> None:
        self.schemas = read_schema()
        self.rows: dict[str, list[Cells]] = {}
        self.keys: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.results: dict[str, Outcome] = {}

    def load(self, directory: Path) -> None:
        for table in import_order():
            self.results[table] = Outcome()
            header, records = read_records(directory / SOURCE_OF[table].file)
            self._load_table(table, header, records)
        for table, outcome in self.results.items():
            self._count_orphans(table, outcome)

    def _load_table(self, table: str, header: list[str], records: list[list[str]]) -> None:
        outcome = self.results[table]
        candidates = self._latest_versions(table, outcome, header, records)
        left = [cells for cells in candidates if cells.get("_fivetran_deleted") != "true"]
        outcome.counts["skipped_deleted"] += len(candidates) - len(left)
        faults = [self._faults(table, cells) for cells in left]
        loaded = self._without_twins(table, left, faults)
        for codes in faults:
            outcome.counts["quarantined" if codes else "inserted"] += 1
            outcome.reasons.update(codes)
        self.rows[table] = loaded
        for column in ("id", "healthie_id"):
            self.keys[table, column] = {cells[column] for cells in loaded if cells.get(column)}
        self._count_issues(table, outcome)

    def _latest_versions(
        self, table: str, outcome: Outcome, header: list[str], records: list[list[str]]
    ) -> list[Cells]:
        versions: dict[str, tuple[tuple[Any, ...], Cells]] = {}
        for number, record in enumerate(records):
            cells = dict(zip(header, record, strict=False))
            fault = None
            if not any(record):
                outcome.counts["blank"] += 1
                continue
            if len(record) != len(header):
                fault = "malformed_record"
            elif not cells["id"]:
                fault = "missing_key"
            elif not _casts(self.schemas[table].columns["id"].type, cells["id"]):
                fault = "invalid_value"
            if fault:
                outcome.counts["quarantined"] += 1
                outcome.reasons[fault] += 1
                continue
            version = (_version(cells, number), cells)
            if cells["id"] in versions:
                outcome.counts["duplicate"] += 1
            versions[cells["id"]] = max(version, versions.get(cells["id"], version), key=lambda v: v[0])
        return [cells for _, cells in versions.values()]

    def _faults(self, table: str, cells: Cells) -> set[str]:
        schema, found = self.schemas[table], set()
        for name, column in schema.columns.items():
            value = cells.get(name, "")
            if not value:
                found |= {"missing_required"} if column.required else set()
            elif not _casts(column.type, value):
                found.add("invalid_value")
            elif name in schema.codes and int(value) not in schema.codes[name]:
                found.add("invalid_enum")
            elif column.required and self._leads_nowhere(table, name, value, enforced=True):
                found.add("missing_parent")
        return found

    def _without_twins(self, table: str, left: list[Cells], faults: list[set[str]]) -> list[Cells]:
        seen, loaded = set(), []
        for cells, codes in zip(left, faults, strict=True):
            key = tuple(cells.get(column, "") for column in self.schemas[table].natural_key)
            if not codes and key and all(key):
                if key in seen:
                    codes.add("duplicate_key")
                seen.add(key)
            if not codes:
                loaded.append(cells)
        return loaded

    def _leads_nowhere(self, table: str, column: str, value: str, *, enforced: bool) -> bool:
        return any(
            all(value not in self.keys[parent, reference.target_column] for parent in reference.tables)
            for reference in TABLES[table].references
            if reference.column == column and reference.enforced is enforced
        )

    def _count_issues(self, table: str, outcome: Outcome) -> None:
        for cells in self.rows[table]:
            for name, column in self.schemas[table].columns.items():
                value = cells.get(name, "")
                if not value:
                    continue
                if column.type == "JSONB" and not _is_json(value):
                    outcome.issues["invalid_json"] += 1
                if self._leads_nowhere(table, name, value, enforced=True):
                    outcome.issues["dangling_reference"] += 1

    def _count_orphans(self, table: str, outcome: Outcome) -> None:
        for cells in self.rows[table]:
            for reference in TABLES[table].references:
                value = cells.get(reference.column, "")
                if value and self._leads_nowhere(table, reference.column, value, enforced=False):
                    outcome.orphans[reference.column] += 1

    def accounting(self, *, seed: int, patients: int) -> dict[str, Any]:
        results = self.results.items()
        return {
            "seed": seed,
            "patients": patients,
            "tables": {
                table: {
                    "read": result.counts.total(),
                    **{outcome: result.counts[outcome] for outcome in OUTCOMES},
                    "field_issues": result.issues.total(),
                }
                for table, result in results
            },
            "quarantine": {table: dict(result.reasons) for table, result in results},
            "field_issues": {table: dict(result.issues) for table, result in results},
            "orphans": {table: dict(result.orphans) for table, result in results},
        }


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True
