"""Random exports, one after the other, against a slow and obvious model of the contract.

The model keeps organizations in a dictionary and looks at one record after the other. That table has it all:
a natural key, a code, a required value, JSON, and references to itself that may lead nowhere.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daybreak_pipeline_tests.exports import Export, uuid

pytestmark = pytest.mark.slow

Record = dict[str, str | None]
TIMES = ("2025-01-01T00:00:00", "2025-01-02T00:00:00.5", "2025-01-03 00:00:00 UTC")
WORDS = ("a", "b", "c", "d")


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Draw a record from few values, so that records meet each other and every rule."""
    if draw(st.integers(0, 19)) == 0:
        return {}

    def one_of(*values: str | None) -> str | None:
        return draw(st.sampled_from(values))

    return {
        "id": one_of(
            *(uuid(word) for word in WORDS), *(uuid(word).upper() for word in WORDS), None, "nonsense"
        ),
        "kind": one_of("1", "2", "2", "2", "9", "x", None),
        "name": one_of("North", "South", "Süd", None),
        "slug": one_of("north", "south", None, None),
        "config": one_of("{}", '{"a": 1}', "no json", None),
        "parent_organization_id": one_of(*(uuid(word) for word in WORDS), None, None, "nobody"),
        "updated_at": one_of(*TIMES, *TIMES, "never"),
        "_fivetran_deleted": one_of("false", "false", "false", None, "true"),
    }


@dataclass
class Row:
    """A row as the table has it; ``source`` is the record it came from."""

    values: Record
    source: Record
    waiting_for: str | None = None


@dataclass
class Model:
    """The contract, record by record."""

    rows: dict[str, Row] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    exports: list[list[Record]] = field(default_factory=list)
    refused: dict[str, list[Record]] = field(default_factory=dict)

    def load(self, export: list[Record]) -> Counter[str]:
        counts: Counter[str] = Counter(read=len(export))
        newest: dict[str, tuple[int, int, Record]] = {}
        for number, record in enumerate(export):
            key = record.get("id")
            if not any(record.values()):
                counts["blank"] += 1
            elif key is None or key == "nonsense":
                counts["quarantined"] += 1
            else:
                age = (_age(record), number, record)
                counts["duplicate"] += key.lower() in newest
                newest[key.lower()] = max(age, newest.get(key.lower(), age), key=lambda found: found[:2])
        left = {key: record for key, (_, _, record) in sorted(newest.items(), key=lambda item: item[1][1])}
        candidates = {
            key: record for key, record in left.items() if not self._settled(key, record, export, counts)
        }
        self.exports.append(export)
        good = {key: record for key, record in candidates.items() if not _faulty(record)}
        self._refuse_twins(good)
        counts["quarantined"] += len(candidates) - len(good)
        for key, record in good.items():
            counts["updated" if key in self.rows else "inserted"] += 1
            counts["field_issues"] += record["config"] == "no json"
        self._write(good, counts)
        for key in left:
            self.refused.pop(key, None)
            if key in candidates and key not in good:
                self.refused[key] = export
        return +counts

    def _refuse_twins(self, good: dict[str, Record]) -> None:
        """Of one slug, keep the row that has it or else the first; a row may give its slug away, if it can change."""
        holders: dict[str | None, str] = {
            row.values["slug"]: key for key, row in self.rows.items() if row.values["slug"]
        }
        for slug in {record["slug"] for record in good.values() if record["slug"]}:
            twins = [key for key, record in good.items() if record["slug"] == slug]
            keeper = holders.get(slug) if holders.get(slug) in twins else twins[0]
            for key in twins:
                if key != keeper:
                    del good[key]
        refused: list[str] | None = None
        while refused != []:
            refused = [
                key
                for key, record in good.items()
                if (holder := holders.get(record["slug"])) not in {None, key}
                and (holder not in good or good[holder]["slug"] == record["slug"])
            ]
            for key in refused:
                del good[key]

    def _settled(self, key: str, record: Record, export: list[Record], counts: Counter[str]) -> bool:
        row = self.rows.get(key)
        deleted = record["_fivetran_deleted"] == "true"
        if row is None:
            buried = self.tombstones.get(key, -1)
            if deleted:
                self.tombstones[key] = max(buried, _age(record))
            outcome = (
                "skipped_deleted" if deleted else "stale" if _fits(record) and _age(record) <= buried else ""
            )
        elif record == row.source:
            outcome = "unchanged"
        elif not _fits(record) or _age(record) > _age(row.source):
            outcome = ""
        elif _age(record) < _age(row.source):
            outcome = "stale"
        else:
            # A file that is new may correct an equal time, and so may a record of it that waits, but not a deletion.
            taken = export not in self.exports or self.refused.get(key) == export
            comes_back = row.source["_fivetran_deleted"] == "true" and not deleted
            outcome = "" if taken and not comes_back else "stale"
        counts[outcome] += 1
        return bool(counts.pop("", 0) == 0)

    def _write(self, good: dict[str, Record], counts: Counter[str]) -> None:
        inserted = any(key not in self.rows for key in good)
        there = set(self.rows) | set(good)
        for key, record in good.items():
            parent = record["parent_organization_id"]
            dangling = parent is not None and parent not in there
            counts["field_issues"] += dangling
            values = record | {"parent_organization_id": None if dangling else parent}
            self.rows[key] = Row(values, record, parent if dangling else None)
            self.tombstones.pop(key, None)
        for row in self.rows.values():
            if inserted and row.waiting_for in self.rows and row.values["parent_organization_id"] is None:
                row.values = row.values | {"parent_organization_id": row.waiting_for}
                row.waiting_for = None

    def expected_rows(self) -> list[tuple[object, ...]]:
        return sorted(
            (
                key,
                int(row.values["kind"] or 0),
                row.values["name"],
                row.values["slug"],
                _json(row),
                _parent(row),
            )
            for key, row in self.rows.items()
        )


