"""search_people over sealed names: what is found, in which order, what is refused, and what the index looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import CLINICIANS, PATIENTS, TABLES
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import Export, record

NAMES = ("first_name", "preferred_name", "middle_name", "last_name")


def add(connection: Connection, first_name: str, table: str = PATIENTS, word: str = "", **values: Any) -> str:
    """Insert a person as a client does, and return the id."""
    row = record(table, word or first_name) | {"first_name": first_name} | values
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )
    return str(row["id"])


def search(connection: Connection, query: str | None, max_rows: int = 50) -> list[str]:
    """Return the first names of those found, in their order."""
    rows = connection.execute("SELECT first_name FROM search_people(%s, %s)", [query, max_rows]).fetchall()
    return [name for (name,) in rows]


def found(connection: Connection, name: str, query: str) -> bool:
    """Tell whether somebody of that name is found."""
    add(connection, name)
    return search(connection, query) == [name]


# --- Which spelling finds which name -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Zoë", "ZOE"),
        ("Zoe", "zoë"),
        ("Zoe\u0308", "Zoë"),
        ("O'Brien", "OBrien"),
        ("OBrien", "o\N{RIGHT SINGLE QUOTATION MARK}brien"),
        ("O\N{ACUTE ACCENT}Brien", "o'brien"),
        ("Anne-Marie", "anne marie"),
        ("Anne-Marie", "marie ANNE"),
        ("Anne-Marie", "annemarie"),
        ("Anne-Marie", "Anne-Marie"),
        ("Anne\N{NON-BREAKING HYPHEN}Marie", "annemarie"),
        ("Anne Marie", "Anne-Marie"),
        ("St. John", "st john"),
        ("Strauß", "strauss"),
        ("STRAUẞ", "strauß"),
        ("Søren Æsa", "soren aesa"),
        ("Łukasz Đorđe", "lukasz dorde"),
        ("Þóra", "thora"),
        ("Işık", "ISIK"),
        ("IŞIK", "ışık"),
        ("İrem", "irem"),
        ("Nguyễn Thị", "nguyen thi"),
        ("Иван", "ИВАН"),
        ("Ёлкин", "елкин"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσεύς"),
        ("Ґалаґан", "ґалаґан"),
        ("Մարիամ", "ՄԱՐԻԱՄ"),
        ("إبراهيم", "ابراهيم"),
        ("مُحَمَّد", "محمد"),
        ("يوسف", "یوسف"),
        ("فاطمة", "فاطمه"),
        ("שָׁלוֹם", "שלום"),
        ("प्रिया", "प्रिया"),
        ("สมหญิง", "สมหญิง"),
        ("王秀英", "秀英 王"),
        ("秀英 王", "王秀英"),
        ("王秀英", "王"),
        ("김서연", "서연 김"),
        ("ガブリエル", "ｶﾞﾌﾞﾘｴﾙ"),
        ("ジョン・スミス", "スミス ジョン"),
        ("Ａｎｎａ", "anna"),
        ("Marcel·la", "marcella"),
        ("Ma\N{ZERO WIDTH SPACE}ria", "maria"),
        ("😀", "😀"),
    ],
)
def test_a_name_is_found_by_another_spelling(session: Connection, name: str, query: str) -> None:
    assert found(session, name, query)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Maria", "mari"),
        ("Maria", "aria*"),
        ("Maria Garcia", "maria gomez"),
        ("Müller", "mueller"),
        ("Annemarie", "anne-marie"),
        ("髙橋", "高橋"),
        ("ガ", "カ"),
        ("Maria", "mary*"),
        ("Christiano", "christiana*"),
        ("Maria", "ma%"),
        ("Maria", "m_ria"),
        ("Maria", ".*"),
    ],
)
def test_a_name_is_not_found_by_a_different_one(session: Connection, name: str, query: str) -> None:
    assert not found(session, name, query)


@pytest.mark.parametrize(
    "query", ["mar*", "MÁR*", "garc* mar*", "mar* garcia", "maria*", "garci\N{COMBINING ACUTE ACCENT}a*"]
)
def test_a_star_finds_names_by_how_their_words_begin(session: Connection, query: str) -> None:
    add(session, "Zoe", last_name="Garcia")
    assert not search(session, "mar* garc*")
    add(session, "María", last_name="García")
    assert "María" in search(session, query)


def test_every_word_must_be_there_whatever_name_it_is_in(session: Connection) -> None:
    names = dict(zip(NAMES, ("María", "Mia", "José", "García Márquez"), strict=True))
    add(session, word="maria", **names)
    assert search(session, "marquez mia jose garcia maria") == ["María"]
    assert search(session, "marquez mia jose garcia mariana") == []


@pytest.mark.parametrize("length", range(3, 12))
def test_a_beginning_of_any_length_is_decided_exactly(session: Connection, length: int) -> None:
    add(session, "Christopher")
    assert search(session, "christopher"[:length] + "*") == ["Christopher"]
    assert search(session, "christopher"[: length - 1] + "z*") == []


def test_beginnings_of_several_words_are_not_mixed_up(session: Connection) -> None:
    add(session, "Christiane", last_name="Washburn")
    add(session, "Christopher", last_name="Washington")
    assert search(session, "christo* washing*") == ["Christopher"]
    assert search(session, "christia* washing*") == []


@pytest.mark.parametrize("query", ["ma*", "maria g*", "Á\N{COMBINING ACUTE ACCENT}n*", "jo'*  o*"])
def test_a_beginning_of_fewer_than_three_letters_is_refused(session: Connection, query: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="fewer than three letters") as refused:
        search(session, query)
    assert query not in str(refused.value)


@pytest.mark.parametrize("query", ["*", "maria *", "***", "* maria"])
def test_a_star_that_stands_alone_means_nothing(session: Connection, query: str) -> None:
    add(session, "Maria")
    assert search(session, query) == (["Maria"] if "maria" in query else [])


def test_a_chinese_name_needs_no_three_letters_for_its_beginning(session: Connection) -> None:
    add(session, "王秀英")
    assert search(session, "王*") == ["王秀英"]


@pytest.mark.parametrize("query", ["", " ", "...", "'", "nobody", None])
def test_what_matches_nobody_gives_no_rows(session: Connection, query: str | None) -> None:
    add(session, "Maria")
    assert search(session, query) == []


# --- What is returned -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "user_type"), [(PATIENTS, 1), (CLINICIANS, 2)])
def test_a_row_has_the_id_the_kind_the_email_and_all_names(
    session: Connection, table: str, user_type: int
) -> None:
    names = dict(zip(NAMES, ("María", "Mia", "José", "García"), strict=True))
    row_id = add(session, table=table, word="maria", email="maria@example.org", **names)
    cursor = session.execute("SELECT * FROM search_people('garcia')")
    assert [column.name for column in cursor.description or ()] == ["id", "user_type", "email", *NAMES]
    (row,) = cursor.fetchall()
    assert (str(row[0]), *row[1:]) == (row_id, user_type, "maria@example.org", *names.values())


def test_whole_words_come_before_beginnings_and_then_the_id_decides(session: Connection) -> None:
    words = ["a", "b", "c", "d", "e", "f"]
    exact = {add(session, "Maria", CLINICIANS if w in "ab" else PATIENTS, word=w) for w in words[:3]}
    begun = {add(session, "Mariana", CLINICIANS if w in "de" else PATIENTS, word=w) for w in words[3:]}
    rows = session.execute("SELECT id::text FROM search_people('maria*')").fetchall()
    assert [row_id for (row_id,) in rows] == [*sorted(exact), *sorted(begun)]
    rows = session.execute("SELECT id::text FROM search_people('maria*', 4)").fetchall()
    assert [row_id for (row_id,) in rows] == [*sorted(exact), min(begun)]


def test_somebody_is_there_once_even_if_found_by_name_and_by_email(session: Connection) -> None:
    add(session, "Maria", email="maria@example.org", last_name="Example", middle_name="Org")
    assert search(session, "maria@example.org") == ["Maria"]


@pytest.mark.parametrize("max_rows", [0, -1, 1001, None])
def test_the_number_of_rows_has_limits(session: Connection, max_rows: int | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="from 1 to 1000"):
        session.execute("SELECT * FROM search_people('maria', %s)", [max_rows])


def test_of_more_namesakes_than_a_search_looks_at_there_are_still_as_many_as_asked_for(
    session: Connection,
) -> None:
    add(session, "Maria")
    session.execute(
        "INSERT INTO patients_and_guardians (id, role, first_name_encrypted, name_tokens) "
        "SELECT gen_random_uuid(), 1, first_name_encrypted, name_tokens FROM patients_and_guardians, generate_series(1, 1500)"
    )
    assert search(session, "maria", 1000) == ["Maria"] * 1000
    assert search(session, "mar*", 7) == ["Maria"] * 7


def test_a_search_leaves_the_settings_of_the_session_as_they_were(session: Connection) -> None:
    changed = (
        "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name = 'enable_seqscan' ORDER BY 1"
    )
    before = session.execute(changed).fetchall()
    search(session, "maria@example.org")
    assert session.execute(changed).fetchall() == before


@pytest.mark.parametrize("table", [PATIENTS, CLINICIANS])
def test_rows_deleted_at_the_source_are_left_out(session: Connection, table: str) -> None:
    add(session, "Maria", table, word="gone", email="maria@example.org", _fivetran_deleted="true")
    add(session, "Mario", table, word="unknown", _fivetran_deleted=None)
    assert search(session, "maria") == search(session, "maria@exam") == search(session, "maria*") == []
    assert search(session, "mari*") == ["Mario"]


def test_a_name_that_cannot_be_read_is_not_found_and_does_not_hide_the_others(session: Connection) -> None:
    add(session, "Maria", word="damaged")
    session.execute(
        "UPDATE patients_and_guardians SET first_name_encrypted = substring(first_name_encrypted FOR 40)"
    )
    add(session, "Maria", word="whole")
    assert search(session, "maria") == ["Maria"]


# --- Emails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["ada@example.org", "ADA@EXAMPLE", "@example.org", "a@exa", " a.l_o%\\ve+ada@example.org"]
)
def test_a_query_with_an_at_sign_finds_parts_of_emails(session: Connection, query: str) -> None:
    add(session, "Ada", email="A.L_o%\\ve+ada@example.org")
    add(session, "Bob", CLINICIANS, email="bob@elsewhere.net")
    assert search(session, query) == ["Ada"]


@pytest.mark.parametrize(
    "query", ["a_a@example", "%@example.org%", "@e", "@", "example.org", "ada*@example.org"]
)
def test_other_parts_find_no_email(session: Connection, query: str) -> None:
    add(session, "Ada", email="ada@example.org")
    assert search(session, query) == []


# --- Keys -----------------------------------------------------------------------------------------------


def test_a_session_without_the_key_is_told_so(session: Connection, migrated: DatabaseSettings) -> None:
    add(session, "Maria")
    session.commit()
    with (
        database.connect(migrated) as keyless,
        pytest.raises(psycopg.Error, match="no encryption key, so people cannot be searched") as refused,
    ):
        search(keyless, "maria")
    assert "set_config('daybreak.encryption_key', $1, true)" in (refused.value.diag.message_hint or "")


def test_only_those_who_are_allowed_can_search(session: Connection) -> None:
    session.execute("CREATE ROLE search_nobody")
    session.execute("SET ROLE search_nobody")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        search(session, "maria")
    session.rollback()


# --- The index ------------------------------------------------------------------------------------------


def tokens(connection: Connection, names: str) -> list[bytes]:
    rows = connection.execute("SELECT unnest(privacy.name_tokens(%s, privacy.key('search')))", [names])
    return [bytes(token) for (token,) in rows]


def test_the_index_holds_keyed_hashes_of_words_and_beginnings_only(connection: Connection) -> None:
    connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
    assert len(tokens(connection, "Al")) == 1
    assert len(tokens(connection, "Ada")) == 2
    assert len(tokens(connection, "Christopher")) == 5
    assert all(len(token) == 8 for token in tokens(connection, "Maria Garcia"))
    assert tokens(connection, "...") == tokens(connection, "") == []


def test_the_index_does_not_tell_the_order_of_the_words(connection: Connection) -> None:
    connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
    assert tokens(connection, "Maria Garcia") == sorted(tokens(connection, "garcía MARÍA"))


def test_another_key_gives_other_hashes(connection: Connection) -> None:
    connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY])
    before = tokens(connection, "Maria")
    connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [KEY[::-1]])
    assert not set(before) & set(tokens(connection, "Maria"))


def test_words_are_folded_alike_where_the_server_s_locale_knows_no_letters(server: DatabaseSettings) -> None:
    settings = replace(server, name="locale_c")
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as administrator:
        administrator.execute("CREATE DATABASE locale_c TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        runner.upgrade(settings)
        with psycopg.connect(settings.conninfo()) as connection:
            query = "SELECT privacy.name_words('ИВАН Ёлкин ΟΔΥΣΣΕΥΣ Zoë IŞIK', true)"
            assert connection.execute(query).fetchone() == (["иван", "елкин", "οδυσσευσ", "zoe", "isik"],)
        administrator.execute("DROP DATABASE locale_c WITH (FORCE)")


@pytest.mark.parametrize("table", [PATIENTS, CLINICIANS])
def test_importer_and_clients_write_the_same_tokens(export: Export, table: str) -> None:
    names: dict[str, Any] = dict(zip(NAMES, ("María José", "Zoë", "O'Neill", "García-Márquez"), strict=True))
    export.load(table, record(table, "imported", **names))
    add(export.connection, table=table, word="inserted", **names)
    assert len({tuple(row[0]) for row in export.rows(table, "name_tokens")}) == 1
    assert set(NAMES) == set(TABLES[table].searchable_columns)


def plans(connection: Connection, query: str) -> str:
    """Return the plans of the statements that a search runs, as the server tells them."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    connection.execute("LOAD 'auto_explain'")
    connection.execute(
        "SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
        "SET client_min_messages = log"
    )
    search(connection, query)
    return "\n".join(notices)


