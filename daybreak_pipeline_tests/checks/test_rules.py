"""Every rule: an export in which exactly it fails, one in which it does not, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from daybreak_pipeline.checks.findings import SHOWN_ROWS
from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.tables import TABLES, import_order
from daybreak_pipeline_tests.checks.examining import STRANGER, another, examine, failing, only_failing
from daybreak_pipeline_tests.exports import SMALLEST, Export, record, uuid

# --- Nothing wrong -------------------------------------------------------------------------------------


def test_every_rule_passes_where_nothing_is_wrong(export: Export) -> None:
    for name in import_order():
        if not export.rows(name, "id"):
            export.load(name, record(name))
    failing = [
        (name, rule, finding.summary)
        for name in TABLES
        for rule, finding in examine(export, name).items()
        if not finding.passed
    ]
    assert failing == []
    assert all(export.rows(name, "id") for name in TABLES)


# --- Orphans -------------------------------------------------------------------------------------------

APPLICATION_LEVEL = [
    (table.name, r.column) for table in TABLES.values() for r in table.references if not r.enforced
]


@pytest.mark.parametrize(("table", "column"), APPLICATION_LEVEL)
def test_a_reference_that_leads_nowhere_is_a_warning(export: Export, table: str, column: str) -> None:
    # The numbers of clinicians are not ids of rows: 8 is nobody's.
    stranger = "8" if table == "clinician_availabilities" else STRANGER
    broken = record(table, **{column: stranger})
    export.load(table, broken)
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.counts) == ("orphans", "WARN", {column: 1})
    assert finding.rows == (broken["id"],)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), {}),
        (("user_0_id",), {"user_0_id": 1}),
        (("user_1_id",), {"user_1_id": 1}),
        (("user_0_id", "user_1_id"), {"user_0_id": 1, "user_1_id": 1}),
    ],
)
def test_a_kinship_is_an_orphan_when_either_user_is_missing(
    export: Export, missing: tuple[str, ...], expected: dict[str, int]
) -> None:
    """The plan's query needs both to be missing, which shows next to nothing."""
    export.load("kinships", record("kinships", **{column: uuid(f"{column}x") for column in missing}))
    finding = examine(export, "kinships")["orphans"]
    assert (finding.counts, finding.count, finding.passed) == (expected, len(missing), not missing)


@pytest.mark.parametrize("column", ["user_0_id", "user_1_id"])
def test_a_kinship_of_a_clinician_is_no_orphan(export: Export, column: str) -> None:
    export.load("kinships", record("kinships", **{column: "clinician"}))
    assert examine(export, "kinships")["orphans"].passed


def test_a_questionnaire_about_a_clinician_is_an_orphan(export: Export) -> None:
    """Only the respondent may be a clinician."""
    export.load("questionnaires", record("questionnaires", subject_id="clinician", respondent_id="clinician"))
    assert examine(export, "questionnaires")["orphans"].counts == {"subject_id": 1}


@pytest.mark.parametrize(("healthie_id", "found"), [("9", True), ("09", False), ("90", False), (None, False)])
def test_an_availability_belongs_to_the_clinician_whose_number_reads_the_same(
    export: Export, healthie_id: str | None, found: bool
) -> None:
    export.load("clinicians", record("clinicians", healthie_id=healthie_id))
    export.load("clinician_availabilities", record("clinician_availabilities", user_id="9"))
    assert examine(export, "clinician_availabilities")["orphans"].passed is found


def test_a_number_of_a_clinician_that_is_no_number_breaks_nothing(export: Export) -> None:
    export.load("clinicians", record("clinicians", healthie_id="H-9"))
    export.load("clinician_availabilities", record("clinician_availabilities", user_id="9"))
    assert examine(export, "clinician_availabilities")["orphans"].counts == {"user_id": 1}


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("insurance_coverages", "created_by"),
        ("patients_and_guardians", "supervisor_id"),
        ("referrals", "care_provider_id"),
    ],
)
def test_no_reference_is_no_orphan(export: Export, table: str, column: str) -> None:
    export.load(table, record(table, **{column: None}))
    nowhere = sql.SQL("SELECT count(*) FROM {} WHERE id = %s AND {} IS NULL")
    query = nowhere.format(sql.Identifier(table), sql.Identifier(column))
    assert export.connection.execute(query, [uuid(table)]).fetchone() == (1,)
    assert examine(export, table)["orphans"].passed


