"""What tests of checks do with an export: apply the rules to a table, and see which of them fail."""

from __future__ import annotations

from daybreak_pipeline.checks import rules
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline_tests.exports import Export, record, uuid

STRANGER = uuid("stranger")
"""An id that no row has."""

_OWN: dict[str, dict[str, str]] = {
    "clinicians": {"healthie_id": "8"},
    "organizations": {"name": "Another School"},
    "clinician_credentialed_insurances": {"name": "Another Insurance"},
}


def another(table: str, word: str = "another", /, **values: str | None) -> dict[str, str | None]:
    """Return a record that is not the same as the parents' one in all but its id."""
    return record(table, word, **_OWN.get(table, {}) | values)


def examine(export: Export, table: str) -> dict[str, Finding]:
    """Return the findings of all rules."""
    return rules.examine(export.connection, catalogs.read(export.connection, table))


def failing(export: Export, table: str) -> dict[str, Finding]:
    """Return the findings of the rules that fail, but for missing rows: few of these exports have the parents again."""
    findings = examine(export, table)
    return {
        name: finding for name, finding in findings.items() if not finding.passed and name != "missing_rows"
    }


def only_failing(export: Export, table: str) -> tuple[str, Finding]:
    """Return the one rule that fails, and what it found."""
    found = failing(export, table)
    assert len(found) == 1, found
    return found.popitem()
