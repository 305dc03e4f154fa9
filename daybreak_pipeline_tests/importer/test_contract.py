"""The import contract, rule by rule: where each record ends, and what the row then holds."""

from __future__ import annotations

from uuid import UUID

import pytest

from daybreak_pipeline.tables import MARKET_ID, TABLES
from daybreak_pipeline_tests.exports import NOON, SMALLEST, Export, record, soon, uuid

BEFORE_NOON = "2025-06-25T11:59:59.999999"
AFTER_NOON = "2025-06-25T12:00:00.000001"
HUGE_INTEGER = "2147483648"


@pytest.mark.parametrize("table", list(TABLES))
def test_the_smallest_record_of_every_table_loads_and_is_then_unchanged(export: Export, table: str) -> None:
    if {"organization_id", "contract_id", "referral_id", "care_provider_profile_id"} & set(SMALLEST[table]):
        export.add_parents()
    assert export.load(table, record(table, "9" if table == "clinician_availabilities" else "fresh")) == {
        "status": "imported",
        "read": 1,
        "inserted": 1,
    }
    assert export.load(table, full=True) == {"status": "imported", "read": 1, "unchanged": 1}


def test_rule_1_blank_records_are_counted_and_skipped(export: Export) -> None:
    blank: dict[str, str | None] = {"id": None}
    assert export.load("documents", blank, record("documents"), blank) == {
        "status": "imported",
        "read": 3,
        "inserted": 1,
        "blank": 2,
    }


@pytest.mark.parametrize(
    ("row_id", "reason"),
    [
        (None, "missing_key"),
        ("7", "invalid_value"),
        ("not-a-uuid", "invalid_value"),
        ("1e5", "invalid_value"),
    ],
)
def test_rule_2_a_record_without_a_usable_id_is_quarantined(
    export: Export, row_id: str | None, reason: str
) -> None:
    counts = export.load("documents", record("documents") | {"id": row_id}, record("documents", "good"))
    assert counts == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert export.refused("documents") == [(1, [(reason, "id")])]


def test_rule_2_two_records_without_id_and_alike_are_two_in_quarantine_and_stay_two(export: Export) -> None:
    nameless = record("documents") | {"id": None}
    export.load("documents", nameless, nameless)
    export.load("documents", full=True)
    assert [number for number, _ in export.refused("documents")] == [1, 2]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"updated_at": BEFORE_NOON}, {}),
        (
            {"_fivetran_synced": "2025-01-01 00:00:00.1 UTC"},
            {"_fivetran_synced": "2025-01-01 00:00:00.11 UTC"},
        ),
        ({"_fivetran_synced": None}, {"_fivetran_synced": "2025-01-01 00:00:00 UTC"}),
        ({"updated_at": None}, {}),
        ({"updated_at": "rubbish"}, {}),
    ],
    ids=["by updated_at", "by sync time", "no sync time", "no updated_at", "updated_at is no time"],
)
@pytest.mark.parametrize("newest_first", [True, False])
def test_rule_3_of_one_id_the_newest_record_wins(
    export: Export, older: dict[str, str | None], newer: dict[str, str | None], newest_first: bool
) -> None:
    records = [record("documents", label="old", **older), record("documents", label="new", **newer)]
    if newest_first:
        records.reverse()
    assert export.load("documents", *records) == {
        "status": "imported",
        "read": 2,
        "inserted": 1,
        "duplicate": 1,
    }
    assert export.rows("documents", "label") == [("new",)]


def test_rule_3_of_records_of_one_age_the_last_wins(export: Export) -> None:
    export.load("documents", *(record("documents", label=label) for label in ("first", "second", "third")))
    assert export.rows("documents", "label") == [("third",)]


def test_rule_3_one_id_in_two_spellings_is_one_id(export: Export) -> None:
    spelled = record("documents")
    shouted = spelled | {
        "id": "{" + str(spelled["id"]).upper().replace("-", "") + "}",
        "updated_at": AFTER_NOON,
    }
    assert export.load("documents", spelled, shouted)["duplicate"] == 1


def test_rule_3_another_id_with_the_same_natural_key_is_quarantined(export: Export) -> None:
    twins = [record("organizations", word, slug="lincoln") for word in ("one", "two")]
    assert export.load("organizations", *twins)["quarantined"] == 1
    assert export.refused("organizations") == [(2, [("duplicate_key", "slug")])]


