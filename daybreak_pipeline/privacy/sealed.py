"""What in the database depends on the encryption key, read from the catalog, and the SQL that re-keys it.

Whose turn it is, progress and state belong to ``rotation``.

A new migration's column is covered by its name: ``*_encrypted`` is sealed, the names in ``HASH_COLUMNS`` are
keyed hashes, ``name_tokens`` is the blind index of the columns that are on record as searched (``schema.protected``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.schema import protected

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

HASH_COLUMNS = ("_source_hash", "_record_digest", "record_key")
"""Keyed hashes: a digest permuted by AES-256 (``expressions.content_hash``), so that no record is needed to re-key."""
TOKENS = "name_tokens"

# The session has the new key: privacy.key('seal') is the new sub-key and behind it the old one.
_NEW_SEAL = sql.SQL("(SELECT substr(privacy.key('seal'), 1, 32))")
_OLD_SEAL = sql.SQL("(SELECT privacy.previous_key('seal'))")
# Nearly every value that is opened is still under the old key: that one is tried first.
_ANY_SEAL = sql.SQL("(SELECT privacy.previous_key('seal') || substr(privacy.key('seal'), 1, 32))")
_CURRENT_SEAL = sql.SQL("(SELECT privacy.required_key('seal'))")
_SEARCH = sql.SQL("(SELECT privacy.required_key('search'))")
_OLD_HASH = sql.SQL("(SELECT privacy.previous_key('source_hash'))")
_NEW_HASH = sql.SQL("(SELECT privacy.required_key('source_hash'))")

_TARGETS = """
    WITH columns AS (
        SELECT a.attrelid,
               array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname LIKE '%%\\_encrypted') AS sealed,
               array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname = ANY(%(hashes)s)) AS hashes,
               bool_or(a.attname = %(tokens)s) AS tokens,
               array_agg(a.attname::text) FILTER (WHERE a.atttypid <> 'bytea'::regtype AND a.attname <> %(tokens)s)
                   AS not_bytea
        FROM pg_attribute a
        WHERE a.attnum > 0 AND NOT a.attisdropped
          AND (a.attname LIKE '%%\\_encrypted' OR a.attname = ANY(%(hashes)s) OR a.attname = %(tokens)s)
        GROUP BY a.attrelid
    ), keys AS (
        SELECT i.indrelid, array_agg(ARRAY[a.attname::text, format_type(a.atttypid, a.atttypmod)]
                                     ORDER BY array_position(i.indkey::int2[], a.attnum)) AS columns
        FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
        WHERE i.indisprimary GROUP BY i.indrelid
    )
    SELECT n.nspname, t.relname, keys.columns, c.sealed, c.hashes, c.tokens, c.not_bytea, greatest(t.reltuples, 0)::bigint
    FROM columns c JOIN pg_class t ON t.oid = c.attrelid JOIN pg_namespace n ON n.oid = t.relnamespace
        LEFT JOIN keys ON keys.indrelid = t.oid
    WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition
      AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
    ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Target:
    """A table with something that depends on the key.

    ``key`` holds names and types of the primary key; ``expected_rows`` is the server's estimate. Every
    statement here takes ``after`` and ``up_to`` (primary keys as JSON arrays; None for the beginning).
    """

    schema: str
    name: str
    key: tuple[tuple[str, str], ...]
    sealed: tuple[str, ...]
    hashes: tuple[str, ...]
    searchable: tuple[str, ...]
    expected_rows: int

    @property
    def relation(self) -> str:
        """The table's name with its schema, for people and for the state."""
        return f"{self.schema}.{self.name}"

    @property
    def _table(self) -> sql.Identifier:
        return sql.Identifier(_escaped(self.schema), _escaped(self.name))

    @property
    def _key(self) -> sql.Composed:
        return _list([_column(name) for name, _ in self.key])

    def _bound(self, operator: str, parameter: str) -> sql.Composed:
        """Return the comparison of the primary key with one of the statement's parameters."""
        parts = [
            sql.SQL("({}::jsonb ->> {})::{}").format(
                sql.Placeholder(parameter),
                sql.Literal(position),
                sql.SQL(_escaped(kind)),
            )
            for position, (_, kind) in enumerate(self.key)
        ]
        return sql.SQL("ROW({}) {} ROW({})").format(self._key, sql.SQL(operator), _list(parts))

    def _range(self, *, begun: bool) -> sql.Composed:
        lower = self._bound(">", "after") if begun else sql.SQL("true")
        return sql.SQL("{} AND {}").format(lower, self._bound("<=", "up_to"))

    def _tag(self, column: str) -> sql.Composed:
        """Return the tag of a sealed column."""
        return sql.SQL("privacy.tag({}, {})").format(
            sql.Literal(_escaped(self.relation)), sql.Literal(_escaped(column))
        )

    def _tagged(self, column: str, key: sql.SQL) -> sql.Composed:
        """Return a value with its tag. One that was sealed for another column keeps that one's: it is not to show here."""
        return sql.SQL("privacy.tagged(privacy.unseal_tagged({}, {}), {})").format(
            _column(column), key, self._tag(column)
        )

    def find(self, *, begun: bool) -> sql.Composed:
        """Return the query for number and last key of the next ``batch`` rows."""
        return sql.SQL(
            """
            WITH next AS MATERIALIZED (
                SELECT {key} FROM {table} t WHERE {after} ORDER BY {key} LIMIT %(batch)s
            )
            SELECT (SELECT count(*) FROM next),
                   (SELECT jsonb_build_array({key}) FROM next t ORDER BY {descending} LIMIT 1)
            """
        ).format(
            key=self._key,
            table=self._table,
            after=self._bound(">", "after") if begun else sql.SQL("true"),
            descending=_list([sql.SQL("{} DESC").format(_column(name)) for name, _ in self.key]),
        )

    def rekey(self, *, begun: bool) -> sql.Composed:
        """Return the UPDATE that brings every row of a range under the new key."""
        return self._rekey(self._range(begun=begun))

    def rekey_missed(self, *, begun: bool) -> sql.Composed:
        """Return the UPDATE that does so for rows of a range that still have a value under the old key."""
        missed = [
            sql.SQL("privacy.unseal({}, {}) IS NOT NULL").format(_column(name), _OLD_SEAL)
            for name in self.sealed
        ]
        return self._rekey(
            sql.SQL("{} AND ({}) AND ({})").format(
                self._range(begun=begun), self._any_unreadable(), sql.SQL(" OR ").join(missed)
            )
        )

    def _rekey(self, condition: sql.Composed) -> sql.Composed:
        """Return the UPDATE. What no key opens stays as it is.

        It reads nothing but the row itself, so that of a row that others change meanwhile it takes the newest version.
        """
        values = [
            (
                name,
                sql.SQL("coalesce(privacy.seal({text}, {new}), {column})").format(
                    text=self._tagged(name, _ANY_SEAL), column=_column(name), new=_NEW_SEAL
                ),
            )
            for name in self.sealed
        ]
        values += [
            (name, sql.SQL("privacy.rekey_hash({}, {}, {})").format(_column(name), _OLD_HASH, _NEW_HASH))
            for name in self.hashes
        ]
        if self.searchable:
            names = _list(
                [
                    sql.SQL("privacy.unseal({}, {}, {})").format(
                        _column(f"{name}_encrypted"), _ANY_SEAL, self._tag(f"{name}_encrypted")
                    )
                    for name in self.searchable
                ]
            )
            tokens = sql.SQL("privacy.name_tokens(nullif(concat_ws(' ', {}), ''), {})").format(names, _SEARCH)
            values.append((TOKENS, tokens))
        return sql.SQL("UPDATE {} t SET {} WHERE {} AND num_nonnulls({}) > 0").format(
            self._table,
            _list(
                [sql.SQL("{} = {}").format(sql.Identifier(_escaped(name)), value) for name, value in values]
            ),
            condition,
            _list([_column(name) for name, _ in values]),
        )

    def bind(self, *, begun: bool) -> sql.Composed:
        """Return the UPDATE that gives the values of a range their tags where they have none. What does not open stays."""
        values = [
            sql.SQL("{} = coalesce(privacy.seal({}, {}), {})").format(
                sql.Identifier(_escaped(name)), self._tagged(name, _CURRENT_SEAL), _NEW_SEAL, _column(name)
            )
            for name in self.sealed
        ]
        untagged = [
            sql.SQL("privacy.unseal_tagged({}, {}) NOT LIKE E'\\x01______\\x02%%'").format(
                _column(name), _CURRENT_SEAL
            )
            for name in self.sealed
        ]
        return sql.SQL("UPDATE {} t SET {} WHERE {} AND ({})").format(
            self._table, _list(values), self._range(begun=begun), sql.SQL(" OR ").join(untagged)
        )

    def count_unreadable(self, *, begun: bool) -> sql.Composed:
        """Return the query for how many rows of a range have a value that the new key does not open."""
        return sql.SQL("SELECT count(*) FROM {} t WHERE {} AND ({})").format(
            self._table, self._range(begun=begun), self._any_unreadable()
        )

    def note_damaged(self, *, begun: bool) -> sql.Composed:
        """Return the INSERT that names every value of a range that the new key does not open."""
        return sql.SQL(
            """
            INSERT INTO privacy.damaged_values (rotation_id, relation, row_key, column_name)
            SELECT %(rotation)s, {relation}, jsonb_build_array({key}), v.column_name
            FROM {table} t, LATERAL (VALUES {values}) AS v (column_name, sealed)
            WHERE {range} AND v.sealed IS NOT NULL AND privacy.unseal(v.sealed, {new}) IS NULL
            ON CONFLICT DO NOTHING
            """
        ).format(
            relation=sql.Literal(_escaped(self.relation)),
            key=self._key,
            table=self._table,
            values=_list(
                [
                    sql.SQL("({}, {})").format(sql.Literal(_escaped(name)), _column(name))
                    for name in self.sealed
                ]
            ),
            range=self._range(begun=begun),
            new=_NEW_SEAL,
        )

    def _any_unreadable(self) -> sql.Composed:
        return sql.SQL(" OR ").join(
            sql.SQL("({column} IS NOT NULL AND privacy.unseal({column}, {new}) IS NULL)").format(
                column=_column(name), new=_NEW_SEAL
            )
            for name in self.sealed
        )


