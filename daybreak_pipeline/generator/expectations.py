"""The accounting that a first import into an empty database must arrive at (``expected.json``).

Added up from the sizes of the clean export and from what was planted; no file is read. Tables are
always listed; codes and columns only where their number is not zero.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from daybreak_pipeline.generator.faults import INSERTED, Planting
from daybreak_pipeline.generator.plantings import PLANTINGS

if TYPE_CHECKING:
    from daybreak_pipeline.generator.world import World

OUTCOMES = (
    "inserted",
    "updated",
    "unchanged",
    "stale",
    "duplicate",
    "skipped_deleted",
    "blank",
    "quarantined",
)


def expected_accounting(world: World) -> dict[str, Any]:
    """Return the content of ``expected.json`` for an export with planted faults."""
    tables, quarantine, field_issues, orphans = {}, {}, {}, {}
    for table, clean in world.sizes.items():
        outcomes, reasons, issues, lost = _counts(world, PLANTINGS[table])
        outcomes[INSERTED] += clean
        if table == "clinicians":
            # Every address is plain text, in records without a planted fault as well.
            issues["invalid_json"] += outcomes[INSERTED]
        tables[table] = {
            "read": outcomes.total(),
            **{outcome: outcomes[outcome] for outcome in OUTCOMES},
            "field_issues": issues.total(),
        }
        quarantine[table], field_issues[table], orphans[table] = dict(reasons), dict(issues), dict(lost)
    return {
        "seed": world.seed,
        "patients": world.patients,
        "tables": tables,
        "quarantine": quarantine,
        "field_issues": field_issues,
        "orphans": orphans,
    }


def _counts(
    world: World, plantings: tuple[Planting, ...]
) -> tuple[Counter[str], Counter[str], Counter[str], Counter[str]]:
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    issues: Counter[str] = Counter()
    orphans: Counter[str] = Counter()
    for planting in plantings:
        times = planting.times(world.patients)
        for record in planting.records:
            outcomes[record.outcome] += times
            for counter, names in (
                (reasons, record.reasons),
                (issues, record.field_issues),
                (orphans, record.orphans),
            ):
                for name in names:
                    counter[name] += times
    return outcomes, reasons, issues, orphans
