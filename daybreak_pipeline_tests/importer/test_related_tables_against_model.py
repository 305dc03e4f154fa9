"""Random exports of tables that refer to each other, against a slow and obvious model of the contract.

Questionnaires, referrals (whose questionnaire may be missing) and members of referrals (whose referral may not), in
any order and again and again: parents come late, records are refused and repaired, references are restored. What one table
does by itself is ``test_against_model``'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daybreak_pipeline_tests.exports import Export, uuid
from daybreak_pipeline_tests.exports import record as smallest

pytestmark = pytest.mark.slow

Record = dict[str, str | None]
TIMES = ("2025-01-01T00:00:00", "2025-01-02T00:00:00.5", "2025-01-03 00:00:00 UTC")
WORDS = ("a", "b", "c")
IDS = tuple(uuid(word) for word in WORDS)


@dataclass(frozen=True)
class Rules:
    """What the plan says of a table, as far as the records below go.

    ``needs`` and ``may_have`` are the references that must, and that may, lead to a row; ``fine`` tells whether
    a record's other cells are as they must be.
    """

    fine: Callable[[Record], bool]
    columns: tuple[str, ...]
    needs: tuple[tuple[str, str], ...] = ()
    may_have: tuple[tuple[str, str], ...] = ()
    natural_key: tuple[str, ...] = ()
    json_column: str = ""

    @property
    def parents(self) -> set[str]:
        return {table for _, table in self.needs + self.may_have}


RULES = {
    "questionnaires": Rules(
        lambda r: r["type"] in {"3", "4"} and (r["score"] in {"7", None}),
        ("type", "score"),
        json_column="question_answers",
    ),
    "referrals": Rules(
        lambda r: r["service_kind"] in {"1", "2"} and r["intake_id"] != "nobody",
        ("service_kind", "organization_id", "intake_id"),
        needs=(("organization_id", "organizations"),),
        may_have=(("intake_id", "questionnaires"),),
    ),
    "referral_members": Rules(
        lambda r: r["user_id"] in IDS and r["role"] in {"1", None},
        ("referral_id", "user_id"),
        needs=(("referral_id", "referrals"),),
        natural_key=("referral_id", "user_id"),
    ),
}


COMMON_FAULTS = (
    ("id", None),
    ("id", "nonsense"),
    ("id", IDS[0].upper()),
    ("updated_at", "never"),
    ("_fivetran_deleted", "true"),
    ("_fivetran_deleted", "true"),
)
DRAWN: dict[str, dict[str, tuple[str | None, ...]]] = {
    "questionnaires": {"type": ("3", "4"), "score": ("7", None)},
    "referrals": {
        "service_kind": ("1", "2"),
        "intake_id": (*IDS, None),
        "organization_id": (uuid("school"),),
    },
    "referral_members": {"referral_id": IDS, "user_id": IDS, "role": ("1", None)},
}
FAULTS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "questionnaires": (
        ("type", "9"),
        ("type", "x"),
        ("type", None),
        ("score", "99999999999"),
        ("question_answers", "no json"),
    ),
    "referrals": (
        ("service_kind", "9"),
        ("service_kind", None),
        ("intake_id", "nobody"),
        ("organization_id", uuid("nowhere")),
        ("organization_id", None),
    ),
    "referral_members": (("referral_id", None), ("user_id", "nobody"), ("user_id", None), ("role", "x")),
}


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, list[Record]]:
    """Draw one export of one table, from few values, so that records meet each other and every rule."""
    table = draw(st.sampled_from(sorted(RULES)))

    def drawn() -> Record:
        if draw(st.integers(0, 29)) == 0:
            return {}
        values = {"id": IDS, "updated_at": TIMES, "_fivetran_deleted": ("false", None)} | DRAWN[table]
        record = smallest(table) | {name: draw(st.sampled_from(choice)) for name, choice in values.items()}
        if draw(st.integers(0, 3)) == 0:
            name, value = draw(st.sampled_from((*COMMON_FAULTS, *FAULTS[table])))
            record[name] = value
        return record

    return table, [drawn() for _ in range(draw(st.integers(0, 5)))]


@dataclass
class Row:
    """A row as the table has it; ``source`` is the record it came from, ``waiting`` its references without parent."""

    values: Record
    source: Record
    waiting: Record = field(default_factory=dict)


@dataclass
class Refused:
    """A record in quarantine, the import that met it last, and whether it lacks a parent."""

    record: Record
    met_by: int
    lacks_parent: bool


@dataclass
class Model:
    """The contract, record by record."""

    rows: dict[str, dict[str, Row]] = field(
        default_factory=lambda: {
            **{table: {} for table in RULES},
            "organizations": {uuid("school"): Row({}, {})},
        }
    )
    refused: dict[str, dict[str, Refused]] = field(default_factory=lambda: {table: {} for table in RULES})
    ledger: list[tuple[str, int]] = field(default_factory=list)
    tombstones: dict[tuple[str, str], int] = field(default_factory=dict)
    exports: dict[int, tuple[str, list[Record]]] = field(default_factory=dict)

    def load(self, table: str, export: list[Record]) -> Counter[str]:
        """Import a file, try again what waited for a parent, and restore references."""
        parents_came = self._parents_came(table)
        again = parents_came and any(refused.lacks_parent for refused in self.refused[table].values())
        restore = parents_came and any(row.waiting for row in self.rows[table].values())
        number = len(self.ledger)
        counts = self._load(table, export, number, replay=False)
        if again:
            waiting = [r.record for r in self.refused[table].values() if r.met_by != number]
            counts += self._load(table, waiting, number, replay=True)
        if restore:
            self._restore(table)
        return +counts

    def _parents_came(self, table: str) -> bool:
        last = max((n for n, (name, _) in enumerate(self.ledger) if name == table), default=None)
        return last is not None and any(
            name in RULES[table].parents and inserted for name, inserted in self.ledger[last:]
        )

    def _load(self, table: str, export: list[Record], number: int, *, replay: bool) -> Counter[str]:
        counts: Counter[str] = Counter(read=len(export))
        candidates = {}
        for key, record in self._newest(export, counts).items():
            outcome = self._settled(table, key, record, self._may_correct(table, key, export, replay=replay))
            if outcome:
                counts[outcome] += 1
                self._end_waiting(table, key)
            else:
                candidates[key] = record
        good = {key: r for key, r in candidates.items() if RULES[table].fine(r) and r["updated_at"] in TIMES}
        good = {
            key: r for key, r in good.items() if all(self._leads(r, *need) for need in RULES[table].needs)
        }
        self._refuse_twins(table, good)
        for key, record in candidates.items():
            if key in good:
                counts["updated" if key in self.rows[table] else "inserted"] += 1
                counts["field_issues"] += self._write(table, key, record)
                self._end_waiting(table, key)
            else:
                counts["quarantined"] += 1
                self._refuse(table, key, record, number, replay=replay)
        if not replay:
            self.exports[number] = (table, export)
        self.ledger.append((table, counts["inserted"]))
        return counts

    def _may_correct(self, table: str, key: str, export: list[Record], *, replay: bool) -> bool:
        """Whether a record is taken at its row's time: of a file that is new, or one that has waited since then."""
        waiting = self.refused[table].get(key)
        known = (table, export) in self.exports.values()
        return (
            replay or not known or (waiting is not None and self.exports[waiting.met_by] == (table, export))
        )

    @staticmethod
    def _newest(export: list[Record], counts: Counter[str]) -> dict[str, Record]:
        """Return the newest record of each id, in the order of the file."""
        newest: dict[str, tuple[int, int, Record]] = {}
        for number, record in enumerate(export):
            key = record.get("id")
            if not any(record.values()):
                counts["blank"] += 1
            elif key is None or key == "nonsense":
                counts["quarantined"] += 1
            else:
                counts["duplicate"] += key.lower() in newest
                found = (_age(record), number, record)
                newest[key.lower()] = max(found, newest.get(key.lower(), found), key=lambda f: f[:2])
        return {key: record for key, (_, _, record) in sorted(newest.items(), key=lambda item: item[1][1])}

    def _settled(self, table: str, key: str, record: Record, may_correct: bool) -> str | None:
        row = self.rows[table].get(key)
        deleted = record["_fivetran_deleted"] == "true"
        if row is None:
            buried = self.tombstones.get((table, key), -1)
            if deleted:
                self.tombstones[table, key] = max(buried, _age(record))
                return "skipped_deleted"
            return "stale" if _age(record) <= buried and record["updated_at"] in TIMES else None
        if record == row.source:
            return "unchanged"
        if record["updated_at"] not in TIMES or _age(record) > _age(row.source):
            return None
        comes_back = row.source["_fivetran_deleted"] == "true" and not deleted
        return None if _age(record) == _age(row.source) and may_correct and not comes_back else "stale"

    def _leads(self, record: Record, column: str, table: str) -> bool:
        return record[column] in self.rows[table]

    def _refuse_twins(self, table: str, good: dict[str, Record]) -> None:
        """Of one natural key, keep the row that has it or else the first; a row may give its key away, if it changes."""
        columns = RULES[table].natural_key
        if not columns:
            return

        def key_of(record: Record) -> tuple[str | None, ...]:
            return tuple(record[column] for column in columns)

        holders = {key_of(row.values): key for key, row in self.rows[table].items()}
        for natural_key in {key_of(record) for record in good.values()}:
            twins = [key for key, record in good.items() if key_of(record) == natural_key]
            keeper = holders.get(natural_key) if holders.get(natural_key) in twins else twins[0]
            for key in twins:
                if key != keeper:
                    del good[key]
        refused: list[str] | None = None
        while refused != []:
            refused = [
                key
                for key, record in good.items()
                if (holder := holders.get(key_of(record))) not in {None, key}
                and (holder not in good or key_of(good[str(holder)]) == key_of(record))
            ]
            for key in refused:
                del good[key]

    def _write(self, table: str, key: str, record: Record) -> int:
        """Write a row; returns how many of its values had to be repaired."""
        dangling = {
            column: record[column]
            for column, parent in RULES[table].may_have
            if record[column] and not self._leads(record, column, parent)
        }
        self.rows[table][key] = Row(record | dict.fromkeys(dangling), record, dangling)
        self.tombstones.pop((table, key), None)
        return len(dangling) + (record.get(RULES[table].json_column) == "no json")

    def _refuse(self, table: str, key: str, record: Record, number: int, *, replay: bool) -> None:
        lacks = any(
            record[column] and not self._leads(record, column, parent)
            for column, parent in RULES[table].needs
        )
        known = self.refused[table].get(key)
        if known and _age(known.record) > _age(record):
            return  # the newer one waits on
        met_by = known.met_by if replay and known else number
        self.refused[table][key] = Refused(record, met_by, lacks)

    def _end_waiting(self, table: str, key: str) -> None:
        """Let a record go from quarantine, unless it is newer than what is here."""
        row, waiting = self.rows[table].get(key), self.refused[table].get(key)
        there = _age(row.source) if row else self.tombstones[table, key]
        if waiting and _age(waiting.record) <= there:
            del self.refused[table][key]

    def _restore(self, table: str) -> None:
        for row in self.rows[table].values():
            for column, parent in RULES[table].may_have:
                if row.waiting.get(column) in self.rows[parent]:
                    row.values = row.values | {column: row.waiting.pop(column)}

    def expected_rows(self, table: str) -> list[tuple[str, ...]]:
        columns = RULES[table].columns
        return sorted(
            (key, *(row.values[column] or "" for column in columns)) for key, row in self.rows[table].items()
        )

    def expected_issues(self, table: str) -> list[tuple[str, str]]:
        dangling = [(key, column) for key, row in self.rows[table].items() for column in row.waiting]
        column = RULES[table].json_column
        invalid = [
            (key, column) for key, row in self.rows[table].items() if row.source.get(column) == "no json"
        ]
        return sorted(dangling + invalid)