def _age(record: Record) -> int:
    time = record["updated_at"]
    return TIMES.index(time) + 1 if time in TIMES else 0


def _fits(record: Record) -> bool:
    return record["updated_at"] in TIMES


def _faulty(record: Record) -> bool:
    return (
        record["kind"] not in {"1", "2"}
        or record["name"] is None
        or record["updated_at"] == "never"
        or record["parent_organization_id"] == "nobody"
    )


def _json(row: Row) -> str:
    config = row.values["config"]
    return json.dumps("no json" if config == "no json" else json.loads(config or "{}"))


def _parent(row: Row) -> str:
    return row.values["parent_organization_id"] or ""


@pytest.mark.usefixtures("passing_over")
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(records(), max_size=9), min_size=1, max_size=4))
def test_imports_do_what_the_model_does(export: Export, exports: list[list[Record]]) -> None:
    export.connection.execute(
        "TRUNCATE organizations, ingest.imports, ingest.quarantine, ingest.field_issues, ingest.tombstones, "
        "ingest.missing_rows CASCADE"
    )
    export.connection.commit()
    model = Model()
    header = [
        "id",
        "kind",
        "name",
        "slug",
        "config",
        "parent_organization_id",
        "updated_at",
        "_fivetran_deleted",
    ]
    for content in exports:
        export.write("organizations", *content, header=header)
        told = export.load("organizations", full=True)
        assert told.pop("status") == "imported"
        assert told == dict(model.load(content))
        rows = export.connection.execute(
            "SELECT id::text, kind, name, slug, config::text, coalesce(parent_organization_id::text, '') "
            "FROM organizations ORDER BY 1"
        ).fetchall()
        assert [(*row[:4], row[4].replace('": ', '": '), row[5]) for row in rows] == model.expected_rows()
        export.connection.commit()
