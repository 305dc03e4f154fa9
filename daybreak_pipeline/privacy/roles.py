"""The database roles of the plan (4.1, "Database Roles Setup"): making them, and granting what ``roles.sql`` says.

Roles belong to the server, grants to a database: a second database of the same server finds the roles there.
``roles.sql`` says what each role may do; this module makes the roles, decides who may log in, and knows when the
grants have to be applied again. The importer (``DB_USER``) is none of them: it owns the tables.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic

from daybreak_pipeline import database, settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import role_limits
from daybreak_pipeline.schema import locks, runner

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection
    from daybreak_pipeline.settings import DatabaseSettings

_GRANTS = Path(__file__).with_name("roles.sql")
_SET_PASSWORD = Path(__file__).with_name("set_password.sql")
_ATTEMPTS = 5
_VIEWS_MADE = """
    SELECT string_agg(concat_ws(' ', table_name, extract(epoch FROM renewed_at)), ', ' ORDER BY table_name)
    FROM privacy.protected_tables
"""
# No lock reaches across databases: another database's command may change the same role meanwhile ("tuple
# concurrently updated" is an internal error to PostgreSQL).
_CONCURRENTLY_CHANGED = (
    psycopg.errors.InternalError_,
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateObject,
)
_PRIVILEGED = ("SUPERUSER", "CREATEROLE", "CREATEDB", "BYPASSRLS")


@dataclass(frozen=True)
class Role:
    """One role. ``connections`` is how many it may have at once; None for a role that never logs in."""

    name: str
    purpose: str
    connections: int | None

    @property
    def logs_in(self) -> bool:
        """Whether anybody is meant to log in as this role."""
        return self.connections is not None


APP = Role("daybreak_app", "The application: reads and writes the tables.", connections=50)
READONLY = Role("daybreak_readonly", "Analysts: the reporting views, and nothing else.", connections=20)
ADMIN = Role("daybreak_admin", "Administrators: everything.", connections=5)
REPORTING = Role("daybreak_reporting", "Owns the reporting views. Nobody logs in as this role.", None)
ROLES = (APP, READONLY, ADMIN, REPORTING)
"""All roles. Their limits leave 25 of the 100 connections that a server has by default to importer and Dagster."""


@dataclass
class Applied:
    """What ``apply`` found or did: a line for each role, and what somebody else has to do."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Present:
    """A role as the server has it. ``privileges`` are those of ``_PRIVILEGED``."""

    logs_in: bool
    connections: int
    privileges: frozenset[str]


@dataclass(frozen=True)
class _Installer:
    """Who applies: the session's role and what it may give away."""

    name: str
    privileges: frozenset[str]

    @property
    def makes_roles(self) -> bool:
        return bool(self.privileges & {"SUPERUSER", "CREATEROLE"})


def require_importer(given: DatabaseSettings) -> None:
    """Make sure that migrations and imports run as a role of their own, which then owns the tables.

    Raises:
        UsageError: ``DB_USER`` is one of the roles that people and applications use.
    """
    if given.user in {role.name for role in ROLES}:
        msg = (
            f"DB_USER is {given.user}, which must not own tables: set it to the role that owns the database, such as "
            "daybreak_importer"
        )
        raise UsageError(msg)


def ensure(given: DatabaseSettings) -> Applied:
    """Apply roles and grants where the database, at the newest migration, lacks any. An import can do without.

    Returns:
        What was done; nothing when nothing had to be. What could not be done is among the warnings.
    """
    with database.connect(given, application_name="daybreak roles") as connection:
        if is_current(connection):
            return Applied()
    try:
        return apply(given)
    except UsageError as error:
        return Applied(warnings=[f"{error}; imports work, but nobody else has access to the tables"])


def is_current(connection: Connection) -> bool:
    """Return whether roles and grants are as this program and the environment want them, as far as this login can tell
    the server. A few queries.

    The schema must be there.
    """
    there = _roles(connection)
    for role in ROLES:
        if role.name not in there:
            return False
        login = settings.role_login(role.name)
        if login.password and not there[role.name].logs_in:
            return False
        if login.connections is not None and login.connections != there[role.name].connections:
            return False
    there_is_all = database.value(
        connection,
        "SELECT to_regclass('privacy.roles_applied') IS NOT NULL"
        " AND has_schema_privilege('daybreak_app', 'public', 'USAGE')"
        " AND (SELECT bool_and(has_schema_privilege('daybreak_readonly', oid, 'USAGE'))"
        "      FROM pg_namespace WHERE nspname = 'reporting')"
        " AND (SELECT bool_and(has_schema_privilege('daybreak_app', extnamespace, 'USAGE'))"
        "      FROM pg_extension WHERE extname = 'pgcrypto')",
    )
    if not there_is_all:
        return False
    applied = database.value(connection, "SELECT fingerprint FROM privacy.roles_applied")
    return bool(applied == _fingerprint(connection)) and not any(
        one.ours for one in role_limits.differences(connection)
    )