def test_rule_3_the_row_in_the_table_keeps_its_natural_key(export: Export) -> None:
    export.load("organizations", record("organizations", "one", slug="lincoln"))
    newcomer = record("organizations", "two", slug="lincoln")
    renewed = record("organizations", "one", slug="lincoln", name="Renewed", updated_at=AFTER_NOON)
    counts = export.load("organizations", newcomer, renewed)
    assert counts == {"status": "imported", "read": 2, "updated": 1, "quarantined": 1}
    assert export.rows("organizations", "name") == [("Renewed",)]


def _slugs(export: Export) -> dict[str, str | None]:
    names = {uuid(word): word for word in ("one", "two", "three")}
    return {names[str(key)]: slug for key, slug in export.rows("organizations", "id", "slug")}


def test_rule_3_two_rows_can_swap_their_natural_keys(export: Export) -> None:
    export.load(
        "organizations", record("organizations", "one", slug="a"), record("organizations", "two", slug="b")
    )
    counts = export.load(
        "organizations", record("organizations", "one", slug="b"), record("organizations", "two", slug="a")
    )
    assert counts == {"status": "imported", "read": 2, "updated": 2}
    assert _slugs(export) == {"one": "b", "two": "a"}


def test_rule_3_a_new_record_can_take_the_key_that_a_row_gives_away(export: Export) -> None:
    export.load("organizations", record("organizations", "one", slug="a"))
    counts = export.load(
        "organizations", record("organizations", "two", slug="a"), record("organizations", "one", slug="b")
    )
    assert counts == {"status": "imported", "read": 2, "inserted": 1, "updated": 1}
    assert _slugs(export) == {"one": "b", "two": "a"}


def test_rule_3_a_row_whose_record_is_refused_keeps_its_key_and_those_who_wait_for_it_wait(
    export: Export,
) -> None:
    words = ("one", "two", "three")
    export.load("organizations", *(record("organizations", word, slug=word) for word in words))
    counts = export.load(
        "organizations",
        record("organizations", "one", slug="two"),
        record("organizations", "two", slug="three"),
        record("organizations", "three", slug="four", kind="9"),
    )
    assert counts == {"status": "imported", "read": 3, "quarantined": 3}
    assert _slugs(export) == {word: word for word in words}


def test_rule_3_a_junction_row_makes_place_for_a_new_one(export: Export) -> None:
    export.add_parents()
    export.load("memberships", record("memberships", "one", user_id="patient"))
    counts = export.load(
        "memberships",
        record("memberships", "one", user_id="child"),
        record("memberships", "two", user_id="patient"),
    )
    assert counts == {"status": "imported", "read": 2, "inserted": 1, "updated": 1}


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("memberships", "user_id", ("patient", "child")),
        ("referral_members", "user_id", ("patient", "child")),
        ("kinships", "user_0_id", ("patient", "stranger")),
    ],
)
def test_rule_3_junction_rows_can_swap_their_keys(
    export: Export, table: str, column: str, values: tuple[str, str]
) -> None:
    export.add_parents()
    one, two = (
        record(table, w, **{column: u}) for w, u in zip(("one", "two"), map(uuid, values), strict=True)
    )
    export.load(table, one, two)
    swapped = [one | {column: two[column]}, two | {column: one[column]}]
    assert export.load(table, *swapped) == {"status": "imported", "read": 2, "updated": 2}
    assert {str(key): str(value) for key, value in export.rows(table, "id", column)} == {
        swap["id"]: swap[column] for swap in swapped
    }


def test_rule_3_rows_of_two_required_references_that_swap_keys_wait_in_quarantine(export: Export) -> None:
    export.add_parents()
    export.load("contracts", record("contracts", "contract"), record("contracts", "other"))
    one, two = (record("org_contracts", w, contract_id=c) for w, c in (("one", "contract"), ("two", "other")))
    export.load("org_contracts", one, two)
    swapped = [one | {"contract_id": two["contract_id"]}, two | {"contract_id": one["contract_id"]}]
    assert export.load("org_contracts", *swapped) == {"status": "imported", "read": 2, "quarantined": 2}
    assert export.rows("org_contracts", "contract_id", "_record_number") == sorted(
        [(UUID(uuid("contract")), 1), (UUID(uuid("other")), 2)]
    )


