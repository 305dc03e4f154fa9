"""Erases one person's values: of a row, its search tokens, quarantine, repaired values, and old values in the audit trail.

The row itself stays, since others refer to it, and so do health data under its id. What is personal of a row is what
the reporting views do not show (ADR 5): sealed columns and their plain ones, tokens, export columns, card numbers, free text;
besides, whatever came as text where JSON should be. Columns that link rows stay. A later import restores nothing: the row counts
as edited now, and
where there is no row a tombstone of now takes its place, so that only a record that its source has changed since is newer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import locks, protected
from daybreak_pipeline.tables import TABLES, Table

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

# The importer's other columns are times and numbers; hash and digest would let who has the key test a guess.
_PERSONAL = """
    SELECT a.attname::text, a.attnotnull FROM pg_attribute a
    WHERE a.attrelid = %(target)s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      AND (a.attname NOT LIKE '\\_%%' OR a.attname IN ('_export_columns_encrypted', '_source_hash', '_record_digest')
           OR a.attname = ANY (%(sealed)s))
      AND a.attname <> ALL (%(links)s)
      AND (a.attname NOT IN (SELECT column_name FROM reporting.columns() WHERE target = %(target)s::regclass)
           OR a.attname IN (SELECT column_name FROM ingest.field_issues
                            WHERE table_name = %(table)s AND row_id = %(id)s AND code = 'invalid_json'))
    ORDER BY a.attnum
"""
_KEPT = """
    SELECT (SELECT count(*) FROM ingest.quarantine WHERE table_name = %(table)s AND row_id = %(id)s),
           (SELECT count(*) FROM ingest.field_issues WHERE table_name = %(table)s AND row_id = %(id)s),
           (SELECT count(*) FROM audit.changes WHERE table_name = ANY (%(called)s) AND row_id = %(id)s)
"""
# A table that was renamed (released, renamed and protected again) has old values under the name that it had then.
_CALLED = """
    SELECT DISTINCT table_name FROM audit.changes
    WHERE row_id = %(id)s AND to_regclass(format('public.%%I', table_name)) IS NULL
"""
# The triggers of the trail stand aside for a rotation, and so does its guard against changes: of old values alone.
_ASIDE = "SELECT set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)"
_NOT_ASIDE = "SELECT set_config('daybreak.rotation_xid', '', true)"
_QUARANTINE = """
    UPDATE ingest.quarantine SET record_encrypted = privacy.seal('{}', privacy.required_key('seal'),
               privacy.tag('ingest.quarantine', 'record_encrypted')),
           resolved_at = coalesce(resolved_at, now()), resolution = coalesce(resolution, 'erased')
    WHERE table_name = %(table)s AND row_id = %(id)s
"""
# What was kept of a reference is an id of the right form, which a later import may still need.
_ISSUES = """
    UPDATE ingest.field_issues SET value_encrypted = privacy.seal('', privacy.required_key('seal'),
               privacy.tag('ingest.field_issues', 'value_encrypted')),
           resolved_at = coalesce(resolved_at, now())
    WHERE table_name = %(table)s AND row_id = %(id)s AND code <> 'dangling_reference'
"""
# What does not open any more goes as a whole, and so does what was in a column that the table has no more, or not by that name.
_OLD_VALUES = """
    UPDATE audit.changes c SET before_encrypted = privacy.seal(coalesce(CASE
               WHEN jsonb_typeof(o.kept -> 'profile_data') = 'object'
               THEN jsonb_set(o.kept, '{profile_data}', (o.kept -> 'profile_data') - 'export_columns')
               ELSE o.kept END, '{}')::text, privacy.required_key('seal'),
               privacy.tag('audit.changes', 'before_encrypted'))
    FROM (SELECT changed_at, id,
                 (SELECT jsonb_object_agg(e.key, e.value)
                  FROM jsonb_each(privacy.as_object(privacy.unseal(before_encrypted, privacy.required_key('seal'),
                           privacy.tag('audit.changes', 'before_encrypted')))) e
                  WHERE e.key = ANY (%(kept)s)) AS kept
          FROM audit.changes
          WHERE table_name = ANY (%(called)s) AND row_id = %(id)s AND before_encrypted IS NOT NULL OFFSET 0) o
    WHERE c.changed_at = o.changed_at AND c.id = o.id
"""
# Who was found by a search was most likely searched for by name.
_SEARCHES = """
    UPDATE audit.changes search SET before_encrypted = privacy.seal('{}', privacy.required_key('seal'),
               privacy.tag('audit.changes', 'before_encrypted'))
    FROM audit.changes found
    WHERE found.table_name = ANY (%(called)s) AND found.row_id = %(id)s AND found.reading = search.reading
      AND search.transaction_id = found.transaction_id AND search.rows_read IS NOT NULL
      AND search.changed_at BETWEEN found.changed_at - interval '1 minute' AND found.changed_at
      AND search.before_encrypted IS NOT NULL
