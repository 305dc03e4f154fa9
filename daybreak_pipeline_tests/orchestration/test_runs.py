"""Runs of Dagster's jobs against a real database: what they load, what they tell, and what they stop at.

Most runs keep their events in memory: storing them takes longer than the runs themselves. That the
persistent instance serves as well is shown at the end.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dagster as dg
import psycopg
import pytest

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks import rules
from daybreak_pipeline.definitions import build_defs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.importer.ledger import COUNTS
from daybreak_pipeline.monitoring import surroundings
from daybreak_pipeline.orchestration import instance, readiness, run_requests
from daybreak_pipeline.orchestration import runs as pipeline_runs
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.outcomes import Outcome
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.privacy import audit
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.conftest import KEY, Databases
from daybreak_pipeline_tests.exports import Export, record

SAMPLE = PROJECT_ROOT / "data" / "sample"
EXPECTED = json.loads((SAMPLE / "expected.json").read_text(encoding="utf-8"))
Rows = dict[str, list[tuple[Any, ...]]]


class Runs:
    """Runs jobs against one database, with an instance in memory."""

    def __init__(self, settings: DatabaseSettings, dagster: dg.DagsterInstance) -> None:
        self.settings = settings
        self.dagster = dagster
        self.installation = Installation(settings, KEY, export_dir=SAMPLE, dagster_home=Path("/nowhere"))

    def load(self, directory: Path, **options: Any) -> Outcome:
        return pipeline_runs.run_import(replace(self.installation, export_dir=directory), **options)

    def check(self) -> Outcome:
        return pipeline_runs.run_checks(self.installation)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.conninfo()) as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.settings.conninfo()) as connection:
            connection.execute(statement.encode())

    def count(self, table: str) -> int:
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - a table of this project

    def told(self) -> str:
        """Return everything that the instance keeps of all its runs."""
        entries = [
            entry.event_log_entry.to_json()  # type: ignore[no-untyped-call]  # Dagster's method has no types
            for run in self.dagster.get_run_records()
            for entry in self.dagster.get_records_for_run(run.dagster_run.run_id).records
        ]
        return json.dumps([json.loads(entry) for entry in entries], ensure_ascii=False)


@contextmanager
def in_memory(settings: DatabaseSettings, patch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with dg.DagsterInstance.ephemeral() as dagster:
        patch.setattr(instance, "opened", lambda _installation: nullcontext(dagster))
        yield Runs(settings, dagster)


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """Runs against a database of the test's own."""
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


@pytest.fixture
def family(tmp_path: Path, connection: psycopg.Connection[tuple[Any, ...]]) -> Export:
    """An export of 16 files with one faultless record in each, two patients apart."""
    directory = tmp_path / "export"
    directory.mkdir()
    export = Export(directory, connection)
    words = {
        "patients_and_guardians": ("patient", "child"),
        "clinicians": ("clinician",),
        "clinician_credentialed_insurances": ("insurance",),
        "organizations": ("school",),
        "contracts": ("contract",),
        "referrals": ("referral",),
    }
    # Two tables share the name of a file: the other one goes by its own.
    affiliations = export.write(
        "clinician_insurance_affiliations", record("clinician_insurance_affiliations")
    )
    affiliations.rename(directory / "clinician_insurance_affiliations.csv")
    for name in TABLES:
        if name != "clinician_insurance_affiliations":
            values = {"healthie_id": "7"} if name == "clinicians" else {}
            export.write(name, *(record(name, word, **values) for word in words.get(name, ("",))))
    return export


# --- The sample, imported three times -------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """The sample after a first import, a second one, one in full, and a check of everything."""

    runs: Runs
    first: Outcome
    again: Outcome
    full: Outcome
    checks: Outcome
    rows_before: Rows
    rows_after: Rows
    quarantine: dict[str, dict[str, int]]
    field_issues: dict[str, dict[str, int]]
    orphans: dict[str, dict[str, int]]
    materialised: dict[str, dg.AssetMaterialization]


@pytest.fixture(scope="module")
def sample(databases: Databases, template: DatabaseSettings) -> Iterator[Sample]:
    with (
        databases.copy(template.name, "pipeline_sample") as settings,
        pytest.MonkeyPatch.context() as patch,
        in_memory(settings, patch) as runs,
    ):
        for name in [name for name in os.environ if name.startswith(("DB_", "DAYBREAK_", "DAGSTER_"))]:
            patch.delenv(name)
        first = runs.load(SAMPLE)
        kept = {
            "quarantine": counted(
                runs,
                "SELECT table_name, r ->> 'code', count(DISTINCT id) FROM ingest.quarantine, "
                "jsonb_array_elements(reasons) r WHERE resolved_at IS NULL GROUP BY 1, 2",
            ),
            "field_issues": counted(
                runs,
                "SELECT table_name, code, count(*) FROM ingest.field_issues WHERE resolved_at IS NULL GROUP BY 1, 2",
            ),
            "orphans": orphans(settings),
        }
        materialised = {name: materialisation(runs, name) for name in TABLES}
        before = snapshot(runs)
        again = runs.load(SAMPLE)
        full = runs.load(SAMPLE, full=True)
        yield Sample(
            runs,
            first,
            again,
            full,
            checks=runs.check(),
            rows_before=before,
            rows_after=snapshot(runs),
            materialised=materialised,
            **kept,
        )


