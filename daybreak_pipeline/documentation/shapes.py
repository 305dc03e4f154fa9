"""What applications read and write of each table and view, and what it is called in a program.

An application reads sealed columns through the view of the table's name, and writes them into the table. What is internal it does
neither read nor write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from daybreak_pipeline.documentation.codes import Code, Codes
from daybreak_pipeline.documentation.relations import Column, Relation

KINDS_OF_MODEL = ("", "Row", "Insert", "Update")
"""What the name of a model may end with: one table takes all of these names."""


@dataclass(frozen=True)
class CodeList:
    """The codes of a column as a program names them: by ``members``. Where the list is not closed, there are others."""

    name: str
    is_closed: bool
    members: Mapping[str, Code]


@dataclass(frozen=True)
class Shape:
    """A table or view: its name in a program, and the columns that are read, and that INSERT and UPDATE may name.

    ``key`` is what tells its rows apart; ``sealed_in`` is the view through which the columns are read that are only written here.
    """

    relation: Relation
    name: str
    key: tuple[str, ...]
    read: tuple[Column, ...]
    inserted: tuple[Column, ...]
    updated: tuple[Column, ...]
    code_lists: Mapping[str, CodeList]
    sealed_in: str | None


@dataclass(frozen=True)
class Shapes:
    """All of them, and each list of codes once."""

    shapes: tuple[Shape, ...]
    code_lists: tuple[CodeList, ...]


def of(relations: Sequence[Relation], reserved: frozenset[str]) -> Shapes:
    """Return the shapes of what applications may use: tables first.

    Args:
        relations: as the catalog has them.
        reserved: names that mean something else in the language.
    """
    usable = sorted(
        (relation for relation in relations if relation.is_for_applications),
        key=lambda relation: (
            relation.schema != "public",
            relation.schema,
            relation.kind != "table",
            relation.name,
        ),
    )
    views = {relation.table: relation.full_name for relation in usable if relation.table}
    taken = set(reserved)
    code_lists: dict[object, CodeList] = {}
    shapes = []
    for relation in usable:
        prefix = "" if relation.schema == "public" else pascal(relation.schema)
        name = _free(prefix + pascal(relation.name), taken)
        of_columns = {}
        for column in relation.columns:
            if column.codes and not column.is_internal:
                # A view that shows a column with its codes has those of the table.
                key = (column.name, column.codes.values, tuple(column.codes.names.items()))
                if key not in code_lists:
                    code_lists[key] = _code_list(_free(name + pascal(column.name), taken), column.codes)
                of_columns[column.name] = code_lists[key]
        shapes.append(_shape(relation, name, of_columns, views.get(relation.full_name)))
    return Shapes(tuple(shapes), tuple(code_lists.values()))


def _shape(relation: Relation, name: str, code_lists: Mapping[str, CodeList], sealed_in: str | None) -> Shape:
    columns = [column for column in relation.columns if not column.is_internal]
    written = [column for column in columns if not column.is_generated]
    # What a trigger makes of an UPDATE of a view the catalog does not say by column.
    updatable = [column for column in written if column.is_updatable] or written
    names = {column.name for column in columns}
    return Shape(
        relation,
        name,
        relation.primary_key or (("id",) if relation.kind != "table" and "id" in names else ()),
        tuple(column for column in columns if not column.kept_empty),
        tuple(written) if relation.can_insert else (),
        tuple(updatable) if relation.can_update else (),
        code_lists,
        sealed_in if any(column.kept_empty for column in columns) else None,
    )


def _code_list(name: str, codes: Codes) -> CodeList:
    members: dict[str, Code] = {}
    for value in codes.values:
        wanted = (
            value
            if isinstance(value, str)
            else codes.names.get(value, f"code_{value}".replace("-", "minus_"))
        )
        key = next(key for key in _variants("_".join(words(wanted)).lower() or "empty") if key not in members)
        members[key] = value
    return CodeList(name, codes.is_closed, members)


def words(text: str) -> list[str]:
    """Return the words of a name, as identifiers can have them."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text))


def pascal(text: str) -> str:
    """Return a name as classes are called."""
    joined = "".join(word[0].upper() + word[1:] for word in words(text))
    return joined if joined.isidentifier() else f"T{joined}"


def _free(wanted: str, taken: set[str]) -> str:
    """Return a name under which no model is yet, and take it with all that may be added to it."""
    name = next(
        name for name in _variants(wanted) if taken.isdisjoint(f"{name}{kind}" for kind in KINDS_OF_MODEL)
    )
    taken |= {f"{name}{kind}" for kind in KINDS_OF_MODEL}
    return name


def _variants(name: str) -> Iterator[str]:
    return chain([name], (f"{name}_{number}" for number in count(2)))


def in_one_line(comment: str) -> str:
    """Return a comment without breaks of lines."""
    return " ".join(comment.split())
