"""The rules that every table is checked by, as functions of a connection. Nothing here knows Dagster.

A rule looks at the table *and* at what imports could not load because of it: what the database enforces
can never be wrong in the table, but may well be wrong in the export. Counts, columns and row ids are
reported, never values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from psycopg import sql

from daybreak_pipeline.importer.catalog import TableCatalog
from daybreak_pipeline.tables import Reference

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Severity = Literal["ERROR", "WARN"]

SHOWN_ROWS = 20


@dataclass(frozen=True)
class Finding:
    """What one rule found. ``count`` is how many rows and records break it; ``rows`` are some of their ids."""

    summary: str
    count: int
    severity: Severity = "ERROR"
    counts: dict[str, int] = field(default_factory=dict)
    rows: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing breaks the rule."""
        return self.count == 0


@dataclass(frozen=True)
class Rule:
    """A named rule. A blocking one that fails with ERROR keeps what depends on the table from running."""

    name: str
    description: str
    find: Callable[[Connection, TableCatalog], Finding]
    blocking: bool = False


def orphans(connection: Connection, catalog: TableCatalog) -> Finding:
    """Find references that lead nowhere (the plan, 2.3; a kinship is an orphan when either user is missing).

    A record that had to stay out because its parent is missing is an ERROR; a row that is there and points
    nowhere, a WARN: exports are often samples.
    """
    counts: dict[str, int] = {}
    rows: list[str] = []
    for reference in catalog.table.references:
        if not reference.enforced:
            found = _unresolved(connection, catalog, reference)
            counts[reference.column] = (
                len(found) if len(found) < SHOWN_ROWS else _count_unresolved(connection, catalog, reference)
            )
            rows += found
    counts |= {
        f"{column} (loaded as NULL)": n
        for column, n in _open_issues(connection, catalog, "dangling_reference").items()
    }
    refused, refused_rows = _quarantined(connection, catalog, "missing_parent")
    counts |= {f"{column} (quarantined)": n for column, n in refused.items()}
    counts = {name: n for name, n in counts.items() if n}
    return Finding(
        _sentence(
            counts,
            "reference that leads nowhere",
            "references that lead nowhere",
            "every reference leads to a row",
        ),
        sum(counts.values()),
        "ERROR" if refused else "WARN",
        counts,
        tuple((refused_rows + rows)[:SHOWN_ROWS]),
    )


def valid_enums(connection: Connection, catalog: TableCatalog) -> Finding:
    """Find values that a CHECK of the table refuses (the plan, 2.3)."""
    counts: dict[str, int] = {}
    rows: list[str] = []
    for check in catalog.checks:
        condition = sql.SQL("({}) IS FALSE").format(sql.SQL(check.expression))
        number, ids = _matching(connection, catalog, condition)
        counts[f"{', '.join(check.columns)} ({check.name})"] = number
        rows += ids
    return _with_quarantined(
        connection,
        catalog,
        "invalid_enum",
        counts,
        rows,
        "code outside its list",
        "every code is in its list",
    )


def required_values(connection: Connection, catalog: TableCatalog) -> Finding:
    """Find required columns without a value (the plan, 2.3)."""
    required = [column.name for column in catalog.columns if column.required]
    empty = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in required)
    number, rows = _matching(connection, catalog, empty)
    return _with_quarantined(
        connection,
        catalog,
        "missing_required",
        {"in the table": number},
        rows,
        "required value missing",
        "every required value is there",
    )


