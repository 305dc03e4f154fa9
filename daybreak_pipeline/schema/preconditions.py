"""What a server must be like before migrations begin: whether one lacks it is known before anything is changed.

``require`` stops ``migrate up``, and ``daybreak doctor`` shows every obstacle. What merely is unwise belongs to
``operations.server_settings``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import extensions
from daybreak_pipeline.tables import TABLES

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

OLDEST = 14
_SERVER = """
    SELECT current_setting('server_version_num')::integer / 10000 AS version,
           current_setting('server_encoding') AS encoding,
           pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::boolean AS read_only,
           current_setting('standard_conforming_strings')::boolean AS plain_backslashes,
           current_setting('row_security')::boolean AS row_security,
           current_schema()::text AS schema,
           has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
           to_regnamespace('public') IS NOT NULL AS has_public,
           coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false) AS may_create_tables,
           quote_ident(session_user) AS user, quote_ident(current_database()) AS name
"""
_OTHER_OWNER = """
    SELECT nspowner::regrole::text FROM pg_namespace
    WHERE nspname = 'migrations' AND NOT pg_has_role(nspowner, 'USAGE')
"""
# Nothing was ever migrated here, and yet there is something with a name that migrations give. Of the catalog, since
# functions that look names up refuse those of schemas that the user may not use.
_OF_OTHERS = """
    SELECT found.name FROM (
        SELECT 'schema ' || quote_ident(nspname) FROM pg_namespace WHERE nspname = ANY (%(schemas)s)
        UNION ALL
        SELECT 'table ' || quote_ident(relname) FROM pg_class
        WHERE relnamespace = to_regnamespace('public') AND relname = ANY (%(tables)s)
        UNION ALL
        SELECT 'function ' || quote_ident(proname) FROM pg_proc
        WHERE pronamespace = to_regnamespace('public') AND proname = ANY (%(functions)s)
    ) found (name)
    WHERE NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE n.nspname = 'migrations' AND c.relname = 'alembic_version')
    ORDER BY 1 LIMIT 1
"""
_OURS = {
    "schemas": ["app", "audit", "ingest", "privacy", "reporting"],
    "tables": [*TABLES, "users"],
    "functions": ["search_people", "update_updated_at_column"],
}
"""What migrations make, and another program may have made before them."""


@dataclass(frozen=True)
class Obstacle:
    """One thing that keeps migrations from being applied: what is so, and the line that mends it."""

    subject: str
    meaning: str
    mend: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.meaning}: {self.mend}"


@dataclass(frozen=True)
class _Server:
    version: int
    encoding: str
    standby: bool
    read_only: bool
    plain_backslashes: bool
    row_security: bool
    schema: str | None
    may_create_schemas: bool
    has_public: bool
    may_create_tables: bool
    user: str
    name: str


def require(connection: Connection) -> None:
    """Make sure that nothing keeps migrations from being applied.

    Raises:
        UsageError: something does; nothing was changed.
    """
    for obstacle in obstacles(connection):
        msg = f"{obstacle} (nothing was changed)"
        raise UsageError(msg)


def obstacles(connection: Connection) -> list[Obstacle]:
    """Return what keeps migrations from being applied, the most important first."""
    server = database.one(connection, _Server, _SERVER)
    if server is None:
        return []
    return [
        *_of_server(server),
        *_of_rights(server),
        *_of_others(connection, server),
        *_of_extensions(connection, server.user),
    ]


def _of_server(server: _Server) -> Iterator[Obstacle]:
    user, name = server.user, server.name
    setting = f"ALTER ROLE {user} IN DATABASE {name} SET"
    if server.version < OLDEST:
        meaning = f"PostgreSQL {server.version} lacks what the schema needs"
        yield Obstacle("server", meaning, f"use PostgreSQL {OLDEST} or newer")
    if server.standby:
        yield Obstacle(
            "read-only", "the server is a standby, which can only be read", "set DB_HOST to the primary"
        )
    elif server.read_only:
        meaning = f"sessions of {user} can only read (default_transaction_read_only)"
        mend = f"BEGIN READ WRITE; {setting} default_transaction_read_only = off; COMMIT"
        yield Obstacle("read-only", meaning, mend)
    if server.encoding != "UTF8":
        meaning = f"database {name} has encoding {server.encoding}, in which many names cannot be stored"
        mend = f"make another one with CREATE DATABASE … OWNER {user} ENCODING 'UTF8' TEMPLATE template0"
        yield Obstacle("encoding", meaning, f"{mend}, and set DB_NAME")
    if not server.plain_backslashes:
        meaning = "standard_conforming_strings is off, and SQL is read in another way than it is written"
        yield Obstacle("standard_conforming_strings", meaning, f"{setting} standard_conforming_strings = on")
    if not server.row_security:
        meaning = "row_security is off, so that statements on tables with row-level security fail"
        yield Obstacle("row_security", meaning, f"{setting} row_security = on")


def _of_rights(server: _Server) -> Iterator[Obstacle]:
    user, name = server.user, server.name
    if not server.may_create_schemas:
        meaning = f"user {user} may not create a schema in database {name}"
        mend = f"as an administrator: GRANT CREATE ON DATABASE {name} TO {user}"
        yield Obstacle("rights", meaning, mend)
    if not server.has_public:
        yield Obstacle(
            "public", "the database has no schema public, where tables belong", "CREATE SCHEMA public"
        )
    elif not server.may_create_tables:
        meaning = f"user {user} may not create a table in schema public"
        yield Obstacle("rights", meaning, f"as an administrator: GRANT ALL ON SCHEMA public TO {user}")
    elif server.schema != "public":
        meaning = f"new tables of {user} would be in schema {server.schema or '(none)'} and not in public (search_path)"
        yield Obstacle(
            "search_path", meaning, f"ALTER ROLE {user} IN DATABASE {name} SET search_path = public"
        )


def _of_others(connection: Connection, server: _Server) -> Iterator[Obstacle]:
    owner = database.value(connection, _OTHER_OWNER)
    if owner is not None:
        yield Obstacle(
            "owner", f"the tables belong to {owner}, not to {server.user}", f"set DB_USER to {owner}"
        )
    taken = database.value(connection, _OF_OTHERS, _OURS)
    if taken is not None:
        meaning = f"database {server.name} has a {taken} that no migration made"
        yield Obstacle("database", meaning, "set DB_NAME to a database that nothing else uses")


def _of_extensions(connection: Connection, user: str) -> Iterator[Obstacle]:
    for one in extensions.needed(connection):
        if one.schema is not None and not one.usable:
            meaning = f"extension {one.name} is in schema {one.schema}, which user {user} may not use"
            mend = f"as an administrator: GRANT USAGE ON SCHEMA {one.schema} TO {user}"
            yield Obstacle("extensions", meaning, mend)
        elif one.schema is None and not one.available:
            meaning = f"extension {one.name} is not installed on the server's machine"
            yield Obstacle("extensions", meaning, "install PostgreSQL's contrib package there")
        elif one.schema is None and not one.ours_to_make:
            meaning = f"extension {one.name} is missing, and user {user} may not make it"
            yield Obstacle("extensions", meaning, f"as an administrator: CREATE EXTENSION {one.name}")
    statement = extensions.moved(connection)
    if statement:
        meaning = "extension pgcrypto was moved into another schema, where nothing finds it"
        yield Obstacle("extensions", meaning, f"as its owner: {statement}")