def test_rule_3_an_empty_natural_key_is_nobodys(export: Export) -> None:
    assert (
        export.load("organizations", *(record("organizations", word) for word in ("one", "two")))["inserted"]
        == 2
    )


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("documents", "version", "1.5"),
        ("documents", "version", HUGE_INTEGER),
        ("documents", "version", "one"),
        ("documents", "label", "x" * 256),
        ("documents", "version_date", "2025-02-30"),
        ("documents", "version_date", "tomorrow"),
        ("documents", "created_at", "2025-13-01T00:00:00"),
        ("documents", "created_at", "now"),
        ("documents", "created_at", "0000-01-01T00:00:00"),
        ("documents", "updated_at", "yesterday"),
        ("documents", "_fivetran_deleted", "perhaps"),
        ("documents", "checkboxes", '["open'),
        ("clinicians", "supervisor_id", "nobody"),
        ("clinicians", "phone", "5" * 51),
        ("clinicians", "birthdate", "unknown"),
    ],
)
def test_rule_4_a_value_that_does_not_fit_quarantines_its_record(
    export: Export, table: str, column: str, value: str
) -> None:
    counts = export.load(table, record(table, "good"), record(table, "bad") | {column: value})
    assert counts == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}
    assert export.refused(table) == [(2, [("invalid_value", column)])]


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("label", "é" * 255, "é" * 255),
        ("label", "👪" * 255, "👪" * 255),
        ("label", "  spaces stay  ", "  spaces stay  "),
        ("label", 'quote " comma , line\nbreak', 'quote " comma , line\nbreak'),
        ("version", "2147483647", 2147483647),
        ("checkboxes", '["a","b"]', ["a", "b"]),
        ("checkboxes", '["a, b", "c \\"d\\"", null]', ["a, b", 'c "d"', None]),
        ("checkboxes", "{a,b}", ["a", "b"]),
        ("checkboxes", "a, b", ["a", "b"]),
        ("checkboxes", "[]", []),
        ("checkboxes", None, None),
        ("urls", '{"eng": "x"}', {"eng": "x"}),
    ],
)
def test_rule_4_a_value_that_just_fits_is_stored_exactly(
    export: Export, column: str, value: str | None, stored: object
) -> None:
    assert export.load("documents", record("documents") | {column: value})["inserted"] == 1
    assert export.rows("documents", column) == [(stored,)]


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2025-06-25T15:23:38.564555", "2025-06-25 15:23:38.564555+00"),
        ("2025-06-25T15:23:38", "2025-06-25 15:23:38+00"),
        ("2025-11-07 02:35:33.559 UTC", "2025-11-07 02:35:33.559+00"),
        ("2025-06-25T15:23:38+02:00", "2025-06-25 13:23:38+00"),
        ("2025-06-25", "2025-06-25 00:00:00+00"),
        ("2025-06-25T23:59:60", "2025-06-26 00:00:00+00"),
    ],
)
def test_rule_4_a_time_without_zone_is_utc(export: Export, written: str, utc: str) -> None:
    export.load("documents", record("documents", created_at=written))
    stored = export.connection.execute("SELECT created_at::text FROM documents").fetchall()
    assert stored == [(utc,)]


def test_rule_4_all_faults_of_a_record_are_listed(export: Export) -> None:
    bad = record(
        "referrals",
        submitter_id="nobody!",
        organization_id=None,
        service_kind="9",
        contract_id=uuid("no contract"),
        planned_sessions="many",
        appointment_kind=HUGE_INTEGER,
        tzdb="x" * 101,
        referred_at="soon",
        collect_coverage="perhaps",
        allowed_coverage='["open',
        intake_id="12",
    )
    assert export.load("referrals", bad) == {"status": "imported", "read": 1, "quarantined": 1}
    assert export.refused("referrals") == [
        (
            1,
            [
                ("invalid_enum", "service_kind"),
                ("invalid_value", "allowed_coverage"),
                ("invalid_value", "appointment_kind"),
                ("invalid_value", "collect_coverage"),
                ("invalid_value", "intake_id"),
                ("invalid_value", "planned_sessions"),
                ("invalid_value", "referred_at"),
                ("invalid_value", "submitter_id"),
                ("invalid_value", "tzdb"),
                ("missing_parent", "contract_id"),
                ("missing_required", "organization_id"),
            ],
        )
    ]