def valid_json(connection: Connection, catalog: TableCatalog) -> Finding:
    """Find JSONB that came as text (kept as a JSON string), and profiles that are no objects (the plan, 2.3)."""
    came_as_text = sql.SQL(
        "EXISTS (SELECT FROM ingest.field_issues i WHERE i.table_name = {} AND i.column_name = 'profile_data' "
        "AND i.code = 'invalid_json' AND i.resolved_at IS NULL AND i.row_id = {}.id::text)"
    ).format(sql.Literal(catalog.table.name), sql.Identifier(catalog.table.name))
    counts = dict(_open_issues(connection, catalog, "invalid_json"))
    rows: list[str] = []
    if "profile_data" in catalog.by_name:
        number, rows = _matching(
            connection,
            catalog,
            sql.SQL("jsonb_typeof(profile_data) <> 'object' AND NOT {}").format(came_as_text),
        )
        counts["profile_data (not an object)"] = number
    counts = {name: n for name, n in counts.items() if n}
    return Finding(
        _sentence(
            counts,
            "value that is not the JSON it should be",
            "values that are not the JSON they should be",
            "every JSON value is JSON",
        ),
        sum(counts.values()),
        "WARN",
        counts,
        tuple(rows or _issue_rows(connection, catalog, "invalid_json")),
    )


def row_accounting(connection: Connection, catalog: TableCatalog) -> Finding:
    """Prove that every record of the last import ended in exactly one place, and is there.

    One import may have two rows in the ledger: of its file, and of what it tried again from quarantine.
    """
    entries = connection.execute(
        """
        WITH last AS (
            SELECT id, run_id FROM ingest.imports
            WHERE table_name = %(table)s AND status <> 'skipped' ORDER BY id DESC LIMIT 1
        )
        SELECT i.id, i.error, i.rows_inserted + i.rows_updated, i.rows_quarantined,
               i.rows_read - (i.rows_inserted + i.rows_updated + i.rows_unchanged + i.rows_stale + i.rows_duplicate
                              + i.rows_skipped_deleted + i.rows_blank + i.rows_quarantined),
               i.source_sha256 IS NOT NULL
        FROM ingest.imports i, last
        WHERE i.table_name = %(table)s AND i.status <> 'skipped' AND (i.id = last.id OR i.run_id = last.run_id)
        """,
        {"table": catalog.table.name},
    ).fetchall()
    if not entries:
        return Finding("the table was never imported", 1, counts={"imports": 0})
    counts: Counter[str] = Counter()
    for import_id, error, written, quarantined, unaccounted, of_file in entries:
        if error:
            return Finding(f"the last import failed: {error}", 1, counts={"failed imports": 1})
        present, _ = _matching(connection, catalog, sql.SQL("_import_id = {}").format(sql.Literal(import_id)))
        counts["records without a place"] += unaccounted
        counts["rows written and not in the table"] += max(written - present, 0)
        counts["rows in the table and not in the ledger"] += max(present - written, 0)
        if of_file:
            kept = connection.execute(
                "SELECT count(*) FROM ingest.quarantine WHERE import_id = %s AND table_name = %s",
                [import_id, catalog.table.name],
            ).fetchone()
            counts["records refused and not in quarantine"] += abs(quarantined - (kept[0] if kept else 0))
    found = {name: n for name, n in counts.items() if n}
    return Finding(
        _sentence(
            found,
            "record unaccounted for",
            "records unaccounted for",
            "every record of the last import is accounted for",
        ),
        sum(found.values()),
        counts=found,
    )


RULES = (
    Rule("orphans", "Every reference leads to a row.", orphans),
    Rule("valid_enums", "Every coded value is one that the schema lists.", valid_enums),
    Rule("required_values", "Every required column has a value in every record.", required_values),
    Rule("valid_json", "Every JSONB value came as JSON.", valid_json),
    Rule("row_accounting", "Every record read ended in exactly one place.", row_accounting, blocking=True),
)
"""All rules, in the order in which they are shown."""


def _sentence(counts: dict[str, int], one: str, many: str, none: str) -> str:
    total = sum(counts.values())
    if not total:
        return none
    where = "; ".join(f"{name}: {n:,}" for name, n in counts.items())
    return f"{total:,} {one if total == 1 else many} ({where})"


def _with_quarantined(  # noqa: PLR0913, PLR0917 - two callers, one sentence each
    connection: Connection,
    catalog: TableCatalog,
    code: str,
    counts: dict[str, int],
    rows: list[str],
    what: str,
    none: str,
) -> Finding:
    refused, refused_rows = _quarantined(connection, catalog, code)
    counts = counts | {f"{column} (quarantined)": n for column, n in refused.items()}
    counts = {name: n for name, n in counts.items() if n}
    return Finding(
        _sentence(counts, what, what.replace("code", "codes").replace("value", "values"), none),
        sum(counts.values()),
        "ERROR",
        counts,
        tuple((refused_rows + rows)[:SHOWN_ROWS]),
    )


