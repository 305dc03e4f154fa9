"""The page of one finding: what it is, what of it somebody has accepted, and the form to accept it or take that back.

Only the web UI serves it: the form needs somebody who takes it (``orchestration.web.finding_page``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.checks.acceptance import Acceptance
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.report import render, store

if TYPE_CHECKING:
    from daybreak_pipeline.report.facts import Facts


@dataclass(frozen=True)
class Entered:
    """What somebody has entered into the form, to be mended where it was refused."""

    column: str = ""
    why: str = ""
    until: str = ""


@dataclass(frozen=True)
class Subject:
    """The finding that a page is about: as the check found it, and all that is accepted of it."""

    table: str
    check: str
    found: Finding
    accepted: Sequence[Acceptance] = field(default=())


def html(  # noqa: PLR0913 - what the page says
    facts: Facts,
    subject: Subject,
    *,
    who: str,
    entered: Entered,
    refused: str = "",
    beside: Collection[str] = (),
) -> str:
    """Return the page.

    Args:
        facts: everything, as it is now.
        subject: the finding.
        who: as whom the reader would accept it.
        entered: what the form is filled in with.
        refused: why what was entered was not accepted.
        beside: the pages that it can lead to.
    """
    table = next(one for one in facts.tables if one.name == subject.table)
    found = subject.found
    return render.page(
        "finding.html.j2",
        store.FINDING,
        beside,
        **render.context(facts),
        table=table,
        check=table.check(subject.check),
        found=found,
        accepted=subject.accepted,
        columns=acceptance.columns(found),
        seen=acceptance.seen_as(found),
        may_be_accepted=not found.passed and acceptance.can_be_accepted(subject.check, found),
        longest=acceptance.LONGEST_REASON,
        who=who,
        entered=entered,
        refused=refused,
    )
