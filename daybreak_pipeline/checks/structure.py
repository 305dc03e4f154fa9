"""The check that a table is built as its migrations say (the plan, 5.2: changes go through migrations).

The runner notes after each migration what the table is made of (``migrations.objects``); what differs now
was changed by hand.
"""

from __future__ import annotations

from psycopg import sql

from daybreak_pipeline.checks.evidence import Evidence
from daybreak_pipeline.checks.findings import Finding, Tally, Wording, conclude

_DIFFERENCES = """
    WITH noted AS (SELECT * FROM migrations.objects WHERE table_name = %(table)s),
         present AS (SELECT * FROM migrations.current_objects() WHERE table_name = %(table)s)
    SELECT kind, name,
           CASE WHEN noted.name IS NULL THEN 'added' WHEN present.name IS NULL THEN 'dropped' ELSE 'altered' END
    FROM noted FULL JOIN present USING (kind, name)
    WHERE noted.definition IS DISTINCT FROM present.definition ORDER BY kind, name
"""

_NUMBER = "SELECT count(*) FROM migrations.objects WHERE table_name = %s"

_SQL = """SELECT kind, name, o.definition AS migrations_made, c.definition AS there_is
FROM (SELECT * FROM migrations.objects WHERE (table_name, kind, name) = ({table}, {kind}, {name})) o
FULL JOIN (SELECT * FROM migrations.current_objects() WHERE (table_name, kind, name) = ({table}, {kind}, {name})) c
    USING (kind, name)"""


def database_matches_migrations(evidence: Evidence, _: list[Tally]) -> Finding:
    """Judge columns, constraints, indexes, triggers and policies that somebody added, dropped or altered by hand."""
    parameters = {"table": evidence.table}
    differences = evidence.connection.execute(_DIFFERENCES, parameters).fetchall()
    number = evidence.connection.execute(_NUMBER, [evidence.table]).fetchone()
    return conclude(
        Wording(
            "change by hand",
            "changes by hand",
            "the table is as the migrations made it",
            of="columns, constraints, indexes and triggers",
        ),
        evidence.threshold("database_matches_migrations"),
        [
            Tally(
                f"{kind} {name} {how}",
                1,
                sql=_query(evidence, kind, name),
                columns=(name,) if kind == "column" else (),
            )
            for kind, name, how in differences
        ],
        number[0] if number else 0,
    )


def _query(evidence: Evidence, kind: str, name: str) -> str:
    """Return a query for the one object: what migrations made, and what there is."""
    parts = {"table": evidence.table, "kind": kind, "name": name}
    return (
        sql.SQL(_SQL)
        .format(**{place: sql.Literal(value) for place, value in parts.items()})
        .as_string(evidence.connection)
    )