"""
# Rows that name a person as theirs, also those that only quarantine has, or that an application has deleted.
_ABOUT = """
    SELECT row_id FROM (
        SELECT id::text AS row_id, {column}::text AS person FROM {table}
        UNION ALL
        SELECT row_id, privacy.as_object(privacy.unseal(record_encrypted, privacy.required_key('seal'),
                           privacy.tag('ingest.quarantine', 'record_encrypted'))) ->> {name}
        FROM ingest.quarantine WHERE table_name = %(table)s
        UNION ALL
        SELECT row_id, privacy.as_object(privacy.unseal(before_encrypted, privacy.required_key('seal'),
                           privacy.tag('audit.changes', 'before_encrypted'))) ->> {name}
        FROM audit.changes WHERE table_name = %(table)s AND action = 'DELETE'
    ) about
    WHERE row_id IS NOT NULL
      AND coalesce(ingest.try_cast(person, NULL::uuid)::text, person)
          = coalesce(ingest.try_cast(%(id)s::text, NULL::uuid)::text, %(id)s)
    GROUP BY row_id ORDER BY row_id
"""
_BURY = """
    INSERT INTO ingest.tombstones (table_name, row_id, source_updated_at, tx_commit_time, fivetran_synced)
    VALUES (%(table)s, %(id)s, clock_timestamp(), clock_timestamp(), clock_timestamp())
"""
_LINE = """
    INSERT INTO audit.changes (table_name, action, row_id, changed_columns)
    VALUES (%(table)s, 'ERASURE', %(id)s, %(columns)s)
"""


@dataclass(frozen=True)
class Person:
    """What is kept of one row: its id as the database writes it, whether the row is there, and how much is elsewhere.

    ``columns`` are those of the row that hold a personal value, by their plain names.
    """

    table: str
    row_id: str
    is_row: bool
    columns: Sequence[str]
    quarantined: int
    issues: int
    changes: int


@dataclass(frozen=True)
class Erased:
    """How much was erased. ``coverages`` are rows of other tables with personal values that name this row as theirs."""

    columns: Sequence[str]
    quarantined: int
    issues: int
    changes: int
    coverages: Sequence[tuple[str, str]]


def find(connection: Connection, table: str, row_id: str) -> Person:
    """Return what is kept of a row.

    Raises:
        UsageError: nothing is, or the key is not the database's.
    """
    with connection.transaction():
        keys.verify(connection)
        return _find(connection, table, row_id)


def erase(
    connection: Connection, table: str, row_id: str, tell: Callable[[str], None] = lambda _text: None
) -> Erased:
    """Erase the personal values of a row wherever they are, in one transaction.

    Args:
        connection: of the tables' owner, with the key and no transaction open.
        table: one of the plan's tables, or a protected one of an application.
        row_id: the row's id; the row may be gone.
        tell: called while an import or a rotation has to be waited for.

    Raises:
        UsageError: nothing is kept of such a row, or the key is not the database's.
        LockedError: an import of the table takes too long.
    """
    with connection.transaction():
        keys.hold(connection, tell)
        locks.take(connection, f"import {table}", tell=tell)
        person = _find(connection, table, row_id)
        parameters: dict[str, object] = {"table": table, "id": person.row_id}
        personal = _personal(connection, person)
        connection.execute(_ASIDE)
        if person.is_row:
            _clear(connection, person, personal)
        elif table in TABLES:  # an application's rows come from no file
            connection.execute(
                "DELETE FROM ingest.tombstones WHERE table_name = %(table)s AND row_id = %(id)s", parameters
            )
            connection.execute(_BURY, parameters)
        quarantined = connection.execute(_QUARANTINE, parameters).rowcount
        issues = connection.execute(_ISSUES, parameters).rowcount
        parameters["called"] = _called(connection, person)
        catalog = catalogs.read(connection, table)
        kept = sorted({*catalog.by_name, *catalog.technical} - personal.keys())
        changes = connection.execute(_OLD_VALUES, parameters | {"kept": kept}).rowcount
        changes += connection.execute(_SEARCHES, parameters).rowcount
        connection.execute(_NOT_ASIDE)
        connection.execute(_LINE, parameters | {"columns": list(person.columns) if person.is_row else None})
        return Erased(person.columns, quarantined, issues, changes, _coverages(connection, person))


def _find(connection: Connection, table: str, row_id: str) -> Person:
    kind = sql.SQL(catalogs.read(connection, table).id_type)
    own = database.value(
        connection, sql.SQL("SELECT ingest.try_cast(%s::text, NULL::{})::text").format(kind), [row_id.strip()]
    )
    person = Person(table, own or row_id, False, (), 0, 0, 0)
    row = connection.execute(
        sql.SQL(
            "SELECT to_jsonb(t) FROM {} t WHERE t.id = ingest.try_cast(%s::text, NULL::{}) FOR UPDATE"
        ).format(database.verbatim(connection, sql.Identifier("public", table)), kind),
        [person.row_id],
    ).fetchone()
    parameters: dict[str, object] = {"table": table, "id": person.row_id}
    parameters["called"] = _called(connection, person)
    quarantined, issues, changes = connection.execute(_KEPT, parameters).fetchone() or (0, 0, 0)
    if not row and not quarantined + issues + changes:
        msg = f"{table} has no row {row_id}, and nothing is kept of one: see daybreak trace"
        raise UsageError(msg)
    values = row[0] if row else {}
    named = {
        name.removesuffix("_encrypted")
        for name in _personal(connection, person)
        if values.get(name) is not None and name not in {"_source_hash", "_record_digest"}
    }
    if isinstance(values.get("profile_data"), dict) and "export_columns" in values["profile_data"]:
        named.add("profile_data")
    return Person(table, person.row_id, bool(row), sorted(named), quarantined, issues, changes)


def _called(connection: Connection, person: Person) -> list[str]:
    """Return the names by which the audit trail may know the row's table: of a UUID, those of tables that are gone, too."""
    if person.table in TABLES or catalogs.read(connection, person.table).id_type != "uuid":
        return [person.table]  # the plan's are never renamed, and a number is that of many rows
    return [person.table, *(name for (name,) in connection.execute(_CALLED, {"id": person.row_id}))]


