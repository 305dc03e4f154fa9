"""The 16 tables: source files, references, personal columns, group and owner.

The one place where the domain is declared; it needs no database, so that the asset graph loads
without one. What the database knows better (column types, NOT NULL, CHECK, UNIQUE, defaults) is not
repeated here: it is read from the catalog at run time. A test compares the references below with
``pg_constraint`` and the asset graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Literal

MARKET_ID = "00000000-0000-0000-0000-000000000001"

PATIENTS = "patients_and_guardians"
CLINICIANS = "clinicians"

EXPECTATIONS_FILE = "expected.json"
MARK_FILE = "synthetic.txt"
"""What the generator writes beside the files of the tables."""


@dataclass(frozen=True)
class Reference:
    """A column that points at rows of other tables (the plan, "Complete Foreign Key Reference List").

    ``enforced`` references are foreign keys of the database. The others may point at any one of
    ``tables`` and are validated by the orphan check; where they are enforced for applications, ``deletion`` of a row that
    is referred to is refused, or done and said in a warning.
    """

    column: str
    tables: tuple[str, ...]
    enforced: bool
    target_column: str = "id"
    deletion: Literal["refused", "said"] = "refused"


@dataclass(frozen=True)
class JsonShape:
    """What a JSONB column holds. ``faults`` are jsonpaths (lax) that find what should not be in it."""

    column: str
    type: str
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Threshold:
    """The share of what was looked at above which a check fails: ``warn`` as WARN, ``error`` as ERROR.

    ``lost`` is like ``error``, but counts only the records that could not be loaded. None means never.
    """

    warn: float = 0.0
    error: float | None = 0.0
    lost: float | None = 0.0


@dataclass(frozen=True)
class Table:
    """One table of the plan and the export file that fills it.

    ``file_stems`` are the file names (without suffix) that may hold it, the plan's first.
    ``signature`` names columns that a file's header must have to be taken for this table, where the
    name alone does not tell. ``sealed_columns`` are stored encrypted; the plain column stays NULL,
    but for those that ``kept_plain`` names. ``personal_export_columns`` are columns that the schema
    does not have and that must never be kept in plain JSON. ``constants`` are the same in every row. Rows that agree in
    all of a ``likely_same`` key (columns, or SQL over them) and are not deleted are probably one thing twice.
    ``change_data`` brings every version of a record, so several of one id are no fault.
    ``day_first`` and ``month_first`` name columns of dates or times that are written as ``03/04/2025`` and in which that
    has one meaning. ``thresholds`` are those that differ from ``CHECK_THRESHOLDS``, by check.
    """

    name: str
    description: str
    group: str
    owner: str
    file_stems: tuple[str, ...]
    signature: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    sealed_columns: tuple[str, ...] = ()
    kept_plain: tuple[str, ...] = ()
    searchable_columns: tuple[str, ...] = ()
    personal_export_columns: tuple[str, ...] = ()
    phone_columns: tuple[str, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()
    json_shapes: tuple[JsonShape, ...] = ()
    likely_same: tuple[str, ...] = ()
    change_data: bool = False
    day_first: tuple[str, ...] = ()
    month_first: tuple[str, ...] = ()
    thresholds: tuple[tuple[str, Threshold], ...] = ()

    @property
    def application_references(self) -> tuple[Reference, ...]:
        """References without a foreign key."""
        return tuple(r for r in self.references if not r.enforced)

    @property
    def parents(self) -> tuple[str, ...]:
        """Tables that must be imported before this one, itself excluded, sorted by name."""
        return tuple(sorted({t for r in self.references for t in r.tables} - {self.name}))

    def threshold(self, check: str) -> Threshold:
        """Return when a check of this table fails."""
        return (CHECK_THRESHOLDS | dict(self.thresholds)).get(check, Threshold())


def _fk(column: str, table: str) -> Reference:
    return Reference(column, (table,), enforced=True)


def _app(
    column: str, *tables: str, target_column: str = "id", deletion: Literal["refused", "said"] = "refused"
) -> Reference:
    return Reference(column, tables, enforced=False, target_column=target_column, deletion=deletion)


PERSONAL_WORDS = frozenset({
    "name", "names", "firstname", "lastname", "middlename", "fullname", "forename", "surname", "nickname", "maiden",
    "phone", "telephone", "mobile", "cell", "cellphone", "fax", "email", "mail",
    "birth", "birthdate", "birthday", "dob", "ssn", "passport", "address", "street",
})  # fmt: skip
"""Words that call a column personal. One that the schema lacks and that has such a word in its name is kept sealed, though
nobody has declared it: sealing a harmless one costs little."""
IMPERSONAL_NAMES = frozenset({
    "organization", "org", "company", "insurance", "payer", "plan", "group", "school", "district", "program", "brand",
    "file", "table", "column",
})  # fmt: skip
"""What has a name and is no person: ``plan_name`` is not personal."""

CARE_TEAM = "team:care-operations"
PARTNER_TEAM = "team:partnerships"
BILLING_TEAM = "team:billing"

_NAMES = ("first_name", "preferred_name", "middle_name", "last_name")

_KEEPS_ALL = Threshold(error=None)
CHECK_THRESHOLDS = {
    "orphans": _KEEPS_ALL,
    "valid_json": _KEEPS_ALL,
    "placeholder_values": _KEEPS_ALL,
    "duplicates": _KEEPS_ALL,
    "timestamps": _KEEPS_ALL,
    "schema_drift": _KEEPS_ALL,
    "quarantine_rate": Threshold(error=0.05, lost=None),
    "missing_rows": Threshold(error=0.05),
    # Of the rows. A value that does not show is lost to one person, and says nothing of the others.
    "sealed_values": Threshold(error=0.001),
    # Shares of the usual number of records.
    "row_count_change": Threshold(warn=0.1, error=0.5),
}
"""When each check fails; one that is not named fails as ERROR at the first fault."""

_PROFILE = JsonShape("profile_data", "object")
_MIGRATION = JsonShape("migration_details", "object")
_TEXTS_BY_LANGUAGE = ('$.*.type() ? (@ != "string")',)

_DECLARED = (
    Table(
        PATIENTS,
        "Patients and their guardians: the people who seek care.",
        group="people",
        owner=CARE_TEAM,
        file_stems=("patients_and_guardians_anonymized", PATIENTS),
        references=(_fk("supervisor_id", CLINICIANS),),
        sealed_columns=("email", "phone", *_NAMES, "birthdate", "address"),
        kept_plain=("email",),
        searchable_columns=_NAMES,
        personal_export_columns=("full_name", "legal_name", "date_of_birth", "phone_number"),
        phone_columns=("phone",),
        json_shapes=(_PROFILE, _MIGRATION, JsonShape("supabase_metadata", "object")),
        likely_same=("supabase_id",),  # one login
    ),
    Table(
        CLINICIANS,
        "Clinicians who provide care, with licences, languages and supervision.",
        group="people",
        owner=CARE_TEAM,
        file_stems=("clinicians_anonymized", CLINICIANS),
        references=(_fk("supervisor_id", CLINICIANS),),
        sealed_columns=("email", "phone", *_NAMES, "birthdate", "address"),
        kept_plain=("email",),
        searchable_columns=_NAMES,
        personal_export_columns=(
            "full_name",
            "legal_name",
            "date_of_birth",
            "dob",
            "phone_number",
            "first_name_1",
            "last_name_1",
            "middle_name_1",
            "preferred_name_1",
            "email_1",
            "phone_1",
            "phone_number_1",
            "address_1",
            "birthdate_1",
            "quick_notes",
        ),
        phone_columns=("phone", "phone_number", "phone_1", "phone_number_1"),
        json_shapes=(_PROFILE, _MIGRATION, JsonShape("migration_profile_data", "object")),
        likely_same=("healthie_id",),  # what availabilities are joined by
    ),
    Table(
        "kinships",
        "Who is guardian or child of whom.",
        group="people",
        owner=CARE_TEAM,
        file_stems=("kinships",),
        references=(
            _app("user_0_id", PATIENTS, CLINICIANS),
            _app("user_1_id", PATIENTS, CLINICIANS),
        ),
        json_shapes=(_MIGRATION,),
        # The same two people the other way round.
        likely_same=("least(user_0_id, user_1_id)", "greatest(user_0_id, user_1_id)"),
    ),
    Table(
        "questionnaires",
        "Mental-health assessments and intake questionnaires with their answers.",
        group="assessments",
        owner=CARE_TEAM,
        file_stems=("questionnaires",),
        references=(
            _app("subject_id", PATIENTS),
            _app("respondent_id", PATIENTS, CLINICIANS),
        ),
        json_shapes=(
            JsonShape("question_answers", "object", ('$.*.type() ? (@ == "object" || @ == "array")',)),
        ),
        likely_same=("subject_id", "type", "completed_at"),
    ),
    Table(
        "clinician_credentialed_insurances",
        "Insurance companies and lines of business that Daybreak accepts.",
        group="insurance",
        owner=BILLING_TEAM,
        file_stems=("clinician_credentialed_insurances", "credentialed_insurances"),
        signature=("name",),
        references=(_fk("parent_credentialed_insurance_id", "clinician_credentialed_insurances"),),
        json_shapes=(_MIGRATION,),
        likely_same=("lower(name)", "coalesce(state, '')", "coalesce(line_of_business, 0)"),
    ),
    Table(
        "insurance_coverages",
        "Insurance coverage of patients: plan holder, member id, eligibility.",
        group="insurance",
        owner=BILLING_TEAM,
        file_stems=("insurance_coverages",),
        references=(
            _app("user_id", PATIENTS),
            # Who typed it in: the coverage is as good without.
            _app("created_by", PATIENTS, CLINICIANS, deletion="said"),
        ),
        sealed_columns=(
            "plan_holder_first_name",
            "plan_holder_last_name",
            "plan_holder_dob",
            "plan_holder_state",
            "plan_holder_city",
            "plan_holder_street_address",
            "plan_holder_zip_code",
        ),
        personal_export_columns=("plan_holder_full_name", "plan_holder_phone"),
        json_shapes=(_PROFILE, _MIGRATION),
        likely_same=("user_id", "member_id", "insurance_company_name"),
    ),
    Table(
        "organizations",
        "Schools and the districts they belong to.",
        group="organizations",
        owner=PARTNER_TEAM,
        file_stems=("orgs", "organizations"),
        references=(_fk("parent_organization_id", "organizations"),),
        constants=(("market_id", MARKET_ID),),
        json_shapes=(JsonShape("config", "object"), _MIGRATION),
    ),
    Table(
        "contracts",
        "Service contracts: dates, services and terms.",
        group="organizations",
        owner=PARTNER_TEAM,
        file_stems=("contracts",),
        json_shapes=(
            JsonShape(
                "terms",
                "array",
                (
                    '$[*].type() ? (@ != "object")',
                    '$[*] ? (!exists(@.kind) || !(@.services.type() == "array"))',
                ),
            ),
        ),
        likely_same=("contract_url",),  # one signed document
    ),
    Table(
        "org_contracts",
        "Which organization has which contract.",
        group="organizations",
        owner=PARTNER_TEAM,
        file_stems=("org_contracts",),
        references=(_fk("organization_id", "organizations"), _fk("contract_id", "contracts")),
    ),
    Table(
        "referrals",
        "Requests for care and how far each has come.",
        group="referrals",
        owner=CARE_TEAM,
        file_stems=("referrals",),
        references=(
            _app("submitter_id", PATIENTS),
            _fk("organization_id", "organizations"),
            _fk("contract_id", "contracts"),
            _fk("intake_id", "questionnaires"),
            _fk("care_provider_id", CLINICIANS),
        ),
        constants=(("market_id", MARKET_ID),),
        json_shapes=(JsonShape("data", "object"), JsonShape("notes", "object")),
        likely_same=("submitter_id", "organization_id", "contract_id", "service_kind", "referred_at"),
    ),
    Table(
        "referral_members",
        "The patients whom a referral is about.",
        group="referrals",
        owner=CARE_TEAM,
        file_stems=("referral_members",),
        references=(_fk("referral_id", "referrals"), _app("user_id", PATIENTS)),
        json_shapes=(JsonShape("data", "object"),),
    ),
    Table(
        "memberships",
        "Who belongs to which organization.",
        group="organizations",
        owner=PARTNER_TEAM,
        file_stems=("memberships",),
        references=(
            _app("user_id", PATIENTS, CLINICIANS),
            _fk("organization_id", "organizations"),
        ),
        json_shapes=(_PROFILE, _MIGRATION),
    ),
    Table(
        "patient_availabilities",
        "When patients have time for sessions.",
        group="scheduling",
        owner=CARE_TEAM,
        file_stems=("patient_availabilities",),
        references=(_app("user_id", PATIENTS),),
        json_shapes=(
            JsonShape(
                "availability",
                "array",
                (
                    '$[*].type() ? (@ != "object")',
                    '$[*] ? (!(@.day.type() == "string") || !(@.time_blocks.type() == "array"))',
                    '$[*].time_blocks[*] ? (!(@.start.type() == "string") || !(@.duration.type() == "number"))',
                ),
            ),
        ),
    ),
    Table(
        "clinician_availabilities",
        "When clinicians have time for sessions (change data from the scheduling system).",
        group="scheduling",
        owner=CARE_TEAM,
        file_stems=("clinician_availabilities",),
        references=(_app("user_id", CLINICIANS, target_column="healthie_id"),),
        likely_same=("user_id", "range_start", "range_end", "coalesce(contact_type_id, 0)"),
        change_data=True,
    ),
    Table(
        "clinician_insurance_affiliations",
        "Which clinician works with which insurance.",
        group="insurance",
        owner=BILLING_TEAM,
        file_stems=(
            "clinician_credentialed_insurances",
            "clinician_insurance_affiliations",
            "credentialed_insurances",
        ),
        signature=("care_provider_profile_id",),
        references=(
            _fk("care_provider_profile_id", CLINICIANS),
            _fk("credentialed_insurance_id", "clinician_credentialed_insurances"),
        ),
    ),
    Table(
        "documents",
        "Legal documents and consent forms that people agree to.",
        group="supporting",
        owner=CARE_TEAM,
        file_stems=("documents",),
        json_shapes=(
            JsonShape("urls", "object", _TEXTS_BY_LANGUAGE),
            JsonShape("names", "object", _TEXTS_BY_LANGUAGE),
        ),
        likely_same=("label", "version"),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _DECLARED}
"""Every table by name, in the plan's order of creation."""

DELETED_FLAG = "_fivetran_deleted"
"""True in the record of a row that its source has deleted."""
SYNCED_AT = "_fivetran_synced"
"""When the transport read the record."""
COMMITTED_AT = "tx_commit_time"
"""When the source's transaction ended that wrote the record, in change data."""
OPERATION = "op"
"""What the source's transaction did, in change data; ``D`` deleted the row."""

TRANSPORT_COLUMNS = frozenset({"_file", "_line", "_modified", OPERATION})
"""Columns that describe the transport of a record, not its content: known and not stored. The times and the flag above are
stored, where a table has them: they decide which record is newer.
"""


def import_order() -> tuple[str, ...]:
    """Return all table names, parents before children (derived from the references)."""
    return tuple(TopologicalSorter({t.name: t.parents for t in _DECLARED}).static_order())
