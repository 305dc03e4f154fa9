"""Which faults are planted in which table: the list that the accounting rests on.

The kinds themselves are in ``planting_kinds.py``. Records get ids, natural keys and parents of their
own (see ``World.hosts``), so that one fault never causes another, except for the two cascades that are planted on
purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from daybreak_pipeline.generator import faults
from daybreak_pipeline.generator.faults import (
    BLANK,
    DUPLICATE,
    QUARANTINED,
    Cell,
    Planting,
    Record,
)
from daybreak_pipeline.generator.planting_kinds import (
    bad_enum,
    common,
    dangling,
    deleted,
    fine,
    invalid,
    missing,
    missing_parent,
    newest_is_refused,
    no_json,
    one,
    orphan,
    ragged,
    refused,
    twins,
)
from daybreak_pipeline.generator.text import MICROSECONDS, constant
from daybreak_pipeline.generator.world import FIRST_HEALTHIE_ID, PLANTED, Batch

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST_INTEGER = 2_147_483_647
_TOO_LARGE = str(_LARGEST_INTEGER + 1)
_TOO_LONG = "x" * 300
# Fifty characters, a hundred bytes: fits a VARCHAR(50), whose length counts characters.
_EXACTLY_FIFTY = "é" * 50

_TEN_FAULTS: dict[str, Cell] = {
    "subject_id": "nobody",
    "respondent_id": None,
    "score": "high",
    "started_at": "2025-02-30T10:00:00",
    "completed_at": "soon",
    "question_answers": None,
    "type": "9",
    "language_of_completion": "português do Brasil",
    "created_at": "n/a",
    "_fivetran_synced": "never",
}

_REFUSED_REFERRAL = "refused referral that has members"
_REFUSED_DISTRICT = "refused district that has a school"


def _ids_of(table: str, planting: str) -> Callable[[Batch], Any]:
    """Return a cell that refers to the records of another planting: the n-th to the n-th.

    Both plantings must occur equally often.
    """

    def cell(batch: Batch) -> Any:
        patients, number = batch.world.patients, int(batch.index[0]) - PLANTED
        own = [s for s in faults.segments(PLANTINGS[batch.table], patients) if s.start <= number][-1]
        parent = next(s for s in faults.segments(PLANTINGS[table], patients) if s.planting.name == planting)
        return batch.id_of(table, batch.index - own.start + parent.start)

    return cell


def _another_patient(batch: Batch) -> Any:
    """Return a patient that is not the record's own host."""
    return batch.patient_id(batch.number)


def _members_of_refused_referral() -> Planting:
    """Return the cascade across tables: both members of a refused referral are refused."""
    first: dict[str, Cell] = {"referral_id": _ids_of("referrals", _REFUSED_REFERRAL)}
    second: dict[str, Cell] = {"id": lambda batch: batch.draws.uuids("second"), "user_id": _another_patient}
    return Planting(
        "members of a refused referral",
        tuple(Record(QUARANTINED, cells, reasons=("missing_parent",)) for cells in (first, first | second)),
    )


def _school_of_refused_district() -> Planting:
    """Return the cascade within a table: the school loads, without its district."""
    cells: dict[str, Cell] = {"parent_organization_id": _ids_of("organizations", _REFUSED_DISTRICT)}
    return one("school of a refused district", Record(cells=cells, field_issues=("dangling_reference",)))


def _cut_off() -> Planting:
    """Return the record in which the file breaks off: its last field is never closed."""
    record = Record(QUARANTINED, reasons=("malformed_record",))
    return Planting("cut off", (record,), once=True, shape=faults.UNTERMINATED)


_PEOPLE: dict[str, tuple[Planting, ...]] = {
    "patients_and_guardians": (
        *common(),
        newest_is_refused("birthdate", "2011-02-30"),
        missing("role"),
        invalid("role", "guardian"),
        invalid("birthdate", "2012-13-01"),
        invalid("title", _EXACTLY_FIFTY + "é"),
        fine("title of fifty characters", title=_EXACTLY_FIFTY),
        invalid("supabase_id", "0000-not-hex"),
        invalid("clinical_associate", "perhaps"),
        invalid("account_status", _TOO_LARGE),
        dangling("supervisor_id"),
        no_json("address", "General delivery, Fresno"),
        no_json("profile_data", "{'grade': 'single quotes'}"),
    ),
    "clinicians": (
        *common(),
        newest_is_refused("account_status", "active"),
        dangling("supervisor_id", weight=2),
        invalid("birthdate", "1985-00-10"),
        invalid("supervisor_id", "Dr. Nobody"),
        invalid("care_provider_role", _TOO_LARGE),
        invalid("preferred_language", "português do Brasil"),
    ),
    "kinships": (
        *common(),
        *ragged(),
        twins(),
        deleted(user_0_label="3"),
        missing("user_0_id"),
        missing("kind"),
        invalid("user_1_id", "child"),
        bad_enum("user_0_label", "3"),
        bad_enum("user_1_label", "4"),
        refused(
            "unlisted labels and no kind", "invalid_enum", "missing_required", user_0_label="3", kind=None
        ),
        orphan("user_0_id"),
        orphan("user_1_id"),
    ),
}

