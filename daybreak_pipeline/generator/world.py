"""What a batch of records needs to know: how large the export is and how its records find each other.

The sizes of all tables and the references between them. Contents of records are made elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daybreak_pipeline.generator import families
from daybreak_pipeline.generator.ids import Draws, Index, uuids

if TYPE_CHECKING:
    from daybreak_pipeline.generator.families import Template

PLANTED = 1 << 40
"""Planted records have indexes from here on; they never overlap with those of the clean export."""

AFFILIATIONS_PER_CLINICIAN = 5
WINDOWS_PER_CLINICIAN = 8
FIRST_HEALTHIE_ID = 1_000_000


@dataclass(frozen=True)
class World:
    """One export: its seed and its size.

    ``hosts`` is the number of further patients that exist only for planted records to refer to, so
    that these never share a natural key with a record of the clean export.
    """

    seed: int
    patients: int
    faults: bool = False
    hosts: int = 0

    @property
    def clinicians(self) -> int:
        """Return the number of clinicians."""
        return max(12, self.patients // 100)

    @property
    def organizations(self) -> int:
        """Return the number of districts and schools."""
        return max(8, self.patients // 500)

    @property
    def districts(self) -> int:
        """Return the number of districts: the first organizations."""
        return max(2, self.organizations // 6)

    @property
    def contracts(self) -> int:
        """Return the number of contracts: at least one for each district."""
        # Twelve at least: planted pairs of organization and contract must be new ones.
        return max(12, self.districts + self.districts // 4)

    @property
    def insurances(self) -> int:
        """Return the number of insurance companies."""
        return min(60, 24 + self.patients // 20_000)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Return the number of clean records of each table."""
        return {
            "patients_and_guardians": self.patients + self.hosts,
            "clinicians": self.clinicians,
            "kinships": families.KINSHIPS.count(self.patients),
            "questionnaires": families.QUESTIONNAIRES.count(self.patients),
            "clinician_credentialed_insurances": self.insurances,
            "insurance_coverages": families.COVERAGES.count(self.patients),
            "organizations": self.organizations,
            "contracts": self.contracts,
            "org_contracts": self.organizations + self.districts,
            "referrals": families.REFERRALS.count(self.patients),
            "referral_members": families.REFERRAL_MEMBERS.count(self.patients),
            "memberships": families.MEMBERSHIPS.count(self.patients),
            "patient_availabilities": families.AVAILABILITIES.count(self.patients),
            "clinician_availabilities": self.clinicians * WINDOWS_PER_CLINICIAN,
            "clinician_insurance_affiliations": self.clinicians * AFFILIATIONS_PER_CLINICIAN,
            "documents": 24,
        }

    def district_of(self, organization: Index) -> Index:
        """Return the district of each organization (a district is its own)."""
        return organization % self.districts

    def school_of(self, person: Index) -> Index:
        """Return the school of each person; siblings go to the same one."""
        draws = Draws(self.seed, "school", families.family_of(person))
        return self.districts + draws.below("school", self.organizations - self.districts)

    def contract_of(self, organization: Index) -> Index:
        """Return the contract that referrals from an organization run under."""
        return self.district_of(organization) % self.contracts


@dataclass(frozen=True)
class Batch:
    """A run of records of one table: all clean or all planted."""

    world: World
    table: str
    index: Index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def planted(self) -> bool:
        """Whether these records are planted ones."""
        return len(self.index) > 0 and int(self.index[0]) >= PLANTED

    @property
    def number(self) -> Index:
        """The records' numbers, counted from zero for clean and for planted records."""
        return self.index - PLANTED if self.planted else self.index

    @property
    def draws(self) -> Draws:
        """The random draws of these records."""
        return Draws(self.world.seed, self.table, self.index)

    def ids(self) -> Any:
        """Return the records' own ids."""
        return self.id_of(self.table, self.index)

    def id_of(self, table: str, index: Index) -> Any:
        """Return the ids of records of any table."""
        return uuids(self.world.seed, table, index)

    def patient_id(self, person: Index) -> Any:
        """Return the ids of these people."""
        return self.id_of("patients_and_guardians", person)

    def person(self, template: Template, member: int = 0) -> Index:
        """Return whom each record is about; planted records are about hosts, each about its own."""
        if self.planted:
            return self.world.patients + self.number + member
        return template.person(self.index, member)

    def spokesperson(self, person: Index) -> Index:
        """Return who answers and signs for each person; hosts speak for themselves."""
        return person if self.planted else families.spokesperson_of(person)

    def clinician_id(self, name: str) -> Any:
        """Return the id of any one clinician for each record."""
        return self.id_of("clinicians", self.draws.below(name, self.world.clinicians))

    def nowhere(self, name: str) -> Any:
        """Return ids that no record has."""
        return self.draws.uuids(f"nowhere/{name}")


def numbers(start: int, stop: int) -> Index:
    """Return the indexes from ``start`` up to, not including, ``stop``."""
    return np.arange(start, stop, dtype=np.int64)
