"""Who belongs to which family: the arithmetic that links records of different tables.

Twenty people make a block of nine families, and every block has the same shape, so that a record
finds its child, guardian or questionnaire by index. Names, ages and contents are drawn elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from daybreak_pipeline.generator.ids import Index, Mask

BLOCK = 20


@dataclass(frozen=True)
class _Family:
    guardians: tuple[int, ...]
    children: tuple[int, ...]


# Positions inside a block. A family without guardians is an adult student who refers herself; one
# comes first, so that an export of a single patient is complete. Guardians come before children.
_FAMILIES = (
    _Family((), (0,)),
    _Family((1,), (2,)),
    _Family((3, 4), (5,)),
    _Family((6,), (7, 8)),
    _Family((9,), (10,)),
    _Family((), (11,)),
    _Family((12, 13), (14,)),
    _Family((15,), (16, 17)),
    _Family((18,), (19,)),
)
_WITHOUT_QUESTIONNAIRE = frozenset({17})
_WITHOUT_COVERAGE = frozenset({5, 8, 17})
_WITHOUT_MEMBERSHIP = frozenset({11})
_WITHOUT_AVAILABILITY = frozenset({2, 8, 11, 14, 17})


def _by_position(values: dict[int, int]) -> Index:
    return np.array([values[position] for position in range(BLOCK)], np.int64)


_FAMILY_OF = _by_position(
    {
        person: number
        for number, family in enumerate(_FAMILIES)
        for person in (*family.guardians, *family.children)
    }
)
_IS_CHILD = np.array([any(p in f.children and f.guardians for f in _FAMILIES) for p in range(BLOCK)])
_IS_STUDENT = np.array([any(p in f.children and not f.guardians for f in _FAMILIES) for p in range(BLOCK)])
# The first guardian answers and signs for a child; everybody else for themselves.
_SPOKESPERSON = _by_position(
    {
        person: family.guardians[0] if family.guardians and person in family.children else person
        for family in _FAMILIES
        for person in (*family.guardians, *family.children)
    }
)


class Template:
    """The records of one table about one block of people.

    ``subjects`` holds, for each record, the positions that it is about. Records are sorted by their last position, so
    that a last, incomplete block has the first few of them.
    """

    def __init__(self, subjects: list[tuple[int, ...]]) -> None:
        ordered = sorted(subjects, key=lambda positions: (max(positions), positions))
        self.subjects: Index = np.array(ordered, np.int64)
        self._last = np.array([max(positions) for positions in ordered])

    def count(self, patients: int) -> int:
        """Return the number of records of a clean export of so many patients."""
        blocks, rest = divmod(patients, BLOCK)
        return blocks * len(self.subjects) + int(np.count_nonzero(self._last < rest))

    def person(self, index: Index, member: int = 0) -> Index:
        """Return the index of the person that each record is about."""
        block, position = index // len(self.subjects), index % len(self.subjects)
        person: Index = block * BLOCK + self.subjects[position, member]
        return person

    def record_of(self, index: Index, by: Template) -> Index:
        """Return the index, in this table, of the record about the person of a record of ``by``."""
        lookup: Index = np.full(BLOCK, -1, np.int64)
        lookup[self.subjects[:, 0]] = np.arange(len(self.subjects))
        block, position = index // len(by.subjects), index % len(by.subjects)
        record: Index = block * len(self.subjects) + lookup[by.subjects[position, 0]]
        return record


def _children_but(missing: frozenset[int]) -> list[tuple[int, ...]]:
    return [(child,) for family in _FAMILIES for child in family.children if child not in missing]


KINSHIPS = Template([(g, c) for family in _FAMILIES for g in family.guardians for c in family.children])
QUESTIONNAIRES = Template(_children_but(_WITHOUT_QUESTIONNAIRE))
COVERAGES = Template(_children_but(_WITHOUT_COVERAGE))
MEMBERSHIPS = Template(_children_but(_WITHOUT_MEMBERSHIP))
AVAILABILITIES = Template(_children_but(_WITHOUT_AVAILABILITY))
# Siblings share a referral, which is about the first of them; each is a member of it.
REFERRALS = Template([(family.children[0],) for family in _FAMILIES])
REFERRAL_MEMBERS = Template([(family.children[0], c) for family in _FAMILIES for c in family.children])


def family_of(person: Index) -> Index:
    """Return a number for the family of each person, unique in the export."""
    return person // BLOCK * len(_FAMILIES) + _FAMILY_OF[person % BLOCK]


def spokesperson_of(person: Index) -> Index:
    """Return who answers and signs for each person: a child's first guardian, else the person."""
    return person // BLOCK * BLOCK + _SPOKESPERSON[person % BLOCK]


def is_child(person: Index) -> Mask:
    """Return whether the person is a child with a guardian."""
    return _IS_CHILD[person % BLOCK]


def is_student(person: Index) -> Mask:
    """Return whether the person is an adult student who came without a guardian."""
    return _IS_STUDENT[person % BLOCK]
