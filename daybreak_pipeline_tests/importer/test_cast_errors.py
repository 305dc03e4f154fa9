"""Which values are tried one by one, and that none is taken for one that fits."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from daybreak_pipeline.importer import cast_errors
from daybreak_pipeline_tests.exports import Export, record

USUAL = [
    ("uuid", "74b9fdfb-2899-49b9-b1d2-58b7addb04a6"),
    ("integer", "-42"),
    ("bigint", "123456789012345678"),
    ("boolean", "false"),
    ("date", "2011-12-31"),
    ("timestamp with time zone", "2022-12-10T10:01:33.528118"),
    ("timestamp with time zone", "2025-09-22 10:58:12.612 UTC"),
    ("timestamp with time zone", "2025-09-22T10:58:12Z"),
    ("timestamp with time zone", "2025-09-22 10:58:12+05:30"),
    ("text[]", '["open", "with space"]'),
]


@pytest.mark.parametrize("kind", sorted(cast_errors.PLAIN))
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_looks_as_if_it_fits_does_fit(export: Export, kind: str, data: st.DataObject) -> None:
    pattern = cast_errors.PLAIN[kind]
    # Strict JSON has no control characters; an array with one in it loads all the same.
    alphabet = st.characters(codec="utf-8", exclude_categories=["Cc"])
    like = st.from_regex(pattern, alphabet=alphabet, fullmatch=True)
    values = data.draw(st.lists(like, min_size=5, max_size=10))
    taken, faults = export.connection.execute(
        sql.SQL(
            'SELECT count(*) FILTER (WHERE v COLLATE "C" ~ %(pattern)s), '
            "count(*) FILTER (WHERE ingest.cast_fault(v, NULL::{kind}) IS NOT NULL) FROM unnest(%(values)s::text[]) v"
        ).format(kind=sql.SQL(kind)),
        {"pattern": pattern, "values": values},
    ).fetchone() or (0, 0)
    assert taken == len(values)
    assert faults == 0


@pytest.mark.parametrize(("kind", "value"), USUAL)
def test_values_as_exports_have_them_are_not_tried_one_by_one(export: Export, kind: str, value: str) -> None:
    row = export.connection.execute('SELECT %s COLLATE "C" ~ %s', [value, cast_errors.PLAIN[kind]]).fetchone()
    assert row == (True,)


@pytest.mark.parametrize("rows_before", [False, True])
def test_values_unlike_the_usual_ones_load_beside_cast_errors(export: Export, *, rows_before: bool) -> None:
    if rows_before:
        export.load("questionnaires", record("questionnaires", "there"))
    counts = export.load(
        "questionnaires",
        record("questionnaires", "unfit", score="many", started_at="soon", question_answers="no json"),
        record("questionnaires", "unusual", score=" 7 ", started_at="29 Feb 2024 10:00 PM"),
        record("questionnaires", "usual", score="8", started_at="2024-02-28T22:00:00"),
        record("questionnaires", "repaired", score="9", question_answers="no json"),
    )
    assert counts == {"status": "imported", "read": 4, "inserted": 3, "quarantined": 1, "field_issues": 1}
    assert export.refused("questionnaires") == [
        (1, [("invalid_value", "score"), ("invalid_value", "started_at")])
    ]
    rows = export.connection.execute(
        "SELECT score, started_at = '2024-02-29 22:00+00', question_answers = '\"no json\"' FROM questionnaires "
        "WHERE score > 0 ORDER BY score"
    ).fetchall()
    assert rows == [(7, True, False), (8, False, False), (9, None, True)]


def test_an_id_that_is_none_is_refused_beside_records_that_change(export: Export) -> None:
    export.load(
        "documents",
        record("documents", "same", created_at="2024-01-01T00:00:00"),
        record("documents", "changed", label="old"),
    )
    counts = export.load(
        "documents",
        record("documents", "same", created_at="2024-01-01T00:00:00"),
        record("documents", "changed", label="new", updated_at="2025-08-01T00:00:00"),
        record("documents", "nobody") | {"id": "nobody"},
        record("documents", "new", created_at="soon"),
    )
    assert counts == {"status": "imported", "read": 4, "unchanged": 1, "updated": 1, "quarantined": 2}
    assert export.refused("documents") == [
        (3, [("invalid_value", "id")]),
        (4, [("invalid_value", "created_at")]),
    ]
