"""Python models: SQLAlchemy classes for the tables and views, and pydantic classes of what is read, inserted and updated.

What the module imports has names that begin with an underscore, and no field's name does, so that neither hides the other.
sqlacodegen makes such classes, too, but knows neither pydantic, nor lists of codes, nor that sealed columns are read elsewhere.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count

from daybreak_pipeline.documentation import shapes
from daybreak_pipeline.documentation.relations import Column, Relation
from daybreak_pipeline.documentation.shapes import CodeList, Shape, in_one_line

FILE = "daybreak_models.py"
_CLASSES = frozenset({"Base", "False", "Input", "Model", "None", "True"})
BUILT_IN = frozenset({"bool", "bytes", "dict", "float", "int", "list", "str"})
"""What annotations name: a field of that name would hide it from those below."""
OF_THE_LIBRARIES = frozenset(
    {
        # pydantic.BaseModel
        *("construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj", "parse_raw", "schema"),
        *("schema_json", "update_forward_refs", "validate"),
        *(
            "model_computed_fields",
            "model_config",
            "model_construct",
            "model_copy",
            "model_dump",
            "model_dump_json",
        ),
        *("model_extra", "model_fields", "model_fields_set", "model_json_schema", "model_parametrized_name"),
        *(
            "model_post_init",
            "model_rebuild",
            "model_validate",
            "model_validate_json",
            "model_validate_strings",
        ),
        # sqlalchemy.orm.DeclarativeBase
        *("metadata", "registry", "type_annotation_map"),
    }
)
"""What fields cannot be called in one of the two."""

_ANY = ("_typing.Any", "_sa.types.NullType()")
_TYPES = {
    "bool": ("bool", "_sa.Boolean()"),
    "bytea": ("bytes", "_sa.LargeBinary()"),
    "int2": ("int", "_sa.SmallInteger()"),
    "int4": ("int", "_sa.Integer()"),
    "int8": ("int", "_sa.BigInteger()"),
    "float4": ("float", "_sa.REAL()"),
    "float8": ("float", "_sa.Double()"),
    "numeric": ("_decimal.Decimal", "_sa.Numeric()"),
    "text": ("str", "_sa.Text()"),
    "varchar": ("str", "_sa.String()"),
    "bpchar": ("str", "_sa.CHAR()"),
    "uuid": ("_uuid.UUID", "_sa.Uuid()"),
    "date": ("_datetime.date", "_sa.Date()"),
    "time": ("_datetime.time", "_sa.Time()"),
    "timetz": ("_datetime.time", "_sa.Time(timezone=True)"),
    "timestamp": ("_datetime.datetime", "_sa.DateTime()"),
    "timestamptz": ("_datetime.datetime", "_sa.DateTime(timezone=True)"),
    "interval": ("_datetime.timedelta", "_pg.INTERVAL()"),
    "json": ("_typing.Any", "_pg.JSON(none_as_null=True)"),
    "jsonb": ("_typing.Any", "_pg.JSONB(none_as_null=True)"),
}
_HEAD = '''\
"""Made by `daybreak models --language python` from the catalog as of migration {revision}. What is changed here is lost.

Each table and view is a class of SQLAlchemy; one without a key is a Table. Beside it are pydantic classes: ...Row is what is read
(`PatientsRow.model_validate(row)`), ...Insert and ...Update what is written (`Patients(**new.model_dump(exclude_unset=True))`).
Fields are called as the columns, without an underscore before them, and with one behind where Python needs that.
"""

# ruff: noqa
import datetime as _datetime
import decimal as _decimal
import enum as _enum
import typing as _typing
import uuid as _uuid

import pydantic as _pydantic
import sqlalchemy as _sa
import sqlalchemy.dialects.postgresql as _pg
import sqlalchemy.orm as _orm

# What may be left out and is not NULL. model_dump(exclude_unset=True) has no trace of it.
_LEFT_OUT: _typing.Any = None


class Base(_orm.DeclarativeBase):
    """What all tables and views belong to."""


class Model(_pydantic.BaseModel):
    """What all rows and inputs are."""

    model_config = _pydantic.ConfigDict(from_attributes=True)


class Input(Model):
    """What is written: nothing but columns that can be."""

    model_config = _pydantic.ConfigDict(extra="forbid")
'''


def source(relations: Sequence[Relation], revision: str) -> str:
    """Return the module.

    Args:
        relations: as the catalog has them.
        revision: the newest migration that the database has.
    """
    made = shapes.of(relations, _CLASSES)
    parts = [
        _HEAD.format(revision=revision),
        *(_codes(codes) for codes in made.code_lists if _is_of_numbers(codes)),
        *(part for shape in made.shapes for part in _classes(shape)),
    ]
    return "\n\n".join(parts)


def attributes(columns: Sequence[Column]) -> dict[str, str]:
    """Return what the fields of columns are called, by the columns' names. No field has the name of another column."""
    columns_names = {column.name for column in columns}
    found: dict[str, str] = {}
    for name in sorted(columns_names):
        plain = "_".join(shapes.words(name))
        plain = plain if plain.isidentifier() else f"c_{plain}"
        taken = {*found.values(), *BUILT_IN, *OF_THE_LIBRARIES, *keyword.kwlist, *(columns_names - {name})}
        variants = chain([plain, f"{plain}_"], (f"{plain}_{number}" for number in count(2)))
        found[name] = next(variant for variant in variants if variant not in taken)
    return found


def _is_of_numbers(codes: CodeList) -> bool:
    return all(isinstance(value, int) for value in codes.members.values())


