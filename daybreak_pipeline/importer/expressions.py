"""SQL expressions from staged text to the values of a table's columns.

An expression casts plainly, which is fast and fails on the first value that does not fit. A column in which such were
found (``cast_errors``) becomes ``lenient``: its expression then gives NULL for them (or, for JSONB, a JSON string).
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from psycopg import sql

from daybreak_pipeline.importer.names import bare, is_position, unknown, words
from daybreak_pipeline.importer.stage import SEPARATOR, Stage
from daybreak_pipeline.schema.catalog import Column, TableCatalog
from daybreak_pipeline.tables import COMMITTED_AT, IMPERSONAL_NAMES, OPERATION, PERSONAL_WORDS

TEXT_TYPES = frozenset({"text", "character varying"})
# JSON arrays of strings without escapes, which are nearly all: the same text in braces is an array literal.
PLAIN_ARRAY = r'^\["[^"\\]*"(, ?"[^"\\]*")*\]$'
SEAL_KEY = sql.SQL("(SELECT privacy.required_key('seal'))")
SEARCH_KEY = sql.SQL("(SELECT privacy.required_key('search'))")
RECORD_TAG = sql.SQL("privacy.tag('ingest.quarantine', 'record_encrypted')")
_SEPARATOR = sql.SQL(f"chr({ord(SEPARATOR)})")  # so that it can be seen
_ARGUMENTS = 90
"""How many values one call of a function is given; PostgreSQL allows a hundred."""
HASH_KEY = sql.SQL("(SELECT privacy.required_key('source_hash'))")
_TWO_NUMBERS = sql.Literal(r"^\s*([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})")
"""The beginning of a date in which only a declaration in ``tables`` decides which part is the day."""


def compose(template: str, *arguments: sql.Composable, **named: sql.Composable) -> sql.Composed:
    """Return a piece of SQL composed of others; the template is always a literal of this package."""
    return sql.SQL(textwrap.dedent(template).strip("\n ")).format(*arguments, **named)


def listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    """Return pieces of SQL with commas between them, one a line."""
    return sql.SQL(",\n       ").join(parts)


@dataclass
class Expressions:
    """The expressions of one import; ``stage`` is the alias of the staged records in all of them (``Workspace.records``)."""

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
    def names_in_file(self) -> frozenset[str]:
        """The names of ``in_file``."""
        return frozenset(column.name for column in self.in_file)

    @cached_property
    def unknown(self) -> list[str]:
        """Columns of the file that the table does not have, without those of the transport."""
        return list(unknown(self.stage.header, self.catalog.expected))

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
        personal = {*self.catalog.table.personal_export_columns, *self.catalog.sealed}
        if is_position(name) or bare(name) in {bare(declared) for declared in personal}:
            return True
        called = PERSONAL_WORDS & words(name)
        return bool(called) and not (called <= {"name", "names"} and IMPERSONAL_NAMES & words(name))

    @cached_property
    def derived(self) -> set[str]:
        """Columns that get a value from other columns of the file, whether it has themselves or not."""
        profile = {"profile_data"} if self.keeps_unknown and self.plain_unknown else set()
        deletion = (
            {"deleted_at"}
            if "deleted_at" in self.catalog.by_name and OPERATION in self.stage.header
            else set()
        )
        return profile | deletion

    def text(self, name: str) -> sql.Composable:
        """Return a source column's text, NULL where the file does not have the column."""
        column = self.stage.column(name)
        if column is None:
            return sql.SQL("NULL::text")
        staged: sql.Composable = compose("stage.{}", column)
        written = self.catalog.by_name.get(name)
        if written and written.type == "text[]":
            return compose("nullif(btrim({}), 'null')", staged)
        if name in self.catalog.table.day_first:
            return compose("regexp_replace({}, {}, {})", staged, _TWO_NUMBERS, sql.Literal(r"\4-\3-\1"))
        if name in self.catalog.table.month_first:
            return compose("regexp_replace({}, {}, {})", staged, _TWO_NUMBERS, sql.Literal(r"\4-\1-\3"))
        if name in self.catalog.table.phone_columns:
            # A spreadsheet's apostrophe keeps +1818… from becoming a number; it is no part of it.
            return compose("regexp_replace({}, '^''', '')", staged)
        return staged

    def typed(self, column: Column) -> sql.Composable:
        """Return a column's value in its type, before defaults and references."""
        if column.name not in self.lenient:
            return self._cast(column)
        return compose(
            "CASE WHEN {} = ANY (stage._cast_errors) THEN {} ELSE {} END",
            sql.Literal(column.name),
            compose("to_jsonb({})", self.text(column.name)) if column.type == "jsonb" else sql.NULL,
            self._cast(column),
        )

    def _cast(self, column: Column) -> sql.Composable:
        text = self.text(column.name)
        kind = sql.SQL(column.type)
        if column.type in TEXT_TYPES:
            return text
        # The common forms, which PostgreSQL reads in only one way, are cast in place; what needs a closer look goes through a
        # function, which costs ten times as much. The conditions are chosen for what they cost (0.3 µs together): a
        # class of characters is looked for five times as fast as a whole pattern. Where the reader has seen nothing but
        # plain times, none is needed.
        if column.type == "timestamp with time zone" and column.name not in self.stage.times:
            return compose(
                """
                CASE WHEN {text} LIKE '2___-__-__T__:__:__.______' AND {text} NOT LIKE '%-%-%-%' AND {text} NOT LIKE '%T%T%'
                          AND {text} NOT LIKE '%:%:%:%' AND {text} NOT LIKE '%.%.%' AND {text} !~ '[^-0-9T:.]'
                     THEN {text}::timestamptz
                     WHEN ({text} LIKE '____-__-_____:__:__.%' OR {text} LIKE '____-__-_____:__:__'
                           OR {text} LIKE '____-__-_____:__:__Z' OR {text} LIKE '____-__-_____:__:__ UTC')
                          AND {text} COLLATE "C" BETWEEN '0002' AND '9999'
                          AND {text} ~ '^[0-9]+-[0-9]+-[0-9]{{2}}[T ][0-9]+:[0-9]+:[0-9]+([.][0-9]+)?( ?UTC|Z)?$'
                     THEN {text}::timestamptz
                     ELSE ingest.strict_time({text}) END
                """,
                text=text,
            )
        if column.type == "date":
            return compose(
                "CASE WHEN {text} LIKE '____-__-__' AND {text} NOT LIKE '%-%-%-%' AND {text} !~ '[^-0-9]' "
                "AND {text} COLLATE \"C\" BETWEEN '0002' AND '9999' "
                "THEN {text}::date ELSE ingest.strict_date({text}) END",
                text=text,
            )
        if column.type in {"smallint", "integer", "bigint"}:
            return compose(
                "CASE WHEN octet_length({text}) = 1 OR {text} !~ '[^-+0-9 ]' THEN ({text})::{kind} "
                "ELSE ingest.whole_number({text})::{kind} END",
                text=text,
                kind=kind,
            )
        if column.type == "text[]":
            return compose(
                "CASE WHEN {staged} = '[]' THEN '{{}}' "
                "WHEN {staged} ~ {plain} THEN ('{{' || substr({staged}, 2, length({staged}) - 2) || '}}')::text[] "
                "ELSE ingest.text_array({text}) END",
                staged=self._staged(column.name),
                text=text,
                plain=sql.Literal(PLAIN_ARRAY),
            )
        return compose("({})::{}", text, kind)

    def fault(self, column: Column) -> sql.Composable:
        """Return why a staged text does not fit its column (NULL if it does), in words without the value."""
        return compose("ingest.cast_fault({}, NULL::{})", self.text(column.name), sql.SQL(column.type))

    def computed(self, column: Column) -> sql.Composable:
        """Return a plain column's value from the record: a constant, a typed value, or one made from other columns."""
        if column.name in self.constants:
            return compose("{}::{}", sql.Literal(self.constants[column.name]), sql.SQL(column.type))
        value = self.typed(column)
        if column.name == "profile_data" and column.name in self.derived:
            value = compose("ingest.with_export_columns({}, {})", value, self.record(self.plain_unknown))
        if column.name == "deleted_at" and column.name in self.derived:
            value = compose(
                "coalesce({}, CASE WHEN {} = 'D' THEN coalesce({}, {}, now()) END)",
                value,
                self.text(OPERATION),
                self._if_present(COMMITTED_AT),
                self._if_present("updated_at"),
            )
        return value

    def sealed_text(self, column: Column) -> sql.Composable:
        """Return the text that is encrypted for a personal column: canonical for its type."""
        if column.type in TEXT_TYPES:
            return self.typed(column)
        return compose("({})::text", self.typed(column))

    def tag(self, sealed: str) -> sql.Composable:
        """Return what the text of a sealed column of the table begins with.

        Args:
            sealed: the column that holds the ciphertext, e.g. "phone_encrypted".
        """
        return compose(
            "privacy.tag({}, {})", sql.Literal(f"public.{self.catalog.table.name}"), sql.Literal(sealed)
        )

    def record(self, names: list[str]) -> sql.Composable:
        """Return staged columns as one JSON object, without the empty ones."""
        keys = sql.SQL(", ").join(sql.Literal(name) for name in names)
        values = sql.SQL(", ").join(self.text(name) for name in names)
        return compose("jsonb_strip_nulls(jsonb_object(ARRAY[{}]::text[], ARRAY[{}]::text[]))", keys, values)

    def all_columns(self) -> sql.Composable:
        """Return a staged record whole, as one JSON object."""
        keys = sql.SQL(", ").join(sql.Literal(name) for name in self.stage.header)
        values = sql.SQL(", ").join(compose("stage.{}", column) for column in self.stage.columns)
        return compose("jsonb_object(ARRAY[{}]::text[], ARRAY[{}]::text[])", keys, values)

    def content_hash(self) -> sql.Composable:
        """Return the keyed hash of all that a record can change in the row: its digest, permuted by AES-256.

        Columns are taken in the order of their names, so that a file with its columns rearranged holds the same
        records. Unlike an HMAC the hash can be carried over to another key without the record (ADR 0007).
        """
        kept = self.names_in_file | {OPERATION}
        if self.keeps_unknown:
            kept |= set(self.unknown)
        content = self._content(sorted(kept & set(self.stage.header)))
        return compose("encrypt(sha256({}), {}, 'aes-ecb/pad:none')", content, HASH_KEY)

    def _content(self, names: list[str]) -> sql.Composable:
        """Return bytes that are equal for two records only if these columns and their values are.

        It is the values with separators between them, after a digest of the names. A record in which a value has
        the separator takes another form, which writes lengths and takes twice as long; no text looks like it.
        """
        columns = sql.Literal(hashlib.sha256("\n".join(names).encode()).hexdigest()[:32])
        values: list[sql.Composable] = [
            columns,
            *(compose("coalesce({}, '')", self._staged(name)) for name in names),
        ]
        text = self._joined(values)
        plain = compose("convert_to({}, 'UTF8')", text)
        if not self.stage.may_hold_separator:
            return plain
        return compose(
            "CASE WHEN octet_length({text}) - octet_length(replace({text}, {separator}, '')) = {expected} THEN {plain} "
            "ELSE record_send(ROW({values})) END",
            text=text,
            separator=_SEPARATOR,
            expected=sql.Literal(len(names)),
            plain=plain,
            values=sql.SQL(", ").join(values),
        )

    def _staged(self, name: str) -> sql.Composable:
        return compose("stage.{}", self.stage.column(name) or sql.NULL)

    def _joined(self, values: list[sql.Composable]) -> sql.Composable:
        """Return texts with the separator between them."""
        groups = [values[start : start + _ARGUMENTS] for start in range(0, len(values), _ARGUMENTS)]
        joined: list[sql.Composable] = [
            compose("concat_ws({}, {})", _SEPARATOR, sql.SQL(", ").join(group)) for group in groups
        ]
        return joined[0] if len(joined) == 1 else self._joined(joined)

    def _if_present(self, name: str) -> sql.Composable:
        column = self.catalog.by_name.get(name)
        return self.typed(column) if column else sql.SQL("NULL::timestamptz")
