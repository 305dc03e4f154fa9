"""SQL expressions from staged text to the values of a table's columns.

An expression casts plainly, which is fast and fails on the first misfit. A column in which misfits were
found becomes ``lenient``: its expression then gives NULL for them (or, for JSONB, a JSON string).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from psycopg import sql

from daybreak_pipeline.importer.catalog import Column, TableCatalog
from daybreak_pipeline.importer.sources import UNNAMED, named_like
from daybreak_pipeline.importer.staging import Stage

TEXT_TYPES = frozenset({"text", "character varying"})
# JSON arrays of strings without escapes, which are nearly all: the same text in braces is an array literal.
PLAIN_ARRAY = r'^\["[^"\\]*"(, ?"[^"\\]*")*\]$'
SEAL_KEY = sql.SQL("(SELECT privacy.required_key('seal'))")
SEARCH_KEY = sql.SQL("(SELECT privacy.required_key('search'))")
HASH_KEY = sql.SQL("(SELECT privacy.required_key('source_hash'))")


def call(template: str, *arguments: sql.Composable, **named: sql.Composable) -> sql.Composed:
    """Return a piece of SQL composed of others; the template is always a literal of this package."""
    return sql.SQL(template).format(*arguments, **named)


@dataclass
class Expressions:
    """The expressions of one import. ``s`` is the alias of the staging table in every one of them."""

    catalog: TableCatalog
    stage: Stage
    lenient: set[str] = field(default_factory=set)

    @cached_property
    def constants(self) -> dict[str, str]:
        """Columns whose value is the same in every row, whatever the file says."""
        return dict(self.catalog.table.constants)

    @cached_property
    def in_file(self) -> list[Column]:
        """The table's columns that the file brings a value for."""
        header = set(self.stage.header)
        return [c for c in self.catalog.columns if c.name in header and c.name not in self.constants]

    @cached_property
    def unknown(self) -> list[str]:
        """Columns of the file that the table does not have, without those of the transport."""
        return list(self.catalog.unknown(self.stage.header))

    @cached_property
    def keeps_unknown(self) -> bool:
        """Whether the table has a place for columns that the schema does not know."""
        return "profile_data" in self.catalog.by_name

    @cached_property
    def personal_unknown(self) -> list[str]:
        """Unknown columns that are personal, and so never kept in plain JSON."""
        return [name for name in self.unknown if self._is_personal(name)]

    @cached_property
    def plain_unknown(self) -> list[str]:
        """Unknown columns that are kept as they are."""
        return [name for name in self.unknown if not self._is_personal(name)]

    def _is_personal(self, name: str) -> bool:
        """Whether an unknown column is declared personal, is called like one, or has no name to tell by."""
        declared = set(self.catalog.table.personal_export_columns)
        if "_export_columns_encrypted" in self.catalog.technical:
            declared |= {UNNAMED, *self.catalog.sealed}
        return named_like(name) in declared

    @cached_property
    def derived(self) -> set[str]:
        """Columns that get a value from other columns of the file, whether it has themselves or not."""
        profile = {"profile_data"} if self.keeps_unknown and self.plain_unknown else set()
        deletion = (
            {"deleted_at"} if "deleted_at" in self.catalog.by_name and "op" in self.stage.header else set()
        )
        return profile | deletion

    def text(self, name: str) -> sql.Composable:
        """Return a source column's text, NULL where the file does not have the column."""
        column = self.stage.column(name)
        if column is None:
            return sql.SQL("NULL::text")
        staged = call("s.{}", column)
        if name in self.catalog.table.phone_columns:
            # A spreadsheet's apostrophe keeps +1818… from becoming a number; it is no part of it.
            return call("regexp_replace({}, '^''', '')", staged)
        return staged

    def typed(self, column: Column) -> sql.Composable:
        """Return a column's value in its type, before defaults and references."""
        text = self.text(column.name)
        kind = sql.SQL(column.type)
        if column.type in TEXT_TYPES:
            return text
        if column.name in self.lenient:
            value = call("ingest.try_cast({}, NULL::{})", text, kind)
            return call("coalesce({}, to_jsonb({}))", value, text) if column.type == "jsonb" else value
        # The common forms are cast in place; what needs a closer look goes through a function, which costs more.
        if column.type == "timestamp with time zone":
            return call(
                """CASE WHEN {text} COLLATE "C" >= 'A' THEN ingest.strict_time({text}) ELSE {text}::timestamptz END""",
                text=text,
            )
        if column.type == "date":
            return call(
                """CASE WHEN length({text}) = 10 AND {text} COLLATE "C" < 'A' THEN {text}::date
                ELSE ingest.strict_date({text}) END""",
                text=text,
            )
        if column.type == "text[]":
            return call(
                "CASE WHEN {text} = '[]' THEN '{{}}' "
                "WHEN {text} ~ {plain} THEN ('{{' || substr({text}, 2, length({text}) - 2) || '}}')::text[] "
                "ELSE ingest.text_array({text}) END",
                text=text,
                plain=sql.Literal(PLAIN_ARRAY),
            )
        return call("({})::{}", text, kind)

    def fault(self, column: Column) -> sql.Composable:
        """Return why a staged text does not fit its column (NULL if it does), in words without the value."""
        return call("ingest.cast_fault({}, NULL::{})", self.text(column.name), sql.SQL(column.type))

    def value(self, column: Column) -> sql.Composable:
        """Return what is stored in a plain column: typed, with constants and defaults filled in."""
        if column.name in self.constants:
            return call("{}::{}", sql.Literal(self.constants[column.name]), sql.SQL(column.type))
        value = self.typed(column)
        if column.name == "profile_data" and column.name in self.derived:
            value = call("ingest.with_export_columns({}, {})", value, self.record(self.plain_unknown))
        if column.name == "deleted_at" and column.name in self.derived:
            value = call(
                "coalesce({}, CASE WHEN {} = 'D' THEN coalesce({}, {}, now()) END)",
                value,
                self.text("op"),
                self._if_present("tx_commit_time"),
                self._if_present("updated_at"),
            )
        if column.takes_default:
            value = call("coalesce({}, {})", value, sql.SQL(column.default or "NULL"))
        return value

    def sealed_text(self, column: Column) -> sql.Composable:
        """Return the text that is encrypted for a personal column: canonical for its type."""
        if column.type in TEXT_TYPES:
            return self.typed(column)
        return call("({})::text", self.typed(column))

    def record(self, names: list[str]) -> sql.Composable:
        """Return staged columns as one JSON object, without the empty ones."""
        keys = sql.SQL(", ").join(sql.Literal(name) for name in names)
        values = sql.SQL(", ").join(self.text(name) for name in names)
        return call("jsonb_strip_nulls(jsonb_object(ARRAY[{}]::text[], ARRAY[{}]::text[]))", keys, values)

    def all_columns(self) -> sql.Composable:
        """Return a staged record whole, as one JSON object."""
        keys = sql.SQL(", ").join(sql.Literal(name) for name in self.stage.header)
        values = sql.SQL(", ").join(call("s.{}", column) for column in self.stage.columns)
        return call("jsonb_object(ARRAY[{}]::text[], ARRAY[{}]::text[])", keys, values)

    def content_hash(self) -> sql.Composable:
        """Return the keyed hash of all that a record can change in the row: its digest, permuted by AES-256.

        Columns are taken in the order of their names, so that a file with its columns rearranged holds
        the same records. ``record_send`` writes lengths and NULLs, so no two contents look alike. Unlike an
        HMAC the hash can be carried over to another key without the record (ADR 0007).
        """
        kept = {column.name for column in self.in_file} | {"op"}
        if self.keeps_unknown:
            kept |= set(self.unknown)
        columns = sorted(kept & set(self.stage.header))
        row = sql.SQL(", ").join(
            call("s.{}", column) for name in columns if (column := self.stage.column(name))
        )
        return call("encrypt(sha256(record_send(ROW({}))), {}, 'aes-ecb/pad:none')", row, HASH_KEY)

    def _if_present(self, name: str) -> sql.Composable:
        column = self.catalog.by_name.get(name)
        return self.typed(column) if column else sql.SQL("NULL::timestamptz")