def _age(record: Record) -> int:
    time = record["updated_at"]
    return TIMES.index(time) + 1 if time in TIMES else 0


@pytest.mark.usefixtures("passing_over")
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(steps(), min_size=3, max_size=10))
def test_related_tables_are_imported_as_the_model_does(
    export: Export, exports: list[tuple[str, list[Record]]]
) -> None:
    _empty(export)
    model = Model()
    for table, content in exports:
        header = list(smallest(table)) + [
            c for c in (*RULES[table].columns, "role", "_fivetran_deleted") if c
        ]
        export.write(table, *content, header=list(dict.fromkeys(header)))
        told = export.load(table, full=True)
        assert told.pop("status") == "imported"
        assert told == dict(model.load(table, content))
        columns = ("id", *RULES[table].columns)
        assert [
            tuple("" if value is None else str(value) for value in row)
            for row in export.rows(table, *columns)
        ] == model.expected_rows(table)
        assert _open(export, "quarantine", table) == sorted((key,) for key in model.refused[table])
        assert _open(export, "field_issues", table) == model.expected_issues(table)
        export.connection.commit()


def _empty(export: Export) -> None:
    """Leave nothing in the tables but a school and a contract. DELETE: for a few rows it is faster than TRUNCATE."""
    for table in ("referral_members", "referrals", "questionnaires"):
        export.connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - a name of this test
    export.connection.execute(
        "DELETE FROM ingest.imports; DELETE FROM ingest.quarantine; DELETE FROM ingest.field_issues; "
        "DELETE FROM ingest.tombstones; DELETE FROM ingest.missing_rows"
    )
    if not export.rows("organizations", "id"):
        export.load("organizations", smallest("organizations", "school"))
        export.load("contracts", smallest("contracts", "contract"))
    export.connection.commit()


def _open(export: Export, kept: str, table: str) -> list[tuple[str, ...]]:
    """Return the row ids (and columns) of what is kept and not resolved."""
    what = "row_id" if kept == "quarantine" else "row_id, column_name"
    query = f"SELECT {what} FROM ingest.{kept} WHERE table_name = %s AND resolved_at IS NULL AND row_id IS NOT NULL"  # noqa: S608 - names of this test
    return sorted(export.connection.execute(query.encode(), [table]).fetchall())
