"""What a check has found: tallies, a sentence, and how bad it is. Made here in one way for all checks.

Counts, columns and row ids only, never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from daybreak_pipeline.tables import Threshold
from daybreak_pipeline.wording import percent, shown

Severity = Literal["ERROR", "WARN"]

SHOWN_ROWS = 20
_LONGEST_LABEL = 200


class Place(NamedTuple):
    """Where a row or record came from: a file's name, and the number of the record in it."""

    file: str
    record: int


@dataclass(frozen=True)
class Tally:
    """One way in which a table breaks a rule, and how often.

    ``rows`` are the first ids or record numbers, ``sql`` shows all of them, and ``lost`` tells that these
    are records that could not be loaded. ``columns`` are those that it is about. ``key`` names it where its label does not
    stay the same from one file to the next. ``places`` are where the ``rows`` came from, as far as that is known.
    """

    label: str
    count: int
    rows: tuple[str, ...] = ()
    sql: str = ""
    lost: bool = False
    columns: tuple[str, ...] = ()
    key: str = ""
    places: tuple[Place, ...] = ()

    @property
    def kind(self) -> str:
        """What it is known by from one check to the next."""
        return self.key or self.label


@dataclass(frozen=True)
class Wording:
    """How a finding is worded: what one fault is called, what several are, and the sentence for when there are none.

    ``of`` names what was looked at.
    """

    one: str
    many: str
    none: str
    of: str = "rows and records"


@dataclass(frozen=True)
class Finding:
    """What one check found: ``count`` faults in ``total`` rows, records or columns that it looked at.

    ``severity`` says how bad a failure is, or would be. ``rows`` are the first ids or record numbers, those of lost
    records before others; ``sql`` shows every affected row, each statement under its label. ``file`` is the last file of
    the table, ``accepted`` says what of it was accepted, by whom and why (``acceptance``).
    """

    summary: str
    count: int
    total: int
    severity: Severity
    passed: bool
    tallies: tuple[Tally, ...] = ()
    rows: tuple[str, ...] = ()
    sql: str = ""
    file: str = ""
    accepted: tuple[str, ...] = ()

    @classmethod
    def of(  # noqa: PLR0913 - what a finding says
        cls,
        tallies: Sequence[Tally],
        summary: str,
        count: int,
        total: int,
        severity: Severity,
        *,
        passed: bool,
    ) -> Finding:
        """Return the finding of tallies, with the rows and the statements of those that are not 0."""
        faults = [tally for tally in tallies if tally.count]
        return cls(
            summary,
            count,
            total,
            severity,
            passed,
            tuple(tallies),
            rows=tuple(dict.fromkeys(row for tally in _lost_first(faults) for row in tally.rows))[
                :SHOWN_ROWS
            ],
            sql="\n".join(f"-- {shown(tally.label)}\n{tally.sql};" for tally in faults if tally.sql),
        )

    @property
    def counts(self) -> dict[str, int]:
        """The tallies that are not 0, by label."""
        return {tally.label: tally.count for tally in self.tallies if tally.count}

    @property
    def faults(self) -> tuple[Tally, ...]:
        """The tallies that are not 0."""
        return tuple(tally for tally in self.tallies if tally.count)

    @property
    def places(self) -> dict[str, list[int]]:
        """The files that the first rows came from, each with the numbers of their records in it."""
        found: dict[str, list[int]] = {}
        for place in dict.fromkeys(place for tally in _lost_first(self.faults) for place in tally.places):
            if sum(map(len, found.values())) < SHOWN_ROWS:
                found.setdefault(place.file, []).append(place.record)
        return found

    @property
    def is_accepted(self) -> bool:
        """Whether it fails, and all of it was accepted."""
        return self.passed and bool(self.accepted)

    @property
    def badness(self) -> tuple[bool, float, int]:
        """What the worst finding has most of: an error before a warning, then by share; the count decides between equals.

        By count, a table of millions would hide that half of a small one is wrong.
        """
        return (self.severity == "ERROR", _share(self.count, self.total), self.count)

    @property
    def percent(self) -> float:
        """The faults in percent of what was looked at, at most 100."""
        return round(100 * _share(self.count, self.total), 3)


def conclude(
    wording: Wording,
    threshold: Threshold,
    tallies: Iterable[Tally],
    total: int,
    *,
    count: int | None = None,
) -> Finding:
    """Return the finding that tallies amount to.

    Args:
        wording: how to say it.
        threshold: when the check fails.
        tallies: what was counted, zeros included.
        total: how many rows, records or columns were looked at.
        count: how many faults there are where that is not the sum of the tallies.
    """
    tallies = tuple(tallies)
    faults = sum(tally.count for tally in tallies) if count is None else count
    lost = sum(tally.count for tally in tallies if tally.lost)
    severity = failing(threshold, faults, lost, total)
    return Finding.of(
        tallies,
        _sentence(wording, tallies, faults, total, tolerated=severity is None),
        faults,
        total,
        severity or ("WARN" if threshold.error is None else "ERROR"),
        passed=severity is None,
    )


def failing(threshold: Threshold, faults: int, lost: int, total: int) -> Severity | None:
    """Return how badly a check fails, None when it passes."""
    if exceeds(lost, total, threshold.lost) or exceeds(faults, total, threshold.error):
        return "ERROR"
    return "WARN" if exceeds(faults, total, threshold.warn) else None


def share(count: int, total: int) -> str:
    """Return how much of a total a number is, in percent."""
    return percent(100 * _share(count, total))


def listed(parts: Sequence[tuple[str, int]]) -> str:
    """Return ``label: number; …`` of what is not 0."""
    return "; ".join(f"{label}: {number:,}" for label, number in parts if number)


def _lost_first(tallies: Iterable[Tally]) -> list[Tally]:
    return sorted(tallies, key=lambda tally: not tally.lost)


def _sentence(wording: Wording, tallies: Sequence[Tally], faults: int, total: int, *, tolerated: bool) -> str:
    if not faults:
        return f"{wording.none} ({total:,} {wording.of})"
    what = wording.one if faults == 1 else wording.many
    where = listed([(shown(tally.label, _LONGEST_LABEL), tally.count) for tally in tallies])
    end = ", within what is tolerated" if tolerated else ""
    return f"{faults:,} {what}, {share(faults, total)} of {total:,} {wording.of} ({where}){end}"


def _share(count: int, total: int) -> float:
    return min(1.0, count / total) if total else float(count > 0)


def exceeds(count: int, total: int, limit: float | None) -> bool:
    """Return whether there are any, and more than a share of the total; never where there is no limit."""
    return limit is not None and count > 0 and _share(count, total) > limit
