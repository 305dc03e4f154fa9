"""A dry run says what an import would do, and leaves no trace."""

from __future__ import annotations

import subprocess

from daybreak_pipeline.embedded_postgres.programs import client
from daybreak_pipeline.operations.dry_run import DryRun, dry_run
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import import_order
from daybreak_pipeline_tests.exports import Export, record, told


def _dry_run(export: Export, *names: str) -> DryRun:
    chosen = [name for name in import_order() if name in names]
    export.connection.rollback()
    return dry_run(
        export.connection,
        export.directory,
        chosen,
        full=False,
        listener=lambda _name: lambda _phase, _amount: None,
    )


def _dump(database: DatabaseSettings) -> list[str]:
    """Return the whole database as text: schema, rows and the numbers of its sequences.

    But for the audit trail's, whose numbers have gaps in any case: every rolled-back transaction leaves one.
    """
    done = subprocess.run(
        [client("pg_dump"), database.conninfo()], check=True, capture_output=True, text=True
    )
    return [
        line
        for line in done.stdout.splitlines()
        if not line.startswith("\\") and "setval('audit.changes_id_seq'" not in line
    ]


def test_it_says_what_the_import_then_does(export: Export) -> None:
    export.write("organizations", record("organizations", "school"), record("organizations", "odd", kind="9"))
    export.write(
        "memberships", record("memberships"), record("memberships", "lost", organization_id="nowhere")
    )
    found = _dry_run(export, "organizations", "memberships")
    expected = {name: told(result) for name, result in found.results.items()}
    assert expected == {name: export.load(name) for name in ("organizations", "memberships")}
    assert expected["memberships"] == {"status": "imported", "read": 2, "inserted": 1, "quarantined": 1}


def test_it_runs_the_checks_on_what_would_be_there(export: Export) -> None:
    export.write("kinships", record("kinships", user_0_label="3"))
    finding = _dry_run(export, "kinships").findings["kinships"]["valid_enums"]
    assert (finding.passed, finding.count) == (False, 1)


def test_it_leaves_no_trace(export: Export, migrated: DatabaseSettings) -> None:
    export.load("organizations", record("organizations", "school"))
    export.connection.commit()
    before = _dump(migrated)
    export.write(
        "organizations",
        record("organizations", "school", name="Other"),
        record("organizations", "x", kind="9"),
    )
    export.write("clinicians", *(record("clinicians", str(number)) for number in range(3)))
    found = _dry_run(export, "organizations", "clinicians")
    assert told(found.results["organizations"])["updated"] == 1
    assert _dump(migrated) == before


def test_a_table_that_would_fail_is_named_and_what_depends_on_it_is_not_tried(export: Export) -> None:
    export.write("referrals", record("referrals"))
    export.write("referral_members", record("referral_members"))
    export.write("documents", record("documents"))
    export.write_bytes("contracts", b"id,services\n")
    export.write("organizations", record("organizations", "school"))
    found = _dry_run(export, "contracts", "organizations", "referrals", "referral_members", "documents")
    assert found.failures == {
        "contracts": "contracts: contracts.csv has no header: its first line that is not blank must name the required "
        "columns id, effective_date, services, terms; there is no effective_date, terms"
    }
    assert found.not_tried == ["referrals", "referral_members"]
    assert set(found.results) == {"organizations", "documents"}
