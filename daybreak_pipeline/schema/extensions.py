"""The extensions that the migrations need, and in which schema of this database each one is.

Many servers keep extensions in a schema of their own. A migration writes ``public.hmac(``; where the database has
pgcrypto elsewhere, ``qualified`` puts that schema there instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

NEEDED = ("pgcrypto", "pg_trgm", "btree_gin")
"""Migration 001 makes those that are missing. All are trusted: whoever may create in the database may make them."""
_EXTENSIONS = """
    SELECT wanted.name, quote_ident(n.nspname) AS schema,
           coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS usable,
           available.name IS NOT NULL AS available,
           current_setting('is_superuser')::boolean
           OR EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = wanted.name AND v.trusted)
           AS ours_to_make
    FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place)
    LEFT JOIN pg_extension e ON e.extname = wanted.name
    LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
    LEFT JOIN pg_available_extensions available ON available.name = wanted.name
    ORDER BY wanted.place
"""
_FUNCTIONS_ELSEWHERE = """
    SELECT DISTINCT p.proname::text, quote_ident(n.nspname)
    FROM pg_extension e
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE e.extname = ANY (%s) AND n.nspname <> 'public'
"""
_NAMED_SCHEMA = """
    SELECT substring(prosrc FROM '((?:"(?:[^"]|"")+"|\\w+))\\.hmac\\(')
    FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE n.nspname = 'privacy' AND proname = 'sub_key'
"""


@dataclass(frozen=True)
class Extension:
    """One extension: its schema as SQL writes it (None: it is not installed), and whether we may use or make it."""

    name: str
    schema: str | None
    usable: bool
    available: bool
    ours_to_make: bool


def needed(connection: Connection) -> list[Extension]:
    """Return the needed extensions as the database has them."""
    return database.every(connection, Extension, _EXTENSIONS, [list(NEEDED)])


def search_path(connection: Connection) -> str:
    """Return the schemas in which a migration finds what it names without one: public first, where it creates."""
    schemas = [one.schema for one in needed(connection) if one.schema]
    return ", ".join(dict.fromkeys(["public", *schemas]))


def qualified(connection: Connection, statements: str) -> str:
    """Return SQL with the functions of extensions in the schemas where this database has them.

    The lines stay as they are, so that an error is where the file has it.
    """
    elsewhere: dict[str, str] = dict(connection.execute(_FUNCTIONS_ELSEWHERE, [list(NEEDED)]).fetchall())
    if not elsewhere:
        return statements
    names = "|".join(re.escape(name) for name in sorted(elsewhere))
    written = rf"\bpublic\.({names})\("
    return re.sub(written, lambda match: f"{elsewhere[match[1]]}.{match[1]}(", statements)


def moved(connection: Connection) -> str | None:
    """Return the statement that takes pgcrypto back to where the functions look for it; None where it is there."""
    named = database.value(connection, _NAMED_SCHEMA)
    is_at = database.value(
        connection,
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
        " WHERE extname = 'pgcrypto'",
    )
    if named is None or is_at is None or named == is_at:
        return None
    return f"ALTER EXTENSION pgcrypto SET SCHEMA {named}"
