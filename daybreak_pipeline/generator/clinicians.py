"""Clinicians with all the 124 columns of their file, and their availability (the parquet file)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daybreak_pipeline.generator import names, places
from daybreak_pipeline.generator.text import (
    DAY,
    EXPORTED_ON,
    bookkeeping,
    created_and_updated,
    dates,
    days_since_epoch,
    empty,
    integers,
    join,
    json_pool,
    pool,
    when,
)
from daybreak_pipeline.generator.world import FIRST_HEALTHIE_ID, WINDOWS_PER_CLINICIAN, Batch

if TYPE_CHECKING:
    from daybreak_pipeline.generator.ids import Draws

_TITLES = pool(["LCSW", "LMFT", "PhD", "PsyD", "AMFT", None])
_PRONOUNS = pool(["she/her", "he/him", "they/them", None])
_LICENSES = json_pool([["LCSW"], ["LMFT", "LPCC"], ["PhD"], []])
_STATES = json_pool([[state] for state in places.STATES] + [["CA", "TX"], []])
_LANGUAGES = json_pool([["eng"], ["eng", "spa"], ["eng", "vie"], ["eng", "cmn", "yue"]])
_LABELS = json_pool([["care_provider"], ["care_provider", "supervisor"], []])
_PROFILES = json_pool([{}, None, {"bio": 'Trained in "play therapy", loves dogs', "years": 11}])

_COUNTERS = (
    "capacity_total",
    "capacity_filled",
    "capacity_available",
    *(
        f"capacity_filled_{payer}"
        for payer in ("kaiser", "medi_cal", "aetna", "anthem", "cigna", "optum", "self_pay", "school")
    ),
    "caseload_active",
    "caseload_waiting",
    "sessions_completed",
    "sessions_cancelled",
    "max_weekly_hours",
)
_CODES = (
    "standardized_gender",
    "standardized_ethnicity",
    "clinical_role",
    "employment_type",
    "license_type",
    "region",
    "tier",
    "onboarding_status",
    "credentialing_status",
    "role",
    "self_gender",
)
_ARRAYS = {
    "specialties": json_pool([["anxiety", "depression"], ["trauma", "grief, loss"], ["ADHD"], []]),
    "modalities": json_pool([["CBT", "DBT"], ["play therapy"], []]),
    "religions": json_pool([["none"], [], []]),
    "ethnicity_and_demographics": json_pool([["Latino/a"], ["Asian", "Multiracial"], [], []]),
    "age_groups": json_pool([["5-10", "11-13"], ["14-18"], []]),
    "insurances_accepted": json_pool([["medi_cal"], [], ["aetna", "cigna"]]),
    "client_focus": json_pool([["teens"], ["children", "families"], []]),
    "certifications": json_pool([[], [], ["EMDR"]]),
    "availability_tags": json_pool([["mornings"], ["after school"], []]),
    "blocked_organizations": json_pool([[]]),
}
# Columns that a join with the health record system brought in; none of them holds a personal value.
_JOINED = (
    *("id_1", "created_at_1", "updated_at_1", "_fivetran_deleted_1", "_fivetran_synced_1", "active"),
    *("user_group_id", "user_group_name", "dietitian_id", "brand", "timezone", "timezone_1", "money_owed"),
    *("last_sign_in_at", "sign_in_count", "avatar_url", "is_org_admin", "is_super_admin", "other_provider"),
    *("archived_at", "archived", "set_password_link_sent", "two_factor_enabled", "calendar_sync_enabled"),
    *("default_location_id", "default_contact_type", "appointment_interval", "buffer_minutes"),
    *("organization_id_1", "organization_name_1", "record_identifier", "next_appt_date", "last_appt_date"),
    *("unread_notes_count", "conversation_count", "invoice_count", "plan_name", "tags_1", "metadata_1"),
    *("migration_batch", "legacy_reference", "census_person_id", "calendar_color", "form_packet_id"),
)
_PERSONAL = ("full_name", "legal_name", "date_of_birth", "phone_number", "first_name_1", "last_name_1")
_PERSONAL_EMPTY = ("email_1", "phone_number_1", "dob", "middle_name_1", "quick_notes")


def clinicians(batch: Batch) -> dict[str, Any]:
    """Return clinicians: the 32 columns of the schema between 92 others."""
    draws = batch.draws
    culture = names.culture_of(draws)
    first, last = names.given_name(draws, "given-name", culture), names.family_name(draws, culture)
    birthdate = dates(days_since_epoch(EXPORTED_ON) - 9_500 - draws.below("age", 14_000))
    columns = {
        **_extra_columns(draws),
        **_core_columns(batch, first, last),
        "birthdate": birthdate,
        "address": _address(batch),
        **_joined_columns(draws, first, last, birthdate),
        **bookkeeping(draws),
    }
    # By name: so the schema's columns are scattered among the others.
    return dict(sorted(columns.items()))


def _address(batch: Batch) -> Any:
    """Return JSON; with faults plain text in every record, as the real export has it."""
    return places.address_text(batch.draws) if batch.world.faults else places.address_json(batch.draws)


def _core_columns(batch: Batch, first: Any, last: Any) -> dict[str, Any]:
    count, draws, world = len(batch), batch.draws, batch.world
    supervised = draws.chance("supervised", 0.3)
    # Planted clinicians continue the numbering, so that their scheduling ids are unique as well.
    healthie = FIRST_HEALTHIE_ID + batch.number + (world.clinicians if batch.planted else 0)
    return {
        "id": batch.ids(),
        "healthie_id": join(healthie),
        "account_status": integers(draws.below("status", 3)),
        "email": places.email(draws, "example.com"),
        "first_name": first,
        "middle_name": empty(count),
        "last_name": last,
        "preferred_name": when(draws.chance("preferred", 0.2), first),
        "preferred_pronoun": draws.choice("pronoun", _PRONOUNS),
        "title": draws.choice("title", _TITLES),
        # The apostrophe that keeps spreadsheets from taking the number for a formula.
        "phone": join("'", places.phone(draws)),
        "preferred_language": when(draws.chance("language", 0.6), "eng"),
        "legal_gender": integers(np.where(draws.chance("female", 0.5), 1, 2)),
        "care_provider_status": integers(draws.below("provider-status", 4)),
        "clinical_associate": pa.array(draws.chance("associate", 0.2)),
        "supervisor_id": when(supervised, batch.clinician_id("supervisor")),
        "associate_supervisor_id": when(
            draws.chance("associate-supervised", 0.1), batch.clinician_id("associate-supervisor")
        ),
        "licensed_states": draws.choice("licensed", _STATES),
        "states_active": draws.choice("active", _STATES),
        "care_languages": draws.choice("care-languages", _LANGUAGES),
        "care_provider_role": integers(draws.below("provider-role", 3)),
        "licenses": draws.choice("licenses", _LICENSES),
        "profile_data": draws.choice("profile", _PROFILES),
        "migration_details": empty(count),
        "migration_profile_data": empty(count),
        "system_labels": draws.choice("labels", _LABELS),
    }


def _extra_columns(draws: Draws) -> dict[str, Any]:
    """Return counters, codes and arrays that the schema has no column for."""
    columns: dict[str, Any] = {name: integers(draws.below(name, 40)) for name in _COUNTERS}
    columns |= {name: when(draws.chance(f"{name}?", 0.8), integers(draws.below(name, 6))) for name in _CODES}
    return columns | {name: draws.choice(name, values) for name, values in _ARRAYS.items()}


def _joined_columns(draws: Draws, first: Any, last: Any, birthdate: Any) -> dict[str, Any]:
    """Return what a join with the health record system brought in: mostly empty."""
    count, known = len(draws), draws.chance("joined", 0.15)
    columns: dict[str, Any] = {name: empty(count) for name in (*_JOINED, *_PERSONAL_EMPTY)}
    full_name = join(first, " ", last)
    return columns | {
        "full_name": when(known, full_name),
        "legal_name": when(known & draws.chance("legal", 0.5), full_name),
        "date_of_birth": when(known, birthdate),
        "phone_number": when(known, places.phone(draws, "phone-number")),
        "first_name_1": when(known, first),
        "last_name_1": when(known, last),
        "id_1": when(known, join(draws.below("id-1", 10**7))),
        "active": when(known, "true"),
        "timezone": when(known, "America/Los_Angeles"),
        "money_owed": when(known, "0.0"),
        "_fivetran_deleted_1": when(known, "false"),
    }


_ZONES = pool(["America/Los_Angeles", "America/New_York", "America/Chicago", "Pacific/Honolulu"])
_FILE = (
    "exports/availability/shard=primary/organization_id=85685/table=availabilities/"
    "year=2025/month=8/day=21/part-00003-{}.snappy.parquet"
)
_FILES = pool(_FILE.format(part) for part in ("5f1c", "81ab", "c04e"))
_UTC = pa.timestamp("us", tz="UTC")
_QUARTER = DAY // 96
_MAXIMUM_WEEKS = 26


def clinician_availabilities(batch: Batch) -> dict[str, Any]:
    """Return windows of time, typed as the scheduling system's change data are."""
    count, draws, world = len(batch), batch.draws, batch.world
    number = batch.number
    first_id = 40_000_000 + (world.sizes["clinician_availabilities"] if batch.planted else 0)
    clinician = number // WINDOWS_PER_CLINICIAN % world.clinicians
    today = days_since_epoch(EXPORTED_ON)
    day = today - 90 + draws.below("day", 180)
    start = day * DAY + (32 + draws.below("start", 40)) * _QUARTER
    created, updated = created_and_updated(draws)
    repeating = draws.chance("repeating", 0.6)
    changed = draws.chance("changed", 0.4)
    committed = updated + draws.below("commit", 5_000_000)
    end_on = dates(day + 7 * (1 + draws.below("weeks", _MAXIMUM_WEEKS)))
    return {
        "user_id": pa.array(clinician + FIRST_HEALTHIE_ID),
        "id": pa.array(first_id + number),
        "range_start": pa.array(start).cast(_UTC),
        "range_end": pa.array(start + (1 + draws.below("length", 16)) * _QUARTER).cast(_UTC),
        "timezone": draws.choice("zone", _ZONES),
        # Day zero of 1970 was a Thursday, and the week starts with Sunday = 0.
        "day_of_week": when(repeating, pa.array((day + 4) % 7)),
        "is_repeating": pa.array(repeating),
        "contact_type_id": when(draws.chance("contact", 0.3), pa.array(draws.below("contact-type", 9) + 1)),
        "appointment_location_id": pa.nulls(count, pa.int64()),
        "deleted_at": pa.nulls(count, _UTC),
        "end_on": when(repeating & draws.chance("ends", 0.4), end_on),
        "parent_organization_id": pa.array(np.full(count, 85_685)),
        "created_at": pa.array(created).cast(_UTC),
        "updated_at": pa.array(updated).cast(_UTC),
        "op": when(changed, "U", "I"),
        "tx_commit_time": pa.array(committed).cast(_UTC),
        "_file": draws.choice("file", _FILES),
        "_line": pa.array(number % (1 << 31)),
        "_modified": pa.array(np.full(count, (today - 30) * DAY)).cast(_UTC),
    }
