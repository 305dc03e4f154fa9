"""The branches of the write-ahead log. Every restore begins a new one; PostgreSQL calls them timelines.

A backup leads to a moment only if it is on the moment's branch, or on the part of an older branch that this one grew from.
A backup made after an import that was undone leads nowhere; and a moment before an undo is on the branch that was left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daybreak_pipeline.backups.listing import parsed_lsn

if TYPE_CHECKING:
    from daybreak_pipeline.backups.listing import Backup
    from daybreak_pipeline.embedded_postgres.archiving import Agent

_HISTORY = re.compile(r"(?:^|/)([0-9A-F]{8})\.history$")
_ANCESTOR = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)
_FIRST = 1


@dataclass(frozen=True)
class Timelines:
    """What the repository knows of branches.

    ``begun`` is when each began, and ``ancestors`` where in the log each left its ancestors: all of them, by number.
    """

    begun: Mapping[int, datetime] = field(default_factory=dict)
    ancestors: Mapping[int, Mapping[int, int]] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """The branch that the end of the log is on."""
        return max(self.begun, default=_FIRST)

    def at(self, moment: datetime) -> int:
        """Return the branch that the server was on at a moment."""
        return max((number for number, begun in self.begun.items() if begun <= moment), default=_FIRST)

    def leads(self, backup: Backup, timeline: int) -> bool:
        """Say whether one gets from a backup to the end of a branch."""
        own = int(backup.wal[0][:8] or "1", 16)
        if own == timeline:
            return True
        left = self.ancestors.get(timeline, {}).get(own)
        return left is not None and backup.lsn <= left


def read(agent: Agent, backups: list[Backup]) -> Timelines:
    """Return the branches that are in the repository.

    Raises:
        BackupError: the repository cannot be listed.
    """
    if not backups:
        return Timelines()
    listed = json.loads(agent.do("repo-ls", "archive", "--recurse", "--output=json", without_stanza=True))
    begun: dict[int, datetime] = {}
    ancestors: dict[int, dict[int, int]] = {}
    for name, entry in listed.items():
        found = _HISTORY.search(name)
        if not found:
            continue
        number = int(found[1], 16)
        begun[number] = datetime.fromtimestamp(entry["time"], UTC)
        text = agent.do("repo-get", f"archive/{name}", without_stanza=True)
        ancestors[number] = {int(one[1]): parsed_lsn(one[2]) for one in _ANCESTOR.finditer(text)}
    for backup in backups:  # a copied repository may have lost the times of its files, but not these
        number = int(backup.wal[0][:8], 16)
        if number in begun:
            begun[number] = min(begun[number], backup.start)
    return Timelines(begun, ancestors)
