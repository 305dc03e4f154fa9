"""How large a cell and a record may be, and what is kept of one that is larger.

One cell may have ``DAYBREAK_MAX_CELL``. A record may have several such cells, but PostgreSQL must be able to hold it
in quarantine: as one JSONB object (256 MB), and as that object's text, in which a control character takes six bytes
(1 GB). Sizes are of text as UTF-8, whichever format a file has.
"""

from __future__ import annotations

from daybreak_pipeline.settings.variables import MAX_CELL

RECORD = 160 << 20
"""So many bytes may a record have: six times as many are less than 1 GB."""
WHOLE = 16 << 20
"""The text of a malformed record is kept whole up to this size, unless it is too large anyway."""
KEPT = 1 << 20
"""So much is kept of a larger one."""
BEGINNING = KEPT + 4
"""So much is looked at for that: it may end inside a character."""


def cell_too_large(column: str, size: int, limit: int) -> str:
    """Return what is wrong with a record that has such a cell."""
    return f"column {column.removeprefix('column ')} has {size:,} bytes, and a cell may have {limit:,} ({MAX_CELL.name})"


def record_too_large(size: int, limit: int) -> str:
    """Return what is wrong with such a record."""
    return f"the record has {size:,} bytes, and one may have {limit:,}"


def kept(why: str, text: bytes, size: int, *, is_whole: bool = True) -> tuple[str, bytes]:
    """Return why a record is malformed, and what is kept of its text; both say so if that is not all.

    Args:
        why: the reason.
        text: the text as UTF-8 that need not be valid, or its beginning.
        size: how many bytes the whole text has.
        is_whole: whether the record is of a size that may be kept.
    """
    if size <= (WHOLE if is_whole else KEPT):
        return why, text
    end = min(KEPT, len(text))
    while end > max(0, KEPT - 3) and text[end : end + 1] and text[end] & 0xC0 == 0x80:  # noqa: PLR2004 - UTF-8's ranges
        end -= 1
    note = f"{end:,} of {size:,} bytes"
    return f"{why}; of its text {note} are kept", text[:end] + f" … [cut off here: {note}]".encode()
