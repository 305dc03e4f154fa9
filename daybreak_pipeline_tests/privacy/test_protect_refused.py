"""What privacy.protect and privacy.release refuse, and that any name will do: none of it is taken for SQL."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline_tests.privacy.demographics import MARK, insert, protect, release, use_key

# --- Names -------------------------------------------------------------------------------------------------

NAMES = (
    'Kids "2026" %s $body$',
    "o'hara); DROP TABLE documents; --",
    "x" + "ä" * 31,  # 63 bytes
    "select",
    "columns",  # as one of the functions is called
)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(connection: Connection, name: str) -> None:
    use_key(connection)
    column = name[:22] if len(name.encode()) == 63 else name
    connection.execute(
        sql.SQL("CREATE TABLE {} (id BIGINT PRIMARY KEY, {} TEXT, key TEXT, query TEXT, names JSON)").format(
            sql.Identifier(name), sql.Identifier(column)
        )
    )
    insert(connection, name, id=1, **{column: f"First {MARK}"})
    protect(connection, [column], [column], name)
    insert(connection, name, id=2, query="q", **{column: f"Second {MARK}"})
    view = sql.Identifier("app", name)
    connection.execute(
        sql.SQL("UPDATE {} SET {} = %s, names = '[]' WHERE id = 2").format(
            database.verbatim(connection, view), database.verbatim(connection, sql.Identifier(column))
        ),
        [f"Third {MARK}"],
    )
    searching = database.value(connection, "SELECT privacy.object_name('search_', %s)", [name])
    assert len(searching.encode()) <= 63
    query = sql.SQL("SELECT id FROM {}(%s)").format(
        database.verbatim(connection, sql.Identifier("app", searching))
    )
    assert connection.execute(query, ["third"]).fetchall() == [(2,)]
    assert connection.execute(query, ["marigold"]).fetchall() == [(1,), (2,)]
    release(connection, None, name)
    rows = connection.execute(
        sql.SQL("SELECT {} FROM {} ORDER BY id").format(sql.Identifier(column), sql.Identifier(name))
    ).fetchall()
    assert rows == [(f"First {MARK}",), (f"Third {MARK}",)]
    assert database.value(connection, "SELECT to_regclass('documents') IS NOT NULL")


# --- Refused -----------------------------------------------------------------------------------------------

NAME = "SELECT privacy.protect('kids', '{name}')"
SEARCH = "SELECT privacy.protect('kids', '{name}', '{name}')"
LOUD = "ALTER TABLE kids ADD loud TEXT GENERATED ALWAYS AS (upper(name)) STORED"
ROTATING = "INSERT INTO privacy.rotations DEFAULT VALUES"
SEEN = "it is no table, but a view"
REFUSED = (
    ("", "SELECT privacy.protect('nowhere', '{a}')", 'relation "nowhere" does not exist'),
    ("", "SELECT privacy.protect('kids', '{nam}')", "table kids has no column 'nam'"),
    ("", "SELECT privacy.protect('kids', '{NULL}')", "has no column NULL"),
    ("", "SELECT privacy.protect('kids', NULL)", "no protected column yet"),
    ("", "SELECT privacy.protect('kids', '{id}')", "column id .* of type uuid"),
    (
        "",
        "SELECT privacy.protect('kids', '{age}')",
        "column age .* of type integer, .* text, varchar, date or jsonb",
    ),
    (
        "",
        "SELECT privacy.protect('kids', '{born}', '{born}')",
        "column born .* only text and varchar can be searched",
    ),
    (
        "",
        "SELECT privacy.protect('kids', '{name}', '{note}')",
        "column note .* not among the columns to protect",
    ),
    ("ALTER TABLE kids ADD name_encrypted BYTEA", NAME, "a column name_encrypted already"),
    ("ALTER TABLE kids ADD name_tokens TEXT", SEARCH, "a column name_tokens"),
    ("ALTER TABLE kids ALTER name SET NOT NULL", NAME, "NOT NULL"),
    ("ALTER TABLE kids ALTER name SET DEFAULT 'x'", NAME, "a default"),
    (LOUD, "SELECT privacy.protect('kids', '{loud}')", "column loud .* generated"),
    (LOUD, NAME, "column loud .* uses it"),
    ("ALTER TABLE kids ADD UNIQUE (name)", NAME, "constraint kids_name_key .* uses it"),
    ("CREATE INDEX ON kids (lower(name))", NAME, "index .*kids_lower_idx uses it"),
    ("ALTER TABLE kids ADD CHECK (name <> '')", NAME, "constraint kids_name_check"),
    ("CREATE STATISTICS dist ON name, note FROM kids", NAME, "statistics object .*dist"),
    ("CREATE MATERIALIZED VIEW copies AS SELECT name FROM kids", NAME, "materialized view .*copies"),
    ("CREATE VIEW app.kids AS SELECT 1 AS one", NAME, "schema app has something else by the name kids"),
    (
        "CREATE FUNCTION app.search_kids(TEXT, INTEGER) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        NAME,
        "a function has the name",
    ),
    ("ALTER TABLE kids RENAME note TO " + "n" * 54, NAME.replace("name", "n" * 54), "54 bytes"),
    ("ALTER TABLE kids DROP CONSTRAINT kids_pkey", NAME, "no primary key of the one column id"),
    ("ALTER TABLE kids ENABLE ROW LEVEL SECURITY", NAME, "row-level security of its own"),
    (
        "CREATE TABLE parts (id UUID PRIMARY KEY, name TEXT) PARTITION BY HASH (id)",
        NAME.replace("kids", "parts"),
        "partitioned",
    ),
    ("CREATE TABLE grandkids () INHERITS (kids)", NAME, "inherits"),
    ("CREATE VIEW seen AS SELECT * FROM kids", NAME.replace("kids", "seen"), SEEN),
    (
        "CREATE SCHEMA team; CREATE TABLE team.kids ()",
        NAME.replace("kids", "team.kids"),
        "not in schema public",
    ),
    ("CREATE TEMPORARY TABLE kids (id UUID PRIMARY KEY, name TEXT)", NAME, "not in schema public"),
    (
        "CREATE ROLE lent; GRANT ALL ON SCHEMA public TO lent; ALTER TABLE kids OWNER TO lent",
        NAME,
        "belongs to lent",
    ),
    ("CREATE ROLE boss SUPERUSER; SET ROLE boss", NAME, "do this as that role"),
    (ROTATING, NAME, "key is being rotated"),
    (NAME, SEARCH, "protected already, without search"),
    (SEARCH, NAME, "protected already, with search"),
    (
        "ALTER TABLE clinicians ADD fax TEXT",
        "SELECT privacy.protect('clinicians', '{fax}', '{fax}')",
        "exports fill it, and search_people",
    ),
    ("", "SELECT privacy.release('kids')", "table kids is not protected"),
    (NAME, "SELECT privacy.release('kids', '{note}')", "column note .* is not protected"),
    (f"{NAME}; {ROTATING}", "SELECT privacy.release('kids')", "the encryption key is being rotated"),
    ("", "SELECT privacy.release('clinicians')", "exports fill table clinicians: name the columns"),
    ("", "SELECT privacy.release('clinicians', '{email}')", "stored in plain as well"),
)


@pytest.mark.parametrize(("before", "attempt", "told"), REFUSED, ids=[told for *_, told in REFUSED])
def test_what_cannot_be_protected_is_refused_by_name(
    connection: Connection, before: str, attempt: str, told: str
) -> None:
    connection.execute(
        "CREATE TABLE kids (id UUID PRIMARY KEY, name TEXT, note TEXT, born DATE, age INTEGER)"
    )
    connection.execute(before.encode() or b"SELECT 1")
    with pytest.raises(psycopg.Error, match=told):
        connection.execute(attempt.encode())
