"""Strings that break programs go through every personal column, by both roads, and come back as they were."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from daybreak_pipeline.database import Connection
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.privacy.naughty_strings import strings

pytestmark = pytest.mark.slow

STRINGS = strings()
SEALED = [table.name for table in TABLES.values() if table.sealed_columns]
PEOPLE = [table.name for table in TABLES.values() if table.searchable_columns]

# As the csv module writes by default, and as most exports are: every field quoted, LF.
DIALECTS = ("excel", "unix")

every_sealed_table = pytest.mark.parametrize("table", SEALED)
every_table_of_people = pytest.mark.parametrize("table", PEOPLE)


def test_there_are_many_of_them_and_none_is_empty() -> None:
    assert len(STRINGS) >= 500
    assert all(STRINGS)


def columns_of(connection: Connection, table: str) -> tuple[dict[str, int], list[str]]:
    """Return a table's personal text columns with the characters they hold, and its personal JSON columns."""
    rows = connection.execute(
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = %s AND column_name = ANY (%s)",
        [table, list(TABLES[table].sealed_columns)],
    ).fetchall()
    texts = {name: length for name, kind, length in rows if kind == "character varying"}
    others = {name: kind for name, kind, _ in rows if name not in texts}
    assert set(others.values()) <= {"date", "jsonb"}
    return texts, [name for name, kind in others.items() if kind == "jsonb"]


def row_of(text: str, texts: dict[str, int], jsons: list[str]) -> dict[str, Any]:
    """Return a row with the text in every column that is long enough for it, in JSON also as a key."""
    return {name: text for name, length in texts.items() if len(text) <= length} | {
        name: {text: [text]} for name in jsons
    }


def read(connection: Connection, table: str, columns: list[str]) -> dict[str, dict[str, Any]]:
    """Return the table's rows as the application sees them, by id."""
    query = sql.SQL("SELECT id::text, {} FROM app.{}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
    )
    return {
        row_id: {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for row_id, *values in connection.execute(query)
    }


def ids(word: str) -> dict[str, str]:
    """Return every string with an id for it."""
    return {uuid(f"{word} {number}"): text for number, text in enumerate(STRINGS)}


def insert(connection: Connection, table: str) -> dict[str, str]:
    """Insert the strings as a client does, and return them by id."""
    texts, jsons = columns_of(connection, table)
    given = ids("inserted")
    with connection.cursor() as cursor:
        for row_id, text in given.items():
            row = record(table) | row_of(text, texts, jsons) | {"id": row_id}
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(sql.Placeholder() * len(row)),
                ),
                [Jsonb(value) if isinstance(value, dict) else value for value in row.values()],
            )
    return given


def load(export: Export, table: str, dialect: str) -> dict[str, str]:
    """Import the strings from a CSV file, and return them by id."""
    texts, jsons = columns_of(export.connection, table)
    given = ids("imported")
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [*record(table), *texts, *jsons], restval="", dialect=dialect)
    writer.writeheader()
    for row_id, text in given.items():
        row = row_of(text, texts, jsons) | {name: json.dumps({text: [text]}) for name in jsons}
        writer.writerow(record(table) | row | {"id": row_id})
    export.write_bytes(table, file.getvalue().encode())
    counts = export.load(table)
    assert counts == {"status": "imported", "read": len(STRINGS), "inserted": len(STRINGS)}
    return given


# --- Identical ------------------------------------------------------------------------------------------


@every_sealed_table
def test_what_a_client_inserts_comes_back_as_it_was(session: Connection, table: str) -> None:
    texts, jsons = columns_of(session, table)
    given = insert(session, table)
    assert read(session, table, [*texts, *jsons]) == {
        row_id: row_of(text, texts, jsons) for row_id, text in given.items()
    }


@pytest.mark.parametrize("dialect", DIALECTS)
@every_sealed_table
def test_what_is_imported_comes_back_as_it_was(export: Export, table: str, dialect: str) -> None:
    texts, jsons = columns_of(export.connection, table)
    given = load(export, table, dialect)
    expected = {row_id: row_of(text, texts, jsons) for row_id, text in given.items()}
    for row in expected.values():
        # By design (rule 15): a spreadsheet's apostrophe before a phone number is no part of it. An apostrophe
        # and nothing else is an empty cell then, which is stored as no text at all.
        if "phone" in row:
            row["phone"] = row["phone"].removeprefix("'")
    assert read(export.connection, table, [*texts, *jsons]) == expected
    assert export.load(table, full=True) == {
        "status": "imported",
        "read": len(STRINGS),
        "unchanged": len(STRINGS),
    }


@every_sealed_table
def test_what_is_too_long_for_its_column_is_refused_by_name_on_both_roads(export: Export, table: str) -> None:
    texts, _ = columns_of(export.connection, table)
    for column, length in texts.items():
        assert any(len(text) > length for text in STRINGS), column
        text = next(text for text in STRINGS if len(text) > length)
        counts = export.load(table, record(table, column) | {column: text})
        assert counts == {"status": "imported", "read": 1, "quarantined": 1}
        assert (1, [("invalid_value", column)]) in export.refused(table)
        statement = sql.SQL("INSERT INTO {} (id, {}) VALUES (gen_random_uuid(), %s)").format(
            sql.Identifier(table), sql.Identifier(column)
        )
        with pytest.raises(psycopg.errors.StringDataRightTruncation), export.connection.transaction():
            export.connection.execute(statement, [text])


@every_sealed_table
def test_an_empty_text_is_kept_from_a_client_and_is_nothing_in_a_file(export: Export, table: str) -> None:
    """By design (rule 5): CSV has one way to say both empty and unknown."""
    texts, _ = columns_of(export.connection, table)
    row = record(table, "inserted") | dict.fromkeys(texts, "")
    export.connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )
    export.load(table, record(table, "imported") | dict.fromkeys(texts, ""))
    assert read(export.connection, table, list(texts)) == {
        uuid("inserted"): dict.fromkeys(texts, ""),
        uuid("imported"): {},
    }


# --- Found ----------------------------------------------------------------------------------------------


def has_word(text: str) -> bool:
    """Tell whether a text has a letter or a digit."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def lost(connection: Connection, given: dict[str, str]) -> list[str]:
    """Return the strings by which the search does not find their own rows."""
    result = []
    for row_id, text in given.items():
        if has_word(text) and len(text) <= 255:
            found = connection.execute("SELECT id::text FROM search_people(%s, 1000)", [text]).fetchall()
            if (row_id,) not in found:
                result.append(text)
    return result


@every_table_of_people
def test_a_client_s_row_with_a_letter_or_digit_is_found_by_its_own_name(
    session: Connection, table: str
) -> None:
    assert lost(session, insert(session, table)) == []


@every_table_of_people
def test_an_imported_row_with_a_letter_or_digit_is_found_by_its_own_name(export: Export, table: str) -> None:
    assert lost(export.connection, load(export, table, "unix")) == []
