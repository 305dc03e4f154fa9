"""What the catalog says of tables and views: for documents, and for the models of applications."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from daybreak_pipeline.documentation import codes
from daybreak_pipeline.documentation.codes import Codes
from daybreak_pipeline.schema.catalog import SEALED_CONSTRAINT, TECHNICAL

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection

APPLICATION = "daybreak_app"
_INSERT, _UPDATE = 8, 4
"""Bits of what pg_relation_is_updatable returns."""
_NUMBERS = frozenset({"int2", "int4", "int8"})

# Everything is sorted as bytes, so that no locale decides.
_RELATIONS = """
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), ''),
           pg_relation_is_updatable(c.oid, true),
           coalesce(NOT has_table_privilege(to_regrole(%(application)s), c.oid, 'SELECT')
                    OR has_table_privilege(to_regrole(%(application)s), c.oid, 'INSERT'), true),
           coalesce(NOT has_table_privilege(to_regrole(%(application)s), c.oid, 'SELECT')
                    OR has_any_column_privilege(to_regrole(%(application)s), c.oid, 'UPDATE'), true),
           ARRAY(SELECT a.attname FROM pg_constraint k, unnest(k.conkey) WITH ORDINALITY u (n, i), pg_attribute a
                 WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attrelid = c.oid AND a.attnum = u.n ORDER BY u.i)::text[],
           n.nspname IN ('public', 'app')
           OR to_regrole(%(application)s) IS NOT NULL
              AND has_schema_privilege(to_regrole(%(application)s), n.oid, 'USAGE')
              AND has_table_privilege(to_regrole(%(application)s), c.oid, 'SELECT')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

# The server sends a value of a domain as one of the type beneath.
_COLUMNS = """
    WITH RECURSIVE domains AS (
        SELECT oid AS type, oid AS base, typtype, typbasetype, typnotnull FROM pg_type
        UNION ALL
        SELECT d.type, t.oid, t.typtype, t.typbasetype, d.typnotnull OR t.typnotnull
        FROM domains d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
    ), bases AS (SELECT type, base, typnotnull FROM domains WHERE typtype <> 'd')
    SELECT a.attrelid, a.attname::text, format_type(a.atttypid, a.atttypmod), e.typname::text,
           e.typnamespace = 'pg_catalog'::regnamespace, b.typelem <> 0 AND b.typlen = -1,
           ARRAY(SELECT l.enumlabel FROM pg_enum l WHERE l.enumtypid = e.oid ORDER BY l.enumsortorder)::text[],
           en.nspname::text, a.attnotnull OR bases.typnotnull, pg_get_expr(d.adbin, d.adrelid),
           a.attidentity <> '', a.attidentity = 'a' OR a.attgenerated <> '',
           pg_column_is_updatable(a.attrelid, a.attnum, true), coalesce(col_description(a.attrelid, a.attnum), ''),
           ARRAY(SELECT pg_get_expr(k.conbin, k.conrelid) FROM pg_constraint k
                 WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum] AND k.convalidated
                 ORDER BY k.conname COLLATE "C")::text[]
    FROM pg_attribute a
    JOIN bases ON bases.type = a.atttypid JOIN pg_type b ON b.oid = bases.base
    JOIN bases element ON element.type = CASE WHEN b.typelem <> 0 AND b.typlen = -1 THEN b.typelem ELSE b.oid END
    JOIN pg_type e ON e.oid = element.base JOIN pg_namespace en ON en.oid = e.typnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

_READ_BY_VIEWS = """
    SELECT DISTINCT r.ev_class, d.refobjid, a.attname::text
    FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE r.ev_class = ANY(%s) AND d.refobjid <> r.ev_class AND d.refobjsubid > 0
"""

_KEPT_EMPTY = """
    SELECT k.conrelid, a.attname::text
    FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)
    WHERE k.contype = 'c' AND k.conname = %s