def test_rule_4_no_reason_repeats_a_value(export: Export) -> None:
    export.load(
        "clinicians",
        record("clinicians", birthdate="Geheimnis", phone="Geheimnis" * 6, created_at="Geheimnis"),
    )
    reasons = export.connection.execute("SELECT reasons::text FROM ingest.quarantine").fetchall()
    assert len(reasons) == 1
    assert "Geheimnis" not in reasons[0][0]


def test_rule_5_an_empty_cell_takes_the_default_where_the_contract_says_so(export: Export) -> None:
    columns = ("version", "config", "score", "_fivetran_deleted")
    empty: dict[str, str | None] = dict.fromkeys(columns)
    export.load(
        "documents", record("documents") | {"version": None, "_fivetran_deleted": None, "created_at": None}
    )
    export.load("organizations", record("organizations") | {"config": None})
    export.load("questionnaires", record("questionnaires") | {"score": empty["score"]})
    assert export.rows("documents", "version", "_fivetran_deleted") == [(1, False)]
    assert export.connection.execute("SELECT created_at = updated_at FROM documents").fetchall() == [(False,)]
    assert export.rows("organizations", "config") == [({},)]
    assert export.rows("questionnaires", "score") == [(None,)]


def test_rule_5_a_missing_column_takes_the_default_and_stays_as_it_is_later(export: Export) -> None:
    export.load("questionnaires", record("questionnaires"))
    assert export.rows("questionnaires", "score") == [(0,)]
    export.connection.execute("UPDATE questionnaires SET score = 5, updated_at = updated_at")
    export.connection.commit()
    later = record("questionnaires", type="4", updated_at=soon())
    assert export.load("questionnaires", later)["updated"] == 1
    assert export.rows("questionnaires", "score", "type") == [(5, 4)]


def test_rule_5_a_default_filled_in_does_not_look_changed(export: Export) -> None:
    export.load("documents", record("documents") | {"version": None, "created_at": None, "updated_at": None})
    assert export.load("documents", full=True)["unchanged"] == 1


@pytest.mark.parametrize("table", [name for name, values in SMALLEST.items() if values])
def test_rule_5_an_empty_required_cell_quarantines_its_record(export: Export, table: str) -> None:
    required = [
        name for name in SMALLEST[table] if name != "created_at" or table == "clinician_availabilities"
    ]
    bare = record(table) | dict.fromkeys(required)
    counts = export.load(table, bare)
    assert counts["quarantined"] == 1
    missing = [column for code, column in export.refused(table)[0][1] if code == "missing_required"]
    assert missing == sorted(required)


@pytest.mark.parametrize(
    ("table", "column", "code"),
    [
        ("kinships", "user_0_label", "3"),
        ("kinships", "user_1_label", "0"),
        ("questionnaires", "type", "5"),
        ("insurance_coverages", "kind", "1"),
        ("insurance_coverages", "eligibility", "9"),
        ("organizations", "kind", "3"),
        ("referrals", "service_kind", "-1"),
    ],
)
def test_rule_6_a_code_outside_its_list_quarantines_its_record(
    export: Export, table: str, column: str, code: str
) -> None:
    if table == "referrals":
        export.add_parents()
    export.load(table, record(table, "odd") | {column: code})
    assert export.refused(table) == [(1, [("invalid_enum", column)])]


def test_rule_6_a_migration_that_widens_an_enum_reaches_the_import(export: Export) -> None:
    export.connection.execute(
        "ALTER TABLE questionnaires DROP CONSTRAINT chk_questionnaires_type; "
        "ALTER TABLE questionnaires ADD CONSTRAINT chk_questionnaires_type CHECK (type IN (3, 4, 5))"
    )
    export.connection.commit()
    assert export.load("questionnaires", record("questionnaires", type="5"))["inserted"] == 1


def test_rule_7_a_nullable_reference_without_parent_loads_as_null_and_is_kept(export: Export) -> None:
    counts = export.load("patients_and_guardians", record("patients_and_guardians", supervisor_id="stranger"))
    assert counts == {"status": "imported", "read": 1, "inserted": 1, "field_issues": 1}
    assert export.rows("patients_and_guardians", "supervisor_id") == [(None,)]
    assert export.issues("patients_and_guardians") == [
        ("supervisor_id", "dangling_reference", uuid("stranger"))
    ]


