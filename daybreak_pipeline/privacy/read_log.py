"""Reads of the decrypting views by anybody's SQL, in the server's log: the extension pgaudit, where the server has it.

What Daybreak's own commands and ``search_people`` read is in the audit trail (``privacy.audit``). A SELECT has no
trigger, so all else is the server's to record. pgaudit logs every read of an object that the role in its setting
``pgaudit.role`` holds a privilege on: that role is ours, and nobody is a member of it or logs in as it.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.errors import UsageError

AUDITOR = "daybreak_auditor"
INSTALL = "install pgaudit (Debian: postgresql-15-pgaudit), add it to shared_preload_libraries and restart the server"
_SETTINGS = {
    "pgaudit.role": AUDITOR,
    # The text of a statement, and its parameters, can be a name or a key.
    "pgaudit.log_statement": "off",
    "pgaudit.log_parameter": "off",
}
_STATE = """
    SELECT (SELECT count(*) FROM pg_settings WHERE name = ANY (%(names)s)) = cardinality(%(names)s) AS loaded,
           EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                   WHERE d.datname = current_database() AND s.setrole = 0 AND s.setconfig @> %(lines)s) AS is_on,
           ARRAY(SELECT c.oid::regclass::text FROM pg_class c
                 WHERE (c.relnamespace = to_regnamespace('app') OR c.oid = to_regclass('public.users')) AND c.relkind = 'v'
                   AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                                   WHERE r.rolname = %(auditor)s AND a.privilege_type = 'SELECT')
                 ORDER BY 1) AS missing,
           current_setting('log_line_prefix') ~ '%%u' AS names_users
"""
_VIEWS = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (n.nspname = 'app' OR (n.nspname, c.relname) = ('public', 'users')) AND c.relkind = 'v' ORDER BY 1, 2
"""


@dataclass(frozen=True)
class State:
    """Whether reads of the views go into the server's log.

    ``loaded``: pgaudit is there, with all the settings that it takes. ``is_on``: this database asks for it. ``missing``:
    the views whose reads are not logged even then. ``names_users``: the log says who.
    """

    loaded: bool
    is_on: bool
    missing: list[str]
    names_users: bool

    @property
    def good(self) -> bool:
        """Whether what has been asked for is done; where nothing has, nothing is wrong."""
        return not self.is_on or (self.loaded and not self.missing and self.names_users)

    def describe(self) -> str:
        """Return the state in words, with what to do."""
        if not self.is_on:
            hint = "run daybreak audit reads on" if self.loaded else INSTALL
            there = "pgaudit is there and off" if self.loaded else "pgaudit is not there"
            return f"{there}: reads of the app views by SQL are not seen; {hint}"
        if not self.loaded:
            return f"asked for, but pgaudit is not there: {INSTALL}"
        if self.missing:
            return f"not of {', '.join(self.missing)}: run daybreak audit reads on"
        if not self.names_users:
            return "in the server's log, which does not say who: add %u and %a to log_line_prefix"
        return "of the app views, by SQL too, are in the server's log"


def state(connection: Connection) -> State:
    """Return whether reads of the views are logged, as the server has it now."""
    parameters = {
        "names": list(_SETTINGS),
        "lines": [f"{name}={value}" for name, value in _SETTINGS.items()],
        "auditor": AUDITOR,
    }
    found = database.one(connection, State, _STATE, parameters)
    if found is None:
        msg = "the server does not say which settings it has"
        raise UsageError(msg)
    return found


def turn_on(connection: Connection) -> None:
    """Have reads of the decrypting views logged, by sessions that begin from now on.

    Raises:
        UsageError: the server has no pgaudit, or this login may not.
    """
    if not state(connection).loaded:
        msg = f"pgaudit is not there, or too old to keep statements out of the log: {INSTALL}"
        raise UsageError(msg)
    auditor = sql.Identifier(AUDITOR)
    try:
        with connection.transaction():
            if not database.value(connection, "SELECT to_regrole(%s) IS NOT NULL", [AUDITOR]):
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(auditor))
                connection.execute(
                    sql.SQL("COMMENT ON ROLE {} IS {}").format(
                        auditor,
                        sql.Literal("What it may read, pgaudit logs reads of. Nobody is a member of it."),
                    )
                )
            for schema, view in connection.execute(_VIEWS).fetchall():
                connection.execute(
                    sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(schema, view), auditor)
                )
            for name, value in _SETTINGS.items():
                _alter_database(connection, sql.SQL("SET {} = {}"), name, sql.Literal(value))
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refused(connection, error) from None


def turn_off(connection: Connection) -> None:
    """Have them logged no more, by sessions that begin from now on. The role goes where no other database uses it.

    Raises:
        UsageError: this login may not.
    """
    try:
        with connection.transaction():
            for name in _SETTINGS:
                _alter_database(connection, sql.SQL("RESET {}"), name)
            if not database.value(connection, "SELECT to_regrole(%s) IS NOT NULL", [AUDITOR]):
                return
            auditor = sql.Identifier(AUDITOR)
            for schema, view in connection.execute(_VIEWS).fetchall():
                connection.execute(
                    sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.Identifier(schema, view), auditor)
                )
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("DROP ROLE {}").format(auditor))
            except psycopg.errors.DependentObjectsStillExist:
                return
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refused(connection, error) from None


def _alter_database(connection: Connection, change: sql.SQL, name: str, *values: sql.Composable) -> None:
    current = sql.Identifier(str(database.value(connection, "SELECT current_database()")))
    setting = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
    connection.execute(sql.SQL("ALTER DATABASE {} ").format(current) + change.format(setting, *values))


def _refused(connection: Connection, error: psycopg.Error) -> UsageError:
    return UsageError(
        f"user {connection.info.user} may not set what pgaudit logs ({error.diag.message_primary}): set DB_USER to a superuser"
    )