@pytest.fixture(scope="module")
def many(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A database with so many people that reading them all would take longer than an index."""
    with databases.copy(template.name) as settings:
        with database.connect(settings, key=KEY) as connection:
            for table in (PATIENTS, CLINICIANS):
                connection.execute(
                    sql.SQL(
                        "INSERT INTO {} (id, email{}) SELECT gen_random_uuid(), 'person' || n || '@example.com'{} "
                        "FROM generate_series(1, 20000) n"
                    ).format(
                        sql.Identifier(table),
                        *[sql.SQL(part if table == PATIENTS else "") for part in (", role", ", 1")],
                    )
                )
        # VACUUM cannot share a transaction with the key.
        with database.connect(settings, autocommit=True) as keyless:
            keyless.execute("VACUUM ANALYZE patients_and_guardians, clinicians")
        yield settings


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("maria", ["idx_patients_guardians_name_search", "idx_clinicians_name_search"]),
        ("mar* gar*", ["idx_patients_guardians_name_search", "idx_clinicians_name_search"]),
        ("christopher*", ["idx_patients_guardians_name_search", "idx_clinicians_name_search"]),
        ("maria@example.org", ["idx_patients_guardians_email_search", "idx_clinicians_email_search"]),
    ],
)
def test_searches_go_through_their_indexes(many: DatabaseSettings, query: str, indexes: list[str]) -> None:
    with database.connect(many, key=KEY) as connection:
        used = set(re.findall(r"Bitmap Index Scan on (\w+)", plans(connection, query)))
    assert set(indexes) <= used


# --- Rows from before -----------------------------------------------------------------------------------


@pytest.fixture
def old(empty: DatabaseSettings) -> DatabaseSettings:
    """A database one migration back, with a person in the index, whose row is from yesterday."""
    runner.upgrade(empty, "009")
    with database.connect(empty, key=KEY) as connection:
        connection.execute(
            "INSERT INTO privacy.key_check (check_value) VALUES (privacy.required_key('check'))"
        )
        for table in (PATIENTS, CLINICIANS):
            add(connection, "María", table, last_name="García")
    return empty


def test_names_that_are_there_already_are_found_after_the_migration_and_after_its_rollback(
    old: DatabaseSettings,
) -> None:
    state = sql.SQL("SELECT updated_at, name_tokens FROM patients_and_guardians")
    with database.connect(old, key=KEY) as connection:
        before = connection.execute(state).fetchall()
    runner.upgrade(old, "010", key=KEY)
    with database.connect(old, key=KEY) as connection:
        assert search(connection, "maria gar*") == ["María", "María"]
        assert [row[0] for row in connection.execute(state)] == [row[0] for row in before]
    runner.downgrade(old, "009", key=KEY)
    with database.connect(old, key=KEY) as connection:
        assert connection.execute(state).fetchall() == before


@pytest.mark.parametrize("key", [None, KEY[::-1]], ids=["no key", "another key"])
def test_without_the_key_the_migration_says_so_and_changes_nothing(
    old: DatabaseSettings, key: str | None
) -> None:
    with pytest.raises(UsageError, match=r"migration 010 changes sealed data, .*: set ENCRYPTION_KEY"):
        runner.upgrade(old, "010", key=key)
    with database.connect(old, key=KEY) as connection:
        assert runner.current_revision(connection) == "009"
        row = connection.execute("SELECT count(*) FROM users WHERE first_name = 'María'").fetchone()
    assert row == (2,)


def test_rebuilding_changes_only_rows_that_need_it(session: Connection) -> None:
    add(session, "Maria", last_name="Garcia")
    add(session, "Zoe", CLINICIANS)
    assert session.execute("SELECT privacy.rebuild_name_tokens()").fetchone() == (0,)
    session.execute("UPDATE clinicians SET name_tokens = NULL")
    assert search(session, "zoe") == []
    assert session.execute("SELECT privacy.rebuild_name_tokens()").fetchone() == (1,)
    assert search(session, "zoe") == ["Zoe"]