NULLABLE = [
    ("patients_and_guardians", "supervisor_id"),
    ("clinicians", "supervisor_id"),
    ("clinician_credentialed_insurances", "parent_credentialed_insurance_id"),
    ("organizations", "parent_organization_id"),
    ("referrals", "intake_id"),
    ("referrals", "care_provider_id"),
]
REQUIRED = [
    ("referrals", "organization_id"),
    ("referrals", "contract_id"),
    ("referral_members", "referral_id"),
    ("org_contracts", "organization_id"),
    ("org_contracts", "contract_id"),
    ("memberships", "organization_id"),
    ("clinician_insurance_affiliations", "credentialed_insurance_id"),
    ("clinician_insurance_affiliations", "care_provider_profile_id"),
]


def test_the_foreign_keys_above_are_all() -> None:
    declared = {(t.name, r.column) for t in TABLES.values() for r in t.references if r.enforced}
    assert declared == {*NULLABLE, *REQUIRED}


@pytest.mark.parametrize(("table", "column"), NULLABLE)
def test_a_reference_that_was_loaded_as_null_is_a_warning(export: Export, table: str, column: str) -> None:
    broken = another(table, "broken", **{column: STRANGER})
    export.load(table, broken)
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity) == ("orphans", "WARN")
    assert finding.counts == {f"{column} (loaded as NULL)": 1}


@pytest.mark.parametrize(("table", "column"), REQUIRED)
def test_a_record_that_stayed_out_for_want_of_a_parent_is_an_error(
    export: Export, table: str, column: str
) -> None:
    broken = record(table, "broken", **{column: STRANGER})
    export.load(table, broken)
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity) == ("orphans", "ERROR")
    assert finding.counts == {f"{column} (quarantined)": 1}
    assert finding.rows == (broken["id"],)


def test_an_orphan_is_none_any_more_when_its_parent_arrives(export: Export) -> None:
    export.load("patient_availabilities", record("patient_availabilities", user_id="late"))
    assert examine(export, "patient_availabilities")["orphans"].count == 1
    people = [record("patients_and_guardians", word) for word in ("patient", "child", "late")]
    export.load("patients_and_guardians", *people)
    assert examine(export, "patient_availabilities")["orphans"].passed


def test_all_orphans_are_counted_and_some_are_shown(export: Export) -> None:
    number = SHOWN_ROWS + 5
    export.load(
        "patient_availabilities",
        *(record("patient_availabilities", f"row{n}", user_id="stranger") for n in range(number)),
    )
    finding = examine(export, "patient_availabilities")["orphans"]
    assert (finding.count, len(finding.rows)) == (number, SHOWN_ROWS)
    assert f"{number} references that lead nowhere" in finding.summary


# --- Codes outside their list --------------------------------------------------------------------------

CODES = [
    ("kinships", "user_0_label", "1", "3"),
    ("kinships", "user_1_label", "12", "0"),
    ("questionnaires", "type", "4", "5"),
    ("insurance_coverages", "kind", "0", "1"),
    ("insurance_coverages", "eligibility", "6", "9"),
    ("referrals", "service_kind", "3", "4"),
    ("organizations", "kind", "1", "3"),
]


@pytest.mark.parametrize(("table", "column", "good", "bad"), CODES)
def test_a_code_outside_its_list_is_an_error(
    export: Export, table: str, column: str, good: str, bad: str
) -> None:
    export.load(table, record(table, "good", **{column: good}))
    assert examine(export, table)["valid_enums"].passed
    export.load(table, record(table, "good", **{column: good}), record(table, "bad", **{column: bad}))
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.counts) == (
        "valid_enums",
        "ERROR",
        {f"{column} (quarantined)": 1},
    )
    assert finding.rows == (uuid("bad"),)


def test_a_code_that_got_into_the_table_is_found_there(export: Export) -> None:
    export.load("organizations", record("organizations", "school"))
    export.connection.execute(
        """
        ALTER TABLE organizations DROP CONSTRAINT chk_organizations_kind;
        UPDATE organizations SET kind = 3;
        ALTER TABLE organizations ADD CONSTRAINT chk_organizations_kind CHECK (kind IN (1, 2)) NOT VALID
        """
    )
    found = failing(export, "organizations")
    assert set(found) == {"valid_enums", "database_matches_migrations"}
    finding = found["valid_enums"]
    assert finding.counts == {"kind (chk_organizations_kind)": 1}
    assert finding.rows == (uuid("school"),)


