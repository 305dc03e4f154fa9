"""Insurance: the companies, the coverage of patients, and which clinician works with which company."""

from __future__ import annotations

from typing import Any

import numpy as np

from daybreak_pipeline.generator import families, places
from daybreak_pipeline.generator.ids import Draws
from daybreak_pipeline.generator.people import Person
from daybreak_pipeline.generator.text import (
    bookkeeping,
    constant,
    empty,
    integers,
    join,
    json_pool,
    pool,
    when,
)
from daybreak_pipeline.generator.world import AFFILIATIONS_PER_CLINICIAN, PLANTED, Batch

_FIRST_WORDS = ("Blue Harbor", "Golden Valley", "Pacific Crest", "Summit", "Evergreen", "Bright Path")
_LAST_WORDS = ("Health Plan", "Mutual, Inc.", "Care Alliance", "HMO", "PPO (Medi-Cal)")
_COMPANIES = pool(f"{first} {last}" for first in _FIRST_WORDS for last in _LAST_WORDS)
_LEGACY_NAMES = json_pool([[], [], ["Old Harbor Health"], ['"Summit" Care, LLC', "Summit HP"]])
_MIGRATIONS = json_pool([None, None, {"source": "legacy", "row": 7}])
_COVERAGE_LABELS = json_pool(
    [["in_network"], ["submitted"], ["expired", "out_of_network"], ["in_network", "submitted"], []]
)
_ELIGIBILITY = np.array([0, 2, 4, 6], np.int64)


def clinician_credentialed_insurances(batch: Batch) -> dict[str, Any]:
    """Return insurance companies; one in three is a line of business of an earlier one."""
    count, draws, number = len(batch), batch.draws, batch.number
    parent = batch.id_of("clinician_credentialed_insurances", number // 3)
    is_line = (number % 3 == 2) & (number < batch.world.insurances)  # noqa: PLR2004 - every third
    return {
        "open_pm_name": when(draws.chance("open-pm", 0.5), draws.choice("company", _COMPANIES)),
        "name": join(draws.choice("company", _COMPANIES), " ", number + 1),
        "state": draws.choice("state", places.STATE_CODES),
        "country": constant("US", count),
        "id": batch.ids(),
        "line_of_business": when(draws.chance("line", 0.8), integers(draws.below("line-code", 5))),
        "legacy_names": draws.choice("legacy", _LEGACY_NAMES),
        "network_status": integers(draws.below("network", 3)),
        "associates_allowed": integers(draws.below("associates", 2)),
        "legacy_id": join("L", draws.below("legacy-id", 10**6)),
        "parent_credentialed_insurance_id": when(is_line, parent),
        "migration_details": draws.choice("migration", _MIGRATIONS),
    } | bookkeeping(draws)


def insurance_coverages(batch: Batch) -> dict[str, Any]:
    """Return coverages of patients; the plan holder is the first guardian."""
    count, draws, world = len(batch), batch.draws, batch.world
    patient = batch.person(families.COVERAGES)
    guardian = batch.spokesperson(patient)
    holder, home = Person(world, guardian), Draws(world.seed, "home", families.family_of(guardian))
    insured = draws.chance("insured", 0.9)
    card = join("https://files.example.org/cards/", draws.uuids("card"))
    return {
        "user_id": batch.patient_id(patient),
        "plan_holder_dob": when(draws.chance("dob", 0.9), holder.birthdate()),
        "plan_holder_first_name": when(insured, holder.given_name()),
        "plan_holder_last_name": when(insured, holder.family_name()),
        "plan_holder_country": constant("US", count),
        "plan_holder_state": home.choice("city", places.CITY_STATES),
        "plan_holder_city": home.choice("city", places.CITY_NAMES),
        "plan_holder_zip_code": join(home.choice("city", places.CITY_ZIPS), home.below("zip", 90) + 10),
        "plan_holder_street_address": places.street_address(home),
        "plan_holder_legal_gender": integers(holder.gender()),
        "insurance_company_name": when(insured, draws.choice("company", _COMPANIES)),
        "member_id": when(insured, join("W", draws.below("member", 10**9))),
        "group_id": when(insured & draws.chance("group", 0.6), join("0", draws.below("group-id", 10**6))),
        "front_card_url": when(insured & draws.chance("cards", 0.5), join(card, "/front.jpg")),
        "back_card_url": when(insured & draws.chance("cards", 0.5), join(card, "/back.jpg")),
        "created_by": when(draws.chance("created-by", 0.9), batch.patient_id(guardian)),
        "id": batch.ids(),
        "kind": integers(np.where(insured, 2, 0)),
        "level": integers(draws.below("level", 2) + 1),
        "genesis": integers(draws.below("genesis", 3)),
        "eligibility": integers(_ELIGIBILITY[draws.below("eligibility", len(_ELIGIBILITY))]),
        "system_labels": draws.choice("labels", _COVERAGE_LABELS),
        "openpm_coverage_id": when(draws.chance("openpm", 0.4), join("C-", draws.below("openpm-id", 10**8))),
        "openpm_insurance_organization_id": when(draws.chance("openpm", 0.4), join(draws.below("org", 500))),
        "openpm_insurance_organization_name": empty(count),
        "profile_data": constant("{}", count),
        "migration_details": draws.choice("migration", _MIGRATIONS),
    } | bookkeeping(draws)


def clinician_insurance_affiliations(batch: Batch) -> dict[str, Any]:
    """Return a few companies for each clinician; planted ones take companies the clinician lacks."""
    world, draws = batch.world, batch.draws
    if batch.planted:
        slot, clinician = np.divmod(batch.index - PLANTED, world.clinicians)
        slot += AFFILIATIONS_PER_CLINICIAN
    else:
        clinician, slot = np.divmod(batch.index, AFFILIATIONS_PER_CLINICIAN)
    insurance = (clinician * 7 + slot) % world.insurances
    return {
        "credentialed_insurance_id": batch.id_of("clinician_credentialed_insurances", insurance),
        "id": batch.ids(),
        "care_provider_profile_id": batch.id_of("clinicians", clinician),
    } | bookkeeping(draws)
