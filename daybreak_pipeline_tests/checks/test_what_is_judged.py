"""A check judges the last import of its own table, and that table as it is now: no other import, and nothing that is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer.run import ImportFailedError, replay_table
from daybreak_pipeline_tests.checks.examining import examine, failing, only_failing
from daybreak_pipeline_tests.exports import Export, record, soon, uuid


def documents(number: int, **values: str | None) -> list[dict[str, str | None]]:
    """Return records that differ from each other."""
    return [record("documents", f"row{n}", label=f"label {n}", **values) for n in range(number)]


# --- The file of its own run ---------------------------------------------------------------------------


def test_the_accounting_is_of_the_last_file_and_not_of_an_earlier_runs(export: Export) -> None:
    bad = record("documents", "bad", version="x")
    export.load("documents", *documents(3), bad, run_id="first")
    export.connection.execute("DELETE FROM ingest.quarantine")
    assert not examine(export, "documents")["row_accounting"].passed
    export.load("documents", *documents(2, version="2", updated_at="2025-07-01"), bad, run_id="second")
    finding = examine(export, "documents")["row_accounting"]
    assert (finding.passed, finding.count, finding.total) == (True, 0, 3)


def test_the_accounting_is_of_one_table_and_not_of_the_others_of_its_run(export: Export) -> None:
    export.load("documents", *documents(3), run_id="run")
    export.load("kinships", record("kinships"), run_id="run")
    export.connection.execute("DELETE FROM kinships")
    finding = examine(export, "documents")["row_accounting"]
    assert (finding.passed, finding.total) == (True, 3)
    assert examine(export, "kinships")["row_accounting"].counts == {"rows written and not in the table": 1}


def test_the_accounting_is_of_the_file_and_of_what_its_run_tried_again(export: Export) -> None:
    table = "referral_members"
    waiting = record(table, "waiting", referral_id="late")
    export.load(table, record(table), waiting, run_id="first")
    export.load("referrals", record("referrals", "referral"), record("referrals", "late"), run_id="second")
    # The file has one row more; the record that waited is none of its records, and loads beside them.
    export.load(table, record(table), record(table, "more", user_id="patient"), run_id="second")
    finding = examine(export, table)["row_accounting"]
    assert (finding.passed, finding.total) == (True, 3)
    for lost in ("more", "waiting"):
        with export.connection.transaction(force_rollback=True):
            export.connection.execute("DELETE FROM referral_members WHERE id = %s", [uuid(lost)])
            finding = examine(export, table)["row_accounting"]
            assert finding.counts == {"rows written and not in the table": 1}


def test_a_failed_import_is_its_own_tables_alone_until_that_is_imported(
    session: Connection, tmp_path: Path
) -> None:
    export = Export(tmp_path, session)
    export.add_parents()
    export.load("documents", *documents(1))
    export.load("kinships", record("kinships"))
    export.write_bytes("documents", b"id,version\n")
    with pytest.raises(ImportFailedError):
        export.load("documents")
    assert examine(export, "kinships")["row_accounting"].passed
    export.load("kinships", record("kinships", updated_at="2025-07-01"))
    assert not examine(export, "documents")["row_accounting"].passed
    assert export.load("documents", *documents(1)) == {"status": "skipped"}
    assert examine(export, "documents")["row_accounting"].passed


def test_the_quarantine_rate_is_of_the_last_file_alone(export: Export) -> None:
    export.load("documents", *(record("documents", f"bad{n}", version="x") for n in range(3)), *documents(3))
    assert only_failing(export, "documents")[1].severity == "ERROR"
    export.load("documents", *documents(3, version="2", updated_at="2025-07-01"))
    finding = examine(export, "documents")["quarantine_rate"]
    assert (finding.passed, finding.count, finding.total, finding.counts) == (True, 0, 3, {})


# --- What is over does not come back -------------------------------------------------------------------


def test_a_record_that_waited_and_was_loaded_fails_no_check(export: Export) -> None:
    table = "referral_members"
    export.load(table, record(table, referral_id="late"), record(table, "bad", user_id=None))
    found = examine(export, table)
    assert (found["orphans"].count, found["quarantine_rate"].count) == (1, 2)
    export.load("referrals", record("referrals", "referral"), record("referrals", "late"))
    replay_table(export.connection, table)
    found = examine(export, table)
    assert (found["orphans"].passed, found["orphans"].count, found["orphans"].total) == (True, 0, 2)
    assert found["quarantine_rate"].counts == {"missing_required": 1}
    assert (found["quarantine_rate"].count, found["required_values"].count) == (1, 1)


def test_a_record_that_was_corrected_is_over_even_when_its_old_file_returns(export: Export) -> None:
    old = record("clinicians", "8", healthie_id="8", address="1 Any Street", updated_at="2025-06-01")
    export.load("clinicians", old)
    assert only_failing(export, "clinicians")[0] == "valid_json"
    export.load("clinicians", old | {"address": "{}", "updated_at": "2025-06-02"})
    assert failing(export, "clinicians") == {}
    assert export.load("clinicians", old) == {"status": "imported", "read": 1, "stale": 1}
    assert failing(export, "clinicians") == {}


def test_a_fault_that_an_application_corrected_is_over_whatever_file_brought_it(export: Export) -> None:
    export.load("questionnaires", record("questionnaires", started_at="1970-01-01T00:00:00"))
    assert only_failing(export, "questionnaires")[0] == "timestamps"
    export.connection.execute("UPDATE questionnaires SET started_at = '2025-06-01'")
    assert failing(export, "questionnaires") == {}
    assert "updated" not in export.load("questionnaires", full=True)
    assert failing(export, "questionnaires") == {}
    export.load("questionnaires", record("questionnaires", started_at="1970-01-02", updated_at=soon()))
    assert "timestamps" in failing(export, "questionnaires")


# --- One record alone is no rate -----------------------------------------------------------------


@pytest.mark.parametrize("good", [0, 3, 199])
def test_one_refused_record_is_a_warning_however_few_came_with_it(export: Export, good: int) -> None:
    export.load("documents", *documents(40))
    export.load("documents", *documents(good), record("documents", "bad", version="x"))
    finding = examine(export, "documents")["quarantine_rate"]
    assert (finding.passed, finding.severity, finding.count, finding.total) == (False, "WARN", 1, good + 1)
