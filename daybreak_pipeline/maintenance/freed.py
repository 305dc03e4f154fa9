"""What a step of the maintenance freed, or would free, in numbers and without any value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Freed:
    """What one step did.

    ``rows`` and ``bytes`` are what was deleted or may be used again; files count as rows of a step that deletes files.
    ``names`` says of which tables, indexes or partitions. ``note`` says why something was left, and what to do.
    """

    step: str
    rows: int = 0
    bytes: int = 0
    names: tuple[str, ...] = ()
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of the step."""
        return {name: value for name, value in asdict(self).items() if name != "step"}


def megabytes(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"  # noqa: PLR2004 - a tenth of a MB
