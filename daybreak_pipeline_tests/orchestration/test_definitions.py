"""The code location: the asset graph, its jobs, checks and schedule, and that loading it touches nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # comes with dagster, without types

from daybreak_pipeline import settings
from daybreak_pipeline.definitions import build_defs, defs
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.monitoring.thresholds import ASSETS
from daybreak_pipeline.orchestration.assets.numbers import NUMBERS
from daybreak_pipeline.orchestration.resources import HealthDatabase
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.test_architecture import FILES, imported, path_in_package
from daybreak_pipeline_tests.test_tables import APPLICATION_LEVEL, ENFORCED

CHECKS = (
    *(
        "orphans",
        "valid_enums",
        "required_values",
        "valid_json",
        "placeholder_values",
        "duplicates",
        "row_accounting",
    ),
    *("schema_drift", "row_count_change", "missing_rows", "quarantine_rate", "constants"),
    *("plain_values", "sealed_values", "timestamps"),
    "database_matches_migrations",
)
NOWHERE = "192.0.2.1"
"""An address for documentation: nothing answers there."""


def specs() -> dict[tuple[str, ...], dg.AssetSpec]:
    return {tuple(spec.key.path): spec for spec in defs.resolve_all_asset_specs()}


# --- Assets --------------------------------------------------------------------------------------------


def test_there_are_16_tables_and_16_files() -> None:
    tables = {(name,) for name in TABLES}
    files = {("export", name) for name in TABLES}
    others = {("data_quality_report",), ("maintenance",), ("database_backup",), ("backup_drill",)}
    others |= {("application_tables",)}
    assert set(specs()) == tables | files | others | {(name,) for name in (*ASSETS, *SUMMARIES, *NUMBERS)}
    assert (len(tables), len(files)) == (16, 16)


def test_a_table_depends_on_its_file_and_on_what_the_plan_says_it_refers_to() -> None:
    expected: dict[str, set[tuple[str, ...]]] = {name: {("export", name)} for name in TABLES}
    for child, parents in ENFORCED | APPLICATION_LEVEL:
        table = child.split(".")[0]
        expected[table] |= {(parent.split(".")[0],) for parent in parents.split(" OR ")} - {(table,)}
    found = {
        key[0]: {tuple(dep.asset_key.path) for dep in spec.deps}
        for key, spec in specs().items()
        if key[0] in TABLES
    }
    assert found == expected


def test_files_depend_on_nothing() -> None:
    assert {key for key, spec in specs().items() if key[0] == "export" and spec.deps} == set()


def test_files_are_observed_and_tables_are_materialised() -> None:
    graph = defs.resolve_asset_graph()
    others = ("data_quality_report", "maintenance", "database_backup", "backup_drill")
    made = (*TABLES, *ASSETS, *SUMMARIES, *NUMBERS, *others)
    assert graph.observable_asset_keys == {dg.AssetKey(["export", name]) for name in TABLES}
    assert graph.materializable_asset_keys == {dg.AssetKey(name) for name in made}


@pytest.mark.parametrize("key", sorted(specs()), ids="/".join)
def test_every_asset_says_what_it_is_and_whose(key: tuple[str, ...]) -> None:
    spec = specs()[key]
    assert spec.group_name not in {None, "default"}
    assert spec.owners
    assert all(owner.startswith("team:") for owner in spec.owners)
    assert spec.kinds
    assert len((spec.description or "").split()) > 3


@pytest.mark.parametrize("name", TABLES)
def test_a_tables_description_names_its_references_and_its_sealed_columns(name: str) -> None:
    description = specs()[(name,)].description or ""
    table = TABLES[name]
    for column in [r.column for r in table.references] + list(table.sealed_columns):
        assert f"`{column}`" in description
    assert specs()[(name,)].kinds == {"postgres", "table"}
    assert specs()[(name,)].metadata["dagster/table_name"] == f"daybreak_health.public.{name}"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_must_be_looked_at_daily_and_says_where_its_quarantine_is(name: str) -> None:
    spec = specs()[(name,)]
    assert isinstance(spec.freshness_policy, dg.FreshnessPolicy)
    shown = spec.metadata["quarantine"]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert f"daybreak quarantine list --table {name}" in str(shown.value)
    assert f"WHERE table_name = '{name}' AND resolved_at IS NULL" in str(shown.value)


def test_the_quarantine_that_is_shown_can_be_queried(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    text = str(specs()[("kinships",)].metadata["quarantine"].value)
    query = text.split("```sql\n")[1].removesuffix("```")
    assert connection.execute(query.encode()).fetchall() == []


# --- Checks, jobs, schedule, resources, executor -------------------------------------------------------


def test_each_table_has_one_multi_check_with_the_plans_rules() -> None:
    found = {
        str(check.node_def.name): [(spec.asset_key.path, spec.name) for spec in check.check_specs]
        for check in defs.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition)
    }
    applications = ("plain_values", "sealed_values", "database_matches_migrations")
    assert found == {f"check_{name}": [([name], check) for check in CHECKS] for name in TABLES} | {
        "check_application_tables": [(["application_tables"], check) for check in applications]
    }


def test_only_the_accounting_blocks() -> None:
    blocking = {
        spec.name: spec.blocking
        for check in defs.asset_checks or []
        if isinstance(check, dg.AssetChecksDefinition)
        for spec in check.check_specs
    }
    assert blocking == {name: name == "row_accounting" for name in CHECKS}


def test_every_check_says_what_it_wants() -> None:
    for check in defs.asset_checks or []:
        assert isinstance(check, dg.AssetChecksDefinition)
        assert all((spec.description or "").endswith(".") for spec in check.check_specs)


def test_import_all_covers_every_table_and_check() -> None:
    assert set(op_names("import_all")) - {"observe_export"} == {
        *TABLES,
        *(f"check_{name}" for name in (*TABLES, "application_tables")),
    }


def test_check_all_checks_every_table_and_imports_none() -> None:
    assert set(op_names("check_all")) == {f"check_{name}" for name in (*TABLES, "application_tables")}


def test_backups_and_drills_run_by_themselves() -> None:
    crons = {
        name: (schedule.job_name, schedule.cron_schedule, schedule.default_status.name)
        for name in ("weekly_full_backup", "daily_backup", "restore_drill")
        for schedule in [defs.resolve_schedule_def(name)]
    }
    assert crons == {
        "weekly_full_backup": ("back_up", "0 1 * * 0", "RUNNING"),
        "daily_backup": ("back_up", "0 1 * * 1-6", "RUNNING"),
        "restore_drill": ("restore_drill", "0 2 * * 0", "RUNNING"),
    }


def test_the_drills_check_blocks() -> None:
    spec = defs.resolve_asset_graph().get_check_spec(
        dg.AssetCheckKey(dg.AssetKey("backup_drill"), "backup_is_restorable")
    )
    assert spec.blocking


def op_names(job: str) -> list[str]:
    return [node.name for node in defs.resolve_job_def(job).nodes]


def test_the_maintenance_runs_every_day_hours_before_the_import() -> None:
    schedule = defs.resolve_schedule_def("daily_maintenance")
    assert (schedule.job_name, schedule.cron_schedule) == ("maintain", "0 3 * * *")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert op_names("maintain") == ["maintenance"]


def test_the_import_runs_every_day_unless_somebody_turns_it_off() -> None:
    schedule = defs.resolve_schedule_def("daily_import")
    assert schedule.job_name == "import_all"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    minute, hour, *days = str(schedule.cron_schedule).split()
    assert (minute.isdecimal(), hour.isdecimal(), days) == (True, True, ["*", "*", "*"])
    assert schedule.execution_timezone == "UTC"


def test_the_schedule_asks_for_a_run_of_the_whole_import() -> None:
    schedule = defs.resolve_schedule_def("daily_import")
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def())
        requests = schedule.evaluate_tick(context).run_requests or []
    assert {request.tags["daybreak/started_by"] for request in requests} == {"schedule"}
    assert {request.tags["daybreak/export"] for request in requests} == {settings.export_dir().as_uri()}
    assert [(request.job_name, request.asset_selection) for request in requests] in (
        [("import_all", None)],
        [(None, None)],
    )


def test_build_defs_takes_other_resources() -> None:
    other = HealthDatabase(lambda: pytest.fail("nobody connects"))
    assert (build_defs(health_database=other).resources or {})["health_database"] is other


def test_steps_run_in_one_process_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_defs().resolve_job_def("import_all").executor_def.name == "in_process"
    monkeypatch.setenv("DAYBREAK_EXECUTOR", "multiprocess")
    assert build_defs().resolve_job_def("import_all").executor_def.name == "multiprocess"


# --- Loading -------------------------------------------------------------------------------------------


def test_workspace_and_project_file_name_the_same_location() -> None:
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]
    assert workspace == {
        "load_from": [
            {
                "python_module": {
                    "module_name": project["project"]["code_location_target_module"],
                    "location_name": project["project"]["code_location_name"],
                }
            }
        ]
    }


def test_definitions_are_valid_without_a_database(tmp_path: Path) -> None:
    unused, one, other = (tmp_path / name for name in ("unused", "one", "other"))
    for directory in (unused, one, other):
        directory.mkdir()
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    given = {"DB_HOST": NOWHERE, "DB_PORT": "1", "DAGSTER_HOME": str(one)}
    embedded = {"DAYBREAK_HOME": str(unused), "DAGSTER_HOME": str(other)}
    running = [
        subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=os.environ | {"DAGSTER_DISABLE_TELEMETRY": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for variables in (given, embedded)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert all("daybreak_pipeline" in output for output in outputs)
    assert list(unused.iterdir()) == []


def test_loading_opens_no_connection_and_starts_no_program(tmp_path: Path) -> None:
    watched = """
