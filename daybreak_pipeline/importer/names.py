"""Names of a file's columns: how they are compared, and which of them may be shown.

A name is data until it has shown to be one: a file without a header has somebody's phone number in its place. This
module alone decides; whatever it does not let through is called by its position everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

LONGEST = 63
"""How many characters a name may have, as in PostgreSQL."""
_QUOTES = "\"'`“”„‘’«»"  # noqa: RUF001 - people put such quotes around names
_SURROUNDING = re.compile(rf"^[\s{_QUOTES}]+|[\s{_QUOTES}]+$")
_POSITION = re.compile(r"column \d+")
_REPEAT = re.compile(r"(.+) \(\d+\)")


def tidy(cell: str) -> str:
    """Return a header's cell as names are compared: without case, invisible signs, surrounding space and quotes."""
    visible = "".join(c for c in unicodedata.normalize("NFC", cell) if unicodedata.category(c) != "Cf")
    return _SURROUNDING.sub("", visible).lower()


def may_be_shown(name: str) -> bool:
    """Return whether a name is an identifier, and so no value, markup, format or SQL.

    Letters, digits, ``_``, ``.``, ``-`` and spaces, at most 63 characters, at least one letter and no more digits than
    letters.
    """
    if not 0 < len(name) <= LONGEST:
        return False
    kinds = [unicodedata.category(c) for c in name]
    letters = sum(kind[0] == "L" for kind in kinds)
    digits = sum(kind[0] == "N" for kind in kinds)
    fits = all(kind[0] in "LMN" or c in "_.- " for c, kind in zip(name, kinds, strict=True))
    return fits and letters > 0 and digits <= letters


def of_columns(cells: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Return what a file's columns are called, from the cells of its header.

    One that is ``known`` (a column of the table, or one that is declared personal) by that name, also where spaces or
    hyphens stand for its underscores; an unknown one by its own name if that may be shown, else by its position. No name
    occurs twice: the second column ``label`` is called ``label (2)``, as spreadsheets do.
    """
    return tuple(each_once([_called(cell, position, known) for position, cell in enumerate(cells, 1)]))


def _called(cell: str, position: int, known: Collection[str]) -> str:
    name = tidy(cell) if len(cell) <= LONGEST * 4 else cell
    joined = re.sub(r"[\s-]+", "_", name) if len(name) <= LONGEST else name
    if name in known or joined in known:
        return name if name in known else joined
    return name if may_be_shown(name) else f"column {position}"


def each_once(names: list[str]) -> Iterator[str]:
    """Yield the names, those that have come before with a number that makes them another name."""
    taken: set[str] = set()
    wanted = set(names)
    last: dict[
        str, int
    ] = {}  # where counting goes on, or a name that is there thousands of times takes for ever
    for name in names:
        number = last.get(name, 1)
        numbered = name if number == 1 else f"{name} ({number})"
        while numbered in taken or (number > 1 and numbered in wanted):
            number += 1
            numbered = f"{name} ({number})"
        last[name] = number
        taken.add(numbered)
        yield numbered


def named_like(name: str) -> str:
    """Return the name that a column has in the file, if it is the repeat of another."""
    repeat = _REPEAT.fullmatch(name)
    return repeat[1] if repeat else name


def repeats(header: Iterable[str]) -> dict[str, str]:
    """Return, for each column that repeats another of the header, the name of that one."""
    names = set(header)
    return {name: first for name in header if (first := named_like(name)) != name and first in names}


def unknown(header: Sequence[str], expected: Collection[str]) -> tuple[str, ...]:
    """Return the columns of a header that are neither expected nor repeats of one that is."""
    first = repeats(header)
    return tuple(name for name in header if first.get(name, name) not in expected)


def is_position(name: str) -> bool:
    """Return whether a column is called by its position, because its name may not be shown."""
    return _POSITION.fullmatch(named_like(name)) is not None


def bare(name: str) -> str:
    """Return a name without signs and a number at its end: what is left of ``Phone Number 2`` and ``phone_number``."""
    return re.sub(r"\d+$", "", "".join(c for c in named_like(name).lower() if c.isalnum()))


def words(name: str) -> frozenset[str]:
    """Return the words of a name: ``guardian``, ``phone`` of ``Guardian-Phone 2``."""
    return frozenset(re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", named_like(name)).lower()))
