"""TypeScript types of what the driver `pg` returns and takes, when nobody has told it otherwise.

It returns ``bigint`` and ``numeric`` as text, since JavaScript's numbers are too short for them, times and dates as ``Date``,
and JSON parsed. Arrays of types that it does not know come as PostgreSQL writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from daybreak_pipeline.documentation import shapes
from daybreak_pipeline.documentation.relations import Column, Relation
from daybreak_pipeline.documentation.shapes import CodeList, Shape, in_one_line

FILE = "daybreak.ts"
_RESERVED = frozenset(
    {"Array", "Buffer", "Database", "Date", "Interval", "JsonInput", "Object", "Partial", "Record", "String"}
)
_RETURNED = {
    **dict.fromkeys(("int2", "int4", "oid", "float4", "float8"), "number"),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), "Date"),
    **dict.fromkeys(("json", "jsonb"), "unknown"),
    "bool": "boolean",
    "bytea": "Buffer",
    "interval": "Interval",
    "point": "{ x: number; y: number }",
    "circle": "{ x: number; y: number; radius: number }",
}
_RETURNED_IN_ARRAYS = {
    **{name: kind for name, kind in _RETURNED.items() if name != "circle"},
    **dict.fromkeys(
        (
            *("int8", "text", "varchar", "bpchar", "uuid", "inet", "cidr", "macaddr"),
            *("money", "time", "timetz", "numrange", "regproc"),
        ),
        "string",
    ),
    "numeric": "number",  # rounded: in an array the driver makes numbers of them
}
_TAKEN = {
    **dict.fromkeys(("int8", "numeric"), "string | number | bigint"),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), "Date | string"),
    **dict.fromkeys(("json", "jsonb"), "JsonInput"),
    "interval": "string",
    "point": "string",
    "circle": "string",
}
_HEAD = """\
// Made by `daybreak models --language typescript` from the catalog as of migration {revision}. What is changed here is lost.
//
// What node-postgres (pg) returns unless its type parsers are changed: bigint and numeric as text, times and dates as Date, JSON
// parsed. A date is midnight in the time zone of the program, an infinite time the number Infinity. An element of an array may be
// NULL, which no type here says.

/** What a JSON column takes. An array has to be passed as JSON.stringify(array): pg makes a PostgreSQL array of it otherwise. */
export type JsonInput = string | {{ [key: string]: unknown }};
"""
_INTERVAL = """\
/** What pg returns for an interval. */
export interface Interval {
  years?: number;
  months?: number;
  days?: number;
  hours?: number;
  minutes?: number;
  seconds?: number;
  milliseconds?: number;
}
"""


def source(relations: Sequence[Relation], revision: str) -> str:
    """Return the module.

    Args:
        relations: as the catalog has them.
        revision: the newest migration that the database has.
    """
    made = shapes.of(relations, _RESERVED)
    has_interval = any(column.type == "interval" for shape in made.shapes for column in shape.read)
    parts = [
        _HEAD.format(revision=revision),
        *([_INTERVAL] if has_interval else []),
        *map(_codes, made.code_lists),
        *(part for shape in made.shapes for part in _interfaces(shape)),
        _database(made.shapes),
    ]
    return "\n".join(parts)


def _codes(codes: CodeList) -> str:
    members = "".join(
        f"  {_key(name)}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in codes.members.items()
    )
    const = f"export const {codes.name} = {{\n{members}}} as const;\n"
    if not codes.is_closed:
        return f"/** Codes that are known; the database takes others. */\n{const}"
    return f"{const}export type {codes.name} = (typeof {codes.name})[keyof typeof {codes.name}];\n"


def _interfaces(shape: Shape) -> Iterator[str]:
    about = [f"A row of {shape.relation.full_name}.", shape.relation.comment]
    about += [f"Sealed columns are read through {shape.sealed_in}."] if shape.sealed_in else []
    yield _interface(
        shape.name,
        " ".join(about),
        [_property(column, _returned(column, shape), optional=False) for column in shape.read],
    )
    if shape.inserted:
        yield _interface(
            f"{shape.name}Insert",
            f"What an INSERT into {shape.relation.full_name} takes.",
            [
                _property(column, _taken(column, shape), optional=column.has_default or not column.required)
                for column in shape.inserted
            ],
        )
    if shape.updated and shape.inserted == shape.updated:
        yield f"export type {shape.name}Update = Partial<{shape.name}Insert>;\n"
    elif shape.updated:
        yield _interface(
            f"{shape.name}Update",
            f"What an UPDATE of {shape.relation.full_name} takes.",
            [_property(column, _taken(column, shape), optional=True) for column in shape.updated],
        )


def _interface(name: str, about: str, properties: list[str]) -> str:
    return f"{_about(about, '')}export interface {name} {{\n{''.join(properties)}}}\n"


def _property(column: Column, type_: str, *, optional: bool) -> str:
    null = "" if column.required or type_ == "unknown" else " | null"
    return f"{_about(column.comment, '  ')}  {_key(column.name)}{'?' * optional}: {type_}{null};\n"


def _about(comment: str, indent: str) -> str:
    text = in_one_line(comment).replace("*/", "*\\/")
    return f"{indent}/** {text} */\n" if text else ""


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name, re.ASCII) else json.dumps(name, ensure_ascii=False)


def _returned(column: Column, shape: Shape) -> str:
    if column.is_array:
        kind = _RETURNED_IN_ARRAYS.get(column.type) if column.is_of_server else None
        return _array(kind) if kind else "string"
    return _listed(column, shape) or _RETURNED.get(column.type if column.is_of_server else "", "string")


def _taken(column: Column, shape: Shape) -> str:
    kind = _TAKEN.get(column.type, _RETURNED.get(column.type, "string")) if column.is_of_server else "string"
    return _array(kind) if column.is_array else _listed(column, shape) or kind


def _listed(column: Column, shape: Shape) -> str | None:
    codes = shape.code_lists.get(column.name)
    return codes.name if codes and codes.is_closed else None


def _array(kind: str) -> str:
    return f"({kind})[]" if " " in kind else f"{kind}[]"


def _database(made: Sequence[Shape]) -> str:
    lines = []
    for shape in made:
        schema = shape.relation.schema
        name = shape.relation.name if schema == "public" else shape.relation.full_name
        kinds = [f"row: {shape.name}"]
        kinds += [f"insert: {shape.name}Insert"] if shape.inserted else []
        kinds += [f"update: {shape.name}Update"] if shape.updated else []
        lines.append(f"  {json.dumps(name, ensure_ascii=False)}: {{ {'; '.join(kinds)} }};\n")
    return (
        f"/** Every table and view by its name in SQL. */\nexport interface Database {{\n{''.join(lines)}}}\n"
    )
