"""The report in Dagster: made by a run of its own, whatever became of the import, and when the daemon makes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from daybreak_pipeline.definitions import defs
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import runs as pipeline_runs
from daybreak_pipeline.orchestration.assets.report import REPORT, _whenever_a_run_has_ended
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory
from daybreak_pipeline_tests.report.pages import Page


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Runs]:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


def metadata(runs: Runs) -> dict[str, dg.MetadataValue]:
    event = runs.dagster.get_latest_materialization_event(dg.AssetKey(REPORT))
    assert event
    assert event.asset_materialization
    return dict(event.asset_materialization.metadata)


def test_a_report_follows_a_failed_import(runs: Runs, export: Export) -> None:
    (export.directory / "orgs.csv").unlink(missing_ok=True)
    export.write("documents", record("documents", "good"), record("documents", "bad", label=None))
    outcome = runs.load(export.directory, only=["organizations", "documents", "memberships"])
    assert outcome.exit_code == 1
    latest = pipeline_runs.render_report(runs.installation)
    page = Page.read(latest.read_text(encoding="utf-8"))
    assert "imports fail for organizations" in page.verdict()
    assert "no file orgs.csv" in page.one("section", id="organizations").text
    assert page.heat()["documents"]["import"].text == "✓"
    assert page.heat()["memberships"]["import"].text == "✕ never"
    assert "In quarantine: 1 record" in page.one("section", id="documents").text
    assert "trends.html" in {link.attributes["href"] for link in page.one("nav").all("a")}
    trends = Page.read(latest.with_name("trends.html").read_text(encoding="utf-8"))
    assert "1 record in quarantine" in trends.verdict()
    told = metadata(runs)
    assert told["records_in_quarantine"] == dg.FloatMetadataValue(1.0)
    assert told["records_in_files"] == dg.FloatMetadataValue(2.0)
    assert {"check_errors", "check_warnings", "seconds_of_imports"} <= set(told)


def test_the_materialisation_says_the_same_in_markdown_and_where_the_file_is(runs: Runs) -> None:
    latest = pipeline_runs.render_report(runs.installation)
    told = metadata(runs)
    assert told["latest_report"] == dg.PathMetadataValue(str(latest))
    assert told["can_data_be_trusted"] == dg.TextMetadataValue("no")
    assert isinstance(told["summary"], dg.MarkdownMetadataValue)
    assert "nothing has been imported yet" in (told["summary"].value or "")
    dated = Path(str(told["report_of_this_run"].value))
    assert dated.parent == latest.parent
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-[0-9a-f]{8}\.html", dated.name)
    assert dated.read_bytes() == latest.read_bytes()


def test_a_report_that_cannot_be_written_is_an_error_in_one_line(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot write the report"):
        pipeline_runs.render_report(runs.installation)


def test_the_report_depends_on_every_table_and_belongs_to_no_import() -> None:
    (spec,) = [spec for spec in defs.resolve_all_asset_specs() if spec.key == dg.AssetKey(REPORT)]
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == set(TABLES)
    assert [node.name for node in defs.resolve_job_def("report_data_quality").nodes] == [REPORT]
    assert REPORT not in {node.name for node in defs.resolve_job_def("import_all").nodes}


def test_the_daemon_looks_at_the_condition_from_the_start() -> None:
    sensor = defs.resolve_sensor_def("report_after_runs")
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


class World:
    """Two tables with a check each, one of which can be made to fail, and a report of both."""

    def __init__(self, dagster: dg.DagsterInstance) -> None:
        self.dagster = dagster
        self.failing: set[str] = set()
        self.cursor: dg.AssetDaemonCursor | None = None
        self.definitions = dg.Definitions(
            assets=[self.table("a"), self.table("b"), self.report()],
            asset_checks=[self.check("a"), self.check("b")],
            jobs=[
                dg.define_asset_job("imports", dg.AssetSelection.assets("a", "b")),
                dg.define_asset_job("checks", dg.AssetSelection.checks_for_assets("a", "b")),
                dg.define_asset_job("report", dg.AssetSelection.assets("r")),
            ],
            executor=dg.in_process_executor,
        )

    def table(self, name: str) -> dg.AssetsDefinition:
        @dg.asset(key=name)
        def load() -> None:
            if name in self.failing:
                msg = "refused"
                raise dg.Failure(msg)

        return load

    @staticmethod
    def check(table: str) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=table, name="orphans")
        def orphans() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False)

        return orphans

    @staticmethod
    def report() -> dg.AssetsDefinition:
        @dg.asset(key="r", deps=["a", "b"], automation_condition=_whenever_a_run_has_ended())
        def report() -> None: ...

        return report

    def run(self, job: str) -> None:
        self.definitions.resolve_job_def(job).execute_in_process(instance=self.dagster, raise_on_error=False)

    def wanted(self) -> int:
        """Return how many reports the daemon asks for when it looks now."""
        result = dg.evaluate_automation_conditions(
            self.definitions, self.dagster, asset_selection=dg.AssetSelection.all(), cursor=self.cursor
        )
        self.cursor = result.cursor
        return result.total_requested


@pytest.fixture
def world() -> Iterator[World]:
    with dg.DagsterInstance.ephemeral() as dagster:
        opened = World(dagster)
        assert opened.wanted() == 0
        yield opened


@pytest.mark.parametrize("job", ["imports", "checks"])
def test_the_daemon_asks_for_one_report_after_a_run(world: World, job: str) -> None:
    world.run(job)
    assert world.wanted() == 1
    world.run("report")
    assert world.wanted() == 0


@pytest.mark.parametrize("failing", ["a", "ab"])
def test_the_daemon_asks_for_a_report_when_tables_fail(world: World, failing: str) -> None:
    world.failing = set(failing)
    world.run("imports")
    assert world.wanted() == 1


def test_the_daemon_leaves_it_when_the_command_line_has_made_the_report(world: World) -> None:
    world.run("imports")
    world.run("report")
    assert world.wanted() == 0