def test_rule_7_a_required_reference_without_parent_quarantines_its_record(export: Export) -> None:
    counts = export.load("referral_members", record("referral_members"))
    assert counts == {"status": "imported", "read": 1, "quarantined": 1}
    assert export.refused("referral_members") == [(1, [("missing_parent", "referral_id")])]


def test_rule_7_an_application_level_reference_without_parent_loads(export: Export) -> None:
    assert export.load("kinships", record("kinships"))["inserted"] == 1


def test_rule_7_a_row_can_refer_to_one_that_comes_later_in_its_file(export: Export) -> None:
    school = record("organizations", "school", parent_organization_id="district")
    assert "field_issues" not in export.load(
        "organizations", school, record("organizations", "district", kind="1")
    )
    assert export.rows("organizations", "parent_organization_id")[0][0] is not None


def test_rule_7_a_refused_record_is_no_parent(export: Export) -> None:
    school = record("organizations", "school", parent_organization_id="district")
    counts = export.load("organizations", school, record("organizations", "district", kind="99"))
    assert counts == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1, "field_issues": 1}


def test_rule_7_when_the_parent_arrives_the_reference_is_restored(export: Export) -> None:
    export.load("patients_and_guardians", record("patients_and_guardians", supervisor_id="clinician"))
    export.load("clinicians", record("clinicians", "clinician"))
    export.load("patients_and_guardians")
    assert [str(value) for (value,) in export.rows("patients_and_guardians", "supervisor_id")] == [
        uuid("clinician")
    ]
    assert export.issues("patients_and_guardians") == []
    assert export.load("patients_and_guardians")["status"] == "skipped"


def test_rule_7_a_restored_reference_moves_no_updated_at(export: Export) -> None:
    export.load("patients_and_guardians", record("patients_and_guardians", supervisor_id="clinician"))
    before = export.rows("patients_and_guardians", "updated_at")
    export.load("clinicians", record("clinicians", "clinician"))
    export.load("patients_and_guardians")
    assert export.rows("patients_and_guardians", "updated_at") == before


def test_rule_7_a_reference_that_somebody_set_since_is_left_alone(export: Export) -> None:
    export.load("clinicians", record("clinicians", "other"))
    export.load("patients_and_guardians", record("patients_and_guardians", supervisor_id="clinician"))
    export.connection.execute("UPDATE patients_and_guardians SET supervisor_id = %s", [uuid("other")])
    export.connection.commit()
    export.load("clinicians", record("clinicians", "other"), record("clinicians", "clinician"))
    export.load("patients_and_guardians")
    assert [str(value) for (value,) in export.rows("patients_and_guardians", "supervisor_id")] == [
        uuid("other")
    ]


def test_rule_7_when_the_parent_arrives_the_quarantined_child_loads(export: Export) -> None:
    export.load("referral_members", record("referral_members"))
    export.add_parents()
    assert export.load("referral_members") == {"status": "imported", "read": 1, "inserted": 1}
    assert export.refused("referral_members") == []
    resolved = export.connection.execute("SELECT resolution FROM ingest.quarantine").fetchall()
    assert resolved == [("loaded",)]


@pytest.mark.parametrize("value", ["no json", "{'a': 1}", '{"a": "\\u0000"}', "[1, 2", "NaN", '"\\ud800"'])
def test_rule_8_what_is_not_json_is_kept_as_a_json_string(export: Export, value: str) -> None:
    counts = export.load("documents", record("documents", names=value, urls='{"eng": "x"}'))
    assert counts == {"status": "imported", "read": 1, "inserted": 1, "field_issues": 1}
    assert export.rows("documents", "names", "urls") == [(value, {"eng": "x"})]
    assert export.issues("documents") == [("names", "invalid_json", value)]


def test_rule_9_a_deleted_record_that_was_never_here_is_skipped(export: Export) -> None:
    counts = export.load("documents", record("documents", _fivetran_deleted="true"))
    assert counts == {"status": "imported", "read": 1, "skipped_deleted": 1}
    assert export.rows("documents", "id") == []