def _codes(codes: CodeList) -> str:
    about = (
        "All codes that there are." if codes.is_closed else "Codes that are known; the database takes others."
    )
    members = "".join(f"    {_member(name)} = {value}\n" for name, value in codes.members.items())
    return f'class {codes.name}(_enum.IntEnum):\n    """{about}"""\n\n{members}'


def _member(name: str) -> str:
    return name.upper() if name.isidentifier() else f"C_{name.upper()}"


def _classes(shape: Shape) -> Iterator[str]:
    names = attributes([*shape.relation.columns])
    yield _mapped(shape, names) if shape.key else _core(shape)
    about = f"A row of {shape.relation.full_name}."
    yield _model(f"{shape.name}Row", about, [_field(column, shape, names, "Row") for column in shape.read])
    if shape.inserted:
        about = f"What an INSERT into {shape.relation.full_name} takes."
        fields = [_field(column, shape, names, "Insert") for column in shape.inserted]
        yield _model(f"{shape.name}Insert", about, fields)
    if shape.updated:
        about = f"What an UPDATE of {shape.relation.full_name} takes."
        fields = [_field(column, shape, names, "Update") for column in shape.updated]
        yield _model(f"{shape.name}Update", about, fields)


def _mapped(shape: Shape, names: Mapping[str, str]) -> str:
    sealed = f" Sealed columns are read through {shape.sealed_in}." if shape.sealed_in else ""
    head = (
        f'class {shape.name}(Base):\n    """{_quoted(shape.relation.comment)}{sealed}"""\n\n'
        f"    __tablename__ = {shape.relation.name!r}\n"
        f"    __table_args__ = {{'schema': {shape.relation.schema!r}}}\n\n"
    )
    columns = {column.name: column for column in (*shape.read, *shape.inserted)}
    ordered = [column for column in shape.relation.columns if column.name in columns]
    return head + "".join(_attribute(column, shape, names[column.name]) for column in ordered)


def _attribute(column: Column, shape: Shape, name: str) -> str:
    kind, sql_type = _type_of(column)
    arguments = [repr(column.name), sql_type]
    if column.name in shape.key:
        arguments.append("primary_key=True")
    elif column.required:
        arguments.append("nullable=False")
    if shape.inserted and (column.has_default or column.is_generated):
        arguments.append("server_default=_sa.FetchedValue()")
    if column.kept_empty:
        arguments += ["deferred=True", "deferred_raiseload=True"]
    null = "" if column.required or column.name in shape.key else " | None"
    about = f"    # {in_one_line(column.comment)}\n" if column.comment else ""
    return f"{about}    {name}: _orm.Mapped[{kind}{null}] = _orm.mapped_column({', '.join(arguments)})\n"


def _core(shape: Shape) -> str:
    lines = [
        f"{shape.name} = _sa.Table(",
        f"    {shape.relation.name!r},",
        "    Base.metadata,",
        *(f"    _sa.Column({column.name!r}, {_type_of(column)[1]})," for column in shape.read),
        f"    schema={shape.relation.schema!r},",
        ")",
        f'"""{_quoted(shape.relation.comment)}"""',
        "",
    ]
    return "\n".join(lines)


def _model(name: str, about: str, fields: list[str]) -> str:
    base = "Model" if name.endswith("Row") else "Input"
    return f'class {name}({base}):\n    """{_quoted(about)}"""\n\n{"".join(fields)}'


def _field(column: Column, shape: Shape, names: Mapping[str, str], use: str) -> str:
    kind = _kind(column, shape)
    length = re.search(r"\((\d+)\)$", column.sql_type)
    name, arguments = names[column.name], []
    required = column.required or (column.name in shape.key and use == "Row")
    annotation = kind if required else f"{kind} | None"
    may_be_left_out = not column.required or column.has_default
    if use == "Update" or (use == "Insert" and may_be_left_out):
        arguments.append("default=None" if not column.required else "default=_LEFT_OUT")
    if use != "Row" and length and kind == "str":
        arguments.append(f"max_length={length[1]}")
    if name != column.name:
        # By the field's name first: an object of SQLAlchemy has something else under such names as metadata.
        arguments.append(f"validation_alias=_pydantic.AliasChoices({name!r}, {column.name!r})")
        arguments.append(f"serialization_alias={column.name!r}")
    given = f" = _pydantic.Field({', '.join(arguments)})" if arguments else ""
    return f"    {name}: {annotation}{given}\n"


def _kind(column: Column, shape: Shape) -> str:
    codes = shape.code_lists.get(column.name)
    if codes and codes.is_closed:
        if _is_of_numbers(codes):
            return codes.name
        return f"_typing.Literal[{', '.join(repr(value) for value in codes.members.values())}]"
    return _type_of(column)[0]


def _type_of(column: Column) -> tuple[str, str]:
    """Return a column's type in Python and in SQLAlchemy."""
    if column.labels:
        labels = ", ".join(map(repr, column.labels))
        kind = f"_typing.Literal[{labels}]"
        sql_type = (
            f"_pg.ENUM({labels}, name={column.type!r}, schema={column.type_schema!r}, create_type=False)"
        )
    elif column.is_of_server:
        kind, sql_type = _TYPES.get(column.type, _ANY)
        length = re.search(r"\((\d+)\)(\[\])?$", column.sql_type)
        if length and column.type in {"varchar", "bpchar"}:
            sql_type = sql_type.replace("()", f"({length[1]})")
    else:
        kind, sql_type = ("str", "_pg.CITEXT()") if column.type == "citext" else _ANY
    return (f"list[{kind}]", f"_pg.ARRAY({sql_type})") if column.is_array else (kind, sql_type)


def _quoted(comment: str) -> str:
    text = in_one_line(comment).replace("\\", "\\\\").replace('"', '\\"')
    return text or "Nobody has said what it holds."
