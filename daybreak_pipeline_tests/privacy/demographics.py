"""A table that a team adds: what a school tells of a child. What is personal of it is marked by the same few words."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline_tests.conftest import KEY

TABLE = "demographics"
MARK = "Marigold"
"""In every personal value of these tests, and nowhere else."""
CREATE = """
    CREATE TABLE demographics (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        child_id UUID REFERENCES patients_and_guardians,
        legal_name VARCHAR(100),
        guardian_name TEXT COLLATE "C",
        born_on DATE,
        address JSONB,
        remarks TEXT,
        school TEXT,
        grade INTEGER NOT NULL DEFAULT 1,
        taken_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        doubled INTEGER GENERATED ALWAYS AS (grade * 2) STORED
    )
"""
PERSONAL = ["legal_name", "guardian_name", "born_on", "address", "remarks"]
SEARCHED = ["legal_name", "guardian_name"]
CHILD: dict[str, Any] = {
    "legal_name": f"Anne-Marie {MARK}",
    "guardian_name": f"José {MARK}",
    "born_on": "2015-02-28",
    "address": f'{{"street": "{MARK} Road 7"}}',
    "remarks": f"lives with {MARK}s",
}
ANOTHER: dict[str, Any] = CHILD | {"legal_name": f"Bo {MARK}", "guardian_name": None}


def protect(
    owner: Connection, columns: list[str] | None = None, search: list[str] | None = None, table: str = TABLE
) -> None:
    relation = sql.Identifier("public", table).as_string(owner)
    owner.execute(
        "SELECT privacy.protect(%s::regclass, %s::text[], search => %s::text[])",
        [relation, PERSONAL if columns is None else columns, search or []],
    )


def release(owner: Connection, columns: list[str] | None = None, table: str = TABLE) -> None:
    relation = sql.Identifier("public", table).as_string(owner)
    owner.execute("SELECT privacy.release(%s::regclass, %s::text[])", [relation, columns])


def insert(connection: Connection, table: str = TABLE, **values: Any) -> Any:
    """Insert a row and return its id."""
    names = sql.SQL(", ").join(map(sql.Identifier, values))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
        database.verbatim(connection, sql.Identifier("public", table)),
        database.verbatim(connection, names),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )
    return database.value(connection, statement, list(values.values()))


def stored(connection: Connection) -> str:
    """Return all that the table holds, as text."""
    return str(
        database.value(connection, "SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM demographics t")
    )


def shown(connection: Connection, relation: str = "app.demographics") -> list[tuple[Any, ...]]:
    """Return the personal values of every row, as they are read."""
    query = sql.SQL("SELECT {}::text FROM {} ORDER BY legal_name").format(
        sql.SQL("::text, ").join(map(sql.Identifier, PERSONAL)), sql.Identifier(*relation.split("."))
    )
    return connection.execute(query).fetchall()


def structure(connection: Connection, table: str = TABLE) -> list[tuple[Any, ...]]:
    """Return all that the catalog says of a table: columns, constraints, indexes, triggers, policies, grants."""
    return connection.execute(
        """
        SELECT kind, name, definition FROM migrations.current_objects() WHERE table_name = %(table)s
        UNION ALL
        SELECT 'comment or collation', a.attname, concat_ws(' ', col_description(a.attrelid, a.attnum), a.attcollation)
        FROM pg_attribute a WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT DISTINCT 'what depends on it', pg_describe_object(d.classid, d.objid, 0), ''
        FROM pg_depend d
        WHERE pg_describe_object(d.classid, d.objid, 0) NOT LIKE '%% reporting.%%' AND d.refobjid = %(table)s::regclass
          AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
        UNION ALL
        SELECT 'function', p.oid::regprocedure::text, '' FROM pg_proc p
        WHERE p.pronamespace IN ('app'::regnamespace, 'privacy'::regnamespace) AND p.proname LIKE '%%' || %(table)s || '%%'
        ORDER BY 1, 2, 3
        """,
        {"table": table},
    ).fetchall()


def use_key(connection: Connection, key: str = KEY) -> None:
    """Give the transaction the key."""
    connection.execute("SELECT set_config('daybreak.encryption_key', %s, true)", [key])
