"""What bounds the roles beside their grants: settings of their own, and what PostgreSQL leaves open to every role.

Every role may change its own settings (``ALTER ROLE … SET``), and no server can forbid it. So nothing that protects
data depends on them (ADR 0005), and whatever a role has set is put back when roles are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.rows import args_row

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_SETTINGS = {
    "daybreak_app": {"idle_in_transaction_session_timeout": "5min", "statement_timeout": "5min"},
    # search_path: analysts name a view as the plan names the table.
    "daybreak_readonly": {
        "idle_in_transaction_session_timeout": "10min",
        "search_path": "reporting",
        "statement_timeout": "30min",
    },
}
"""What each role has in this database, and nothing else. Against forgetting: a session may set its own. The administrators'
role is theirs to set."""

# Of the settings that a role may change itself; what takes a superuser is an administrator's choice.
_DIFFERENCES = """
    WITH roles AS (
        SELECT r.oid, r.rolname::text AS name, me.rolsuper AS for_superuser,
               me.rolsuper OR me.rolcreaterole AND (current_setting('server_version_num')::integer < 160000
                                                    OR pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION')) AS ours
        FROM pg_roles r CROSS JOIN pg_roles me
        WHERE r.rolname = ANY (%(roles)s) AND me.rolname = current_user
    ), wanted AS (
        SELECT w.role, w.name, w.value
        FROM unnest(%(of)s::text[], %(names)s::text[], %(values)s::text[]) AS w (role, name, value)
    ), found AS (
        SELECT r.name AS role, s.setdatabase <> 0 AS here, split_part(line, '=', 1) AS name,
               substr(line, strpos(line, '=') + 1) AS value
        FROM roles r JOIN pg_db_role_setting s ON s.setrole = r.oid, unnest(s.setconfig) AS line
        WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    )
    -- What no extension knows yet, only a superuser can set or take away.
    SELECT f.role, f.name, f.here, true AS was_set, CASE WHEN p.name IS NULL THEN r.for_superuser ELSE r.ours END AS ours
    FROM found f JOIN roles r ON r.name = f.role LEFT JOIN pg_settings p ON p.name = f.name
    WHERE coalesce(p.context, 'user') = 'user'
      AND NOT EXISTS (SELECT FROM wanted w WHERE f.here AND (w.role, w.name, w.value) = (f.role, f.name, f.value))
    UNION ALL
    SELECT w.role, w.name, true, false, r.ours
    FROM wanted w JOIN roles r ON r.name = w.role
    WHERE NOT EXISTS (SELECT FROM found f WHERE f.here AND (f.role, f.name) = (w.role, w.name))
    ORDER BY 1, 2, 3
"""

_LEFT_OPEN = """
    WITH roles AS (SELECT oid, rolname::text AS name FROM pg_roles WHERE rolname = ANY (%(roles)s))
    SELECT string_agg(r.name, ' and ' ORDER BY r.name) || ' may ' || d.what
    FROM roles r CROSS JOIN LATERAL (
        SELECT 1 AS place, 'make large objects, which a superuser can stop' AS what
        WHERE EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
                      AND p.proname ~ '^(lo_.*|loread|lowrite)$' AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
        UNION ALL
        SELECT 2, 'call pg_notify, which a superuser can stop'
        WHERE has_function_privilege(r.oid, 'pg_catalog.pg_notify(text, text)', 'EXECUTE')
        UNION ALL
        SELECT 3, 'write messages into the write-ahead log, which a superuser can stop'
        WHERE EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
                      AND p.proname = 'pg_logical_emit_message' AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
        UNION ALL
        SELECT 4, 'make temporary tables, which the owner of the database can stop'
        WHERE has_database_privilege(r.oid, current_database(), 'TEMPORARY')
        UNION ALL
        SELECT 5, 'enter the database ' || d.datname || ', which its owner can stop'
        FROM pg_database d
        WHERE d.datallowconn AND d.datname <> current_database() AND has_database_privilege(r.oid, d.oid, 'CONNECT')
    ) d
    GROUP BY d.place, d.what ORDER BY d.place, d.what
"""


@dataclass(frozen=True)
class Difference:
    """A setting of a role that is not as it should be. It never holds the value: anything may stand in one.

    ``here`` is whether it is of this database only. ``was_set`` tells one that somebody has set from one that lacks.
    ``ours`` tells whether this login may change it.
    """

    role: str
    name: str
    here: bool
    was_set: bool
    ours: bool


def differences(connection: Connection) -> list[Difference]:
    """Return what the roles' settings lack, and what somebody has set that they should not have."""
    wanted = [(role, name, value) for role, of in _SETTINGS.items() for name, value in of.items()]
    roles, names, values = zip(*wanted, strict=True)
    parameters = {
        "roles": list(_SETTINGS),
        "of": list(roles),
        "names": list(names),
        "values": list(values),
    }
    with connection.cursor(row_factory=args_row(Difference)) as cursor:
        return cursor.execute(_DIFFERENCES, parameters).fetchall()


def put_back(connection: Connection) -> list[str]:
    """Make the roles' settings as they should be, as far as this login may. In the caller's transaction.

    Returns:
        What somebody had set, in words.
    """
    found = [one for one in differences(connection) if one.ours]
    for one in found:
        _change(connection, one)
    return [f"{one.role} had {one.name} set for itself: put back" for one in found if one.was_set]


def tampered(connection: Connection) -> list[str]:
    """Return what somebody has set for a role, in words."""
    return [f"{one.role} has {one.name} set for itself" for one in differences(connection) if one.was_set]


def left_open(connection: Connection) -> list[str]:
    """Return what the application's and the readers' role may do, or lack, because this server did not let us."""
    rows = connection.execute(_LEFT_OPEN, {"roles": list(_SETTINGS)}).fetchall()
    lacking = [
        f"{one.role} has no {one.name} of its own, which who may alter the role can set"
        for one in differences(connection)
        if not one.was_set
    ]
    return [*(str(line) for (line,) in rows), *lacking]


def _change(connection: Connection, one: Difference) -> None:
    """Set one setting as it should be, or take it away."""
    alter = sql.SQL("ALTER ROLE {}").format(sql.Identifier(one.role))
    if one.here:
        alter += sql.SQL(" IN DATABASE {}").format(sql.Identifier(connection.info.dbname))
    name = sql.SQL(".").join(map(sql.Identifier, one.name.split(".")))
    value = _SETTINGS[one.role].get(one.name) if one.here else None
    change = sql.SQL(" RESET {}") if value is None else sql.SQL(" SET {} = {}")
    parts = [name] if value is None else [name, sql.Literal(value)]
    try:
        with connection.transaction():
            connection.execute(alter + change.format(*parts))
    except psycopg.errors.UndefinedObject:
        return  # gone meanwhile, with the extension that knew it
