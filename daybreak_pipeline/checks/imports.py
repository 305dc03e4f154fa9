"""Checks of what imports did: accounting, quarantine, how many records came, and the columns of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.checks import places
from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import (
    SHOWN_ROWS,
    Finding,
    Place,
    Severity,
    Tally,
    Wording,
    conclude,
    exceeds,
    failing,
    listed,
    share,
)
from daybreak_pipeline.checks.scan import Fault
from daybreak_pipeline.importer import standing
from daybreak_pipeline.importer.ledger import Entry
from daybreak_pipeline.tables import TRANSPORT_COLUMNS

_ENTRIES = """
    WITH last AS (
        SELECT id, run_id FROM ingest.imports
        WHERE table_name = %(table)s AND status = 'imported' ORDER BY id DESC LIMIT 1
    )
    SELECT i.* FROM ingest.imports i, last
    WHERE i.table_name = %(table)s AND i.status = 'imported' AND (i.id = last.id OR i.run_id = last.run_id)
    ORDER BY i.id
"""

_REASONS = """
    WITH reasons AS (
        SELECT DISTINCT r.value ->> 'code' AS code, q.id, q.record_number
        FROM ingest.quarantine q, jsonb_array_elements(q.reasons) r
        WHERE q.table_name = %(table)s AND q.import_id = %(import_id)s AND q.resolved_at IS NULL
    ), numbered AS (
        SELECT *, row_number() OVER (PARTITION BY code ORDER BY record_number, id) AS place FROM reasons
    )
    SELECT code, count(*), array_agg(record_number ORDER BY place) FILTER (WHERE place <= %(shown)s)
    FROM numbered GROUP BY code ORDER BY code
"""

_OPEN_OF_IMPORT = """
    SELECT count(*) FROM ingest.quarantine
    WHERE table_name = %(table)s AND import_id = %(import_id)s AND resolved_at IS NULL
"""

_USUAL = """
    WITH earlier AS (
        SELECT rows_read - rows_blank AS records FROM ingest.file_imports
        WHERE table_name = %(table)s AND loaded AND id < %(import_id)s
        ORDER BY id DESC LIMIT %(most)s
    ), middle AS (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY records) AS median FROM earlier
    )
    SELECT count(*), min(median), percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(records - median))
    FROM earlier, middle
"""

# The same content read again is the same file.
_COLUMNS_BEFORE = """
    SELECT i.source_columns FROM ingest.file_imports i
    WHERE i.table_name = %(table)s AND i.loaded AND i.id < %(import_id)s AND i.source_columns IS NOT NULL
      AND i.source_sha256 IS DISTINCT FROM %(sha256)s
    ORDER BY i.id DESC LIMIT 1