def test_rule_9_a_row_whose_record_is_deleted_stays_and_is_flagged(export: Export) -> None:
    export.load("documents", record("documents", _fivetran_deleted="false"))
    counts = export.load("documents", record("documents", _fivetran_deleted="true", updated_at=AFTER_NOON))
    assert counts == {"status": "imported", "read": 1, "updated": 1}
    assert export.rows("documents", "_fivetran_deleted") == [(True,)]


def test_rule_9_a_deletion_in_change_data_sets_deleted_at(export: Export) -> None:
    deletion = record("clinician_availabilities", op="D", tx_commit_time="2025-08-18 16:00:19.075334 UTC")
    assert export.load("clinician_availabilities", deletion)["inserted"] == 1
    assert export.rows("clinician_availabilities", "deleted_at") == export.rows(
        "clinician_availabilities", "tx_commit_time"
    )


def test_rule_10_an_older_record_changes_nothing(export: Export) -> None:
    export.load("documents", record("documents", label="new"))
    assert export.load("documents", record("documents", label="old", updated_at=BEFORE_NOON)) == {
        "status": "imported",
        "read": 1,
        "stale": 1,
    }
    assert export.rows("documents", "label") == [("new",)]


def test_rule_10_what_the_application_edited_since_is_not_overwritten(export: Export) -> None:
    export.load("documents", record("documents", label="from the export"))
    export.connection.execute("UPDATE documents SET label = 'edited'")
    export.connection.commit()
    assert export.load("documents", record("documents", label="another", updated_at=AFTER_NOON))["stale"] == 1
    assert export.rows("documents", "label") == [("edited",)]


def test_rule_10_a_changed_record_of_the_same_age_updates(export: Export) -> None:
    export.load("documents", record("documents", label="one"))
    assert export.load("documents", record("documents", label="two"))["updated"] == 1
    assert export.rows("documents", "label") == [("two",)]


def test_rule_10_an_import_keeps_the_sources_time(export: Export) -> None:
    export.load("documents", record("documents", label="one"))
    export.load("documents", record("documents", label="two", updated_at=AFTER_NOON))
    stored = export.connection.execute("SELECT updated_at::text FROM documents").fetchall()
    assert stored == [("2025-06-25 12:00:00.000001+00",)]


def test_rule_10_rearranged_columns_are_no_change(export: Export) -> None:
    one = record("documents", names='{"eng": "x"}')
    export.load("documents", one)
    export.write("documents", one, header=list(reversed(one)))
    assert export.load("documents") == {"status": "imported", "read": 1, "unchanged": 1}


@pytest.mark.parametrize("table", ["organizations", "referrals"])
def test_rule_11_the_market_is_always_the_plans(export: Export, table: str) -> None:
    export.add_parents()
    export.load(table, record(table, "fresh", market_id="elsewhere"))
    assert {str(value) for (value,) in export.rows(table, "market_id")} == {MARKET_ID}


def test_rule_12_unknown_columns_with_values_go_into_profile_data(export: Export) -> None:
    extra = {"money_owed": "12", "quick_code": None}
    export.load("clinicians", record("clinicians", "one", profile_data='{"a": 1}') | extra)
    assert export.rows("clinicians", "profile_data") == [({"a": 1, "export_columns": {"money_owed": "12"}},)]


def test_rule_12_unknown_columns_without_values_leave_profile_data_alone(export: Export) -> None:
    export.load("clinicians", record("clinicians", profile_data=None, money_owed=None))
    assert export.rows("clinicians", "profile_data") == [(None,)]


def test_rule_12_personal_unknown_columns_are_sealed(export: Export) -> None:
    export.load("clinicians", record("clinicians", full_name="Ada Example", money_owed="12"))
    row = export.connection.execute(
        "SELECT profile_data::text, privacy.unseal(_export_columns_encrypted, privacy.key('seal')) FROM clinicians"
    ).fetchone()
    assert row == ('{"export_columns": {"money_owed": "12"}}', '{"full_name": "Ada Example"}')


def test_rule_12_unknown_columns_of_other_tables_are_ignored(export: Export) -> None:
    assert export.load("documents", record("documents", legacy_code="x"))["inserted"] == 1
    assert export.load("documents", record("documents", legacy_code="y")) == {
        "status": "imported",
        "read": 1,
        "unchanged": 1,
    }