"""


@dataclass(frozen=True)
class Column:
    """One column. ``type`` is the server's name of its type, of its elements where it is an array, and without domains.

    One that ``is_sealed`` has an encrypted twin; ``kept_empty`` where the plain one holds nothing, and can only be written. One
    that ``is_internal`` is the importer's, or ciphertext: no application reads or writes it. What ``is_generated`` cannot be
    written.
    """

    name: str
    sql_type: str
    type: str
    is_of_server: bool
    is_array: bool
    labels: tuple[str, ...]
    type_schema: str
    required: bool
    default: str | None
    is_identity: bool
    is_generated: bool
    is_updatable: bool
    comment: str
    codes: Codes | None = None
    is_sealed: bool = False
    kept_empty: bool = False
    is_internal: bool = False

    @property
    def has_default(self) -> bool:
        """Whether an INSERT may leave it out though it is required."""
        return self.default is not None or self.is_identity


@dataclass(frozen=True)
class Relation:
    """A table or a view, with its columns in their order. ``table`` is the one whose rows a view of its name shows.

    What the role of applications may not do cannot be done, where it has been granted anything.
    """

    schema: str
    name: str
    kind: Literal["table", "view", "materialized view"]
    comment: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    can_insert: bool
    can_update: bool
    is_for_applications: bool
    table: str | None = None

    @property
    def full_name(self) -> str:
        """Its name with its schema."""
        return f"{self.schema}.{self.name}"

    @property
    def by_name(self) -> dict[str, Column]:
        """Its columns by name."""
        return {column.name: column for column in self.columns}


_KINDS: Mapping[str, Literal["table", "view", "materialized view"]] = {
    "v": "view",
    "m": "materialized view",
}


def read(connection: Connection) -> tuple[Relation, ...]:
    """Return every table and view that is neither the server's nor an extension's, by schema and name."""
    rows = connection.execute(_RELATIONS, {"application": APPLICATION}).fetchall()
    oids = [row[0] for row in rows]
    columns: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for oid, *facts in connection.execute(_COLUMNS, [oids]):
        columns[oid].append(tuple(facts))
    kept_empty: dict[int, set[str]] = defaultdict(set)
    for oid, name in connection.execute(_KEPT_EMPTY, [SEALED_CONSTRAINT]):
        kept_empty[oid].add(name)
    found = {
        oid: Relation(
            schema,
            name,
            _KINDS.get(kind, "table"),
            comment,
            _columns(columns[oid], kept_empty[oid]),
            tuple(primary_key),
            bool(events & _INSERT) and may_insert,
            bool(events & _UPDATE) and may_update,
            is_for_applications,
        )
        for oid, schema, name, kind, comment, events, may_insert, may_update, primary_key, is_for_applications in rows
    }
    read_from: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for view, source, column in connection.execute(_READ_BY_VIEWS, [oids]):
        read_from[view][source].add(column)
    return tuple(
        _as_its_tables(relation, [(found[s], names) for s, names in read_from[oid].items() if s in found])
        for oid, relation in found.items()
    )


def _columns(rows: list[tuple[Any, ...]], kept_empty: Collection[str]) -> tuple[Column, ...]:
    twins = {f"{row[0]}_encrypted" for row in rows} & {row[0] for row in rows}
    return tuple(_column(row[:-1], row[-1], twins, kept_empty) for row in rows)


def _column(
    facts: tuple[Any, ...], checks: list[str], twins: Collection[str], kept_empty: Collection[str]
) -> Column:
    values: list[Any] = [tuple(fact) if isinstance(fact, list) else fact for fact in facts]
    column = Column(*values)
    return replace(
        column,
        codes=codes.of_column(
            column.name,
            is_number=column.type in _NUMBERS and not column.is_array,
            labels=() if column.is_array else column.labels,
            checks=checks,
            comment=column.comment,
        ),
        is_sealed=f"{column.name}_encrypted" in twins,
        kept_empty=column.name in kept_empty,
        # Tokens of words that are searched for are hashes, in an array.
        is_internal=column.name in TECHNICAL
        or column.name in twins
        or (column.type == "bytea" and column.is_array and column.name.endswith("_tokens")),
    )


def _as_its_tables(view: Relation, sources: list[tuple[Relation, set[str]]]) -> Relation:
    """Return a view with what the catalog says of the columns that it shows, and not of the view.

    A column of the same name and type has the codes of the one that the view reads. A view that has the name of a table that it
    reads shows the rows of that table: what is required there is so here.
    """
    if view.kind == "table":
        return view

    def shown(column: Column) -> Column:
        origins = [
            (source, origin)
            for source, names in sources
            for origin in source.columns
            if origin.name == column.name and origin.sql_type == column.sql_type
            if not names.isdisjoint({origin.name, f"{origin.name}_encrypted"})
        ]
        lists = {origin.codes and origin.codes.values: origin.codes for _, origin in origins}
        same = [origin for source, origin in origins if source.name == view.name and source.kind == "table"]
        return replace(
            column,
            codes=column.codes or (next(iter(lists.values())) if len(lists) == 1 else None),
            required=bool(same) and same[0].required,
            is_sealed=bool(same) and same[0].is_sealed,
        )

    tables = [source for source, _ in sources if source.kind == "table" and source.name == view.name]
    return replace(
        view,
        columns=tuple(map(shown, view.columns)),
        primary_key=tables[0].primary_key if tables else (),
        table=tables[0].full_name if tables else None,
    )
