"""Successive exports in every order against a slow and obvious model of which record is newer (ADR 10).

Two tables, which tell of deletions in two ways: documents by a flag, clinicians' availabilities by ``op`` and
``deleted_at``. Few ids and times, so that records tie; applications write in between; files come again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from daybreak_pipeline_tests.exports import Export, uuid
from daybreak_pipeline_tests.exports import record as smallest

Record = dict[str, str | None]

# Times by name, from the oldest to the newest. An application writes after "june" and before "soon".
MAY, JUNE, EDIT, SOON = range(1, 5)
TIMES = {"may": MAY, "june": JUNE, "soon": SOON}
FUTURE = "2099-01-01T00:00:00"
DOCUMENTS, WINDOWS = "documents", "clinician_availabilities"
IDS = {DOCUMENTS: (uuid("a"), uuid("b")), WINDOWS: ("1", "2")}
SECOND = {DOCUMENTS: "_fivetran_synced", WINDOWS: "tx_commit_time"}
"""The second time of each table's order."""
MARK = {DOCUMENTS: "label", WINDOWS: "timezone"}
"""A column by whose value versions are told apart."""
pytestmark = pytest.mark.slow
_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@dataclass(frozen=True)
class File:
    """An export of one table: which columns it has, and its records, with times by name."""

    table: str
    columns: tuple[str, ...]
    records: tuple[tuple[tuple[str, str | None], ...], ...]
    full: bool = True

    @property
    def content(self) -> tuple[object, ...]:
        return self.table, self.columns, self.records


@dataclass(frozen=True)
class Write:
    """What an application does to a row: edits it, or inserts it with a time."""

    table: str
    row_id: str
    time: str | None = None


@st.composite
def files(draw: st.DrawFn, table: str, *, whole: bool = False) -> File:
    """Draw a file; a ``whole`` one has every column that tells of deletions, and so says all that others say."""
    optional = {
        DOCUMENTS: ("updated_at", "_fivetran_synced", "_fivetran_deleted"),
        WINDOWS: ("tx_commit_time", "op", "deleted_at"),
    }[table]
    may_lack = [
        name for name in optional if not whole or name not in {"_fivetran_deleted", "op", "deleted_at"}
    ]
    dropped = {draw(st.sampled_from(may_lack))} if draw(st.integers(0, 3)) == 0 else set()
    times = st.sampled_from(
        ["may", "june", "june", "june", "soon", "future", *([None] if table == DOCUMENTS else [])]
    )
    choices: dict[str, st.SearchStrategy[str | None]] = {
        "id": st.sampled_from(IDS[table]),
        MARK[table]: st.sampled_from(["x", "y"]),
        "updated_at": times,
        SECOND[table]: st.sampled_from(["may", "may", "may", "june", None]),
        "_fivetran_deleted": st.sampled_from(["false", "false", "true", "true", None]),
        "op": st.sampled_from(["I", "U", "D", "U"] if whole else ["I", "U", "D", None]),
        "deleted_at": st.sampled_from([None, None, "may"]),
    }
    names = [
        MARK[table],
        "id",
        "updated_at",
        SECOND[table],
        *(n for n in optional if n not in {"updated_at", SECOND[table]}),
    ]
    columns = tuple(name for name in names if name not in dropped)
    drawn = st.tuples(*(st.tuples(st.just(name), choices[name]) for name in columns))
    return File(
        table, columns, tuple(draw(st.lists(drawn, min_size=1, max_size=3))), full=draw(st.booleans())
    )


@st.composite
def writes(draw: st.DrawFn, table: str) -> Write:
    return Write(
        table, draw(st.sampled_from(IDS[table])), draw(st.sampled_from([None, "may", "june", "future"]))
    )


@dataclass
class Row:
    """A row, and of which record: what it said, its place, and who wrote to the row since."""

    mark: str | None
    deleted: bool
    place: tuple[int, int]
    source: tuple[object, ...] | None
    edited: bool = False
    made_at: int | None = None