import json, sys
import dagster  # asks the program `file` about Python when it is imported, which is its own affair
seen = []
names = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork")
sys.addaudithook(lambda event, arguments: seen.append([event, str(arguments)]) if event in names else None)
import daybreak_pipeline.definitions
print(json.dumps([seen, "daybreak_pipeline.embedded_postgres.server" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", watched],
        env=os.environ | {"DAYBREAK_HOME": str(tmp_path), "DB_HOST": NOWHERE},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert json.loads(done.stdout) == [[], False]
    assert list(tmp_path.iterdir()) == []


# --- What of Dagster is used -------------------------------------------------------------------------------


NO_PUBLIC_WAY = {
    "orchestration/web/server.py": {  # the public function for the application asks for one
        "dagster._core.workspace.context.WorkspaceProcessContext",
    },
    "orchestration/code_location.py": {  # that one is made with the first; the other says whose a run is
        "dagster._core.workspace.load_target.WorkspaceFileTarget",
        "dagster._core.remote_origin.RemoteRepositoryOrigin",
    },
    "orchestration/event_batches.py": {  # Dagster's own batches are of one kind of event, and only of a few kinds
        "dagster._core.storage.event_log.SqlEventLogStorage",
        "dagster._core.storage.event_log.SqliteEventLogStorage",
        "dagster._core.storage.event_log.schema.AssetCheckExecutionsTable",
        "dagster._core.storage.event_log.schema.SqlEventLogStorageTable",
    },
    "orchestration/attribution.py": {  # a type, which Dagster's own guide to run attribution imports from there
        "dagster._core.run_coordinator.SubmitRunContext",
    },
}
"""Internals of Dagster that are used all the same, by file, each with its reason."""


@pytest.mark.parametrize("path", FILES, ids=path_in_package)
def test_nothing_reaches_into_dagsters_internals(path: Path) -> None:
    used = {name for name in imported(path) if name.startswith("dagster._")}
    assert used == NO_PUBLIC_WAY.get(path_in_package(path), set())


def test_superseded_parts_of_dagster_are_not_used() -> None:
    superseded = {"SourceAsset", "AutoMaterializePolicy", "build_last_update_freshness_checks"}
    users = [
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in superseded)
        or (isinstance(node, ast.Name) and node.id in superseded)
    ]
    assert users == []
