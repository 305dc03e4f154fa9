"""Lists of codes: the values that a CHECK or an enum type allows, and the names that the column's comment gives them.

``1 = guardian, 2 = child`` in a comment names two codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Code = int | str

_NAMED = re.compile(r"(?<![\w.-])(-?\d+) = ([^,;.:()]+)")
_ITEM = re.compile(r"\(?(?:'((?:[^']|'')*)'|(-?\d+))\)?(?:::[^,\]]+)?(?:, |$)")
_OF_LIST = r"\(+{column}\)?(?:::[\w ]+)? = ANY \(+ARRAY\[(.*?)\]\)?(?:::[\w ]+\[\])?\)+"
_OF_ONE = r"\(+{column}\)?(?:::[\w ]+)? = (.*?)\)+"


@dataclass(frozen=True)
class Codes:
    """The codes of a column. ``is_closed`` where the database refuses every other; ``names`` of those that have one."""

    values: tuple[Code, ...]
    is_closed: bool
    names: Mapping[Code, str] = field(default_factory=dict)


def of_column(
    name: str, *, is_number: bool, labels: tuple[str, ...], checks: list[str], comment: str
) -> Codes | None:
    """Return the codes of a column; None where there are none.

    Args:
        name: the column.
        is_number: whether its values are whole numbers.
        labels: those of its enum type.
        checks: the expressions of CHECKs on this column alone, as the server prints them.
        comment: what the column's comment says.
    """
    if labels:
        return Codes(labels, is_closed=True)
    names: dict[Code, str] = (
        {int(code): said.strip() for code, said in _NAMED.findall(comment)} if is_number else {}
    )
    for expression in checks:
        values = _listed(expression, name, is_number=is_number)
        if values:
            return Codes(values, is_closed=True, names={v: names[v] for v in values if v in names})
    return Codes(tuple(names), is_closed=False, names=names) if names else None


def _listed(expression: str, name: str, *, is_number: bool) -> tuple[Code, ...]:
    quoted = '"{}"'.format(name.replace('"', '""'))
    column = f"(?:{re.escape(name)}|{re.escape(quoted)})"
    for form in (_OF_LIST, _OF_ONE):
        found = re.fullmatch(form.format(column=column), expression, re.DOTALL)
        items = _items(found[1]) if found else ()
        if items:
            return tuple(int(item) for item in items) if is_number else items
    return ()


def _items(written: str) -> tuple[str, ...]:
    """Return the constants of a list as texts; none where it holds anything else."""
    items, end = [], 0
    for found in _ITEM.finditer(written):
        if found.start() != end:
            return ()
        items.append(found[2] if found[1] is None else found[1].replace("''", "'"))
        end = found.end()
    return tuple(items) if end == len(written) else ()