def targets(connection: Connection) -> list[Target]:
    """Return every table that has something sealed, hashed or indexed under the key.

    Raises:
        UsageError: a table is not as the names of its columns say, or has no primary key to go along.
    """
    rows = connection.execute(_TARGETS, {"hashes": list(HASH_COLUMNS), "tokens": TOKENS}).fetchall()
    searched = {one.name: tuple(one.searched) for one in protected.tables(connection)}
    found = []
    for schema, name, key, sealed, hashes, tokens, not_bytea, expected in rows:
        searchable = searched.get(name, ()) if tokens and schema == "public" else ()
        reason = (
            f"its column {not_bytea[0]} is not of type bytea"
            if not_bytea
            else "it has no primary key"
            if not key
            else f"nothing says which columns its {TOKENS} is made of"
            if tokens and not searchable
            else ""
        )
        if reason:
            msg = f"the key cannot be rotated: {schema}.{name} has sealed columns, but {reason}; nothing was changed"
            raise UsageError(msg)
        found.append(
            Target(
                schema=schema,
                name=name,
                key=tuple((column, kind) for column, kind in key),
                sealed=tuple(sealed or ()),
                hashes=tuple(hashes or ()),
                searchable=searchable,
                expected_rows=expected,
            )
        )
    return found


def _column(name: str) -> sql.Composed:
    return sql.SQL("t.{}").format(sql.Identifier(_escaped(name)))


def _escaped(name: str) -> str:
    """Return a name in the form for a statement with parameters, as all of these are (``database.verbatim``)."""
    return name.replace("%", "%%")


def _list(parts: list[sql.Composed]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
