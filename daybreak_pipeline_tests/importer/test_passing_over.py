"""The same files and edits twice, with known records passed over and without: every table and count must end alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daybreak_pipeline.importer import known, parts
from daybreak_pipeline.importer.encoding import Text
from daybreak_pipeline.importer.run import replay_table
from daybreak_pipeline_tests.exports import Export, uuid

IDS = tuple(uuid(word) for word in ("a", "b", "c", "d", "e"))
LINE_ENDS = (b"\n", b"\n", b"\r\n", b"\r")
JUNK = (b"", b",,,", b'"not closed', b'x"y,1', b'"a"b,2', b"a,b", b"\\.", b"\xff,1")
CELLS: dict[str, dict[str, tuple[str, ...]]] = {
    "documents": {
        "id": (*IDS, *IDS, IDS[0].upper(), "", "no id"),
        "label": ("x", "x", "y", '6"', "two\nlines", "", "a,b;c"),
        "updated_at": (
            "2025-05-01T00:00:00",
            "2025-06-01 00:00:00.5 UTC",
            "",
            "2099-01-01T00:00:00",
            "never",
        ),
        "_fivetran_deleted": ("false", "false", "", "true"),
        "urls": ("{}", "{}", "no json"),
        "legacy": ("", "", "", "z"),
    },
    "patients_and_guardians": {
        "id": (*IDS, *IDS, ""),
        "role": ("1", "1", "2", "9"),
        "first_name": ("Mia", "Mia", "NULL", ""),
        "updated_at": ("2025-05-01T00:00:00", "2025-06-01 00:00:00.5 UTC"),
        "_fivetran_deleted": ("false", "true"),
        "shoe": ("", "", "42"),
        "guardian_phone": ("", "", "555"),
    },
}
_NUMBERED = "JOIN (SELECT id, row_number() OVER (ORDER BY id) AS nr FROM ingest.imports) number ON number.id = t.import_id"
FACTS = (
    """
    SELECT table_name, status, error, schema_version, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_stale,
           rows_duplicate, rows_skipped_deleted, rows_blank, rows_quarantined, field_issues, source_columns,
           unknown_values::text, placeholder_values::text
    FROM ingest.imports ORDER BY id
    """,
    f"""
    SELECT number.nr, record_number, row_id, reasons::text, resolution, resolved_at IS NULL, source_updated_at, fivetran_synced,
           privacy.unseal(record_encrypted, privacy.key('seal'))
    FROM ingest.quarantine t {_NUMBERED} ORDER BY t.id
    """,  # noqa: S608 - names of this test
    f"""
    SELECT number.nr, row_id, column_name, code, resolved_at IS NULL, privacy.unseal(value_encrypted, privacy.key('seal'))
    FROM ingest.field_issues t {_NUMBERED} ORDER BY 1, 2, 3, 4, 6
    """,  # noqa: S608 - as above
    "SELECT row_id, source_updated_at, fivetran_synced FROM ingest.tombstones ORDER BY 1, 2",
    f"SELECT number.nr, row_id FROM ingest.missing_rows t {_NUMBERED} ORDER BY 2",  # noqa: S608 - as above
)
ROWS = {
    "documents": "SELECT id, label, urls::text, _fivetran_deleted, _source_hash, _record_number, _source_updated_at, "
    "_edited_at IS NULL, CASE WHEN _edited_at IS NULL AND _source_updated_at IS NOT NULL THEN updated_at END, number.nr "
    "FROM documents t LEFT JOIN (SELECT id AS import_id, row_number() OVER (ORDER BY id) AS nr FROM ingest.imports) number "
    "ON number.import_id = t._import_id ORDER BY id",
    "patients_and_guardians": "SELECT t.id, role, profile_data::text, name_tokens, _fivetran_deleted, _source_hash, "
    "_record_number, _source_updated_at, _edited_at IS NULL, number.nr, "
    "privacy.unseal(first_name_encrypted, privacy.key('seal')), "
    "privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM patients_and_guardians t "
    "LEFT JOIN (SELECT id AS import_id, row_number() OVER (ORDER BY id) AS nr FROM ingest.imports) number "
    "ON number.import_id = t._import_id ORDER BY t.id",
}
WRITES: dict[str, dict[str, str]] = {
    "documents": {
        "edit": "UPDATE documents SET label = 'edited' WHERE id = %(id)s",
        "mark": "UPDATE documents SET _fivetran_deleted = NOT coalesce(_fivetran_deleted, false) WHERE id = %(id)s",
        "delete": "DELETE FROM documents WHERE id = %(id)s",
        "rename": "UPDATE documents SET id = %(other)s WHERE id = %(id)s "
        "AND NOT EXISTS (SELECT FROM documents WHERE id = %(other)s)",
        "copy": "CREATE TEMP TABLE copied AS SELECT * FROM documents WHERE id = %(id)s; UPDATE copied SET id = %(other)s; "
        "INSERT INTO documents SELECT * FROM copied ON CONFLICT DO NOTHING; DROP TABLE copied",
    },
    "patients_and_guardians": {
        "edit": "UPDATE patients_and_guardians SET first_name = 'Eve' WHERE id = %(id)s",
        "delete": "DELETE FROM patients_and_guardians WHERE id = %(id)s",
    },
}


@st.composite
def contents(draw: st.DrawFn, table: str, earlier: list[list[dict[str, str]]]) -> bytes:
    """Draw a file: mostly the records of the one before, in any order and any form."""
    choices = CELLS[table]
    drawn = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in choices.items()})
    records: list[dict[str, str]] = []
    if earlier and draw(st.integers(0, 5)) > 0:
        records = [one for one in earlier[-1] if draw(st.integers(0, 7)) > 0]
    records += draw(st.lists(drawn, max_size=3 if records else 6))
    if draw(st.booleans()):
        records = draw(st.permutations(records))
    earlier.append(records)
    names = list(choices) if draw(st.integers(0, 3)) else draw(st.permutations(list(choices)))
    names = [name for name in names if name in {"id", "label", "role"} or draw(st.integers(0, 11))]
    delimiter = draw(st.sampled_from([b",", b",", b",", b";"]))
    line_end = draw(st.sampled_from(LINE_ENDS))
    always = draw(st.integers(0, 5)) == 0

    def written(cell: str) -> bytes:
        quoted = always or any(sign in cell for sign in ",;\n") or cell.startswith('"')
        return b'"%b"' % cell.replace('"', '""').encode() if quoted else cell.encode()

    lines = [delimiter.join(name.encode() for name in names)]
    lines += [delimiter.join(written(one[name]) for name in names) for one in records]
    if len(lines) > 2 and draw(st.integers(0, 5)) == 0:
        # A cell that holds a whole record as a line of its own.
        inside = lines[1].replace(b'"', b"")
        lines.append(
            delimiter.join(
                b'"\n%b\n"' % inside if name in {"label", "first_name"} else written(records[0][name])
                for name in names
            )
        )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        lines.insert(draw(st.integers(1, len(lines))), draw(st.sampled_from(JUNK)))
    return line_end.join(lines) + (line_end if draw(st.booleans()) else b"")


@st.composite
def steps(draw: st.DrawFn, table: str) -> list[tuple[str, Any]]:
    """Draw files, and what applications do between them."""
    earlier: list[list[dict[str, str]]] = []
    result: list[tuple[str, Any]] = []
    for _ in range(draw(st.integers(2, 5))):
        result.append(("load", (draw(contents(table, earlier)), draw(st.booleans()))))
        if draw(st.integers(0, 3)) == 0:
            others = st.tuples(st.sampled_from(IDS), st.sampled_from(IDS))
            result.append((draw(st.sampled_from([*WRITES[table], "replay"])), draw(others)))
        if draw(st.integers(0, 5)) == 0:
            result.append(("again", True))
    return result


def _end(export: Export, table: str, drawn: list[tuple[str, Any]]) -> list[Any]:
    """Carry out the steps on an empty database, and return all that there is after each."""
    export.connection.execute(
        f"TRUNCATE {table}, ingest.imports, ingest.quarantine, ingest.field_issues, ingest.tombstones, "
        "ingest.missing_rows CASCADE".encode()
    )
    export.connection.commit()
    facts: list[Any] = []
    for step, argument in drawn:
        if step == "load":
            content, full = argument
            export.write_bytes(table, content)
            facts.append(_told(partial(export.load, table, full=full)))
        elif step == "again":
            facts.append(_told(partial(export.load, table, full=True)))
        elif step == "replay":
            replay_table(export.connection, table)
        else:
            row_id, other = argument
            for statement in WRITES[table][step].split("; "):
                export.connection.execute(statement.encode(), {"id": row_id, "other": other})
        export.connection.commit()
        facts += [export.connection.execute(query.encode()).fetchall() for query in (ROWS[table], *FACTS)]
        export.connection.commit()
    return facts


def _told(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - the other way must fail alike
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("table", CELLS)
@pytest.mark.parametrize("mostly", [0, 0.5])
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_passing_over_what_is_known_changes_nothing(
    export: Export, monkeypatch: pytest.MonkeyPatch, table: str, mostly: float, data: st.DataObject
) -> None:
    monkeypatch.setattr(known, "MOSTLY", mostly)
    monkeypatch.setattr(parts, "Text", partial(Text, block=data.draw(st.sampled_from([60, 300, 1 << 20]))))
    drawn = data.draw(steps(table))
    monkeypatch.setattr(known, "SMALLEST", 1 << 40)
    slow = _end(export, table, drawn)
    monkeypatch.setattr(known, "SMALLEST", 0)
    assert _end(export, table, drawn) == slow
