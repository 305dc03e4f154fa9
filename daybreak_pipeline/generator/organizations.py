"""Districts, schools, their contracts, who belongs to them, and the documents people agree to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daybreak_pipeline.generator import families, places
from daybreak_pipeline.generator.text import (
    EXPORTED_ON,
    bookkeeping,
    dates,
    days_since_epoch,
    empty,
    integers,
    join,
    json_pool,
    pool,
    timestamps,
    to_json,
    when,
)
from daybreak_pipeline.generator.text import created_and_updated as times

if TYPE_CHECKING:
    from daybreak_pipeline.generator.ids import Draws
    from daybreak_pipeline.generator.world import Batch

_SCHOOL_KINDS = pool(["Elementary School", "Middle School", "High School", "Academy for the Arts & Sciences"])
_NAMESAKES = pool(
    ["Maple Grove", "César Chávez", "Lincoln", "Peña Blanca", "O'Hara Creek", "St. Mary's", "Sequoia"]
)
_ZONES = pool(["America/Los_Angeles", "America/New_York", "America/Chicago", "America/Denver"])
_CONFIGS = json_pool([{}, None, {"self_referral": True, "languages": ["eng", "spa"]}, {"max_sessions": 12}])
_MIGRATIONS = json_pool([None, None, {"source": "legacy"}])


def organizations(batch: Batch) -> dict[str, Any]:
    """Return districts (kind 1) first, then schools (kind 2) below them."""
    draws, world, number = batch.draws, batch.world, batch.number
    # Planted organizations are schools whatever their number.
    school = np.full(len(batch), fill_value=True) if batch.planted else number >= world.districts
    district = world.district_of(number)
    namesake = draws.choice("namesake", _NAMESAKES)
    level = when(school, draws.choice("level", _SCHOOL_KINDS), "Unified School District")
    name = join(namesake, " ", level)
    enabled, _ = times(draws)
    slug = join("planted-school-" if batch.planted else "org-", number + 1)
    return {
        "name": name,
        "slug": slug,
        "market_id": draws.uuids("market"),
        "kind": integers(np.where(school, 2, 1)),
        "id": batch.ids(),
        "internal_name": when(draws.chance("internal", 0.5), join(name, " #", number + 1)),
        "parent_organization_id": when(school, batch.id_of("organizations", district)),
        "tzdb": draws.choice("zone", _ZONES),
        "config": draws.choice("config", _CONFIGS),
        "enabled_at": when(draws.chance("enabled", 0.9), timestamps(enabled)),
        "migration_details": draws.choice("migration", _MIGRATIONS),
    } | bookkeeping(draws)


_SERVICES = (
    ["individual_therapy"],
    ["individual_therapy", "family_therapy"],
    ["onsite_care", "individual_therapy", "family_therapy"],
    ["onsite_care"],
)
_SERVICE_POOL = json_pool(_SERVICES)
_TERMS = json_pool(
    [
        [{"kind": kind, "services": services, "session_cap": cap, "student_cap": None}, *more]
        for services in _SERVICES
        for kind, cap in (("per_session", 12), ("subscription", 24), ("hourly", 0))
        for more in (
            [],
            [{"kind": "overage", "services": services, "session_cap": 4, "caps": {"monthly": 20}}],
        )
    ]
)


def contracts(batch: Batch) -> dict[str, Any]:
    """Return contracts over one to three school years."""
    draws = batch.draws
    first = days_since_epoch(EXPORTED_ON) - 900 + draws.below("effective", 600)
    url = join("https://files.example.org/contracts/", draws.uuids("file"), ".pdf")
    return {
        "end_date": when(
            draws.chance("open-ended", 0.3), None, dates(first + 365 * (draws.below("years", 3) + 1))
        ),
        "effective_date": dates(first),
        "id": batch.ids(),
        "terms": draws.choice("terms", _TERMS),
        "services": draws.choice("services", _SERVICE_POOL),
        "contract_url": when(draws.chance("url", 0.7), url),
    } | bookkeeping(draws)


def org_contracts(batch: Batch) -> dict[str, Any]:
    """Return the contract of each organization's district, and a second one for each district."""
    world = batch.world
    if batch.planted:
        lap, organization = np.divmod(batch.number, world.organizations)
        further = lap + 2
    else:
        further, organization = np.divmod(batch.number, world.organizations)
    contract = (world.contract_of(organization) + further) % world.contracts
    return {
        "contract_id": batch.id_of("contracts", contract),
        "id": batch.ids(),
        "organization_id": batch.id_of("organizations", organization),
    } | bookkeeping(batch.draws, synced=False)


_PROFILES = json_pool([{}, {}, None, {"grade": "GRADE_9", "homeroom": "12-B"}, {"student_id": "S-0042"}])


def memberships(batch: Batch) -> dict[str, Any]:
    """Return which child goes to which school."""
    draws = batch.draws
    child = batch.person(families.MEMBERSHIPS)
    return {
        "organization_id": batch.id_of("organizations", batch.world.school_of(child)),
        "census_person_id": empty(len(batch)),
        "user_id": batch.patient_id(child),
        "profile_data": draws.choice("profile", _PROFILES),
        "id": batch.ids(),
        "migration_details": draws.choice("migration", _MIGRATIONS),
    } | bookkeeping(draws)


_LABELS = (
    "privacy_policy",
    "informed_consent",
    "terms_of_use",
    "telehealth_consent",
    "release_of_information",
)
_TITLES = {"eng": "Consent & Privacy", "spa": "Consentimiento y privacidad", "vie": "Đồng ý", "cmn": "同意书"}
_URLS = json_pool(
    [
        {language: f"https://files.example.org/documents/{number}/{language}.pdf" for language in _TITLES}
        for number in range(4)
    ]
)
_NAMES = json_pool(
    [_TITLES, {"eng": _TITLES["eng"]}, {language: f"{title} (2)" for language, title in _TITLES.items()}]
)
_CHECKBOXES = pool(
    [None, "[]", to_json(["I have read this, and agree"]), to_json(['Yes, "I do"', "Sí, acepto"])]
)


def documents(batch: Batch) -> dict[str, Any]:
    """Return the versions of the documents that people agree to."""
    draws: Draws = batch.draws
    version, label = np.divmod(batch.number, len(_LABELS))
    published = days_since_epoch(EXPORTED_ON) - 1000 + (version % 50) * 15
    columns = {
        "names": draws.choice("names", _NAMES),
        "urls": draws.choice("urls", _URLS),
        "checkboxes": draws.choice("boxes", _CHECKBOXES),
        "label": pool(_LABELS).take(label),
        "version": integers(version + 1),
        "id": batch.ids(),
        "version_date": when(draws.chance("dated", 0.9), dates(published)),
    } | bookkeeping(draws)
    if batch.world.faults:
        # A column that the table lacks, in a table without profile_data: the schema drift to report.
        columns["legacy_code"] = join("DOC-", places.CITY_ZIPS.take(label), "-", version)
    return columns