"""

NAMED_BY_OTHER_CHECKS = frozenset({"missing_required", "invalid_enum", "missing_parent", "duplicate_key"})
"""Reasons for quarantine that other checks already report."""

ENOUGH_IMPORTS = 5
"""How many earlier imports make a history."""

_MOST_IMPORTS = 30
# 1.4826 makes the median absolute deviation comparable with a standard deviation; 3.5 of them is the customary limit.
_UNUSUAL = 3.5 * 1.4826
_SIMILAR = 0.75


def rows_of_last_imports(evidence: Evidence) -> list[Fault]:
    """Return the condition that a row was written by the last import, for each of its rows in the ledger."""
    return [
        Fault(str(entry.id), sql.SQL("_import_id = {}").format(sql.Literal(entry.id)), shown=False)
        for entry in _entries(evidence)
    ]


def row_accounting(evidence: Evidence, tallies: list[Tally]) -> Finding:
    """Prove that every record of the last import ended in exactly one place, and is there.

    One import may have two rows in the ledger: of its file, and of what it tried again from quarantine.
    A failed one changed nothing. It counts only until the next look at the file: one that finds the file as it was
    imported, or finds none, leaves the table as good as it was.
    """
    entries = _entries(evidence)
    threshold = evidence.threshold("row_accounting")
    now = standing.read(evidence.connection, [evidence.table])[evidence.table]
    if not entries or now.failing_since:
        failed = now.failing_since is not None
        summary = f"the last import failed: {now.error}" if failed else "the table was never imported"
        tally = Tally("failed imports" if failed else "missing imports", 1)
        return Finding.of([tally], summary, 1, 1, "ERROR", passed=False)
    present = {tally.label: tally.count for tally in tallies}
    counts: Counter[str] = Counter()
    for entry in entries:
        surplus = present[str(entry.id)] - entry.accounting.written
        counts["records without a place"] += entry.accounting.without_a_place
        counts["rows written and not in the table"] += max(-surplus, 0)
        counts["rows in the table and not in the ledger"] += max(surplus, 0)
        if entry.source_sha256:
            kept = evidence.connection.execute(
                "SELECT count(*) FROM ingest.quarantine WHERE import_id = %s AND table_name = %s",
                [entry.id, evidence.table],
            ).fetchone()
            counts["records refused and not in quarantine"] += abs(
                entry.accounting.quarantined - (kept[0] if kept else 0)
            )
    return conclude(
        Wording(
            "record unaccounted for",
            "records unaccounted for",
            "every record of the last import is accounted for",
            of="records",
        ),
        threshold,
        [Tally(label, abs(number)) for label, number in counts.items()],
        sum(entry.accounting.read for entry in entries),
    )


def quarantine_rate(evidence: Evidence, _: list[Tally]) -> Finding:
    """Judge how much of the last file is in quarantine.

    Too large a share is an ERROR, whatever the reasons; a single record never is. Below that, only records
    whose reasons no other check reports count, as a WARN: nothing that was refused goes unmentioned, and nothing
    is reported twice.
    """
    threshold = evidence.threshold("quarantine_rate")
    last = evidence.last_file
    if last is None:
        return _nothing_imported(threshold.error is None)
    records = last.accounting.records
    parameters = {"table": evidence.table, "import_id": last.id, "shown": SHOWN_ROWS}
    file = places.file_name(last.source_uri)
    tallies = tuple(
        Tally(
            code,
            number,
            tuple(f"record {record}" for record in first),
            _as_text(evidence, code, last),
            lost=True,
            places=tuple(Place(file, record) for record in first),
        )
        for code, number, first in evidence.connection.execute(_REASONS, parameters)
    )
    refused = int(database.value(evidence.connection, _OPEN_OF_IMPORT, parameters))
    unnamed = sum(tally.count for tally in tallies if tally.label not in NAMED_BY_OTHER_CHECKS)
    severity: Severity | None = None
    if refused > 1 and exceeds(refused, records, threshold.error):
        severity = "ERROR"
    elif exceeds(unnamed, records, threshold.warn):
        severity = "WARN"
    reasons = listed([(tally.label, tally.count) for tally in tallies])
    summary = (
        f"{refused:,} of {records:,} records of the last file ({share(refused, records)}) are in quarantine"
    )
    return Finding.of(
        tallies,
        f"{summary}: {reasons}" if refused else summary,
        refused,
        records,
        severity or "ERROR",
        passed=severity is None,
    )


def row_count_change(evidence: Evidence, _: list[Tally]) -> Finding:
    """Judge how many records the last file had against the earlier ones: median, and median absolute deviation.

    The median takes no notice of one odd import, neither as what is usual nor as how much it varies.
    """
    threshold = evidence.threshold("row_count_change")
    last = evidence.last_file
    if last is None:
        return _nothing_imported(threshold.error is None)
    records = last.accounting.records
    row = evidence.connection.execute(
        _USUAL, {"table": evidence.table, "import_id": last.id, "most": _MOST_IMPORTS}
    ).fetchone()
    number, median, deviation = row or (0, 0, 0)
    if number < ENOUGH_IMPORTS:
        summary = (
            f"not enough history: {records:,} records after {number} of {ENOUGH_IMPORTS} earlier imports"
        )
        return Finding(summary, 0, records, "WARN", passed=True)
    usual = round(median)
    change = abs(records - usual)
    unusual = change > _UNUSUAL * deviation
    severity = failing(threshold, change, 0, usual) if unusual else None
    direction = "more" if records > usual else "fewer"
    told = f"{change:,} {direction} than" if change else "as many as"
    return Finding.of(
        [Tally(f"{direction} records than usual", change)] if change else [],
        f"{records:,} records, {told} the median of {number} earlier imports ({usual:,}, {share(change, usual)})",
        change,
        usual,
        severity or "ERROR",
        passed=severity is None,
    )


def schema_drift(evidence: Evidence, _: list[Tally]) -> Finding:
    """Judge the header of the last file against the schema and against the file before.

    A column that the schema does not know is a fault when its values go nowhere, or when the file before had none such; one
    that is missing, when that file had it. A missing column and an unknown one of a similar name are one renamed.
    """
    threshold = evidence.threshold("schema_drift")
    last = evidence.last_file
    if last is None:
        return _nothing_imported(threshold.error is None)
    if last.source_columns is None:
        summary = "the last import noted no header: daybreak import --full reads the file again"
        return Finding(summary, 0, 0, "WARN", passed=True)
    parameters = {"table": evidence.table, "import_id": last.id, "sha256": last.source_sha256}
    row = evidence.connection.execute(_COLUMNS_BEFORE, parameters).fetchone()
    earlier = set(row[0]) if row else set()
    known = set(evidence.catalog.by_name)
    unknown = [name for name in last.source_columns if name not in known | TRANSPORT_COLUMNS]
    constants = {name for name, _ in evidence.catalog.table.constants}
    missing = [name for name in evidence.catalog.by_name if name not in {*last.source_columns, *constants}]
    renamed = _renamed(unknown, missing)
    values = last.unknown_values or {}
    tallies = [
        Tally(
            f"{old} renamed to {new} ({values.get(new, 0):,} values)",
            1,
            columns=(old, new),
            key=f"{old} renamed to {new}",
        )
        for new, old in renamed.items()
    ]
    for name in unknown:
        number = values.get(name, 0)
        kept = "profile_data" in known or name in evidence.catalog.table.personal_export_columns
        if name in renamed or not number or (kept and (not earlier or name in earlier)):
            continue
        place = "kept as an export column" if kept else "not stored"
        tallies.append(
            Tally(f"{name} new ({number:,} values, {place})", 1, columns=(name,), key=f"{name} new")
        )
    gone = (set(missing) | (earlier - known - TRANSPORT_COLUMNS)) & earlier - set(last.source_columns)
    tallies += [Tally(f"{name} gone", 1, columns=(name,)) for name in sorted(gone - set(renamed.values()))]
    return conclude(
        Wording(
            "column has drifted",
            "columns have drifted",
            f"the file's columns are as expected, {len(unknown)} unknown and {len(missing)} optional ones missing",
            of="columns",
        ),
        threshold,
        tallies,
        len(last.source_columns),
    )


def _renamed(unknown: Iterable[str], missing: Iterable[str]) -> dict[str, str]:
    """Return new names by old ones: each missing column takes the most similar unknown one that is left."""
    left = list(missing)
    pairs: dict[str, str] = {}
    for name in unknown:
        similar = get_close_matches(name, left, n=1, cutoff=_SIMILAR)
        if similar:
            pairs[name] = similar[0]
            left.remove(similar[0])
    return pairs


def _entries(evidence: Evidence) -> list[Entry]:
    return database.every(evidence.connection, Entry.of_row, _ENTRIES, {"table": evidence.table})


def _nothing_imported(warns: bool) -> Finding:  # noqa: FBT001 - the one fact that differs
    return Finding("no file was imported yet", 0, 0, "WARN" if warns else "ERROR", passed=True)


def _as_text(evidence: Evidence, code: str, last: Entry) -> str:
    return (
        sql.SQL(
            "SELECT id, record_number, row_id, reasons FROM ingest.quarantine WHERE table_name = {} AND import_id = {} "
            "AND resolved_at IS NULL AND reasons @> jsonb_build_array(jsonb_build_object('code', {}::text))"
        )
        .format(sql.Literal(evidence.table), sql.Literal(last.id), sql.Literal(code))
        .as_string(evidence.connection)
    )