def _personal(connection: Connection, person: Person) -> dict[str, bool]:
    """Return the columns of the row that are erased, and whether each needs a value."""
    table = protected.table(connection, person.table)
    parameters = {
        "target": sql.Identifier("public", table.name).as_string(connection),
        "table": person.table,
        "id": person.row_id,
        "links": _links(table),
        "sealed": [f"{name}{end}" for name in table.sealed_columns for end in ("", "_encrypted")],
    }
    return dict(connection.execute(_PERSONAL.encode(), parameters).fetchall())


def _links(table: Table) -> list[str]:
    """Return the columns that hold rows together: references of this table, and what other tables refer to in it."""
    own = [reference.column for reference in table.references]
    pointed_at = [
        r.target_column for other in TABLES.values() for r in other.references if table.name in r.tables
    ]
    return sorted({*own, *pointed_at})


def _clear(connection: Connection, person: Person, personal: dict[str, bool]) -> None:
    """Empty the row's personal columns, and its profile of what the export had and the schema has not."""
    catalog = catalogs.read(connection, person.table)
    changes: list[sql.Composable] = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.SQL("'{}'") if required else sql.NULL)
        for name, required in personal.items()
    ]
    if "profile_data" in catalog.by_name and "profile_data" not in personal:
        changes.append(
            sql.SQL(
                "profile_data = CASE WHEN jsonb_typeof(profile_data) = 'object' "
                "THEN profile_data - 'export_columns' ELSE profile_data END"
            )
        )
    connection.execute(
        sql.SQL("UPDATE {} SET {} WHERE id = {}::{}").format(
            sql.Identifier("public", person.table),
            sql.SQL(", ").join(changes or [sql.SQL("id = id")]),
            sql.Literal(person.row_id),
            sql.SQL(catalog.id_type),
        )
    )


def _coverages(connection: Connection, person: Person) -> list[tuple[str, str]]:
    """Return table and id of the rows with personal values of their own that are about this one."""
    found: list[tuple[str, str]] = []
    for other, columns in _about(connection, person.table):
        for column in columns:
            parts = {
                "column": sql.Identifier(column),
                "name": sql.Literal(column),
                "table": sql.Identifier("public", other),
            }
            query = sql.SQL(_ABOUT).format(
                **{name: database.verbatim(connection, part) for name, part in parts.items()}
            )
            rows = connection.execute(query, {"table": other, "id": person.row_id})
            found += [(other, row_id) for (row_id,) in rows]
    return found


def _about(connection: Connection, table: str) -> list[tuple[str, list[str]]]:
    """Return the tables with personal values of their own whose rows are about one of this table, and by which columns."""
    planned = [
        (other.name, [r.column for r in other.references if r.column == "user_id" and table in r.tables])
        for other in TABLES.values()
        if other.sealed_columns
    ]
    applications = [protected.table(connection, name) for name in protected.of_applications(connection)]
    return planned + [
        (
            other.name,
            [r.column for r in other.references if r.target_column == "id" and table in r.tables],
        )
        for other in applications
    ]