def test_an_empty_code_that_may_be_empty_is_in_order(export: Export) -> None:
    export.load("insurance_coverages", record("insurance_coverages", eligibility=None))
    assert examine(export, "insurance_coverages")["valid_enums"].passed


# --- Required values -----------------------------------------------------------------------------------

MANDATORY = [(table, column) for table, columns in SMALLEST.items() for column in columns]


@pytest.mark.parametrize(("table", "column"), MANDATORY)
def test_an_empty_cell_in_a_required_column_is_an_error(export: Export, table: str, column: str) -> None:
    broken = record(table, "9", **{column: None})
    export.load(table, broken)
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity) == ("required_values", "ERROR")
    assert finding.counts == {f"{column} (quarantined)": 1}
    assert finding.rows == (broken["id"],)


def test_every_missing_value_of_a_record_is_counted(export: Export) -> None:
    export.load("kinships", record("kinships", kind=None, user_0_label=None))
    finding = examine(export, "kinships")["required_values"]
    assert (finding.count, len(finding.rows)) == (2, 1)


# --- JSON ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("clinicians", "address"),
        ("patients_and_guardians", "profile_data"),
        ("questionnaires", "question_answers"),
        ("contracts", "terms"),
    ],
)
def test_text_in_a_json_column_is_a_warning(export: Export, table: str, column: str) -> None:
    export.load(table, another(table, "broken", **{column: "1 Any Street"}))
    rule, finding = only_failing(export, table)
    assert (rule, finding.severity, finding.counts) == ("valid_json", "WARN", {column: 1})
    assert finding.rows == (uuid("broken"),)


@pytest.mark.parametrize("value", ["[1]", "7", "true", '"text"', "null"])
def test_a_profile_that_is_no_object_is_a_warning(export: Export, value: str) -> None:
    """The plan: ``profile_data IS NOT NULL AND jsonb_typeof(profile_data) != 'object'``."""
    export.load("patients_and_guardians", record("patients_and_guardians", "patient", profile_data=value))
    rule, finding = only_failing(export, "patients_and_guardians")
    assert (rule, finding.severity) == ("valid_json", "WARN")
    assert finding.counts == {"profile_data (not an object)": 1}
    assert finding.rows == (uuid("patient"),)


def test_a_profile_that_is_text_counts_once(export: Export) -> None:
    """It is kept as a JSON string, which is no object either."""
    export.load("patients_and_guardians", record("patients_and_guardians", profile_data="no JSON"))
    assert examine(export, "patients_and_guardians")["valid_json"].count == 1


def test_json_that_was_corrected_is_no_fault_any_more(export: Export) -> None:
    export.load("clinicians", record("clinicians", address="1 Any Street"))
    assert examine(export, "clinicians")["valid_json"].count == 1
    export.load("clinicians", record("clinicians", address='{"city": "Anytown"}'))
    assert examine(export, "clinicians")["valid_json"].passed


def test_json_that_is_text_again_after_it_was_corrected_is_judged_again(export: Export) -> None:
    for day, address in enumerate(("1 Any Street", "{}", "2 Any Street"), 1):
        export.load("clinicians", record("clinicians", address=address, updated_at=f"2025-06-{day:02}"))
    assert examine(export, "clinicians")["valid_json"].count == 1


def test_the_rows_that_are_shown_are_the_first_of_the_file(export: Export) -> None:
    words = sorted((f"row{n}" for n in range(SHOWN_ROWS + 5)), key=uuid, reverse=True)
    old = {"started_at": "1970-01-01T00:00:00"}
    export.load("questionnaires", *(record("questionnaires", word, **old) for word in words))
    assert examine(export, "questionnaires")["timestamps"].rows == tuple(
        uuid(word) for word in words[:SHOWN_ROWS]
    )


# --- Accounting ----------------------------------------------------------------------------------------


