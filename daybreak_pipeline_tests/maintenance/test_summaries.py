# ruff: noqa: S608 - what is put into statements here are names of the project
"""The summaries: what they count, and that a refresh keeps nobody from reading them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.database import Connection
from daybreak_pipeline.definitions import defs
from daybreak_pipeline.maintenance import summaries
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.orchestration import runs as pipeline_runs
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record, uuid
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory

SCHOOL, DISTRICT, CONTRACT = map(uuid, ("school", "district", "contract"))


@pytest.fixture
def referred(session: Connection) -> Connection:
    """Four referrals of one week to a school in a district, and one that is deleted."""
    session.execute(
        "INSERT INTO organizations (id, kind, name, parent_organization_id)"
        " VALUES (%(d)s, 1, 'Any District', NULL), (%(s)s, 2, 'Any School', %(d)s)",
        {"d": DISTRICT, "s": SCHOOL},
    )
    session.execute(
        "INSERT INTO contracts (id, effective_date, services, terms) VALUES (%s, '2025-01-01', '{}', '[]')",
        [CONTRACT],
    )
    for word, onboarded, enrolled, rejected, deleted in (
        ("one", "2025-03-05", None, None, False),
        ("two", "2025-03-09", "2025-03-20", None, False),
        ("three", None, None, "2025-03-06", None),
        ("four", "2025-03-01", "infinity", None, False),
        ("five", "2025-03-05", "2025-03-05", None, True),
    ):
        session.execute(
            "INSERT INTO referrals (id, submitter_id, organization_id, service_kind, contract_id, referred_at,"
            " onboarding_completed_at, enrolled_at, request_rejected_at, _fivetran_deleted)"
            " VALUES (%s, %s, %s, 1, %s, '2025-03-04', %s, %s, %s, %s)",
            [uuid(word), uuid("patient"), SCHOOL, CONTRACT, onboarded, enrolled, rejected, deleted],
        )
    session.commit()
    session.autocommit = True
    return session


FUNNEL = """
    SELECT referred, onboarding_completed, enrolled, rejected, median_days_to_onboarding::float, median_days_in_all::float
    FROM reporting.onboarding_funnel WHERE period = %s AND scope = %s
"""


def test_the_funnel_counts_what_is_not_deleted_and_ignores_times_that_cannot_be(referred: Connection) -> None:
    """Who is enrolled has been onboarded. A median is of times that are finite and in order: 1 and 5 days, and 16."""
    assert referred.execute(FUNNEL, ["all", "all"]).fetchall() == [(0, 0, 0, 0, None, None)]
    done = summaries.refresh(referred, SUMMARIES["onboarding_funnel"])
    assert done.rows == 6
    for period in ("all", "week"):
        for scope in ("all", "district", "school"):
            assert referred.execute(FUNNEL, [period, scope]).fetchall() == [(4, 3, 2, 1, 3.0, 16.0)]
    names = referred.execute(
        "SELECT DISTINCT week::text, district_name, organization_name FROM app.onboarding_funnel"
        " WHERE scope = 'school' AND period = 'week'"
    ).fetchall()
    assert names == [("2025-03-03", "Any District", "Any School")]
    referred.execute("UPDATE organizations SET _fivetran_deleted = true")
    summaries.refresh(referred, SUMMARIES["onboarding_funnel"])
    hidden = "SELECT count(*) FROM reporting.onboarding_funnel WHERE coalesce(district_name, organization_name) IS NOT NULL"
    assert database.value(referred, hidden) == 0


def test_coverage_is_counted_by_company_and_eligibility(session: Connection) -> None:
    for person, company, eligibility, deleted in (
        ("one", "Any Insurance", 4, False),
        ("one", "Any Insurance", 4, None),
        ("two", "Any Insurance", 6, False),
        ("two", None, None, False),
        ("three", "Any Insurance", 4, True),
    ):
        session.execute(
            "INSERT INTO insurance_coverages (kind, user_id, insurance_company_name, eligibility, _fivetran_deleted)"
            " VALUES (2, %s, %s, %s, %s)",
            [uuid(person), company, eligibility, deleted],
        )
    summaries.refresh(session, SUMMARIES["coverage_by_insurer"])
    found = session.execute(
        "SELECT insurance_company_name, eligibility_name, coverages, patients FROM reporting.coverage_by_insurer ORDER BY 1, 2"
    ).fetchall()
    assert found == [
        ("Any Insurance", "eligible", 2, 1),
        ("Any Insurance", "expired", 1, 1),
        (None, None, 1, 1),
    ]


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_refresh_waits_for_no_reader(referred: Connection, migrated: DatabaseSettings, name: str) -> None:
    with psycopg.connect(migrated.conninfo()) as reader:
        reader.execute(f"SELECT count(*) FROM reporting.{name}".encode())  # holds its lock until the end
        referred.execute("SET lock_timeout = '2s'")
        summaries.refresh(referred, SUMMARIES[name])


@pytest.mark.parametrize("name", SUMMARIES)
def test_one_that_a_restore_left_empty_is_filled(referred: Connection, name: str) -> None:
    referred.execute(f"REFRESH MATERIALIZED VIEW reporting.{name} WITH NO DATA".encode())
    assert summaries.refresh(referred, SUMMARIES[name]).rows >= 0


# --- As assets -----------------------------------------------------------------------------------------------


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Runs]:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


def test_the_command_refreshes_them_all_and_each_says_how_many_rows_it_has(
    runs: Runs, export: Export
) -> None:
    export.add_parents()
    export.load("insurance_coverages", record("insurance_coverages", "coverage"))
    export.connection.commit()
    pipeline_runs.refresh_summaries(runs.installation)
    for name, rows in (("onboarding_funnel", 6), ("coverage_by_insurer", 1)):
        event = runs.dagster.get_latest_materialization_event(dg.AssetKey(name))
        assert event
        assert event.asset_materialization
        told = event.asset_materialization.metadata
        assert told["dagster/row_count"] == dg.IntMetadataValue(rows)
        assert told["dagster/table_name"] == dg.TextMetadataValue(f"daybreak_health.reporting.{name}")


def test_each_goes_stale_by_itself_and_the_daemon_looks_after_it() -> None:
    specs = {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs()}
    for summary in SUMMARIES.values():
        assert isinstance(specs[summary.name].freshness_policy, dg.FreshnessPolicy)
        assert {dep.asset_key.path[-1] for dep in specs[summary.name].deps} == set(summary.tables)
    sensor = defs.resolve_sensor_def("report_after_runs")
    watched = sensor.asset_selection.resolve(defs.resolve_asset_graph()) if sensor.asset_selection else set()
    assert {dg.AssetKey(name) for name in SUMMARIES} <= watched


def test_the_daemon_refreshes_what_is_made_of_an_imported_table() -> None:
    chosen = dg.AssetSelection.assets(*SUMMARIES)
    with dg.DagsterInstance.ephemeral() as dagster:
        seen = dg.evaluate_automation_conditions(defs, dagster, asset_selection=chosen)
        dagster.report_runless_asset_event(dg.AssetMaterialization("referrals"))
        seen = dg.evaluate_automation_conditions(defs, dagster, asset_selection=chosen, cursor=seen.cursor)
        asked = {name for name in SUMMARIES if seen.get_num_requested(dg.AssetKey(name))}
    assert asked == {name for name, summary in SUMMARIES.items() if "referrals" in summary.tables}
    assert "capacity_by_week" not in asked
