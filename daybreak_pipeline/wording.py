"""How things are said: ages, shares, and text from outside (names, paths, messages of others). Pure, and the same everywhere.

Such text is data. It must neither steer a terminal (escape sequences, a carriage return, a NUL), nor reverse
the text around it (bidirectional marks), nor begin a line of its own, nor be taken for Markdown. Whether the name of a
file's column may be shown at all, ``importer.names`` decides.
"""

from __future__ import annotations

import json
import re
import unicodedata

LONGEST = 2_000
"""How many characters of one text are shown."""
_SMALLEST_PERCENT = 0.1


def shown(text: object, longest: int | None = LONGEST) -> str:
    """Return text in one line, with what is invisible written as JSON writes it, and shortened.

    Args:
        text: what is to be shown.
        longest: the most characters of it; all of them where None.
    """
    line = str(text)
    if longest is not None and len(line) > longest:
        line = f"{line[:longest]}… ({len(line):,} characters)"
    if line.isprintable():
        return line
    return "".join(character if _visible(character) else json.dumps(character)[1:-1] for character in line)


def shown_lines(text: str) -> str:
    """Return a text of several lines, each as ``shown`` would have it and none shortened."""
    return "\n".join(shown(line, longest=None) for line in text.split("\n"))


def code(text: str) -> str:
    """Return text as code in a line of Markdown, whatever backticks it has."""
    fence = "`" * (_most_backticks(text) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{shown(text)}{space}{fence}"


def code_block(text: str, language: str) -> str:
    """Return lines as a block of code in Markdown, whatever backticks they have."""
    fence = "`" * max(3, _most_backticks(text) + 1)
    return f"{fence}{language}\n{shown_lines(text)}\n{fence}"


def age(seconds: int | None) -> str:
    """Return an age as people say it: 12 s, 5 min, 3 h, 2 d; a dash where there is none."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def size(of_bytes: int) -> str:
    """Return a size as people say it: 512 kB, 47 MB, 3.2 GB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if of_bytes >= factor:
            amount = of_bytes / factor
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"  # noqa: PLR2004 - one digit
    return f"{-(-of_bytes // 1000)} kB"


def percent(value: float) -> str:
    """Return a share in percent as people write it: 12.3 %, 0.0 %; one that is small but there is <0.1 %."""
    return f"<{_SMALLEST_PERCENT} %" if 0 < value < _SMALLEST_PERCENT else f"{value:.1f} %"


def _most_backticks(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _visible(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