def test_a_table_that_was_never_imported_is_unaccounted_for(export: Export) -> None:
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.severity, finding.summary) == (
        "row_accounting",
        "ERROR",
        "the table was never imported",
    )


def test_every_way_a_record_can_end_is_accounted_for(export: Export) -> None:
    export.load("documents", record("documents", "kept"), record("documents", "older"))
    told = export.load(
        "documents",
        record("documents", "kept"),
        record("documents", "older", updated_at="2020-01-01T00:00:00"),
        record("documents", "new", version="1"),
        record("documents", "new", version="2"),
        record("documents", "bad", label=None),
        record("documents", "gone", _fivetran_deleted="true"),
        {"id": None},
    )
    del told["status"]
    assert len(told) >= 6
    assert told["read"] == 7
    assert examine(export, "documents")["row_accounting"].passed


def test_a_skipped_import_does_not_change_the_verdict(export: Export) -> None:
    export.load("documents", record("documents"))
    assert export.load("documents")["status"] == "skipped"
    assert examine(export, "documents")["row_accounting"].passed


def test_a_failed_import_is_an_error_with_its_reason(session: Connection, tmp_path: Path) -> None:
    export = Export(tmp_path, session)
    export.load("documents", record("documents"))
    export.write_bytes("documents", b"id,version\n")
    with pytest.raises(ImportFailedError):
        export.load("documents")
    rule, finding = only_failing(export, "documents")
    assert (rule, finding.count) == ("row_accounting", 1)
    assert (
        "the last import failed: documents: documents.csv has no header: its first line that is not blank must name the "
        "required columns id, label; there is no label" in finding.summary
    )


@pytest.mark.parametrize(
    ("tampering", "expected"),
    [
        ("DELETE FROM documents WHERE version = 1", {"rows written and not in the table": 1}),
        (
            "INSERT INTO documents (label, _import_id) SELECT 'x', _import_id FROM documents LIMIT 1",
            {"rows in the table and not in the ledger": 1},
        ),
        ("DELETE FROM ingest.quarantine", {"records refused and not in quarantine": 1}),
        (
            """
            ALTER TABLE ingest.imports DROP CONSTRAINT imports_every_record_is_accounted_for;
            UPDATE ingest.imports SET rows_read = rows_read + 1
            """,
            {"records without a place": 1},
        ),
    ],
)
def test_a_record_that_is_lost_or_doubled_is_an_error(
    export: Export, tampering: str, expected: dict[str, int]
) -> None:
    export.load(
        "documents",
        record("documents", "one", version="1"),
        record("documents", "two", version="2"),
        # A version that is no number: told by the quarantine rate alone.
        record("documents", "bad", version="x"),
    )
    assert set(failing(export, "documents")) == {"quarantine_rate"}
    export.connection.execute(tampering.encode())
    found = failing(export, "documents")
    assert set(found) - {"quarantine_rate"} == {"row_accounting"}
    assert (found["row_accounting"].severity, found["row_accounting"].counts) == ("ERROR", expected)


def test_only_the_accounting_of_the_last_import_counts(export: Export) -> None:
    export.load("documents", record("documents", "one"), record("documents", "two"))
    export.load("documents", record("documents", "one", version="2"), record("documents", "two"))
    assert examine(export, "documents")["row_accounting"].passed


# --- Privacy -------------------------------------------------------------------------------------------


def test_no_finding_names_a_value(export: Export) -> None:
    canaries = ("Canaryfirst", "+18185550199", "1 Canary Street", "Canaryprofile", "canaryid")
    first, phone, street, profile, bad_id = canaries
    person = {"first_name": first, "phone": phone, "address": street, "profile_data": profile}
    export.load(
        "patients_and_guardians",
        record("patients_and_guardians", "loaded", **person, supervisor_id=STRANGER),
        record("patients_and_guardians", "refused", **person | {"role": None}),
        record("patients_and_guardians", "one", **person) | {"id": bad_id},
        record("patients_and_guardians", "two", **person, birthdate=street),
    )
    findings = examine(export, "patients_and_guardians")
    assert {name for name, finding in findings.items() if not finding.passed} == {
        "orphans",
        "required_values",
        "valid_json",
        "missing_rows",
        "quarantine_rate",
    }
    told = repr(findings)
    assert [canary for canary in canaries if canary in told] == []
    assert STRANGER not in told
