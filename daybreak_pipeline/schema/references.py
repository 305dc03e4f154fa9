"""References without a foreign key, enforced for applications or not, and what they lead to (``daybreak references``).

Off by default: exports are often samples, whose rows refer to others that they do not have. What is enforced is in the
catalog alone, as triggers (``reference_triggers``). Rows that lead nowhere already stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import locks, reference_triggers
from daybreak_pipeline.schema.reference_triggers import ASK, SCHEMA, Enforcement
from daybreak_pipeline.tables import TABLES, Reference

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

Enforced = Literal["yes", "no", "partly"]

# As they should be: switched on, at their commit, and with the function's text as this program has it.
_TRIGGERS = """
    SELECT c.relname::text, t.tgname::text, f.proname::text, f.prosrc, t.tgenabled IN ('O', 'A') AND t.tginitdeferred
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc f ON f.oid = t.tgfoid
    WHERE c.relnamespace = 'public'::regnamespace AND f.pronamespace = to_regnamespace(%s)
"""
_INDEXED = """
    SELECT EXISTS (
        SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
        WHERE i.indrelid = %s::regclass AND a.attname = %s AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree')
"""


@dataclass(frozen=True)
class State:
    """A reference as it is now.

    ``enforced`` is ``partly`` where triggers are missing, switched off, or of another version. ``deletion`` says what
    becomes of deleting a row that is referred to, once enforced. ``ask`` is the function that tells an application
    beforehand. ``orphans`` are rows that lead nowhere. ``unindexed`` are columns without an index that the triggers need.
    """

    table: str
    column: str
    leads_to: tuple[str, ...]
    target_column: str
    enforced: Enforced
    deletion: str
    ask: str
    orphans: int
    unindexed: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)


def tables() -> tuple[str, ...]:
    """Return the tables that have references without a foreign key."""
    return tuple(name for name, table in TABLES.items() if table.application_references)


def enforce(
    connection: Connection, names: Iterable[str], *, tell: Callable[[str], None] = lambda _text: None
) -> list[State]:
    """Have the references of tables enforced for applications from now on, and return them as they are then.

    Args:
        connection: of the tables' owner, with no transaction open.
        names: the tables.
        tell: called while a table that is in use has to be waited for.

    Raises:
        UsageError: a table has no such reference.
        LockedError: a table is in use for too long.
    """
    return _changed(connection, names, tell, _make)


def release(
    connection: Connection, names: Iterable[str], *, tell: Callable[[str], None] = lambda _text: None
) -> list[State]:
    """Enforce the references of tables no longer, and return them as they are then. Args and errors as ``enforce``."""
    return _changed(connection, names, tell, _drop_functions)


def _changed(
    connection: Connection,
    names: Iterable[str],
    tell: Callable[[str], None],
    change: Callable[[Connection, Enforcement], None],
) -> list[State]:
    """Change what enforces the references of tables, from none on, and return them as they are then."""
    chosen = _known(names)
    for name in chosen:
        with connection.transaction():
            enforcements = _enforcements(connection, name)
            _lock(connection, name, enforcements, tell)
            for made in enforcements:
                _drop_triggers(connection, made)
                change(connection, made)
    # What was there before is counted when nobody waits for it. What came since has been looked at.
    return states(connection, chosen)


def _drop_functions(connection: Connection, made: Enforcement) -> None:
    for function in made.functions:
        connection.execute(
            sql.SQL("DROP FUNCTION IF EXISTS {}()").format(sql.Identifier(SCHEMA, function.name))
        )


def states(connection: Connection, names: Iterable[str] = ()) -> list[State]:
    """Return the references of tables as they are, of all tables if none is named. Reads each table once a reference.

    Raises:
        UsageError: a table has no such reference.
    """
    with connection.transaction():
        present = _present(connection)
        return [
            _state(connection, name, reference, present)
            for name in _known(names) or tables()
            for reference in TABLES[name].application_references
        ]


def _present(connection: Connection) -> dict[tuple[str, str], tuple[str, str, bool]]:
    """Return the triggers that there are, by table and name: function, its text, and whether it is as it should be."""
    return {
        (table, trigger): (function, body, works)
        for table, trigger, function, body, works in connection.execute(_TRIGGERS, [SCHEMA])
    }


def _known(names: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in tables():
            msg = (
                f"{name} has no reference that applications answer for: PostgreSQL's foreign keys hold all that it has. "
                f"Tables with such references: {', '.join(tables())}"
            )
            raise UsageError(msg)
    return chosen


def _enforcements(connection: Connection, name: str) -> list[Enforcement]:
    return [
        reference_triggers.enforcement(connection, name, reference)
        for reference in TABLES[name].application_references
    ]


def _lock(
    connection: Connection, name: str, enforcements: Sequence[Enforcement], tell: Callable[[str], None]
) -> None:
    """Keep writers out of a table and of those that it refers to; readers too where there are triggers to drop."""
    triggers = {(one.table, one.name) for made in enforcements for one in made.triggers}
    involved = sorted({name, *(table for table, _trigger in triggers)})
    readers_too = not triggers.isdisjoint(_present(connection))
    locks.take_tables_alone(connection, involved, readers_too=readers_too, tell=tell)


def _drop_triggers(connection: Connection, made: Enforcement) -> None:
    for trigger in made.triggers:
        connection.execute(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
                sql.Identifier(trigger.name), sql.Identifier("public", trigger.table)
            )
        )


def _make(connection: Connection, made: Enforcement) -> None:
    owner = database.value(
        connection, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = %s", [SCHEMA]
    )
    for function in made.functions:
        name = sql.Identifier(SCHEMA, function.name)
        connection.execute(function.create())
        for statement in (
            sql.SQL("ALTER FUNCTION {}() OWNER TO {}").format(name, sql.SQL(owner)),
            sql.SQL("REVOKE ALL ON FUNCTION {}() FROM PUBLIC").format(name),
            sql.SQL("COMMENT ON FUNCTION {}() IS {}").format(name, sql.Literal(function.comment)),
        ):
            connection.execute(statement)
    for trigger in made.triggers:
        connection.execute(trigger.create)
        connection.execute(
            sql.SQL("COMMENT ON TRIGGER {} ON {} IS {}").format(
                sql.Identifier(trigger.name),
                sql.Identifier("public", trigger.table),
                sql.Literal(trigger.comment),
            )
        )


def _state(
    connection: Connection,
    table: str,
    reference: Reference,
    present: dict[tuple[str, str], tuple[str, str, bool]],
) -> State:
    made = reference_triggers.enforcement(connection, table, reference)
    bodies = {function.name: function.body for function in made.functions}
    wanted = {(one.table, one.name): (one.function, bodies[one.function], True) for one in made.triggers}
    found = {key: present[key] for key in wanted if key in present}
    indexed = [(table, reference.column), *((name, reference.target_column) for name in reference.tables)]
    return State(
        table=table,
        column=reference.column,
        leads_to=reference.tables,
        target_column=reference.target_column,
        enforced="yes" if found == wanted else "partly" if found else "no",
        deletion=reference.deletion,
        ask=ASK[reference.tables, reference.target_column],
        orphans=int(
            database.value(
                connection,
                sql.SQL("SELECT count(*) FROM {} t WHERE {}").format(
                    sql.Identifier("public", table), reference_triggers.nowhere(reference)
                ),
            )
        ),
        unindexed=tuple(
            f"{name}.{column}"
            for name, column in indexed
            if not database.value(connection, _INDEXED, [f"public.{name}", column])
        ),
    )
