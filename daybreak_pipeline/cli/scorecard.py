"""What the terminal shows of a run: the scorecard, and one line while it runs."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.cli.screen import Screen, line, styled
from daybreak_pipeline.importer.ledger import COUNTS
from daybreak_pipeline.orchestration.outcomes import Outcome

_HEADINGS = {"skipped_deleted": "deleted", "field_issues": "issues"}
_IN_LITTLE_ROOM = ("read", "quarantined", "field_issues")
_UNLIMITED = 10_000
_SHOWN_FILES = 10
_SHOWN_FINDINGS = 10


def show(outcome: Outcome, console: Screen, *, verbose: bool = False) -> None:
    """Print the scorecard: every table with its accounting, then the checks that found something, the worst first.

    It fits a screen: ten findings, each in one line of the terminal, and one line for the rest. When ``verbose``, all of
    them, in full, and also which checks passed.
    """
    if outcome.tables:
        _show_tables(outcome, console)
    _show_files(outcome, console)
    _show_checks(outcome, console, verbose=verbose)
    if verbose:
        _show_passed(outcome, console)


def _show_tables(outcome: Outcome, console: Screen) -> None:
    counts = [
        name
        for name in COUNTS
        if name == "read" or any(getattr(t.accounting, name) for t in outcome.tables.values())
    ]
    table = _table(outcome, counts)
    unlimited = console.options.update(max_width=_UNLIMITED)
    if console.measure(table, options=unlimited).maximum > console.width:
        table = _table(outcome, [name for name in counts if name in _IN_LITTLE_ROOM], timed=False)
    console.print(table)
    for name, result in outcome.tables.items():
        if result.status in {"failed", "absent"}:
            color = "red" if result.status == "failed" else "yellow"
            console.print(
                line(styled(result.status, color), f" {_plain(result.reason, name)}"), soft_wrap=True
            )
    waiting = [name for name, result in outcome.tables.items() if result.status == "not_tried"]
    if waiting:
        why = f" because a table they depend on failed: {', '.join(waiting)}"
        console.print(line(styled("skipped", "yellow"), why), soft_wrap=True)


def _table(outcome: Outcome, counts: list[str], *, timed: bool = True) -> Table:
    """Return the table with one line for each of the run's tables."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("table", overflow="ellipsis")  # this one gives way where there is no room for all
    table.add_column("status", no_wrap=True)
    for name in counts:
        table.add_column(_HEADINGS.get(name, name), justify="right", no_wrap=True)
    if timed:
        table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("checks", no_wrap=True)
    for name, result in outcome.tables.items():
        color = "green" if result.loaded else "red" if result.status == "failed" else "yellow"
        values = asdict(result.accounting)
        status = "skipped (parent failed)" if result.status == "not_tried" else result.status
        table.add_row(
            name,
            styled(status, color),
            *(f"{values[count]:,}" if values[count] else styled("·", "dim") for count in counts),
            *([f"{result.seconds:.2f}"] if timed else []),
            _marks(outcome.checks.get(name, {})),
        )
    return table


def _show_files(outcome: Outcome, console: Screen) -> None:
    """Print which files were not read, and why."""
    lines = [str(unknown) for unknown in outcome.unknown_files]
    lines += [
        f"{ignored.file} was not read for {name}: {ignored.why}"
        for name, result in outcome.tables.items()
        for ignored in result.ignored
    ]
    if len(lines) > _SHOWN_FILES:
        lines[_SHOWN_FILES:] = [f"and {len(lines) - _SHOWN_FILES} more: --json names all"]
    for told in lines:
        console.print(line(styled("ignored", "yellow"), f" {told}"), soft_wrap=True)


def _show_checks(outcome: Outcome, console: Screen, *, verbose: bool) -> None:
    findings = sorted(
        (
            (name, check, found)
            for name, checks in outcome.checks.items()
            for check, found in checks.items()
            if not found.passed
        ),
        key=lambda finding: finding[2].badness,
        reverse=True,
    )
    total = sum(len(checks) for checks in outcome.checks.values())
    if not total:
        return
    console.print()
    accepted = sum(found.is_accepted for checks in outcome.checks.values() for found in checks.values())
    silent = f", {accepted} accepted (daybreak checks list)" if accepted else ""
    if not findings:
        passed = f"{total - accepted} of {total}" if accepted else f"all {total}"
        console.print(styled(f"{passed} checks passed{silent}", "green"))
        return
    shown = findings if verbose else findings[:_SHOWN_FINDINGS]
    which = "these found something" if len(shown) == len(findings) else f"the {len(shown)} worst findings"
    console.print(f"{total - accepted - len(findings)} of {total} checks passed{silent}; {which}:")
    one_line = console.is_terminal and not verbose
    for name, check, found in shown:
        color = "red" if found.severity == "ERROR" else "yellow"
        told = line("  ", styled(f"{found.severity:5}", color), f" {name}.{check}: {found.summary}")
        console.print(
            told, soft_wrap=not one_line, no_wrap=one_line, overflow="ellipsis" if one_line else None
        )
    if len(shown) < len(findings):
        console.print(
            f"  and {_counted([found for _, _, found in findings[len(shown) :]])}: --verbose shows all"
        )


def _show_passed(outcome: Outcome, console: Screen) -> None:
    console.print()
    for name, checks in outcome.checks.items():
        passed = [check for check, found in checks.items() if found.passed and not found.is_accepted]
        if passed:
            console.print(
                line("  ", styled("passed", "green"), f" {name}: {', '.join(passed)}"), soft_wrap=True
            )


def _marks(checks: dict[str, Finding]) -> Text:
    if not checks:
        return styled("not run", "dim")
    failed = [check for check in checks.values() if not check.passed]
    if not failed:
        accepted = sum(check.is_accepted for check in checks.values())
        silent = f", {accepted} accepted" if accepted else ""
        return styled(f"{len(checks) - accepted} passed{silent}", "green")
    color = "red" if any(check.severity == "ERROR" for check in failed) else "yellow"
    return styled(_counted(failed), color)


def _counted(failed: list[Finding]) -> str:
    """Return how many findings are errors, and how many warnings."""
    errors = sum(check.severity == "ERROR" for check in failed)
    numbers = [(errors, "error"), (len(failed) - errors, "warning")]
    return ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in numbers if number)


def _plain(reason: str, table: str) -> str:
    """Return a reason that names its table, as messages of the importer do already."""
    return reason if reason.startswith(f"{table}:") else f"{table}: {reason}"
