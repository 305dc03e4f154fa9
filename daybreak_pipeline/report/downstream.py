"""What waits for a table whose import fails: the tables that refer to it, and those that refer to these."""

from __future__ import annotations

from daybreak_pipeline.report.facts import Facts, TableFacts
from daybreak_pipeline.tables import TABLES


def waiting(table: TableFacts, facts: Facts) -> list[TableFacts]:
    """Return the tables below one that fails, or was never imported, which were not imported since; in their order."""
    if not (table.failing or table.never_imported):
        return []
    below = _below(table.name)
    since = table.failing.since if table.failing else None
    return [
        other
        for other in facts.tables
        if other.name in below and (other.good_at is None or (since is not None and other.good_at < since))
    ]


def told(table: TableFacts, facts: Facts) -> str:
    """Name what waits, each with the rows that it keeps until then; empty where nothing does."""
    found = [f"{other.name} ({other.rows or 0:,} rows)" for other in waiting(table, facts)]
    return f"; waiting for it: {', '.join(found)}" if found else ""


def _below(name: str) -> set[str]:
    """Return all tables that depend on one, directly or not."""
    below: set[str] = set()
    grown = {name}
    while grown:
        grown = {other.name for other in TABLES.values() if grown & set(other.parents)} - below - {name}
        below |= grown
    return below
