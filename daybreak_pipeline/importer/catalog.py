"""What the database's catalog says of a table: columns, keys, CHECKs and references.

Types, NOT NULL, defaults and constraints are read here at run time and nowhere repeated, so that a
migration reaches the import without touching Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from daybreak_pipeline.importer.sources import repeats
from daybreak_pipeline.tables import TABLES, TRANSPORT_COLUMNS, Table

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
            self.required or self.type == "jsonb" or self.name == "_fivetran_deleted"
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
    the encrypted twins.
    """

    table: Table
    columns: tuple[Column, ...]
    sealed: frozenset[str]
    technical: frozenset[str]
    checks: tuple[Check, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]

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

    def unknown(self, header: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a source that the schema does not know, without those of the transport."""
        known = set(self.by_name) | TRANSPORT_COLUMNS
        first = repeats(header)
        return tuple(name for name in header if first.get(name, name) not in known)


_TECHNICAL = frozenset(
    {"_source_hash", "_import_id", "_record_number", "_export_columns_encrypted", "name_tokens"}
)


def read(connection: Connection, name: str) -> TableCatalog:
    """Read one table's catalog. The table must exist: migrations run before."""
    table = TABLES[name]
    everything = [Column(*row) for row in connection.execute(_COLUMNS, [f"public.{name}"])]
    names = {column.name for column in everything}
    encrypted = {f"{column}_encrypted" for column in table.sealed_columns} & names
    checks: list[Check] = []
    unique_keys: list[tuple[str, ...]] = []
    foreign_keys: list[ForeignKey] = []
    for constraint, kind, columns, expression, foreign in connection.execute(
        _CONSTRAINTS, [f"public.{name}"]
    ):
        if kind == "c":
            checks.append(Check(constraint, tuple(columns), expression))
        elif kind == "u":
            unique_keys.append(tuple(columns))
        elif kind == "f":
            foreign_keys.append(ForeignKey(constraint, columns[0], foreign))
    return TableCatalog(
        table=table,
        columns=tuple(c for c in everything if c.name not in _TECHNICAL and c.name not in encrypted),
        sealed=frozenset(column.removesuffix("_encrypted") for column in encrypted),
        technical=frozenset(names & _TECHNICAL),
        checks=tuple(checks),
        unique_keys=tuple(unique_keys),
        foreign_keys=tuple(foreign_keys),
    )