def _matching(
    connection: Connection, catalog: TableCatalog, condition: sql.Composable
) -> tuple[int, list[str]]:
    """Return how many rows of the table meet a condition, and the ids of the first of them."""
    table = sql.Identifier("public", catalog.table.name)
    query = sql.SQL("SELECT count(*), (array_agg(id::text))[1:{}] FROM {} WHERE {}")
    row = connection.execute(query.format(sql.Literal(SHOWN_ROWS), table, condition)).fetchone()
    return (row[0], row[1] or []) if row else (0, [])


def _quarantined(
    connection: Connection, catalog: TableCatalog, code: str
) -> tuple[dict[str, int], list[str]]:
    """Return the open quarantine for one reason: records by column, and the first of their names."""
    counts = connection.execute(
        """
        SELECT coalesce(r.value ->> 'column', 'record'), count(*)
        FROM ingest.quarantine q, jsonb_array_elements(q.reasons) r
        WHERE q.table_name = %s AND q.resolved_at IS NULL AND r.value ->> 'code' = %s GROUP BY 1 ORDER BY 1
        """,
        [catalog.table.name, code],
    ).fetchall()
    rows = connection.execute(
        """
        SELECT coalesce(row_id, 'record ' || record_number) FROM ingest.quarantine
        WHERE table_name = %s AND resolved_at IS NULL AND reasons @> jsonb_build_array(jsonb_build_object('code', %s::text))
        ORDER BY record_number LIMIT %s
        """,
        [catalog.table.name, code, SHOWN_ROWS],
    ).fetchall()
    return dict(counts), [row[0] for row in rows]


def _open_issues(connection: Connection, catalog: TableCatalog, code: str) -> dict[str, int]:
    return dict(
        connection.execute(
            """
            SELECT column_name, count(*) FROM ingest.field_issues
            WHERE table_name = %s AND code = %s AND resolved_at IS NULL GROUP BY 1 ORDER BY 1
            """,
            [catalog.table.name, code],
        ).fetchall()
    )


def _issue_rows(connection: Connection, catalog: TableCatalog, code: str) -> list[str]:
    rows = connection.execute(
        """
        SELECT DISTINCT row_id FROM ingest.field_issues
        WHERE table_name = %s AND code = %s AND resolved_at IS NULL ORDER BY row_id LIMIT %s
        """,
        [catalog.table.name, code, SHOWN_ROWS],
    ).fetchall()
    return [row[0] for row in rows]


def _unresolved(connection: Connection, catalog: TableCatalog, reference: Reference) -> list[str]:
    query = sql.SQL("SELECT t.id::text {} LIMIT {}").format(
        _orphaned(catalog, reference), sql.Literal(SHOWN_ROWS)
    )
    return [row[0] for row in connection.execute(query).fetchall()]


def _count_unresolved(connection: Connection, catalog: TableCatalog, reference: Reference) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) {}").format(_orphaned(catalog, reference))).fetchone()
    return int(row[0]) if row else 0


def _orphaned(catalog: TableCatalog, reference: Reference) -> sql.Composed:
    """Return FROM … WHERE over rows whose reference is in none of the tables it may point at."""
    column = sql.Identifier("t", reference.column)
    if reference.target_column != "id":
        # clinicians.healthie_id is text, the availability's user_id a number: compare as text.
        column_value: sql.Composable = sql.SQL("{}::text").format(column)
    else:
        column_value = column
    absent = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE p.{} = {})").format(
            sql.Identifier("public", name), sql.Identifier(reference.target_column), column_value
        )
        for name in reference.tables
    )
    return sql.SQL("FROM {} t WHERE {} IS NOT NULL AND {}").format(
        sql.Identifier("public", catalog.table.name), column, absent
    )
