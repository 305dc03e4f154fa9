"""Who launched a run, as the queue notes it. What the web UI's guard tells the queue, ``web/test_login`` shows."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.run_coordinator import SubmitRunContext

from daybreak_pipeline.orchestration import process_locks
from daybreak_pipeline.orchestration.attribution import AttributedRuns, signed
from daybreak_pipeline.orchestration.build import build_defs
from daybreak_pipeline.orchestration.run_requests import COMMAND_LINE, LAUNCHED_BY, STARTED_BY


@pytest.fixture
def dagster() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize(("tags", "name"), [({}, None), ({LAUNCHED_BY: "alice"}, "unknown")])
def test_a_run_that_nobody_has_launched_in_the_web_ui_names_nobody(
    dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], name: str | None
) -> None:
    """A backfill, say: whoever asks for it chooses the tags of the runs that the daemon launches."""
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", lambda _queue, context: context.dagster_run)
    queue = AttributedRuns()
    queue.register_instance(dagster)
    run = dagster.create_run_for_job(build_defs().resolve_job_def("check_all"), tags=tags)
    # The daemon's runs have no request either.
    queue.submit_run(SubmitRunContext(run, None))  # type: ignore[arg-type]
    kept = dagster.get_run_by_id(run.run_id)
    assert kept
    assert kept.tags.get(LAUNCHED_BY) == name


def test_a_commands_run_that_is_repeated_in_the_web_ui_is_no_longer_a_commands(
    dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tags of the first run come along; a command's run is taken for lost when no command is alive."""
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", lambda _queue, context: context.dagster_run)
    queue = AttributedRuns()
    queue.register_instance(dagster)
    tags = {STARTED_BY: COMMAND_LINE, LAUNCHED_BY: "alice"}
    run = dagster.create_run_for_job(build_defs().resolve_job_def("check_all"), tags=tags)
    queue.submit_run(SubmitRunContext(run, None))  # type: ignore[arg-type]  # the daemon's have no request
    kept = dagster.get_run_by_id(run.run_id)
    assert kept
    assert kept.tags[STARTED_BY] == "web UI"
    assert not process_locks.of_a_command(kept)


def test_what_a_client_says_of_itself_is_dropped() -> None:
    sent = [(b"x-daybreak-user", b"bob"), (b"X-DAYBREAK-USER", b"bob"), (b"accept", b"*/*")]
    scope = {"type": "http", "headers": sent}
    assert signed(scope, "Zoë %41")["headers"] == [
        (b"accept", b"*/*"),
        (b"x-daybreak-user", b"Zo%C3%AB%20%2541"),
    ]
    assert scope["headers"] == sent
