"""The scorecard: the worst first, and no more than a screen of it unless everything is asked for."""

from __future__ import annotations

import io

import pytest

from daybreak_pipeline.checks.findings import Finding, Severity
from daybreak_pipeline.cli import scorecard
from daybreak_pipeline.cli.quarantine_replay import _in_words, _tried
from daybreak_pipeline.cli.screen import Screen
from daybreak_pipeline.importer.ledger import Accounting
from daybreak_pipeline.orchestration.outcomes import Outcome, TableOutcome
from daybreak_pipeline.tables import TABLES

LONG = (
    "a finding in so many words that no terminal has them in one line, whatever its owner has paid for it: "
    * 3
)


def finding(severity: Severity, count: int, total: int, *, passed: bool = False) -> Finding:
    return Finding(f"{count} of {total} {LONG}", count, total, severity, passed)


def bad_morning() -> Outcome:
    """All tables imported, four checks of each failed."""
    counts = Accounting(read=1_000_000, inserted=900_000, updated=50_000, stale=1, quarantined=49_999)
    return Outcome(
        "run",
        tables={name: TableOutcome("imported", counts, 12.0) for name in TABLES},
        checks={
            name: {
                "orphans": finding("WARN", 90, 100),
                "valid_enums": finding("ERROR", 5_000, 1_000_000),
                "constants": finding("ERROR", 3, 4),
                "duplicates": finding("WARN", 1, 100),
                "timestamps": finding("WARN", 0, 100, passed=True),
            }
            for name in TABLES
        },
    )


def shown(outcome: Outcome, *, width: int = 100, verbose: bool = False, terminal: bool = True) -> list[str]:
    output = io.StringIO()
    screen = Screen(file=output, force_terminal=terminal, width=width, color_system=None)
    scorecard.show(outcome, screen, verbose=verbose)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_it_fits_a_screen(width: int) -> None:
    lines = shown(bad_morning(), width=width)
    assert len(lines) == 1 + len(TABLES) + 1 + 1 + 10 + 1
    assert max(len(line.rstrip()) for line in lines) <= width
    assert lines[-1] == "  and 22 errors, 32 warnings: --verbose shows all"
    assert all(line.rstrip().endswith("2 errors, 2 warnings") for line in lines[1 : 1 + len(TABLES)])
    assert len({line.split()[0] for line in lines[1 : 1 + len(TABLES)]}) == len(TABLES)


def test_in_little_room_the_table_keeps_what_matters() -> None:
    assert shown(bad_morning(), width=80)[0].split() == [
        "table",
        "status",
        "read",
        "quarantined",
        "checks",
    ]
    assert "inserted" in shown(bad_morning(), width=140)[0]


def test_the_worst_is_the_greatest_share_and_not_the_greatest_count() -> None:
    findings = [line.split()[:2] for line in shown(bad_morning()) if line.startswith("  ERROR")]
    assert len(findings) == 10
    assert {check.partition(".")[2].removesuffix(":") for _, check in findings} == {"constants"}
    few = Outcome("run", checks={"documents": bad_morning().checks["documents"]})
    order = [line.split()[1] for line in shown(few) if line.startswith(("  ERROR", "  WARN"))]
    assert order == [f"documents.{name}:" for name in ("constants", "valid_enums", "orphans", "duplicates")]


def test_everything_is_shown_to_who_asks_for_it() -> None:
    lines = shown(bad_morning(), verbose=True, terminal=False)
    assert sum(line.startswith(("  ERROR", "  WARN")) for line in lines) == 4 * len(TABLES)
    assert sum(LONG.strip() in line for line in lines) == 4 * len(TABLES)
    assert "  passed kinships: timestamps" in lines
    assert "--verbose" not in "\n".join(lines)


def test_a_file_or_a_pipe_gets_whole_sentences() -> None:
    assert sum(LONG.strip() in line for line in shown(bad_morning(), terminal=False)) == 10


def test_a_replay_shows_the_tables_that_had_something_to_try() -> None:
    outcome = bad_morning()
    for name in TABLES:
        outcome.tables[name] = TableOutcome("imported", Accounting(), 0.1)
    assert _tried(outcome).tables == {}
    assert _in_words(outcome) == "nothing was in quarantine"
    outcome.tables["kinships"] = TableOutcome("imported", Accounting(read=3, inserted=1, quarantined=2), 0.1)
    assert (list(_tried(outcome).tables), list(_tried(outcome).checks)) == (["kinships"], ["kinships"])
    assert _in_words(outcome) == (
        "3 tried again: 1 are settled, 2 stay in quarantine; daybreak quarantine list says why"
    )