def test_rule_14_an_unchanged_file_is_not_read(export: Export) -> None:
    export.load("documents", record("documents"))
    assert export.load("documents") == {"status": "skipped"}
    ledger = export.connection.execute("SELECT status, rows_read FROM ingest.imports ORDER BY id").fetchall()
    assert ledger == [("imported", 1), ("skipped", 0)]


def test_rule_14_a_full_import_rewrites_no_row(export: Export) -> None:
    export.load("documents", *(record("documents", str(number)) for number in range(50)))
    before = export.connection.execute(
        "SELECT id, ctid::text, xmin::text, updated_at FROM documents"
    ).fetchall()
    export.load("documents", full=True)
    after = export.connection.execute(
        "SELECT id, ctid::text, xmin::text, updated_at FROM documents"
    ).fetchall()
    assert after == before


def test_rule_15_the_spreadsheet_apostrophe_of_a_phone_is_dropped(export: Export) -> None:
    export.load("clinicians", record("clinicians", phone="'+18185550100"))
    assert export.connection.execute("SELECT phone FROM app.clinicians").fetchall() == [("+18185550100",)]


def test_personal_columns_hold_ciphertext_only(export: Export) -> None:
    personal = {
        "first_name": "Zoë",
        "last_name": "O'Neil",
        "birthdate": "2012-02-29",
        "address": '{"city": "X"}',
    }
    export.load(
        "patients_and_guardians", record("patients_and_guardians", email="zoe@example.org", **personal)
    )
    assert export.rows("patients_and_guardians", *personal) == [(None, None, None, None)]
    unsealed = export.connection.execute(
        "SELECT first_name, last_name, birthdate::text, address->>'city', email FROM app.patients_and_guardians"
    ).fetchall()
    assert unsealed == [("Zoë", "O'Neil", "2012-02-29", "X", "zoe@example.org")]


def test_a_record_that_is_still_bad_updates_its_quarantine_row(export: Export) -> None:
    export.load("documents", record("documents", label=None))
    export.load("documents", record("documents", label=None, version="bad"))
    rows = export.connection.execute(
        "SELECT q.import_id = (SELECT max(id) FROM ingest.imports), jsonb_array_length(reasons), "
        "last_seen_at > first_seen_at FROM ingest.quarantine q"
    ).fetchall()
    assert rows == [(True, 2, True)]


def test_a_record_that_is_good_now_resolves_its_quarantine_row(export: Export) -> None:
    export.load("documents", record("documents", label=None))
    export.load("documents", record("documents", label="good"))
    assert export.connection.execute("SELECT resolution FROM ingest.quarantine").fetchall() == [("loaded",)]


def test_a_bad_record_without_id_that_left_the_export_is_resolved(export: Export) -> None:
    export.load("documents", record("documents") | {"id": None})
    export.load("documents", record("documents", "another"))
    assert export.connection.execute("SELECT resolution FROM ingest.quarantine").fetchall() == [("absent",)]


def test_a_quarantined_record_is_kept_whole_and_sealed(export: Export) -> None:
    export.load("clinicians", record("clinicians", first_name="Ada", birthdate="unknown", money_owed="12"))
    kept = export.connection.execute(
        "SELECT privacy.unseal(record_encrypted, privacy.key('seal'))::jsonb FROM ingest.quarantine"
    ).fetchone()
    assert kept
    assert kept[0] == {
        "id": uuid("clinicians"),
        "updated_at": NOON,
        "first_name": "Ada",
        "birthdate": "unknown",
        "money_owed": "12",
    }


def test_every_row_knows_where_it_came_from(export: Export) -> None:
    export.load("documents", record("documents", "bad", label=None), record("documents", "good"))
    found = export.connection.execute(
        "SELECT d._record_number, i.source_uri, d._source_hash IS NOT NULL "
        "FROM documents d JOIN ingest.imports i ON i.id = d._import_id"
    ).fetchall()
    assert found == [(2, (export.directory / "documents.csv").as_uri(), True)]


def test_nothing_of_an_import_is_left_but_its_results(export: Export) -> None:
    relations = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'i') ORDER BY 1"
    before = export.connection.execute(relations).fetchall()
    export.load("documents", record("documents"), record("documents", "bad", label=None))
    assert export.connection.execute(relations).fetchall() == before