def apply(given: DatabaseSettings) -> Applied:
    """Make the roles, let those log in that have a password in the environment, and grant what ``roles.sql`` says.

    All or nothing. On a database without the newest schema the roles are made, and the grants left to
    ``daybreak migrate up``.

    Raises:
        UsageError: the connected role may not do it, or somebody holds a lock on a table.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return _attempt(given)
        except _CONCURRENTLY_CHANGED:
            time.sleep(0.1 * 2**attempt)
    return _attempt(given, last=True)


def _attempt(given: DatabaseSettings, *, last: bool = False) -> Applied:
    """Apply once, in one transaction; say in one line why it cannot be done."""
    try:
        with (
            database.connect(given, application_name="daybreak roles") as connection,
            connection.transaction(),
        ):
            return _apply(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        msg = (
            f"user {given.user} may not apply roles and grants ({error.diag.message_primary}): run daybreak roles apply "
            "with DB_USER set to an administrator"
        )
    except psycopg.errors.LockNotAvailable:
        msg = "a table is in use, so its policy for readers cannot be made: run daybreak roles apply again"
    except _CONCURRENTLY_CHANGED as error:
        if not last:
            raise
        msg = f"others keep changing the roles ({error.diag.message_primary}): run daybreak roles apply again"
    except psycopg.Error as error:
        # What the server says about roles and grants names no value of a row.
        msg = f"roles and grants cannot be applied: {error.diag.message_primary or 'the server is gone'}"
    raise UsageError(msg)


def show(connection: Connection) -> list[str]:
    """Return a line for each role as it is, and one on the grants."""
    there = _roles(connection)
    lines = [
        _describe(role, there[role.name]) if role.name in there else f"{role.name}: missing" for role in ROLES
    ]
    if runner.current_revision(connection) != runner.newest_revision():
        return [*lines, "grants: the schema is not the newest: run daybreak migrate up"]
    if not is_current(connection):
        return [*lines, "grants: not as they should be: run daybreak roles apply"]
    row = connection.execute("SELECT fingerprint, applied_at FROM privacy.roles_applied").fetchone()
    return [
        *lines,
        f"grants: complete, applied {row[1]:%Y-%m-%d %H:%M} UTC" if row else "grants: none",
        *(f"left open: {line}" for line in role_limits.left_open(connection)),
        *role_limits.tampered(connection),
    ]


def _apply(connection: Connection) -> Applied:
    installer = _installer(connection)
    if runner.current_revision(connection) == runner.newest_revision():
        locks.take(connection, "roles")
    done = Applied()
    for role in ROLES:
        notes = _settle(connection, installer, role)
        done.lines.append("; ".join([_describe(role, _roles(connection)[role.name]), *notes]))
    if runner.current_revision(connection) != runner.newest_revision():
        done.warnings.append("there are no grants yet: the schema is not the newest, run daybreak migrate up")
        return done
    _refuse_other_owners(connection, installer)
    with _noticed(connection, done.warnings):
        connection.execute(_GRANTS.read_bytes())
    done.warnings += role_limits.put_back(connection)
    done.lines += [f"left open: {line}" for line in role_limits.left_open(connection)]
    connection.execute(
        "INSERT INTO privacy.roles_applied (fingerprint) VALUES (%s) ON CONFLICT (only_row)"
        " DO UPDATE SET fingerprint = excluded.fingerprint, applied_at = now()",
        [_fingerprint(connection)],
    )
    return done


def _settle(connection: Connection, installer: _Installer, role: Role) -> list[str]:
    """Make one role as it should be and return what could not be given to it, in words."""
    name = sql.Identifier(role.name)
    login = settings.role_login(role.name)
    present = _roles(connection).get(role.name)
    if present is None:
        if not installer.makes_roles:
            msg = (
                f"role {role.name} is missing and user {installer.name} may not make roles (CREATEROLE): run daybreak "
                "roles apply with DB_USER set to an administrator"
            )
            raise UsageError(msg)
        limit = login.connections or role.connections or -1
        connection.execute(
            sql.SQL("CREATE ROLE {} NOLOGIN CONNECTION LIMIT {}").format(name, sql.Literal(limit))
        )
        connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(role.purpose)))
        present = _Present(logs_in=False, connections=limit, privileges=frozenset())
    notes = _settle_privileges(connection, installer, role, present)
    if login.connections not in {None, present.connections}:
        connection.execute(
            sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(name, sql.Literal(login.connections))
        )
    if login.password:
        _set_password(connection, role, login.password)
    elif role.logs_in and not present.logs_in:
        notes.append(
            f"set {settings.role_variable(role.name, 'PASSWORD')} and run daybreak roles apply to let it log in"
        )
    return notes


def _settle_privileges(
    connection: Connection, installer: _Installer, role: Role, present: _Present
) -> list[str]:
    """Make the administrators' role a superuser or the closest that the server allows, and the others nothing such."""
    name = sql.Identifier(role.name)
    if role is not ADMIN:
        for privilege in sorted(present.privileges):
            connection.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(f"NO{privilege}")))
        return []
    if "SUPERUSER" in present.privileges:
        return []
    wanted = _PRIVILEGED if "SUPERUSER" in installer.privileges else _PRIVILEGED[1:]
    held = set(present.privileges)
    for privilege in wanted:
        if privilege not in held and installer.makes_roles:
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(privilege)))
            except psycopg.errors.InsufficientPrivilege:
                continue
            held.add(privilege)
            if privilege == "SUPERUSER":
                return []  # the others would add nothing
    lacking = [privilege for privilege in _PRIVILEGED if privilege not in held]
    return [f"user {installer.name} may not give it {', '.join(lacking)}"] if lacking else []


