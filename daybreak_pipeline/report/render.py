"""Turns facts into a page of HTML, complete in itself, and into Markdown for Dagster's UI.

``templates`` holds words, order and look; ``verdict`` makes the judgements.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.importer.ledger import COUNTS
from daybreak_pipeline.report import steps, store
from daybreak_pipeline.report.facts import CheckResult, Facts, Streak, TableFacts
from daybreak_pipeline.report.plots import Trend, sparkline
from daybreak_pipeline.report.reasons import REASONS
from daybreak_pipeline.report.verdict import Verdict, judge
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline.wording import age, percent, shown_lines

if TYPE_CHECKING:
    from markupsafe import Markup

SYMBOLS = {"passed": "✓", "accepted": "○", "WARN": "▲", "ERROR": "✕", "none": "—"}
_WORDS = {"passed": "passed", "accepted": "accepted", "WARN": "warning", "ERROR": "error", "none": "not run"}
ANSWERS = {"yes": "✓", "yes, but": "▲", "no": "✕"}
_QUESTIONS = {
    store.LATEST: "Can I trust today\u2019s data?",
    store.TRENDS: "Is it getting better?",
    store.SERVER: "Is the server healthy?",
    store.NUMBERS: "How many reach care, and how fast?",
}
"""What each page answers, as links to it say."""
# Also text that Markdown would turn into a link or a character: https://…, www.…, &#65;
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>&-]|:(?=//)|(?<=www)\.|(?<=WWW)\.|@)")


def html(facts: Facts, *, beside: Collection[str] = ()) -> str:
    """Return the report as one HTML file that needs no other; it leads to the pages that are beside it."""
    return page("report.html.j2", store.LATEST, beside, **context(facts))


def page(template: str, name: str, beside: Collection[str], **context: object) -> str:
    """Return a page: one file of HTML that needs no other, in the frame that all pages share.

    What only the web UI can do (``if-served``) is not seen in a file.

    Args:
        template: the page's own part.
        name: the file that it is kept in.
        beside: the pages that it can lead to, by the names of their files.
        context: what the template shows.
    """
    links = [(other, words) for other, words in _QUESTIONS.items() if other in beside and other != name]
    return environment().get_template(template).render(links=links, **context)


def markdown(facts: Facts) -> str:
    """Return the verdict, what is broken and the heat map as Markdown."""
    return environment().get_template("report.md.j2").render(**context(facts))


def context(facts: Facts) -> dict[str, object]:
    """Return what every template about the data shows."""
    verdict = judge(facts)
    return {
        "facts": facts,
        "verdict": verdict,
        "at": facts.at,
        "symbols": SYMBOLS,
        "words": _WORDS,
        "answers": ANSWERS,
        "counts": COUNTS,
        "import_state": lambda table: import_state(table, facts.at),
        "worst": lambda table: _worst(verdict, table, facts.at),
        "trends": trends,
        "summary": _summary(facts, verdict),
        "places": steps.where,
        "reasons": REASONS,
        "acceptable": lambda check: (
            check.table in TABLES and acceptance.can_be_accepted(check.name, check.finding)
        ),
        "accept": steps.ACCEPT,
    }


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return Jinja's environment: the templates, and how numbers, times and text are shown in them."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(enabled_extensions=("html", "html.j2"), default=False),
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "number": lambda value: f"{value:,}",
        "time": lambda value: f"{value:%Y-%m-%d %H:%M} UTC",
        "seconds": seconds,
        "ago": ago,
        "lasting": lasting,
        "speed": speed,
        "percent": percent,
        "md": escape_markdown,
        "anchor": anchor,
    }
    return made


def _visible(value: object) -> object:
    """Return what a template prints: text without invisible characters; lines stay lines, and markup stays markup."""
    return shown_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def anchor(name: str) -> str:
    """Return a name in the form that ids and links can have."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def escape_markdown(text: object) -> str:
    """Return text that Markdown treats as plain text, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def import_state(table: TableFacts, now: datetime) -> tuple[str, str]:
    """Return state and word of a table's imports for the heat map."""
    if not table.known:
        return "none", "not imported"
    states = (
        (table.failing, "ERROR", "failed"),
        (table.never_imported, "ERROR", "never"),
        (table.waiting, "WARN", "waits"),
        (table.absent_since, "WARN" if table.missed(now) else "passed", "absent"),
        (table.late(now), "WARN", "late"),
    )
    found = next(((state, word) for applies, state, word in states if applies), None)
    return found or ("passed", table.last.status if table.last else "imported")


def trends(table: TableFacts) -> list[tuple[Trend, Markup]]:
    """Return what is plotted for a table, over its last imports that read the file or failed."""

    def over(label: str, count: str) -> Trend:
        return Trend(
            label, tuple(None if load.error else getattr(load.accounting, count) for load in table.history)
        )

    duration = Trend(
        "Duration", tuple(None if load.error else round(load.seconds, 2) for load in table.history), " s"
    )
    shown = [over("Records read", "read"), over("Quarantined", "quarantined"), duration]
    return [(trend, sparkline(trend)) for trend in shown]


def seconds(value: float) -> str:
    """Return a duration for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"  # noqa: PLR2004 - two minutes


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    past = int((now - then).total_seconds())
    return age(past) if past >= 60 else "less than a minute"  # noqa: PLR2004 - a minute


def lasting(streak: Streak, now: datetime) -> str:
    """Return for how long something has failed; what failed once only is new."""
    return "new" if streak.times == 1 else f"for {ago(streak.since, now)}"


def speed(value: float | None) -> str:
    """Return records per second, rounded to what one can read."""
    return "—" if value is None else f"{float(f'{value:.3g}'):,.0f}"


def _worst(verdict: Verdict, table: TableFacts, now: datetime) -> str:
    """Return the worst state of a table: of its imports and of all that is wrong with it."""
    found = {problem.severity for problem in verdict.problems if problem.table == table.name}
    found |= {state for state in ("ERROR", "WARN") if state == import_state(table, now)[0]}
    return "ERROR" if "ERROR" in found else "WARN" if "WARN" in found else "passed"


def _summary(facts: Facts, verdict: Verdict) -> dict[str, int]:
    """Return the numbers under the verdict."""
    checks: list[CheckResult] = [check for table in facts.tables for check in table.checks]
    return {
        "tables": sum(table.known for table in facts.tables),
        "rows": sum(table.rows or 0 for table in facts.tables),
        "checks": len(checks),
        "passed": sum(check.state == "passed" for check in checks),
        "accepted": sum(check.state == "accepted" for check in checks),
        "quarantined": sum(table.quarantined_records for table in facts.tables),
        "issues": sum(number for table in facts.tables for _, _, number in table.issues),
        "errors": sum(problem.severity == "ERROR" for problem in verdict.problems),
        "warnings": sum(problem.severity == "WARN" for problem in verdict.problems),
    }
