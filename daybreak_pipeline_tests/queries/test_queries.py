"""The queries of the workload find what is there, by their indexes; each index has its query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests import queries
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.privacy.test_roles import apply_with_passwords
from daybreak_pipeline_tests.queries import KEPT, Query

ALL = [*queries.likeliest(), *queries.further()]
NAMES = [query.name for query in ALL]
SMALL, LARGE = 400, 40_000
FEW_ROWS = 5_000
"""Reading so many rows from end to end is no fault."""


def filled(
    databases: Databases, template: DatabaseSettings, scratch: Path, patients: int
) -> Iterator[Connection]:
    with databases.copy(template.name) as given:
        apply_with_passwords(given)
        with database.connect(given, key=KEY, autocommit=True) as connection:
            queries.fill(connection, scratch, patients)
            yield connection


@pytest.fixture(scope="module")
def small(
    databases: Databases, template: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    yield from filled(databases, template, tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="module")
def large(
    databases: Databases, template: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    with psycopg.connect(template.conninfo()) as connection:
        try:
            connection.execute("LOAD 'auto_explain'")
        except psycopg.errors.UndefinedFile:
            pytest.skip("the server does not have PostgreSQL's auto_explain")
    yield from filled(databases, template, tmp_path_factory.mktemp("large"), LARGE)


# --- What they find ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ALL, ids=NAMES)
def test_a_query_finds_the_same_without_indexes_views_and_functions(small: Connection, query: Query) -> None:
    drawings = queries.drawn(small, query)[:5]
    found = 0
    for values in drawings:
        with queries.application(small):
            answer = queries.rows(small, query.statement, values)
        with queries.application(
            small, enable_indexscan="off", enable_bitmapscan="off", enable_indexonlyscan="off"
        ):
            assert queries.rows(small, query.plain or query.statement, values) == answer
        found += len(answer)
    assert found


def test_there_are_25_likeliest_queries_and_none_is_there_twice() -> None:
    assert len(queries.likeliest()) == 25
    assert len(set(NAMES)) == len(NAMES)


# --- By which index ---------------------------------------------------------------------------------------


_NAMES_OF_LARGE_TABLES = """
    SELECT t.relname::text, c.relname::text
    FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid WHERE t.reltuples > %s
"""


@pytest.mark.slow
@pytest.mark.parametrize("query", ALL, ids=NAMES)
def test_a_query_reads_by_its_indexes(large: Connection, query: Query) -> None:
    """By the statistics of tables with thousands of rows. The benchmark looks at all with a million patients."""
    of_large_tables = {name for names in large.execute(_NAMES_OF_LARGE_TABLES, [FEW_ROWS]) for name in names}
    wanted = replace(query, uses=tuple(either for either in query.uses if either & of_large_tables))
    for values in queries.drawn(large, query)[:3]:
        plan = queries.plan(large, query, values)
        assert plan.lacks(wanted) == []
        assert plan.read_whole & of_large_tables == set()


# --- The indexes ------------------------------------------------------------------------------------------

_INDEXES = """
    SELECT c.relname::text, i.indrelid::regclass::text, obj_description(c.oid, 'pg_class'),
           EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u')),
           concat_ws('/', c.relam, coalesce(pg_get_expr(i.indexprs, i.indrelid), '-'),
                     coalesce(pg_get_expr(i.indpred, i.indrelid), '-')),
           string_to_array(i.indkey::text, ' '), string_to_array(i.indclass::text, ' '),
           string_to_array(i.indcollation::text, ' '), string_to_array(i.indoption::text, ' ')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relnamespace IN ('public'::regnamespace, 'app'::regnamespace, 'reporting'::regnamespace)
    ORDER BY c.relname
"""
FOR_REFRESHING = {
    "onboarding_funnel_id",
    "coverage_by_insurer_id",
    "funnel_by_week_id",
    "coverage_by_week_id",
    "capacity_by_week_id",
}
"""A summary is refreshed without keeping readers out where its rows have a key."""
BEGIN_LIKE_ANOTHER = {
    # The plan orders both. The short ones hold a third less, and PostgreSQL takes whichever it finds cheaper.
    "idx_kinships_user_0": "kinships_user_0_id_user_1_id_key",
    "idx_org_contracts_org": "org_contracts_organization_id_contract_id_key",
    "idx_referral_members_referral": "referral_members_referral_id_user_id_key",
    "idx_memberships_user": "memberships_user_id_organization_id_key",
    "idx_clin_ins_aff_clinician": "clinician_insurance_affiliati_care_provider_profile_id_cred_key",
}


def test_every_index_serves_a_query_or_is_kept_for_the_plans_sake(connection: Connection) -> None:
    used = frozenset[str]().union(*(query.indexes for query in ALL))
    kept, for_nothing, unknown = set(), set(), set(used)
    for name, _, comment, constrains, *_ in connection.execute(_INDEXES):
        unknown.discard(name)
        if (comment or "").startswith(KEPT):
            kept.add(name)
        elif not constrains and name not in used | FOR_REFRESHING:
            for_nothing.add(name)
    assert (for_nothing, kept & used, unknown) == (set(), set(), set())


def test_no_index_is_there_twice_and_which_begin_like_another_is_known(connection: Connection) -> None:
    indexes = connection.execute(_INDEXES).fetchall()
    twice, begin_alike = set(), {}
    for name, table, _, _, shape, *columns in indexes:
        for other, its_table, _, _, its_shape, *its_columns in indexes:
            length = len(columns[0])
            if name == other or (table, shape) != (its_table, its_shape):
                continue
            if [part[:length] for part in its_columns] != columns:
                continue
            if len(its_columns[0]) == length:
                twice.add(name)
            else:
                begin_alike[name] = other
    assert twice == set()
    assert begin_alike == BEGIN_LIKE_ANOTHER
