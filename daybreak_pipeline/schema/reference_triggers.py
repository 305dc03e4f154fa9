"""What enforces a reference without a foreign key: the SQL of its triggers and their functions, made from ``tables.py``.

Each reference has two functions in schema ``integrity``. One looks, when a transaction commits, whether a row that was
written refers to one that is there; the other whether anybody refers to a row that was deleted. They are written out for
their tables, because PL/pgSQL keeps the plans of statements that do not change, and one row costs a few microseconds.

A row that is found is locked FOR KEY SHARE, as PostgreSQL's own foreign keys do, so that nobody deletes it until the
transaction ends; where another column than the id is referred to, FOR SHARE, so that nobody changes that either. The
triggers' conditions are looked at when a row is written, not at the commit: what an import writes is not even noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.tables import CLINICIANS, DELETED_FLAG, PATIENTS, Reference

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

SCHEMA = "integrity"
ASK = {
    ((PATIENTS,), "id"): "app.patient_exists",
    ((PATIENTS, CLINICIANS), "id"): "app.person_exists",
    ((CLINICIANS,), "healthie_id"): "app.clinician_number_exists",
}
"""The function that an application asks first, by kind of reference: where it leads, and to which column."""

# A setting is no authority: anybody can set one. The right to let others make triggers is the owner's (migration 023).
_BY_AN_APPLICATION = "NOT has_table_privilege({table}::regclass, 'TRIGGER WITH GRANT OPTION')"
_CHILD_TRIGGER = """
    CREATE CONSTRAINT TRIGGER {name} AFTER INSERT OR UPDATE OF id, {column} ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.{column} IS NOT NULL AND {by_an_application}) EXECUTE FUNCTION {function}()
"""
_DELETE_TRIGGER = """
    CREATE CONSTRAINT TRIGGER {name} AFTER DELETE ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.{target} IS NOT NULL AND {by_an_application}) EXECUTE FUNCTION {function}()
"""
_UPDATE_TRIGGER = """
    CREATE CONSTRAINT TRIGGER {name} AFTER UPDATE OF {target}, {flag} ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.{target} IS NOT NULL AND (OLD.{target} IS DISTINCT FROM NEW.{target}
                                                     OR NEW.{flag} AND OLD.{flag} IS NOT TRUE) AND {by_an_application})
    EXECUTE FUNCTION {function}()
"""
# Runs as the owner: whether a row is there does not depend on what the client may see. Without reading whole tables, also
# where a plan was made when the table was small, or where few values are in many rows.
_FUNCTION = """
    CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS {body}
"""
_CHILD_BODY = """
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.{column} = NEW.{column} AND OLD.id = NEW.id THEN
        RETURN NULL;
    END IF;
    {find_live}
    -- The same transaction may have changed the row since, or deleted it.
    PERFORM FROM {child} c WHERE c.id = NEW.id AND c.{column} = NEW.{column};
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
        SCHEMA = {schema}, TABLE = {child_name}, COLUMN = {column_name}, CONSTRAINT = TG_NAME,
        MESSAGE = {label} || ' refers to ' || NEW.{column} || CASE WHEN {is_there} THEN {deleted} ELSE {missing} END,
        HINT = {hint};
END
"""
_PARENT_BODY = """
DECLARE
    gone BOOLEAN := TG_OP = 'DELETE' OR OLD.{target} IS DISTINCT FROM NEW.{target};
    sought {child}.{column}%TYPE;
    child TEXT;
BEGIN
    {find_same}
    sought := {sought};
    SELECT c.id::text INTO child FROM {child} c WHERE {refers} AND (gone OR {child_is_live}) LIMIT 1;
    IF child IS NULL THEN
        IF gone AND {refuses} AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
            -- This transaction would not see a row that was written since it began.
            RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
                MESSAGE = 'whether ' || {label} || ' refers to row ' || OLD.id || ' of ' || TG_TABLE_NAME
                          || ' cannot be known in a transaction of this isolation level',
                HINT = 'Delete it in a transaction at READ COMMITTED.';
        END IF;
        RETURN NULL;
    ELSIF gone AND {refuses} THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            SCHEMA = {schema}, TABLE = {child_name}, COLUMN = {column_name}, CONSTRAINT = TG_NAME,
            MESSAGE = 'row ' || OLD.id || ' of ' || TG_TABLE_NAME
                      || CASE TG_OP WHEN 'DELETE' THEN ' cannot be deleted: ' ELSE {keeps} END
                      || {label} || ' of row ' || child || ' refers to it',
            HINT = 'Delete or change what refers to it first, or in the same transaction.';
    END IF;
    RAISE WARNING USING ERRCODE = '01000',
        SCHEMA = {schema}, TABLE = {child_name}, COLUMN = {column_name}, CONSTRAINT = TG_NAME,
        MESSAGE = 'row ' || OLD.id || ' of ' || TG_TABLE_NAME
                  || CASE WHEN NOT gone THEN ' is marked as deleted: ' WHEN TG_OP = 'DELETE' THEN ' is deleted: '
                          ELSE {has_another} END
                  || {label} || ' of row ' || child || ' still refers to it';
    RETURN NULL;