_CARE: dict[str, tuple[Planting, ...]] = {
    "questionnaires": (
        *common(),
        newest_is_refused("score", "12 points"),
        refused("ten faults", "invalid_value", "missing_required", "invalid_enum", **_TEN_FAULTS),
        missing("question_answers"),
        missing("subject_id"),
        invalid("score", "99999999999"),
        invalid("completed_at", "2025-06-31T12:00:00.5"),
        bad_enum("type", "9"),
        no_json("question_answers", "see the scanned form"),
        orphan("subject_id"),
        orphan("respondent_id", weight=2),
    ),
    "referrals": (
        *common(),
        refused(_REFUSED_REFERRAL, "invalid_enum", service_kind="4"),
        missing("submitter_id"),
        missing("contract_id"),
        missing_parent("organization_id"),
        missing_parent("contract_id"),
        refused(
            "both parents missing",
            "missing_parent",
            organization_id=lambda batch: batch.nowhere("organization_id"),
            contract_id=lambda batch: batch.nowhere("contract_id"),
        ),
        dangling("intake_id"),
        dangling("care_provider_id", weight=2),
        invalid("contract_id", "C-12"),
        invalid("planned_sessions", "twelve"),
        invalid("tzdb", _TOO_LONG),
        invalid("collect_coverage", "maybe"),
        no_json("notes", "Request rejected: not engaged"),
        orphan("submitter_id", weight=3),
        _cut_off(),
    ),
    "referral_members": (
        *common(),
        twins(),
        _members_of_refused_referral(),
        missing("user_id"),
        missing_parent("referral_id"),
        invalid("role", "patient"),
        no_json("data", "GRADE_7"),
        orphan("user_id"),
    ),
    "patient_availabilities": (
        *common(),
        missing("availability"),
        missing("user_id"),
        no_json("availability", "evenings, but not on Friday"),
        orphan("user_id"),
    ),
}

_INSURANCE: dict[str, tuple[Planting, ...]] = {
    "clinician_credentialed_insurances": (
        *common(),
        missing("name"),
        invalid("name", _TOO_LONG),
        invalid("state", "California (all)"),
        invalid("network_status", "in"),
        dangling("parent_credentialed_insurance_id"),
    ),
    "insurance_coverages": (
        *common(),
        missing("kind"),
        missing("user_id"),
        bad_enum("kind", "7"),
        bad_enum("eligibility", "9"),
        refused("two unlisted codes", "invalid_enum", kind="7", eligibility="9"),
        invalid("plan_holder_dob", "1980-02-30"),
        invalid("level", "primary"),
        invalid("member_id", _TOO_LONG),
        no_json("profile_data", "n/a"),
        orphan("user_id"),
        orphan("created_by"),
    ),
    "clinician_insurance_affiliations": (
        *common(soft_deleted=20),
        twins(),
        missing("care_provider_profile_id"),
        missing_parent("care_provider_profile_id"),
        missing_parent("credentialed_insurance_id"),
        invalid("credentialed_insurance_id", "none yet"),
    ),
}

_ORGANIZATIONS: dict[str, tuple[Planting, ...]] = {
    "organizations": (
        *common(),
        twins(),
        refused(_REFUSED_DISTRICT, "invalid_enum", kind="5"),
        _school_of_refused_district(),
        missing("kind"),
        missing("name"),
        invalid("kind", "school"),
        dangling("parent_organization_id"),
        no_json("config", "default settings"),
    ),
    "contracts": (
        *common(),
        missing("effective_date"),
        missing("services"),
        missing("terms"),
        invalid("effective_date", "2024-04-31"),
        invalid("end_date", "open"),
        no_json("terms", "as agreed by phone"),
    ),
    "org_contracts": (
        *common(synced=False),
        twins(),
        missing("contract_id"),
        missing_parent("organization_id"),
        missing_parent("contract_id"),
    ),
    "memberships": (
        *common(),
        *ragged(),
        twins(),
        missing("user_id"),
        missing_parent("organization_id"),
        invalid("organization_id", "Lincoln High"),
        no_json("profile_data", "GRADE_9, homeroom 12-B"),
        orphan("user_id"),
    ),
    "documents": (
        *common(),
        missing("label"),
        fine("default version", version=None),
        invalid("label", _TOO_LONG),
        invalid("version", "2.1"),
        invalid("version_date", "2024-15-01"),
        no_json("urls", "https://files.example.org/documents"),
    ),
}

# The parquet file is typed: times are microseconds since 1970, and texts fit only where texts are.
_EARLY = 1_600_000_000 * MICROSECONDS
_OLD_WINDOW: dict[str, Cell] = {"created_at": _EARLY, "updated_at": _EARLY + MICROSECONDS}


def _too_large_id(batch: Batch) -> Any:
    return pa.array(batch.number + 5_000_000_000)


def _tombstone(batch: Batch) -> Any:
    return constant("D", len(batch))


_WINDOWS: tuple[Planting, ...] = (
    Planting("blank", (Record(BLANK),), weight=4),
    refused("no id", "missing_key", id=None),
    refused("malformed id", "invalid_value", id=_too_large_id),
    Planting("older version", (Record(), Record(DUPLICATE, _OLD_WINDOW))),
    Planting("committed earlier", (Record(), Record(DUPLICATE, {"tx_commit_time": _EARLY}))),
    Planting("exact copy", (Record(), Record(DUPLICATE))),
    Planting(
        "version before a tombstone", (Record(cells={"op": _tombstone}), Record(DUPLICATE, _OLD_WINDOW))
    ),
    fine("tombstone", op=_tombstone),
    missing("user_id"),
    missing("range_start"),
    missing("timezone"),
    missing("created_at"),
    refused("no times at all", "missing_required", range_start=None, range_end=None, updated_at=None),
    invalid("day_of_week", _LARGEST_INTEGER + 1),
    invalid("end_on", "when school ends"),
    one("orphan user_id", Record(cells={"user_id": FIRST_HEALTHIE_ID - 1}, orphans=("user_id",)), weight=2),
)

PLANTINGS: dict[str, tuple[Planting, ...]] = {
    **_PEOPLE,
    **_CARE,
    **_INSURANCE,
    **_ORGANIZATIONS,
    "clinician_availabilities": _WINDOWS,
}
"""The faults of every table. Their order decides which index a planted record gets."""
