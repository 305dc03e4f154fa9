"""What tables, views, columns and codes mean is said in the database: for psql, BI tools and the data dictionary."""

from __future__ import annotations

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.documentation import codes, relations
from daybreak_pipeline.documentation.dictionary import READ_BY_PEOPLE
from daybreak_pipeline.documentation.relations import Relation
from daybreak_pipeline.settings import DatabaseSettings

SAY = "add a COMMENT ON to the migration: {}"


@pytest.fixture
def described(connection: Connection) -> list[Relation]:
    """What people and applications read, but for the tables' views in ``reporting``, which are made of the tables."""
    found = relations.read(connection)
    tables = {relation.name for relation in found if relation.schema == "public"}
    return [
        relation
        for relation in found
        if relation.schema in {"public", "app"}
        or (relation.schema == "reporting" and relation.name not in tables)
        or relation.full_name in READ_BY_PEOPLE
    ]


def test_every_table_and_view_says_what_it_holds(connection: Connection) -> None:
    silent = [r.full_name for r in relations.read(connection) if not r.comment and r.schema != "migrations"]
    assert silent == [], SAY.format(", ".join(silent))


def test_every_column_that_people_read_says_what_it_means(described: list[Relation]) -> None:
    silent = [
        f"{relation.full_name}.{column.name}"
        for relation in described
        for column in relation.columns
        if not column.comment
    ]
    assert silent == [], SAY.format(", ".join(silent))


def test_columns_of_the_reporting_views_mean_what_the_tables_columns_mean(db: DatabaseSettings) -> None:
    with database.connect(db) as connection:
        found = {relation.full_name: relation for relation in relations.read(connection)}
    silent = []
    for relation in found.values():
        table = found.get(f"public.{relation.name}")
        if relation.schema == "reporting" and table:
            silent += [
                f"{relation.full_name}.{column.name}"
                for column in relation.columns
                if not column.comment.startswith(table.by_name[column.name].comment or "-")
            ]
    assert silent == []
    assert (
        found["reporting.referrals"].by_name["referred_at"].comment.endswith("Of the time, the day in UTC.")
    )


def test_every_number_that_a_check_allows_has_a_name(described: list[Relation]) -> None:
    nameless = [
        f"{relation.full_name}.{column.name}: {value}"
        for relation in described
        for column in relation.columns
        if column.codes
        for value in column.codes.values
        if isinstance(value, int) and value not in column.codes.names
    ]
    assert nameless == [], SAY.format(", ".join(nameless))


def test_the_pipelines_own_tables_that_people_read_are_there(described: list[Relation]) -> None:
    assert set(READ_BY_PEOPLE) - {relation.full_name for relation in described} == set()


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("(kind = ANY (ARRAY[1, 2]))", (1, 2)),
        ("(kind = 7)", (7,)),
        ("(kind = ANY (ARRAY['-1'::integer, 12]))", (-1, 12)),
        ("(kind = ANY (ARRAY[(1)::bigint, (20)::bigint]))", (1, 20)),
        ("((kind >= 1) AND (kind <= 3))", ()),
        ("(kind = ANY (ARRAY[1, other]))", ()),
        ("(other = ANY (ARRAY[1, 2]))", ()),
    ],
)
def test_the_numbers_of_a_check_are_the_codes(expression: str, values: tuple[int, ...]) -> None:
    found = codes.of_column("kind", is_number=True, labels=(), checks=[expression], comment="")
    assert (found.values if found else ()) == values


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("mood", "(mood = ANY (ARRAY['fine'::text, 'so, so'::text, 'it''s bad'::text]))"),
        (
            "mood",
            "((mood)::text = ANY ((ARRAY['fine'::varchar, 'so, so'::character varying, 'it''s bad'::varchar])::text[]))",
        ),
        (
            'the "Mood"',
            "(\"the \"\"Mood\"\"\" = ANY (ARRAY['fine'::text, 'so, so'::text, 'it''s bad'::text]))",
        ),
    ],
)
def test_the_texts_of_a_check_are_the_codes(name: str, expression: str) -> None:
    found = codes.of_column(name, is_number=False, labels=(), checks=[expression], comment="")
    assert found is not None
    assert (found.values, found.is_closed) == (("fine", "so, so", "it's bad"), True)


@pytest.mark.parametrize(
    ("comment", "names"),
    [
        ("What it is: 1 = guardian, 2 = child, 12 = both.", {1: "guardian", 2: "child", 12: "both"}),
        ("Code: 1 = patient or guardian, the only one; not restricted.", {1: "patient or guardian"}),
        ("NULL = not finished; true = deleted; version 1.2 = odd", {}),
        ("Its values are not documented.", {}),
    ],
)
def test_names_of_codes_come_from_the_comment(comment: str, names: dict[int, str]) -> None:
    found = codes.of_column("kind", is_number=True, labels=(), checks=[], comment=comment)
    assert (dict(found.names) if found else {}) == names
    assert found is None or not found.is_closed