END
"""
_FIND = """
    PERFORM FROM {parent} p WHERE p.{target} = {value} AND {condition} LIMIT 1 FOR {lock};
    IF FOUND THEN
        RETURN NULL;
    END IF;
"""


@dataclass(frozen=True)
class Function:
    """A function of triggers. ``body`` is what the server keeps of it (``pg_proc.prosrc``)."""

    name: str
    body: str
    comment: str

    def create(self) -> sql.Composed:
        """Return the statement that makes it, or replaces it."""
        return sql.SQL(_FUNCTION).format(
            function=sql.Identifier(SCHEMA, self.name), body=sql.Literal(self.body)
        )


@dataclass(frozen=True)
class Trigger:
    """A trigger: its table, its function by name, and the statement that makes it."""

    name: str
    table: str
    function: str
    create: sql.Composed
    comment: str


@dataclass(frozen=True)
class Enforcement:
    """All that enforces one reference."""

    functions: tuple[Function, ...]
    triggers: tuple[Trigger, ...]


def enforcement(connection: Connection, table: str, reference: Reference) -> Enforcement:
    """Return what enforces a reference of a table.

    Args:
        connection: of the tables' owner; the catalog says which rows are deleted.
        table: the table with the column.
        reference: one without a foreign key.
    """
    live = {name: _live(connection, name) for name in (table, *reference.tables)}
    label = f"{table}.{reference.column}"
    leads_to = " or ".join(reference.tables)
    if reference.target_column != "id":
        leads_to += f" ({reference.target_column})"
    checks = Function(
        f"check_{table}_{reference.column}",
        _text(_child_body(table, reference, live)),
        f"Refuses a row whose {label} leads to no row of {leads_to}, or to one that is deleted.",
    )
    keeps = Function(
        f"keep_{table}_{reference.column}",
        _text(_parent_body(table, reference, live)),
        f"Looks whether {label} refers to a row that was deleted: that is {reference.deletion}.",
    )
    own = Trigger(
        f"reference_{reference.column}",
        table,
        checks.name,
        _trigger(_CHILD_TRIGGER, f"reference_{reference.column}", table, checks, reference),
        f"At the commit: {label} leads to a row of {leads_to}. Not for the owner of the table, such as an import.",
    )
    others = [
        Trigger(
            f"{kept}_{table}_{reference.column}",
            parent,
            keeps.name,
            _trigger(statement, f"{kept}_{table}_{reference.column}", parent, keeps, reference),
            f"At the commit: {label} refers to no row that is {what}. Not for the owner of the table.",
        )
        for parent in reference.tables
        for kept, statement, what in (
            ("kept_for", _DELETE_TRIGGER, "deleted"),
            ("same_for", _UPDATE_TRIGGER, f"given another {reference.target_column}, or marked as deleted"),
        )
    ]
    return Enforcement((checks, keeps), (own, *others))


def _trigger(
    statement: LiteralString, name: str, table: str, function: Function, reference: Reference
) -> sql.Composed:
    qualified = sql.Identifier("public", table)
    return sql.SQL(statement).format(
        name=sql.Identifier(name),
        table=qualified,
        column=sql.Identifier(reference.column),
        target=sql.Identifier(reference.target_column),
        flag=sql.Identifier(DELETED_FLAG),
        function=sql.Identifier(SCHEMA, function.name),
        by_an_application=sql.SQL(_BY_AN_APPLICATION).format(table=sql.Literal(f"public.{table}")),
    )


def _child_body(table: str, reference: Reference, live: dict[str, sql.SQL]) -> sql.Composed:
    value = as_target(reference, sql.SQL("NEW.{}").format(sql.Identifier(reference.column)))
    named = f"row of {' or '.join(reference.tables)}"
    ask = ASK[reference.tables, reference.target_column]
    is_there = sql.SQL(" OR ").join(
        sql.SQL("EXISTS (SELECT FROM {} p WHERE p.{} = {})").format(
            sql.Identifier("public", parent), sql.Identifier(reference.target_column), value
        )
        for parent in reference.tables
    )
    return sql.SQL(_CHILD_BODY).format(
        **_names(table, reference),
        find_live=_finds(reference, value, live),
        is_there=is_there,
        deleted=sql.Literal(f", but the {named} with that {reference.target_column} is marked as deleted"),
        missing=sql.Literal(f", but no {named} has that {reference.target_column}"),
        hint=sql.Literal(
            f"Write the row that it refers to first, or in the same transaction. SELECT {ask}(…) tells beforehand."
        ),
    )


def _parent_body(table: str, reference: Reference, live: dict[str, sql.SQL]) -> sql.Composed:
    target = reference.target_column
    value = sql.SQL("OLD.{}").format(sql.Identifier(target))
    column = sql.SQL("c.{}").format(sql.Identifier(reference.column))
    anything = {parent: sql.SQL("(gone OR {})").format(live[parent]) for parent in reference.tables}
    same_type = target == "id"
    return sql.SQL(_PARENT_BODY).format(
        **_names(table, reference),
        find_same=_finds(reference, value, anything),
        sought=value if same_type else sql.SQL("ingest.try_cast({}, sought)").format(value),
        refers=sql.SQL("{} = sought").format(column)
        if same_type
        else sql.SQL("{0} = sought AND {0}::text = {1}").format(column, value),
        child_is_live=live[table],
        refuses=sql.Literal(reference.deletion == "refused"),
        keeps=sql.Literal(f" must keep its {target}: "),
        has_another=sql.Literal(f" has another {target}: "),
    )


def _finds(
    reference: Reference, value: sql.Composable, conditions: Mapping[str, sql.Composable]
) -> sql.Composed:
    """Return what ends the function when a row with the value is there, in any table that it may be in.

    Changing a column that is no key would not keep out who locks the row FOR KEY SHARE.
    """
    lock = sql.SQL("KEY SHARE" if reference.target_column == "id" else "SHARE")
    return sql.SQL("").join(
        sql.SQL(_FIND).format(
            parent=sql.Identifier("public", parent),
            target=sql.Identifier(reference.target_column),
            value=value,
            condition=conditions[parent],
            lock=lock,
        )
        for parent in reference.tables
    )


def _names(table: str, reference: Reference) -> dict[str, sql.Composable]:
    return {
        "child": sql.Identifier("public", table),
        "column": sql.Identifier(reference.column),
        "target": sql.Identifier(reference.target_column),
        "schema": sql.Literal("public"),
        "child_name": sql.Literal(table),
        "column_name": sql.Literal(reference.column),
        "label": sql.Literal(f"{table}.{reference.column}"),
    }


def as_target(reference: Reference, column: sql.Composable) -> sql.Composable:
    """Return a referring column as what it is compared with: clinicians.healthie_id is text, what refers to it a number."""
    return column if reference.target_column == "id" else sql.SQL("{}::text").format(column)


def nowhere(reference: Reference, alias: str = "t") -> sql.Composed:
    """Return the condition that a row's reference is set, and in none of the tables that it may point at."""
    column = sql.Identifier(alias, reference.column)
    return sql.SQL(" AND ").join(
        [
            sql.SQL("{} IS NOT NULL").format(column),
            *(
                sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE p.{} = {})").format(
                    sql.Identifier("public", name),
                    sql.Identifier(reference.target_column),
                    as_target(reference, column),
                )
                for name in reference.tables
            ),
        ]
    )


def _live(connection: Connection, table: str) -> sql.SQL:
    """Return the condition that a row of a table is not deleted."""
    query = "SELECT coalesce(reporting.live_rows(%s::regclass), 'true')"
    return sql.SQL(database.value(connection, query, [f"public.{table}"]))


def _text(body: sql.Composed) -> str:
    """Return the text of a function's body, whatever connection it is made for."""
    return body.as_string(None)
