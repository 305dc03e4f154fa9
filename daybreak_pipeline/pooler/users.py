"""Who may log in to PgBouncer: the owner of the tables and the roles, each with what the server keeps its password with.

A SCRAM verifier lets PgBouncer check a password and log in to the server in the client's name, and nobody log in who has it
alone. It must be the server's own, with the same salt.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace

from psycopg import sql

from daybreak_pipeline import database, settings
from daybreak_pipeline.database import refusals
from daybreak_pipeline.privacy.roles import ROLES
from daybreak_pipeline.settings import DatabaseSettings

_SCRAM = "SCRAM-SHA-256$"
_KNOWN = """
    SELECT rolname::text AS name, rolcanlogin AS logs_in, rolconnlimit AS connections, {} AS verifier
    FROM {} WHERE rolname = ANY (%(names)s)
"""


@dataclass(frozen=True)
class User:
    """A login. ``connections`` is how many it may have on the server, -1 for any number; ``verifier`` may be missing."""

    name: str
    logs_in: bool
    connections: int
    verifier: str | None = field(repr=False)


def read(db: DatabaseSettings) -> list[User]:
    """Return the owner of the tables and the roles, as the server has them. One without a verifier cannot use PgBouncer.

    Only a superuser may read verifiers. Anybody else gets those of the logins whose passwords are in the environment: the
    server says with which salt it keeps each.
    """
    names = [db.user, *(role.name for role in ROLES if role.logs_in)]
    with database.connect(db) as connection:
        may_read = database.value(connection, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")
        query = sql.SQL(_KNOWN).format(
            sql.SQL("rolpassword" if may_read else "NULL"),
            sql.Identifier("pg_catalog", "pg_authid" if may_read else "pg_roles"),
        )
        found = {user.name: user for user in database.every(connection, User, query, {"names": names})}
    users = [found[name] for name in dict.fromkeys(names) if name in found]
    return [user if may_read else replace(user, verifier=_derived(db, user.name)) for user in users]


def listed(users: list[User]) -> str:
    """Return PgBouncer's file of users."""
    return "".join(
        f"{_quoted(user.name)} {_quoted(user.verifier or '')}\n" for user in users if is_usable(user)
    )


def is_usable(user: User) -> bool:
    """Return whether a login works through PgBouncer."""
    return user.logs_in and (user.verifier or "").startswith(_SCRAM)


def missing(users: list[User]) -> list[str]:
    """Return a line for each login that does not work through PgBouncer, with what to do."""
    lines = []
    for user in users:
        if is_usable(user):
            continue
        if user.name not in {role.name for role in ROLES}:
            what = "set its password with password_encryption = scram-sha-256, and DB_PASSWORD"
        else:
            what = f"set {settings.role_variable(user.name, 'PASSWORD')} and run daybreak roles apply"
        lines.append(f"{user.name} cannot log in through PgBouncer yet: {what}")
    return lines


def _derived(db: DatabaseSettings, name: str) -> str | None:
    """Return the verifier that the server has of a password we know, None where we know none or it is wrong."""
    password = db.password if name == db.user else settings.role_login(name).password
    if not password:
        return None
    login = refusals.log_in(replace(db, user=name, password=password))
    if not login.accepted or not login.salt:
        return None
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(login.salt), login.iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    served = hmac.digest(salted, b"Server Key", "sha256")
    keys = ":".join(base64.b64encode(key).decode() for key in (stored, served))
    return f"{_SCRAM}{login.iterations}:{login.salt}${keys}"


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"'
