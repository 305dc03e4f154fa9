"""Accepted findings in Dagster: the check passes, says by whom and why, and nobody is alerted; at once, and in later runs."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.orchestration import acceptances, alerts
from daybreak_pipeline.orchestration import check_labels as labels
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory

CHECK = ("documents", "required_values")
KEY = dg.AssetCheckKey(dg.AssetKey("documents"), "required_values")
WHY = "known since *May*"


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


def newest(runs: Runs) -> dg.AssetCheckEvaluation:
    found = runs.dagster.get_latest_asset_check_evaluation_record(KEY)
    assert found
    assert found.event
    assert found.event.asset_check_evaluation
    return found.event.asset_check_evaluation


def test_what_is_accepted_passes_in_dagster_at_once_and_later_until_it_is_reopened(
    runs: Runs, export: Export
) -> None:
    export.write("documents", record("documents", "good"), record("documents", "bad", label=None))
    first = runs.load(export.directory, only=["documents"])
    assert (newest(runs).passed, newest(runs).severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert f"{CHECK[0]}.{CHECK[1]}" in alerts._failed_checks(runs.dagster, str(first.run_id))

    acceptance.accept(export.connection, *CHECK, why=WHY, who="account ann")
    export.connection.commit()
    acceptances.show(runs.installation, [CHECK])
    again = runs.load(export.directory, only=["documents"], full=True)
    assert again.checks["documents"]["required_values"].is_accepted
    seen = newest(runs)
    assert (seen.passed, seen.severity) == (True, dg.AssetCheckSeverity.WARN)
    assert labels.SEVERITY not in seen.metadata
    assert "account ann" in str(seen.metadata[labels.ACCEPTED].value)
    assert "(/report/finding?table=documents&check=required_values)" in str(
        seen.metadata[labels.ACCEPT].value
    )
    assert r"known since \*May\*" in str(seen.metadata[labels.ACCEPTED].value)
    assert WHY not in (seen.description or "")
    assert alerts._failed_checks(runs.dagster, str(again.run_id)) == {}

    acceptance.reopen(export.connection, *CHECK, who="account ann")
    export.connection.commit()
    acceptances.show(runs.installation, [CHECK])
    assert not newest(runs).passed


def test_the_reason_is_in_no_log_line_of_a_run(runs: Runs, export: Export) -> None:
    export.write("documents", record("documents", "bad", label=None))
    runs.load(export.directory, only=["documents"])
    acceptance.accept(export.connection, *CHECK, why=WHY, who="account ann")
    export.connection.commit()
    outcome = runs.load(export.directory, only=["documents"], full=True)
    assert outcome.run_id
    logged = [entry.user_message for entry in runs.dagster.all_logs(outcome.run_id)]
    assert [message for message in logged if "May" in message] == []