@dataclass
class Model:
    """The contract, record by record."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    tombstones: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    seen: list[File] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    def write(self, write: Write) -> None:
        row = self.rows.get((write.table, write.row_id))
        if write.time is None:
            if row:
                row.mark, row.edited = "edited", True
        elif row is None:
            self.rows[write.table, write.row_id] = Row(
                "own", deleted=False, place=(0, 0), source=None, made_at=TIMES.get(write.time, 0)
            )

    def load(self, file: File) -> dict[str, int | str]:
        earlier = [seen for seen in self.seen if seen.table == file.table]
        if not file.full and earlier and earlier[-1].content == file.content:
            return {"status": "skipped"}
        new = all(seen.content != file.content for seen in earlier)
        counts: Counter[str] = Counter(read=len(file.records))
        newest: dict[str, dict[str, str | None]] = {}
        for drawn in file.records:
            record = dict(drawn)
            key = str(record["id"])
            counts["duplicate"] += key in newest
            if key not in newest or _place(file, record) >= _place(file, newest[key]):
                newest[key] = record
        for key, record in newest.items():
            counts[self._load(file, key, record, new=new)] += 1
        self.seen.append(file)
        if file.table == DOCUMENTS:
            self.missing = {
                key
                for (table, key), row in self.rows.items()
                if table == DOCUMENTS and row.source and not row.deleted and key not in newest
            }
        return {"status": "imported"} | +counts

    def _load(self, file: File, key: str, record: Record, *, new: bool) -> str:
        name, place, deleted = (file.table, key), _place(file, record), _says_deleted(record)
        row = self.rows.get(name)
        if row is None:
            if file.table == DOCUMENTS and deleted:
                self.tombstones[name] = max(place, self.tombstones.get(name, place))
                return "skipped_deleted"
            if name in self.tombstones and place <= self.tombstones[name]:
                return "stale"
            self.tombstones.pop(name, None)
            self.rows[name] = Row(record[MARK[file.table]], deleted, place, _source(file, record))
            return "inserted"
        if row.source == _source(file, record):
            return "stale" if row.edited else "unchanged"
        if row.edited:
            taken = place[0] > max(EDIT, row.place[0])
        elif row.made_at is not None:
            taken = place[0] > row.made_at
        elif place == row.place:
            taken = new and (deleted or not row.deleted)
        else:
            taken = place > row.place
        if not taken:
            return "stale"
        kept = row.deleted if _is_silent(file, record) else deleted
        self.rows[name] = Row(record[MARK[file.table]], kept, place, _source(file, record))
        return "updated"

    def expected(self, table: str) -> list[tuple[object, ...]]:
        return sorted(
            (key, row.mark, row.deleted, row.place[0], row.edited)
            for (name, key), row in self.rows.items()
            if name == table
        )


def _place(file: File, record: Record) -> tuple[int, int]:
    return TIMES.get(record.get("updated_at") or "", 0), TIMES.get(record.get(SECOND[file.table]) or "", 0)


def _source(file: File, record: Record) -> tuple[object, ...]:
    return tuple(sorted(file.columns)), tuple(sorted(record.items()))


def _says_deleted(record: Record) -> bool:
    return (
        record.get("_fivetran_deleted") == "true"
        or record.get("op") == "D"
        or record.get("deleted_at") is not None
    )


def _is_silent(file: File, record: Record) -> bool:
    """Whether an update says nothing of a deletion, and so leaves it as it is."""
    if file.table == DOCUMENTS:
        return "_fivetran_deleted" not in file.columns
    return "deleted_at" not in file.columns and record.get("op") is None


class Clock:
    """What the names of times stand for while one example runs."""

    def __init__(self) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=30)
        self.times = {
            "may": "2025-05-01T00:00:00",
            "june": "2025-06-01 00:00:00.5 UTC",
            "soon": soon.isoformat(),
            "future": FUTURE,
        }
        self.numbers = {
            datetime(2025, 5, 1, tzinfo=UTC): MAY,
            datetime(2025, 6, 1, 0, 0, 0, 500_000, tzinfo=UTC): JUNE,
            soon: SOON,
            None: 0,
        }

    def record(self, file: File, drawn: tuple[tuple[str, str | None], ...]) -> Record:
        told = {name: self.times.get(value or "", value) for name, value in drawn}
        known = {name: value for name, value in smallest(file.table).items() if name != "updated_at"}
        return known | told


def _load(export: Export, clock: Clock, file: File) -> dict[str, int | str]:
    header = [
        *(name for name in smallest(file.table) if name not in {"updated_at", *file.columns}),
        *file.columns,
    ]
    export.write(file.table, *(clock.record(file, drawn) for drawn in file.records), header=header)
    return export.load(file.table, full=file.full)


def _write(export: Export, clock: Clock, write: Write) -> None:
    mark = MARK[write.table]
    if write.time is None:
        statement = f"UPDATE {write.table} SET {mark} = 'edited' WHERE id = %s"  # noqa: S608 - names of this test
        export.connection.execute(statement.encode(), [write.row_id])
    else:
        values = dict(clock.record(File(write.table, (), ()), ())) | {
            "id": write.row_id,
            mark: "own",
            "updated_at": clock.times[write.time],
        }
        statement = (
            f"INSERT INTO {write.table} ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))}) "  # noqa: S608 - names of this test
            "ON CONFLICT DO NOTHING"
        )
        export.connection.execute(statement.encode(), list(values.values()))
    export.connection.commit()


def _empty(export: Export) -> None:
    for table in (
        DOCUMENTS,
        WINDOWS,
        "ingest.imports",
        "ingest.quarantine",
        "ingest.tombstones",
        "ingest.missing_rows",
    ):
        export.connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - names of this test
    export.connection.commit()


def _rows(export: Export, clock: Clock, table: str) -> list[tuple[object, ...]]:
    deleted = "coalesce(_fivetran_deleted, false)" if table == DOCUMENTS else "deleted_at IS NOT NULL"
    query = (
        f"SELECT id::text, {MARK[table]}, {deleted}, _source_updated_at, _edited_at IS NOT NULL FROM {table}"  # noqa: S608 - names of this test
    )
    found = export.connection.execute(query.encode()).fetchall()
    return sorted((key, mark, gone, clock.numbers[said], edited) for key, mark, gone, said, edited in found)


@pytest.mark.parametrize("table", [DOCUMENTS, WINDOWS])
@pytest.mark.usefixtures("passing_over")
@settings(deadline=None, suppress_health_check=_QUIET)
@given(st.data())
def test_imports_and_applications_end_as_in_the_model(
    export: Export, table: str, data: st.DataObject
) -> None:
    _empty(export)
    clock, model = Clock(), Model()
    pool: list[File] = []
    for _ in range(data.draw(st.integers(3, 8))):
        again = st.sampled_from(pool) if pool else st.nothing()
        step = data.draw(st.one_of(files(table), files(table), again, writes(table)))
        if isinstance(step, Write):
            _write(export, clock, step)
            model.write(step)
        else:
            pool.append(step)
            assert _load(export, clock, step) == model.load(step)
        assert _rows(export, clock, table) == model.expected(table)
        missing = export.connection.execute("SELECT row_id FROM ingest.missing_rows").fetchall()
        assert {row_id for (row_id,) in missing} == model.missing
        buried = export.connection.execute("SELECT table_name, row_id FROM ingest.tombstones").fetchall()
        assert sorted(buried) == sorted(model.tombstones)
        export.connection.commit()


@pytest.mark.usefixtures("passing_over")
@settings(
    deadline=None,
    suppress_health_check=_QUIET,
    max_examples=settings().max_examples // 4,  # each is imported in every order
)
@given(st.data())
def test_exports_whose_records_differ_in_a_time_end_alike_in_every_order(
    export: Export, data: st.DataObject
) -> None:
    table = data.draw(st.sampled_from([DOCUMENTS, WINDOWS]))
    drawn = data.draw(st.lists(files(table, whole=True), min_size=2, max_size=3))
    places = [{(str(dict(r)["id"]), _place(file, dict(r))) for r in file.records} for file in drawn]
    assume(all(one.isdisjoint(other) for one, other in itertools.combinations(places, 2)))
    ends = set()
    for order in itertools.permutations(drawn):
        _empty(export)
        clock = Clock()
        for file in order:
            _load(export, clock, file)
        ends.add(tuple(row for row in _rows(export, clock, table) if not row[2]))
    assert len(ends) == 1
