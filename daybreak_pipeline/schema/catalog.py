"""What the database's catalog says of a table: columns, keys, CHECKs and references.

Types, NOT NULL, defaults and constraints are read here at run time and nowhere repeated, so that a
migration reaches the import without touching Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from daybreak_pipeline.schema import protected
from daybreak_pipeline.tables import DELETED_FLAG, TRANSPORT_COLUMNS, Table

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid),
           CASE WHEN a.atttypid = 'varchar'::regtype AND a.atttypmod > 0 THEN a.atttypmod - 4 END,
           col_description(a.attrelid, a.attnum),
           format_type(a.atttypid, a.atttypmod)
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""

_CONSTRAINTS = """
    SELECT c.conname, c.contype,
           ARRAY(SELECT a.attname FROM unnest(c.conkey) WITH ORDINALITY k(n, i)
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.i)::text[],
           CASE WHEN c.contype = 'c' THEN pg_get_expr(c.conbin, c.conrelid) END,
           f.relname::text
    FROM pg_constraint c LEFT JOIN pg_class f ON f.oid = c.confrelid
    WHERE c.conrelid = to_regclass(%s) AND c.contype IN ('c', 'f', 'p', 'u')
    ORDER BY c.conname
"""

SEALED_CONSTRAINT = "personal_columns_are_sealed"
"""The CHECK that keeps personal columns NULL. No value of an export can break it: what is stored is sealed."""

# What an index holds of a text has a limit, in bytes, where a column of text has none. PostgreSQL compresses long
# texts, so that some longer ones would fit; what would not must never reach the index, which fails the whole import.
GIN_ELEMENT_BYTES = 2696
"""The longest element of an array that fits into a GIN index, of one column or of several."""
BTREE_ROW_BYTES = 2696
"""What the columns of a row may need together in a B-tree: a text 4 more than it has, and up to 7 to be aligned."""

_INDEX_LIMITS = """
    WITH part AS (
        SELECT i.indexrelid, m.amname, a.attname, a.atttypid, greatest(a.attlen + 7, 0) AS fixed,
               a.atttypid IN ('text'::regtype, 'varchar'::regtype) AS is_text,
               CASE WHEN a.attlen > 0 THEN a.attlen + 7
                    WHEN a.atttypid = 'varchar'::regtype AND a.atttypmod > 0 THEN 4 * (a.atttypmod - 4) + 4 + 7
                    ELSE %(btree)s + 1 END AS most
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
        WHERE i.indrelid = to_regclass(%(table)s)
    ), shared AS (
        SELECT *, sum(most) OVER whole AS most_of_all, sum(fixed) OVER whole AS fixed_of_all,
               count(*) FILTER (WHERE is_text) OVER whole AS texts, count(*) OVER whole AS columns
        FROM part WHERE amname = 'btree' WINDOW whole AS (PARTITION BY indexrelid)
    ), bounds AS (
        SELECT attname, %(gin)s AS bytes FROM part WHERE amname = 'gin' AND atttypid = 'text[]'::regtype
        UNION ALL
        SELECT attname, (%(btree)s - fixed_of_all) / texts - CASE columns WHEN 1 THEN 4 ELSE 4 + 7 END
        FROM shared WHERE is_text AND most_of_all > %(btree)s
    )
    SELECT attname, min(bytes)::int FROM bounds GROUP BY attname
"""


@dataclass(frozen=True)
class Column:
    """One column. ``type`` is without a length, ``sql_type`` with it; ``max_length`` counts characters."""

    name: str
    type: str
    required: bool
    default: str | None
    max_length: int | None
    comment: str | None
    sql_type: str

    @property
    def needs_value(self) -> bool:
        """Whether an empty cell has no place to go."""
        return self.required and self.default is None

    @property
    def takes_default(self) -> bool:
        """Whether an empty cell takes the column's default (contract, rule 5)."""
        return self.default is not None and (
            self.required or self.type == "jsonb" or self.name == DELETED_FLAG
        )


@dataclass(frozen=True)
class Check:
    """A CHECK constraint: its expression over the table's typed columns."""

    name: str
    columns: tuple[str, ...]
    expression: str


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of one column."""

    name: str
    column: str
    table: str


@dataclass(frozen=True)
class TableCatalog:
    """All that the import needs to know of one table.

    ``columns`` are those that a source can fill: without the importer's own (``_source_hash`` …) and
    the encrypted twins. ``index_limits`` are the columns with an index that longer texts, or longer elements of an
    array, do not fit into, and how many bytes do.
    """

    table: Table
    columns: tuple[Column, ...]
    sealed: frozenset[str]
    technical: frozenset[str]
    checks: tuple[Check, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]
    index_limits: Mapping[str, int]

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @property
    def id_type(self) -> str:
        """SQL type of the primary key."""
        return self.by_name["id"].type

    @property
    def required_in_file(self) -> tuple[str, ...]:
        """Columns without which a file cannot be imported: the id and what has no default."""
        return tuple(c.name for c in self.columns if c.name == "id" or c.needs_value)

    @property
    def known_names(self) -> frozenset[str]:
        """The names by which a file's columns are recognised: the table's, the transport's, and personal ones."""
        return frozenset(self.by_name) | TRANSPORT_COLUMNS | frozenset(self.table.personal_export_columns)

    @cached_property
    def expected(self) -> frozenset[str]:
        """What a file may have without being ahead of the schema: the table's columns and those of the transport."""
        return frozenset(self.by_name) | TRANSPORT_COLUMNS


TECHNICAL = frozenset(
    {
        "_source_hash",
        "_record_digest",
        "_import_id",
        "_record_number",
        "_source_updated_at",
        "_edited_at",
        "_export_columns_encrypted",
        "name_tokens",
    }
)
"""Columns of the importer's own, and of search: no export and no application fills them."""


def read(connection: Connection, name: str) -> TableCatalog:
    """Read the catalog of one of the plan's tables, or of a protected one of an application.

    The table must exist: migrations run before.

    Raises:
        UsageError: it is neither.
    """
    table = protected.table(connection, name)
    everything = [Column(*row) for row in connection.execute(_COLUMNS, [f"public.{name}"])]
    names = {column.name for column in everything}
    encrypted = {f"{column}_encrypted" for column in table.sealed_columns} & names
    checks: list[Check] = []
    unique_keys: list[tuple[str, ...]] = []
    foreign_keys: list[ForeignKey] = []
    for constraint, kind, columns, expression, foreign in connection.execute(
        _CONSTRAINTS, [f"public.{name}"]
    ):
        if kind == "c" and constraint != SEALED_CONSTRAINT:
            checks.append(Check(constraint, tuple(columns), expression))
        elif kind == "u":
            unique_keys.append(tuple(columns))
        elif kind == "f":
            foreign_keys.append(ForeignKey(constraint, columns[0], foreign))
    return TableCatalog(
        table=table,
        columns=tuple(c for c in everything if c.name not in TECHNICAL and c.name not in encrypted),
        sealed=frozenset(column.removesuffix("_encrypted") for column in encrypted),
        technical=frozenset(names & TECHNICAL),
        checks=tuple(checks),
        unique_keys=tuple(unique_keys),
        foreign_keys=tuple(foreign_keys),
        index_limits=dict(
            connection.execute(
                _INDEX_LIMITS,
                {"table": f"public.{name}", "gin": GIN_ELEMENT_BYTES, "btree": BTREE_ROW_BYTES},
            ).fetchall()
        ),
    )
