"""Which file holds which table, and which function makes its records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from daybreak_pipeline.generator import care, clinicians, insurance, organizations, people
from daybreak_pipeline.generator.world import Batch
from daybreak_pipeline.tables import EXPECTATIONS_FILE, MARK_FILE

Builder = Callable[[Batch], dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """A file of the export; ``build`` returns its columns in the order of the file."""

    table: str
    file: str
    build: Builder


# The parquet file is first on purpose: it carries the mark that this is not a real export.
SOURCES = (
    Source(
        "clinician_availabilities", "clinician_availabilities.parquet", clinicians.clinician_availabilities
    ),
    Source("clinicians", "clinicians_anonymized.csv", clinicians.clinicians),
    Source("patients_and_guardians", "patients_and_guardians_anonymized.csv", people.patients_and_guardians),
    Source("kinships", "kinships.csv", people.kinships),
    Source("questionnaires", "questionnaires.csv", care.questionnaires),
    # In real exports these two names are swapped: each file has the table that the plan calls by the other name.
    Source(
        "clinician_credentialed_insurances",
        "credentialed_insurances.csv",
        insurance.clinician_credentialed_insurances,
    ),
    Source(
        "clinician_insurance_affiliations",
        "clinician_credentialed_insurances.csv",
        insurance.clinician_insurance_affiliations,
    ),
    Source("insurance_coverages", "insurance_coverages.csv", insurance.insurance_coverages),
    Source("organizations", "orgs.csv", organizations.organizations),
    Source("contracts", "contracts.csv", organizations.contracts),
    Source("org_contracts", "org_contracts.csv", organizations.org_contracts),
    Source("referrals", "referrals.csv", care.referrals),
    Source("referral_members", "referral_members.csv", care.referral_members),
    Source("memberships", "memberships.csv", organizations.memberships),
    Source("patient_availabilities", "patient_availabilities.csv", care.patient_availabilities),
    Source("documents", "documents.csv", organizations.documents),
)

SOURCE_OF = {source.table: source for source in SOURCES}
FILE_NAMES = frozenset({*(source.file for source in SOURCES), EXPECTATIONS_FILE, MARK_FILE})