def counted(runs: Runs, query: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {name: {} for name in TABLES}
    for table, code, number in runs.query(query):
        found[table][code] = number
    return found


def orphans(settings: DatabaseSettings) -> dict[str, dict[str, int]]:
    with psycopg.connect(settings.conninfo()) as connection:
        found = {
            name: rules.examine(connection, catalogs.read(connection, name), {"orphans"})["orphans"].counts
            for name in TABLES
        }
    return {
        name: {column: n for column, n in counts.items() if " " not in column}
        for name, counts in found.items()
    }


def snapshot(runs: Runs) -> Rows:
    """Return where each row lies, which transaction wrote it, and its time: nothing stays unseen."""
    return {
        name: runs.query(f"SELECT id::text, ctid::text, xmin::text, updated_at FROM {name} ORDER BY 1")  # noqa: S608 - as above
        for name in TABLES
    }


def materialisation(runs: Runs, table: str) -> dg.AssetMaterialization:
    event = runs.dagster.get_latest_materialization_event(dg.AssetKey(table))
    assert event
    assert event.asset_materialization
    return event.asset_materialization


@pytest.mark.parametrize("table", TABLES)
def test_the_sample_agrees_with_what_its_generator_expects(sample: Sample, table: str) -> None:
    outcome = sample.first.tables[table]
    assert (outcome.status, outcome.reason) == ("imported", "")
    assert asdict(outcome.accounting) == EXPECTED["tables"][table]
    assert sample.quarantine[table] == EXPECTED["quarantine"][table]
    assert sample.field_issues[table] == EXPECTED["field_issues"][table]
    assert sample.orphans[table] == EXPECTED["orphans"][table]
    assert len(sample.rows_before[table]) == EXPECTED["tables"][table]["inserted"]


def test_the_samples_faults_are_shown_and_do_not_block(sample: Sample) -> None:
    failing = {
        (check.severity, name in rules.BLOCKING)
        for checks in sample.first.checks.values()
        for name, check in checks.items()
        if not check.passed
    }
    assert failing == {("ERROR", False), ("WARN", False)}
    assert sample.first.exit_code == 0


def test_every_table_is_checked_by_every_rule(sample: Sample) -> None:
    wanted = {name: [rule.name for rule in rules.RULES] for name in TABLES}
    for outcome in (sample.first, sample.again, sample.full, sample.checks):
        assert {name: sorted(checks) for name, checks in outcome.checks.items()} == {
            name: sorted(names) for name, names in wanted.items()
        }


def test_checking_alone_finds_what_the_import_found(sample: Sample) -> None:
    def findings(outcome: Outcome) -> dict[str, dict[str, Any]]:
        # How many imports went before is told as well, and does differ.
        return {
            name: {check: found for check, found in checks.items() if check != "row_count_change"}
            for name, checks in outcome.checks.items()
        }

    assert findings(sample.checks) == findings(sample.full) == findings(sample.first)
    assert (sample.checks.tables, sample.checks.exit_code) == ({}, 0)


def test_the_second_import_skips_every_table(sample: Sample) -> None:
    assert {t.status for t in sample.again.tables.values()} == {"skipped"}
    assert {n for t in sample.again.tables.values() for n in asdict(t.accounting).values()} == {0}
    assert all(table.loaded for table in sample.again.tables.values())
    assert sample.again.exit_code == 0


def test_where_no_record_was_read_the_ui_has_no_zeros_to_plot(sample: Sample) -> None:
    made = sample.runs.dagster.get_records_for_run(
        sample.again.run_id or "", of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records
    told = [record.event_log_entry.asset_materialization for record in made]
    assert len(told) == len(TABLES)
    assert [one for one in told if one and set(COUNTS) & set(one.metadata)] == []


@pytest.mark.parametrize("table", TABLES)
def test_a_full_import_finds_every_loaded_record_unchanged(sample: Sample, table: str) -> None:
    first, full = (asdict(outcome.tables[table].accounting) for outcome in (sample.first, sample.full))
    assert sample.full.tables[table].status == "imported"
    assert full["unchanged"] == first["inserted"] > 0
    assert {full["inserted"], full["updated"], full["stale"]} == {0}
    for name in ("read", "duplicate", "skipped_deleted", "blank", "quarantined"):
        assert full[name] == first[name]


@pytest.mark.parametrize("table", TABLES)
def test_importing_again_moves_no_row(sample: Sample, table: str) -> None:
    assert sample.rows_after[table] == sample.rows_before[table] != []


def test_the_ledger_names_the_runs(sample: Sample) -> None:
    rows = sample.runs.query("SELECT run_id, status, count(*) FROM ingest.imports GROUP BY 1, 2")
    assert set(rows) == {
        (sample.first.run_id, "imported", 16),
        (sample.again.run_id, "skipped", 16),
        (sample.full.run_id, "imported", 16),
    }


@pytest.mark.parametrize("table", TABLES)
def test_a_materialisation_shows_the_accounting_as_integers(sample: Sample, table: str) -> None:
    metadata = sample.materialised[table].metadata
    for name in COUNTS:
        assert isinstance(metadata[name], dg.IntMetadataValue)
        assert metadata[name].value == EXPECTED["tables"][table][name]
    assert metadata["dagster/row_count"] == dg.IntMetadataValue(EXPECTED["tables"][table]["inserted"])
    assert metadata["dagster/table_name"] == dg.TextMetadataValue(f"daybreak_health.public.{table}")
    assert metadata["status"] == dg.TextMetadataValue("imported")


@pytest.mark.parametrize("table", TABLES)
def test_a_materialisation_knows_its_file(sample: Sample, table: str) -> None:
    materialised = sample.materialised[table]
    uri = str(materialised.metadata["dagster/uri"].value)
    assert uri.startswith(SAMPLE.as_uri())
    path = Path(unquote(uri.removeprefix("file://")))
    assert (materialised.tags or {})["dagster/data_version"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("table", TABLES)
def test_a_materialisation_has_the_columns_with_the_databases_comments(sample: Sample, table: str) -> None:
    shown = sample.materialised[table].metadata["dagster/column_schema"].value
    assert isinstance(shown, dg.TableSchema)
    in_database = sample.runs.query(
        """
        SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum), NOT attnotnull
        FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
          AND attname NOT IN ('_source_hash', '_record_digest', '_import_id', '_record_number', '_source_updated_at',
                              '_edited_at', '_export_columns_encrypted', 'name_tokens')
          AND attname NOT LIKE '%%\\_encrypted' ORDER BY attnum
        """,
        table,
    )
    assert [(c.name, c.type, c.description, c.constraints.nullable) for c in shown.columns] == in_database
    assert all(column.description for column in shown.columns)


def test_a_skipped_table_keeps_its_data_version(sample: Sample) -> None:
    """Else the UI would show everything below it as out of date."""
    versions = {
        (m.asset_materialization.tags or {})["dagster/data_version"]
        for m in sample.runs.dagster.fetch_materializations(dg.AssetKey("kinships"), limit=3).records
        if m.asset_materialization
    }
    assert len(versions) == 1


def test_a_skipped_table_says_why_and_keeps_its_row_count(sample: Sample) -> None:
    """Else the UI would show no count of rows after a day on which nothing came."""
    shown = {
        m.asset_materialization.metadata["status"].value: m.asset_materialization.metadata
        for m in sample.runs.dagster.fetch_materializations(dg.AssetKey("kinships"), limit=3).records
        if m.asset_materialization
    }
    assert shown["skipped"]["dagster/row_count"] == shown["imported"]["dagster/row_count"]
    assert str(shown["skipped"]["why_skipped"].value).startswith("the file has not changed")
    assert "why_skipped" not in shown["imported"]


def test_an_imported_table_is_up_to_date_with_its_file(sample: Sample) -> None:
    """The version of the file that a table was made from must be the one that an observation reports.

    Else the first observation shows every table as out of date, which none of them is.
    """
    known = {
        name: (materialised.tags or {})[f"dagster/input_data_version/export/{name}"]
        for name, materialised in sample.materialised.items()
    }
    assert known == {
        name: (materialised.tags or {})["dagster/data_version"]
        for name, materialised in sample.materialised.items()
    }


def test_each_result_of_each_run_is_kept(sample: Sample) -> None:
    rows = sample.runs.query("SELECT run_id, count(*) FROM ingest.check_results GROUP BY 1")
    each = len(TABLES) * len(rules.RULES)
    outcomes = (sample.first, sample.again, sample.full, sample.checks)
    assert dict(rows) == {outcome.run_id: each for outcome in outcomes}
    kept = sample.runs.query(
        "SELECT table_name, check_name, passed, severity, failed, description FROM ingest.check_results "
        "WHERE run_id = %s",
        sample.first.run_id,
    )
    assert {(name, check): tuple(found) for name, check, *found in kept} == {
        (name, check): (found.passed, found.severity, found.count, found.summary)
        for name, checks in sample.first.checks.items()
        for check, found in checks.items()
    }


def test_a_result_shows_counts_ids_and_sql(sample: Sample) -> None:
    check = dg.AssetCheckKey(dg.AssetKey("kinships"), "orphans")
    record_ = sample.runs.dagster.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    assert record_.event
    assert record_.event.dagster_event
    evaluation = record_.event.dagster_event.asset_check_evaluation_data
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert evaluation.description == sample.checks.checks["kinships"]["orphans"].summary
    metadata = evaluation.metadata
    assert metadata["failing"] == dg.IntMetadataValue(2)
    assert metadata["looked at"] == dg.IntMetadataValue(sample.checks.checks["kinships"]["orphans"].total)
    assert metadata["severity"] == dg.TextMetadataValue("WARN")
    assert isinstance(metadata["failing, in percent"], dg.FloatMetadataValue)
    assert isinstance(metadata["failing, by kind"], dg.TableMetadataValue)
    assert [record.data for record in metadata["failing, by kind"].records] == [
        {"what": "user_0_id", "count": 1},
        {"what": "user_1_id", "count": 1},
    ]
    assert str(metadata["failing, the first rows"].value).count("- `") == 2
    sql = str(metadata["failing, all rows by SQL"].value)
    assert sql.startswith("```sql\n-- user_0_id\nSELECT ")
    statement = sql.split("\n", 2)[2].split(";", maxsplit=1)[0]
    assert len(sample.runs.query(statement)) == 1


def test_a_result_that_passes_has_no_severity_on_its_page(sample: Sample) -> None:
    check = dg.AssetCheckKey(dg.AssetKey("kinships"), "row_accounting")
    record_ = sample.runs.dagster.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    assert record_.event
    assert record_.event.dagster_event
    evaluation = record_.event.dagster_event.asset_check_evaluation_data
    assert evaluation.passed
    assert {"failing", "looked at", "failing, in percent"} <= evaluation.metadata.keys()
    assert "severity" not in evaluation.metadata


def run_of(sample: Sample, outcome: Outcome) -> dg.DagsterRun:
    run = sample.runs.dagster.get_run_by_id(outcome.run_id or "")
    assert run
    return run


def test_a_run_says_on_its_page_that_checks_failed(sample: Sample) -> None:
    """Dagster calls it a success. The tags are at the top of the page, the lines are in the run's log."""
    for outcome in (sample.first, sample.checks):
        run = run_of(sample, outcome)
        assert run.status is dg.DagsterRunStatus.SUCCESS
        failed = [
            found for checks in outcome.checks.values() for found in checks.values() if not found.passed
        ]
        errors = sum(found.severity == "ERROR" for found in failed)
        assert run.tags["daybreak/failed_checks"] == f"{errors} errors, {len(failed) - errors} warnings"
        entries = sample.runs.dagster.get_records_for_run(run.run_id).records
        told = {entry.event_log_entry.user_message: entry.event_log_entry.level for entry in entries}
        summary = f"kinships.orphans: {outcome.checks['kinships']['orphans'].summary}"
        assert told[summary] == logging.WARNING
        last = entries[-1].event_log_entry.message
        assert last.startswith(f"Checks found {run.tags['daybreak/failed_checks']}: ")


def test_a_run_has_one_tag_for_the_contents_of_its_files(sample: Sample) -> None:
    first, again, checks = (run_of(sample, one) for one in (sample.first, sample.again, sample.checks))
    assert re.fullmatch(r"[0-9a-f]{12} \(16 files\)", first.tags["daybreak/content"])
    assert again.tags["daybreak/content"] == first.tags["daybreak/content"]
    assert "daybreak/content" not in checks.tags
    assert [tag for tag in first.tags if "sha256" in tag] == []


def test_a_commands_run_belongs_to_the_code_location(sample: Sample) -> None:
    """The web UI finds the runs of a job, and those of its overview, by their origin and by this tag."""
    for outcome, job in ((sample.first, "import_all"), (sample.checks, "check_all")):
        run = run_of(sample, outcome)
        assert run.remote_job_origin
        selector = run.remote_job_origin.repository_origin.get_selector()
        assert (selector.location_name, selector.repository_name) == ("daybreak_pipeline", "__repository__")
        assert run.remote_job_origin.job_name == run.job_name == job
        assert run.tags_for_storage()[".dagster/repository"] == "__repository__@daybreak_pipeline"


def test_one_check_can_run_alone(runs: Runs, family: Export) -> None:
    runs.load(family.directory, only=["documents"])
    runs.execute("TRUNCATE ingest.check_results")
    check = dg.AssetCheckKey(dg.AssetKey("documents"), "valid_json")
    job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(check))
    health_database = HealthDatabase(lambda: runs.installation)
    definitions = dg.Definitions.merge(
        build_defs(health_database=health_database), dg.Definitions(jobs=[job])
    )
    with dg.DagsterInstance.ephemeral() as dagster:
        done = definitions.resolve_job_def("one_check").execute_in_process(instance=dagster)
    assert done.success
    assert runs.query("SELECT table_name, check_name FROM ingest.check_results") == [
        ("documents", "valid_json")
    ]


# --- One table, and tables that fail --------------------------------------------------------------------


PART = ("organizations", "contracts", "org_contracts", "memberships", "documents")
"""Tables with and without parents among each other: all that the following tests need."""


def statuses(outcome: Outcome) -> dict[str, set[str]]:
    """Return what became of which tables."""
    found: dict[str, set[str]] = {}
    for name, table in outcome.tables.items():
        found.setdefault(table.status, set()).add(name)
    return found


def test_a_faultless_export_loads_completely(runs: Runs, family: Export) -> None:
    outcome = runs.load(family.directory)
    assert statuses(outcome) == {"imported": set(TABLES)}
    assert all(check.passed for checks in outcome.checks.values() for check in checks.values())
    assert outcome.exit_code == 0


def test_one_table_can_be_imported_alone(runs: Runs, family: Export) -> None:
    outcome = runs.load(family.directory, only=["kinships"])
    assert statuses(outcome) == {"imported": {"kinships"}}
    assert set(outcome.checks) == {"kinships"}
    assert {name for name in TABLES if runs.count(name)} == {"kinships"}


def without_organizations(family: Export) -> str:
    (family.directory / "orgs.csv").unlink()
    return "organizations: no file orgs.csv or organizations.csv"


def without_a_required_column(family: Export) -> str:
    family.write_bytes("organizations", b"id,name,updated_at\n")
    return (
        "organizations: orgs.csv has no header: its first line that is not blank must name the required columns id, kind, name; "
        "there is no kind"
    )


@pytest.mark.parametrize("spoil", [without_organizations, without_a_required_column])
def test_a_table_that_cannot_be_read_fails_by_name_and_the_rest_loads(
    runs: Runs, family: Export, spoil: Callable[[Export], str]
) -> None:
    message = spoil(family)
    outcome = runs.load(family.directory, only=PART)
    assert statuses(outcome) == {
        "failed": {"organizations"},
        "not_tried": {"org_contracts", "memberships"},
        "imported": {"contracts", "documents"},
    }
    assert outcome.tables["organizations"].reason.startswith(message)
    assert outcome.exit_code == 1
    assert {name for name in TABLES if runs.count(name)} == {"contracts", "documents"}
    assert runs.query("SELECT table_name, error FROM ingest.imports WHERE status = 'failed'") == [
        ("organizations", outcome.tables["organizations"].reason)
    ]


def test_a_failed_table_loads_when_its_file_is_there_again(runs: Runs, family: Export) -> None:
    content = (family.directory / "orgs.csv").read_bytes()
    without_organizations(family)
    assert runs.load(family.directory, only=PART).exit_code == 1
    family.write_bytes("organizations", content)
    outcome = runs.load(family.directory, only=PART)
    assert outcome.exit_code == 0
    assert {name: table.status for name, table in outcome.tables.items()} == {
        "organizations": "imported",
        "org_contracts": "imported",
        "memberships": "imported",
        "contracts": "skipped",
        "documents": "skipped",
    }


def test_a_table_whose_file_is_absent_stays_and_what_depends_on_it_goes_on(
    runs: Runs, family: Export
) -> None:
    assert runs.load(family.directory, only=PART).exit_code == 0
    before = materialisation(runs, "organizations")
    content = (family.directory / "orgs.csv").read_bytes()
    without_organizations(family)
    family.write("memberships", record("memberships"), record("memberships", "second", user_id="child"))
    outcome = runs.load(family.directory, only=PART)
    assert statuses(outcome) == {
        "absent": {"organizations"},
        "imported": {"memberships"},
        "skipped": {"contracts", "org_contracts", "documents"},
    }
    reason = outcome.tables["organizations"].reason
    assert re.fullmatch(
        rf"organizations: its file is absent from {family.directory}; its rows of \d{{4}}-\d\d-\d\d stay",
        reason,
    )
    assert outcome.exit_code == 1
    told = outcome.as_json()["tables"]
    assert (told["organizations"]["status"], told["organizations"]["reason"]) == ("absent", reason)
    assert "reason" not in told["memberships"]
    assert outcome.checks["organizations"]["row_accounting"].passed
    assert (runs.count("organizations"), runs.count("memberships")) == (1, 2)
    after = materialisation(runs, "organizations")
    assert (after.metadata["status"].value, after.metadata["why_absent"].value) == ("absent", reason)
    for kept in ("dagster/row_count", "dagster/uri"):
        assert after.metadata[kept] == before.metadata[kept]
    version = "dagster/data_version"
    assert (after.tags or {})[version] == (before.tags or {})[version]
    assert runs.load(family.directory, only=PART, partial=True).exit_code == 0
    family.write_bytes("organizations", content)
    healed = runs.load(family.directory, only=PART)
    assert (statuses(healed), healed.exit_code) == ({"skipped": set(PART)}, 0)


def test_a_partial_export_is_no_excuse_for_a_table_that_was_never_imported(
    runs: Runs, family: Export
) -> None:
    without_organizations(family)
    outcome = runs.load(family.directory, only=PART, partial=True)
    assert statuses(outcome)["failed"] == {"organizations"}
    assert outcome.exit_code == 1


def test_a_dry_run_tells_of_absent_files_and_remembers_none(runs: Runs, family: Export) -> None:
    runs.load(family.directory, only=PART)
    without_organizations(family)
    installation = replace(runs.installation, export_dir=family.directory)
    outcome = pipeline_runs.dry_run_import(installation, only=PART, tell=lambda _text: None)
    assert statuses(outcome) == {"absent": {"organizations"}, "skipped": set(PART) - {"organizations"}}
    assert outcome.tables["organizations"].reason.startswith("organizations: its file is absent from ")
    assert outcome.exit_code == 1
    assert runs.query("SELECT count(*) FROM ingest.absent_files") == [(0,)]


def test_a_failed_blocking_check_keeps_dependents_from_running(runs: Runs, family: Export) -> None:
    runs.execute(
        """
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER swallow BEFORE INSERT ON contracts FOR EACH ROW EXECUTE FUNCTION swallow()
        """
    )
    outcome = runs.load(family.directory, only=PART)
    accounting = outcome.checks["contracts"]["row_accounting"]
    assert (accounting.passed, accounting.count) == (False, 1)
    waiting = {"org_contracts"}
    assert statuses(outcome) == {"imported": set(PART) - waiting, "not_tried": waiting}
    assert outcome.exit_code == 1
    # What does not depend on it went on, and what does was not touched.
    assert {name for name in PART if runs.count(name)} == {"organizations", "memberships", "documents"}
    assert runs.query("SELECT count(*) FROM ingest.imports WHERE table_name = 'org_contracts'") == [(0,)]


def test_a_failed_check_that_does_not_block_lets_dependents_run(runs: Runs, family: Export) -> None:
    family.write(
        "organizations",
        record("organizations", "school"),
        record("organizations", "wrong", kind="3"),
        record("organizations", "unnamed", name=None),
    )
    outcome = runs.load(family.directory, only=PART)
    failed = {name for name, check in outcome.checks["organizations"].items() if not check.passed}
    assert failed == {"valid_enums", "required_values", "quarantine_rate"}
    assert statuses(outcome) == {"imported": set(PART)}
    assert outcome.exit_code == 0


def test_a_run_on_an_older_schema_says_what_to_do_and_changes_nothing(runs: Runs, family: Export) -> None:
    runner.downgrade(runs.settings, str(int(runner.newest_revision()) - 1))
    outcome = runs.load(family.directory, only=["documents"])
    assert outcome.tables["documents"].status == "failed"
    assert "run daybreak migrate up" in outcome.tables["documents"].reason
    assert (runs.count("documents"), runs.count("ingest.imports")) == (0, 0)


def test_checking_a_database_that_does_not_answer_is_an_error(runs: Runs, unused_port: int) -> None:
    runs.installation = replace(runs.installation, database=replace(runs.settings, port=unused_port))
    with pytest.raises(UsageError, match=f"127.0.0.1:{unused_port}"):
        runs.check()


@pytest.fixture
def unused_port() -> int:
    """The discard port: nothing listens there on machines of today."""
    return 9


# --- Privacy: the UI has no login ------------------------------------------------------------------------

CANARIES = ("Canaryfirst", "Canarylast", "+18185550142", "9 Canary Street", "Canaryville", "1987-06-05")
PERSONAL = ("patients_and_guardians", "clinicians", "insurance_coverages")


@pytest.fixture
def canaries(family: Export) -> Export:
    """An export with names, phones, birthdays and addresses in good records, refused and malformed ones."""
    first, last, phone, street, city, birthday = CANARIES
    person = {"first_name": first, "last_name": last, "phone": phone, "birthdate": birthday}
    address = json.dumps({"street_address_1": street, "city": city})
    everything = person | {"address": address, "full_name": f"{first} {last}"}
    for table, words in (("patients_and_guardians", ("patient", "child")), ("clinicians", ("clinician",))):
        path = family.write(
            table,
            *(record(table, word, **everything) for word in words),
            record(table, "textaddress", **everything | {"address": street}),
            record(table, "baddate", **everything | {"birthdate": f"{birthday} {last}"}),
            record(table, "badtype", **everything | {"account_status": phone}),
            record(table, "toolong", **everything | {"phone": phone * 9}),
            record(table, "dangling", **everything | {"supervisor_id": "nobody"}),
            record(table, **everything) | {"id": last},
        )
        path.write_bytes(path.read_bytes() + f"{first},{last}\n".encode())
    family.write(
        "insurance_coverages",
        record("insurance_coverages", plan_holder_first_name=first, plan_holder_street_address=street),
        record(
            "insurance_coverages", "bad", kind="1", plan_holder_last_name=last, plan_holder_dob=f"x{birthday}"
        ),
    )
    return family


def test_no_event_log_or_metadata_holds_a_personal_value(runs: Runs, canaries: Export) -> None:
    outcome = runs.load(canaries.directory, only=PERSONAL)
    quarantined = {name: t.accounting.quarantined for name, t in outcome.tables.items()}
    assert (quarantined["patients_and_guardians"], quarantined["clinicians"]) == (5, 5)
    assert quarantined["insurance_coverages"] == 1
    runs.check()
    told = runs.told()
    assert "patients_and_guardians" in told
    assert "row_accounting" in told
    assert [canary for canary in CANARIES if canary in told] == []
    assert [canary for canary in CANARIES if canary in repr(outcome)] == []


def test_neither_the_database_nor_its_servers_log_holds_a_plain_personal_value(
    runs: Runs, canaries: Export
) -> None:
    runs.load(canaries.directory, only=PERSONAL)
    (data, log), *_ = runs.query("SELECT current_setting('data_directory'), current_setting('log_directory')")
    files = sorted((Path(data) / log).glob("*"))
    assert files
    logged = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
    assert [canary for canary in CANARIES if canary in logged] == []
    relations = runs.query(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace IN "
        "(SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'ingest', 'privacy'))"
    )
    assert len(relations) > 16
    for (relation,) in relations:
        stored = str(runs.query(f"SELECT t::text FROM {relation} t"))  # noqa: S608 - from the catalog
        assert [canary for canary in CANARIES if canary in stored] == [], relation
    statistics = str(runs.query("SELECT s::text FROM pg_stats s WHERE schemaname IN ('public', 'ingest')"))
    assert [canary for canary in CANARIES if canary in statistics] == []


def test_an_error_of_the_server_is_told_without_the_value_that_it_quotes(
    runs: Runs, canaries: Export
) -> None:
    runs.execute(
        """
        CREATE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'refused %, Canaryfirst', NEW USING ERRCODE = 'check_violation', DETAIL = 'Canarylast';
        END $$;
        CREATE TRIGGER talk BEFORE INSERT ON clinicians FOR EACH ROW EXECUTE FUNCTION talk()
        """
    )
    outcome = runs.load(canaries.directory, only=["clinicians"])
    assert outcome.tables["clinicians"].status == "failed"
    assert "CheckViolation (23514)" in outcome.tables["clinicians"].reason
    assert [canary for canary in CANARIES if canary in runs.told()] == []
    assert runs.count("clinicians") == 0


# --- The files, observed ----------------------------------------------------------------------------------


def test_files_are_observed_with_the_hash_of_their_content(
    family: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(family.directory))
    (family.directory / "documents.csv").unlink()
    with dg.DagsterInstance.ephemeral() as dagster:
        job = build_defs().resolve_job_def("observe_export_files")
        assert job.execute_in_process(instance=dagster).success
        observed = {
            name: dagster.fetch_observations(dg.AssetKey(["export", name]), limit=1)
            .records[0]
            .asset_observation
            for name in TABLES
        }
    versions = {name: (o.tags or {})["dagster/data_version"] for name, o in observed.items() if o}
    assert [name for name, version in versions.items() if version == "missing"] == ["documents"]
    observation = observed["kinships"]
    assert observation
    content = (family.directory / "kinships.csv").read_bytes()
    assert (observation.tags or {})["dagster/data_version"] == hashlib.sha256(content).hexdigest()
    assert observation.metadata["bytes"].value == len(content)


# --- The persistent instance and what must be ready before a run ------------------------------------------


@pytest.fixture
def given(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DatabaseSettings:
    """A given server, as DB_HOST and the other variables name it."""
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    return migrated


def test_a_run_stays_known_to_the_instance(given: DatabaseSettings, family: Export, tmp_path: Path) -> None:
    before = dict(os.environ)
    with readiness.ready(export_dir=family.directory) as installation:
        assert installation.database == given
        outcome = pipeline_runs.run_import(installation, only=["documents"])
        with instance.opened(installation) as dagster:
            assert outcome.run_id
            run = dagster.get_run_by_id(outcome.run_id)
            assert run
            assert run.status is dg.DagsterRunStatus.SUCCESS
            assert run.job_name == "import_all"
            assert not dagster.telemetry_enabled
    assert outcome.exit_code == 0
    assert os.environ == before
    environment = installation.environment()
    assert environment["DAGSTER_HOME"] == str(tmp_path / "home" / "dagster")
    assert "/dagster?" in environment["DAYBREAK_DAGSTER_URL"]


def test_a_command_takes_nothing_from_an_environment_that_says_otherwise(
    given: DatabaseSettings, family: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its installation was found out once: what runs in its process gets it handed."""
    with readiness.ready(export_dir=family.directory) as installation:
        assert installation.database == given
        for name in installation.environment():
            monkeypatch.setenv(name, "wrong")
        outcome = pipeline_runs.run_import(installation, only=["documents"])
        assert statuses(outcome) == {"imported": {"documents"}}
        assert pipeline_runs.run_checks(installation).checks["documents"]["row_accounting"].passed
        assert pipeline_runs.lost_runs(installation) == []


def test_the_embedded_server_is_opened_once_for_an_import(
    given: DatabaseSettings, family: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[DatabaseSettings] = []

    @contextmanager
    def serving() -> Iterator[DatabaseSettings]:
        opened.append(given)
        yield given

    monkeypatch.setattr(database, "serving", serving)
    with readiness.ready(export_dir=family.directory) as installation:
        pipeline_runs.run_import(installation, only=["documents"])
        pipeline_runs.render_report(installation)
    assert opened == [given]


def test_a_run_of_the_web_ui_knows_the_installation_by_its_environment(
    given: DatabaseSettings, family: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(family.directory))
    with dg.DagsterInstance.ephemeral() as dagster:
        done = (
            build_defs()
            .resolve_job_def("import_all")
            .execute_in_process(
                instance=dagster,
                run_config=run_requests.configuration(family.directory, ["documents"]),
                asset_selection=run_requests.selection(["documents"]),
            )
        )
    assert done.success
    with psycopg.connect(given.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (1,)


def test_the_audit_trail_says_who_launched_an_import_in_the_web_ui(
    given: DatabaseSettings, family: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(family.directory))
    with dg.DagsterInstance.ephemeral() as dagster:
        done = (
            build_defs()
            .resolve_job_def("import_all")
            .execute_in_process(
                instance=dagster,
                asset_selection=run_requests.selection(["documents"]),
                tags={run_requests.LAUNCHED_BY: "alice"},
            )
        )
    assert done.success
    with database.connect(given) as connection:
        assert [(line.action, line.launched_by) for line in audit.changes(connection)] == [
            ("IMPORT", "alice")
        ]


def test_the_audit_trail_says_which_account_launched_an_import(runs: Runs, family: Export) -> None:
    runs.load(family.directory, only=["documents"])
    with database.connect(runs.settings) as connection:
        (line,) = audit.changes(connection)
    assert (line.action, line.launched_by) == ("IMPORT", settings.account())


def test_a_run_of_the_web_ui_without_a_key_fails_in_its_step_with_one_line(
    given: DatabaseSettings, family: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given
    monkeypatch.delenv("ENCRYPTION_KEY")
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(family.directory))
    with dg.DagsterInstance.ephemeral() as dagster:
        done = (
            build_defs()
            .resolve_job_def("import_all")
            .execute_in_process(
                instance=dagster,
                run_config=run_requests.configuration(family.directory, ["documents"]),
                asset_selection=run_requests.selection(["documents"]),
                raise_on_error=False,
            )
        )
    reason = pipeline_runs._reasons(done)["documents"]
    assert reason.startswith("ENCRYPTION_KEY is not set, and without it no personal data can be sealed")
    assert "\n" not in reason


def test_an_installation_shows_no_secret(given: DatabaseSettings) -> None:
    with readiness.ready() as installation:
        shown = repr(installation)
        secrets = (KEY, given.password, installation.dagster_url)
        assert all(secrets)
    assert [secret for secret in secrets if secret in shown] == []


def test_no_password_stands_in_the_instances_file(given: DatabaseSettings, tmp_path: Path) -> None:
    with readiness.ready():
        pass
    text = (tmp_path / "home" / "dagster" / "dagster.yaml").read_text(encoding="utf-8")
    assert "postgres_url" in text
    assert given.password not in text


def test_a_database_without_a_schema_gets_it(
    given: DatabaseSettings, empty: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given.name != empty.name
    monkeypatch.setenv("DB_NAME", empty.name)
    with readiness.ready(migrate=False), psycopg.connect(empty.conninfo()) as connection:
        assert runner.current_revision(connection) == runner.newest_revision()


def test_a_given_database_on_an_older_migration_is_left_as_it_is(given: DatabaseSettings) -> None:
    older = f"{int(runner.newest_revision()) - 1:03d}"
    runner.downgrade(given, older)
    with pytest.raises(UsageError, match="run daybreak migrate up"), readiness.ready(migrate=False):
        pass
    with psycopg.connect(given.conninfo()) as connection:
        assert runner.current_revision(connection) == older


def test_the_embedded_database_gets_its_migrations_with_the_next_run_and_a_given_one_does_not(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The program is updated while ``daybreak up`` runs, say."""
    runner.downgrade(runs.settings, str(int(runner.newest_revision()) - 1))
    health = HealthDatabase(lambda: runs.installation)
    with pytest.raises(UsageError, match="run daybreak migrate up"), health.connection():
        pass
    monkeypatch.setattr(surroundings, "embedded_data", lambda _: tmp_path)
    with health.connection() as connection:
        assert runner.current_revision(connection) == runner.newest_revision()