def _set_password(connection: Connection, role: Role, password: str) -> None:
    """Let a role log in. The server never sees the password, only what SCRAM checks it with."""
    connection.execute("SET LOCAL log_parameter_max_length_on_error = 0")
    verifier = connection.pgconn.encrypt_password(password.encode(), role.name.encode(), b"scram-sha-256")
    connection.execute(
        "SELECT set_config('daybreak.role', %s, true), set_config('daybreak.password_verifier', %s, true)",
        [role.name, verifier.decode()],
    )
    connection.execute(_SET_PASSWORD.read_bytes())
    connection.execute("SELECT set_config('daybreak.password_verifier', '', true)")


def _refuse_other_owners(connection: Connection, installer: _Installer) -> None:
    row = connection.execute(
        "SELECT nspowner::regrole::text, pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'ingest'"
    ).fetchone()
    owner, ours = row or ("nobody", False)
    if owner in {role.name for role in ROLES}:
        msg = (
            f"the tables belong to {owner}, which must not own any: as an administrator run REASSIGN OWNED BY {owner} "
            "TO daybreak_importer, and set DB_USER to that role"
        )
        raise UsageError(msg)
    if not ours:
        msg = f"the tables belong to {owner}: set DB_USER to {owner} or to an administrator, not to {installer.name}"
        raise UsageError(msg)


def _roles(connection: Connection) -> dict[str, _Present]:
    rows = connection.execute(
        "SELECT rolname, rolcanlogin, rolconnlimit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls"
        " FROM pg_roles WHERE rolname = ANY (%s)",
        [[role.name for role in ROLES]],
    )
    return {name: _Present(logs_in, limit, _held(flags)) for name, logs_in, limit, *flags in rows}


def _installer(connection: Connection) -> _Installer:
    row = connection.execute(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    name, *flags = row or ("nobody",)
    return _Installer(name, _held(flags))


def _held(flags: list[bool]) -> frozenset[str]:
    return frozenset(privilege for privilege, held in zip(_PRIVILEGED, flags, strict=False) if held)


def _describe(role: Role, present: _Present) -> str:
    if not role.logs_in:
        return f"{role.name}: owns the reporting views, cannot log in"
    limit = (
        f"at most {present.connections} connections"
        if present.connections >= 0
        else "any number of connections"
    )
    login = f"can log in, {limit}" if present.logs_in else f"cannot log in, {limit}"
    return ", ".join([f"{role.name}: {login}", *(p for p in _PRIVILEGED if p in present.privileges)])


def _fingerprint(connection: Connection) -> str:
    """Return what the grants depend on: the newest migration, ``roles.sql``, and when views of protected tables were made."""
    content = hashlib.sha256(_GRANTS.read_bytes())
    if database.value(connection, "SELECT to_regclass('privacy.protected_tables') IS NOT NULL"):
        content.update(str(database.value(connection, _VIEWS_MADE)).encode())
    return f"{runner.current_revision(connection)}-{content.hexdigest()[:16]}"


@contextmanager
def _noticed(connection: Connection, warnings: list[str]) -> Iterator[None]:
    """Gather what the server warns of."""

    def hear(diagnostic: Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING" and diagnostic.message_primary:
            warnings.append(diagnostic.message_primary)

    connection.add_notice_handler(hear)
    try:
        yield
    finally:
        connection.remove_notice_handler(hear)
