"""Summaries: aggregates that take seconds, kept as materialized views and refreshed after an import.

What each one counts is in the migration that makes it. Readers see the old numbers until the new ones are there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from daybreak_pipeline import database

if TYPE_CHECKING:
    from daybreak_pipeline.database import Connection


@dataclass(frozen=True)
class Summary:
    """A materialized view in schema ``reporting``, and the tables that it is made of."""

    name: str
    description: str
    tables: tuple[str, ...]


SUMMARIES = {
    summary.name: summary
    for summary in (
        Summary(
            "onboarding_funnel",
            "How many referrals came how far, and the median days from step to step, by week, school and district.",
            ("referrals", "organizations"),
        ),
        Summary(
            "coverage_by_insurer",
            "How many coverages and patients each insurance company has, by eligibility.",
            ("insurance_coverages", "patients_and_guardians"),
        ),
        Summary(
            "funnel_by_week",
            "The onboarding funnel and the time to care by week and district, without small groups.",
            ("referrals", "organizations"),
        ),
        Summary(
            "coverage_by_week",
            "Patients' best coverage by week and district, without small groups.",
            (
                *("insurance_coverages", "patients_and_guardians"),
                *("referral_members", "referrals", "memberships", "organizations"),
            ),
        ),
        Summary(
            "capacity_by_week",
            "Clinicians with free time and its hours, for twelve weeks, by district and state, without small groups.",
            ("clinician_availabilities", "clinicians", "memberships", "organizations"),
        ),
    )
}


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did."""

    rows: int
    seconds: float


def refresh(connection: Connection, summary: Summary) -> Refreshed:
    """Compute a summary from the tables as they are now, without keeping readers out, and return how large it is."""
    view = sql.Identifier("reporting", summary.name)
    begun = time.monotonic()
    filled = database.value(
        connection,
        "SELECT relispopulated FROM pg_class WHERE oid = %s::regclass",
        [view.as_string(connection)],
    )
    # What a restore has left empty can only be filled with a lock; nobody can read it yet anyway.
    how = sql.SQL("CONCURRENTLY ") if filled else sql.SQL("")
    # Their plans are guesses that would have the server compile them for seconds, however few rows there are.
    with connection.transaction(), database.local_settings(connection, jit="off"):
        connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(how, view))
    rows = database.value(connection, sql.SQL("SELECT count(*) FROM {}").format(view))
    return Refreshed(int(rows), time.monotonic() - begun)
