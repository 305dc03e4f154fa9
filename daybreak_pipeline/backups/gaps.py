"""Finds files of the write-ahead log that the repository lacks: pgBackRest's own ``verify`` does not see them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daybreak_pipeline.backups.listing import Backup
    from daybreak_pipeline.embedded_postgres.archiving import Agent

_SEGMENT = re.compile(r"(?:^|/)([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})-[0-9a-f]{40}")
_IN_A_FILE = 256
"""How many segments of 16 MB have one number in the middle of their names."""


def find(agent: Agent, backups: list[Backup]) -> list[str]:
    """Return the missing files from the oldest backup on, by name; a run of them as its first and last.

    Raises:
        BackupError: the repository cannot be listed.
    """
    if not backups:
        return []
    listed = json.loads(agent.do("repo-ls", "archive", "--recurse", "--output=json", without_stanza=True))
    return missing(listed, backups[0].wal[0])


def missing(names: object, first: str) -> list[str]:
    """Return the gaps in a list of the archive's files, from the file ``first`` on."""
    places: dict[int, set[int]] = defaultdict(set)
    oldest = _SEGMENT.search(f"{first}-{'0' * 40}")
    begins = (int(oldest[1], 16), _place(oldest)) if oldest else (0, 0)
    for name in names if isinstance(names, dict) else ():
        found = _SEGMENT.search(str(name))
        if found and (int(found[1], 16) > begins[0] or _place(found) >= begins[1]):
            places[int(found[1], 16)].add(_place(found))
    if oldest:
        places[begins[0]].add(begins[1] - 1)  # so that the loss of the first is seen
    gaps = []
    for timeline, there in sorted(places.items()):
        ordered = sorted(there)
        for before, after in pairwise(ordered):
            if after - before > 1:
                ends = [_name(timeline, before + 1), _name(timeline, after - 1)]
                gaps.append(" to ".join(dict.fromkeys(ends)))
    return gaps


def _place(found: re.Match[str]) -> int:
    return int(found[2], 16) * _IN_A_FILE + int(found[3], 16)


def _name(timeline: int, place: int) -> str:
    return f"{timeline:08X}{place // _IN_A_FILE:08X}{place % _IN_A_FILE:08X}"
