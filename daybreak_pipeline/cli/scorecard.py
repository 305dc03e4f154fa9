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
_SHOWN_FILES = 10


def show(outcome: Outcome, console: Screen) -> None:
    """Print the scorecard: every table with its accounting, then every check that found something.

    For a run that only checked, also print which checks passed.
    """
    if outcome.tables:
        _show_tables(outcome, console)
    _show_files(outcome, console)
    _show_checks(outcome, console)
    if not outcome.tables:
        _show_passed(outcome, console)


def _show_tables(outcome: Outcome, console: Screen) -> None:
    counts = [
        name
        for name in COUNTS
        if name == "read" or any(getattr(t.accounting, name) for t in outcome.tables.values())
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("table")
    table.add_column("status")
    for name in counts:
        table.add_column(_HEADINGS.get(name, name), justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("checks")
    for name, result in outcome.tables.items():
        color = "green" if result.loaded else "red" if result.status == "failed" else "yellow"
        values = asdict(result.accounting)
        status = "skipped (parent failed)" if result.status == "not_tried" else result.status
        table.add_row(
            name,
            styled(status, color),
            *(f"{values[count]:,}" if values[count] else styled("·", "dim") for count in counts),
            f"{result.seconds:.2f}",
            _marks(outcome.checks.get(name, {})),
        )
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


def _show_checks(outcome: Outcome, console: Screen) -> None:
    findings = sorted(
        (
            (name, check, found)
            for name, checks in outcome.checks.items()
            for check, found in checks.items()
            if not found.passed
        ),
        key=lambda finding: finding[2].severity,  # ERROR before WARN; else as they come
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
    console.print(
        f"{total - accepted - len(findings)} of {total} checks passed{silent}; these found something:"
    )
    for name, check, found in findings:
        color = "red" if found.severity == "ERROR" else "yellow"
        console.print(
            line("  ", styled(f"{found.severity:5}", color), f" {name}.{check}: {found.summary}"),
            soft_wrap=True,
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
    failed = [name for name, check in checks.items() if not check.passed]
    if not failed:
        accepted = sum(check.is_accepted for check in checks.values())
        silent = f", {accepted} accepted" if accepted else ""
        return styled(f"{len(checks) - accepted} passed{silent}", "green")
    color = "red" if any(checks[name].severity == "ERROR" for name in failed) else "yellow"
    return styled(", ".join(failed), color)


def _plain(reason: str, table: str) -> str:
    """Return a reason that names its table, as messages of the importer do already."""
    return reason if reason.startswith(f"{table}:") else f"{table}: {reason}"
