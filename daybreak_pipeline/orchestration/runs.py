"""Runs Dagster's jobs in this process, as the UI would, and gathers what they did (``outcomes``)."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.importer import find
from daybreak_pipeline.importer.find import Ignored
from daybreak_pipeline.importer.ledger import COUNTS, Accounting
from daybreak_pipeline.operations.dry_run import dry_run
from daybreak_pipeline.orchestration import (
    asset_checks,
    code_location,
    event_batches,
    instance,
    process_locks,
    run_requests,
)
from daybreak_pipeline.orchestration import check_labels as labels
from daybreak_pipeline.orchestration.assets.imported_tables import IGNORED, WHY_ABSENT
from daybreak_pipeline.orchestration.assets.report import LATEST, REPORT
from daybreak_pipeline.orchestration.build import build_defs
from daybreak_pipeline.orchestration.export_directories import ExportDirectories
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.orchestration.outcomes import Outcome, TableOutcome
from daybreak_pipeline.orchestration.resources import HealthDatabase, ProgressLog
from daybreak_pipeline.supervision import stopping
from daybreak_pipeline.tables import TABLES, import_order

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

_NOT_TRIED = "skipped because a table it depends on failed, or one of its blocking checks"


def run_import(  # noqa: PLR0913 - each is an option of the command
    installation: Installation,
    *,
    only: Sequence[str] = (),
    full: bool = False,
    replay: bool = False,
    partial: bool = False,
    progress: ProgressLog | None = None,
) -> Outcome:
    """Run ``import_all``, or the part of it that ``only`` names, and return what it did.

    Args:
        installation: as ``ready`` yields it.
        only: tables to import; all when empty.
        full: read files again whose content has not changed.
        replay: read no file, try quarantined records again.
        partial: the export has only some of the files, which is not an error.
        progress: reports how far each table is.
    """
    chosen = [name for name in import_order() if not only or name in only]
    export_dir = installation.export_dir
    with _executed(
        installation,
        "import_all",
        run_requests.configuration(export_dir, chosen, full=full, replay=replay),
        selection=run_requests.selection(chosen) if only else None,
        tags=run_requests.tags(run_requests.COMMAND_LINE, export_dir, partial=partial)
        | {run_requests.LAUNCHED_BY: settings.account()},
        progress=progress,
    ) as result:
        unknown = [] if replay else find.unknown(export_dir)
        outcome = Outcome(result.run_id, unknown_files=unknown, partial=partial)
        reasons = _reasons(result)
        done = {
            event.asset_key.path[-1]: event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key
        }
        loaded = {name: _imported(done[name]) for name in chosen if name in done}
        outcome.tables = _tables(chosen, loaded, reasons)
        outcome.checks = _checks(result)
        return outcome


def render_report(installation: Installation) -> Path:
    """Make the data-quality report in a Dagster run, after an import or a check, and return where it is.

    A run of its own: as a step of the import it would be skipped when a table fails.

    Raises:
        UsageError: the report could not be made.
    """
    tags = {run_requests.STARTED_BY: run_requests.COMMAND_LINE}
    with _executed(installation, "report_data_quality", {}, tags=tags) as result:
        if not result.success:
            reasons = [*_reasons(result).values(), f"see run {result.run_id} in the web UI"]
            raise UsageError(reasons[0])
        (made,) = result.asset_materializations_for_node(REPORT)
        return Path(str(made.metadata[LATEST].value))


def refresh_summaries(installation: Installation) -> None:
    """Compute the summaries again in a Dagster run, after an import that changed rows.

    Raises:
        UsageError: not all of them could be computed.
    """
    tags = {run_requests.STARTED_BY: run_requests.COMMAND_LINE}
    with _executed(installation, "refresh_summaries", {}, tags=tags) as result:
        if not result.success:
            raise UsageError([*_reasons(result).values(), f"see run {result.run_id} in the web UI"][0])


def dry_run_import(
    installation: Installation,
    *,
    only: Sequence[str] = (),
    full: bool = False,
    partial: bool = False,
    tell: Callable[[str], None],
) -> Outcome:
    """Do all that ``run_import`` would do in one transaction, roll it back, and return what it would have done.

    Dagster has no part in this: a run would leave traces.
    """
    chosen = [name for name in import_order() if not only or name in only]
    export_dir = installation.export_dir
    with database.connect(installation.database, key=installation.key) as connection:
        found = dry_run(
            connection,
            export_dir,
            chosen,
            full=full,
            listener=lambda name: lambda phase, _amount: tell(f"{name}: {phase}"),
        )
    outcome = Outcome(None, unknown_files=find.unknown(export_dir), partial=partial)
    loaded = {
        name: TableOutcome(
            result.status, result.accounting, result.seconds, result.reason, ignored=result.ignored
        )
        for name, result in found.results.items()
    }
    outcome.tables = _tables(chosen, loaded, found.failures)
    outcome.checks = found.findings
    return outcome


def run_checks(installation: Installation) -> Outcome:
    """Run ``check_all`` and return what it found."""
    tags = {run_requests.STARTED_BY: run_requests.COMMAND_LINE}
    with _executed(installation, "check_all", {}, tags=tags) as result:
        reasons = _reasons(result)
        outcome = Outcome(result.run_id, checks=_checks(result))
        unchecked = [
            f"{step}: {reason}"
            for step, reason in reasons.items()
            if step.removeprefix("check_") not in outcome.checks
        ]
        if unchecked:
            raise UsageError(unchecked[0])
        return outcome


def lost_runs(installation: Installation, *, besides: str | None = None) -> list[dg.DagsterRun]:
    """Return the runs that Dagster lists as running although no process is alive that could run them.

    Runs of commands live in the command's process, all others in that of the web UI's daemon. While another process of
    the same kind is alive, its runs cannot be told from lost ones: all are left alone. ``besides`` is the registration
    (``process_locks.held``) of a process whose daemon is known to be gone.
    """
    running = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    with instance.opened(installation) as dagster_instance:
        runs = dagster_instance.get_runs(filters=dg.RunsFilter(statuses=running))
    # Ask only now: a process that runs one of these runs registered before the run began.
    return process_locks.lost(installation.database, runs, besides=besides)


def settle_lost(installation: Installation, *, besides: str | None = None) -> None:
    """Mark lost runs as what they are. Dagster repeats those of the daemon, which nobody cancelled: they failed.

    A run of a killed command is canceled: whoever started it knows. ``besides`` is as ``lost_runs`` takes it.

    Raises:
        ServerUnavailableError: the server went away.
    """
    with instance.storage_errors():
        lost = lost_runs(installation, besides=besides)
        if not lost:
            return
        with instance.opened(installation) as dagster_instance:
            for run in lost:
                if process_locks.of_a_command(run) or run.status is dg.DagsterRunStatus.CANCELING:
                    dagster_instance.report_run_canceled(run, "The process that ran it is gone.")
                else:
                    dagster_instance.report_run_failed(run, "The process that ran it is gone: it was lost.")


@contextmanager
def _executed(  # noqa: PLR0913 - each is a fact of the one run
    installation: Installation,
    job: str,
    run_config: dict[str, Any],
    *,
    tags: dict[str, str],
    selection: Sequence[dg.AssetKey] | None = None,
    progress: ProgressLog | None = None,
) -> Iterator[dg.ExecuteInProcessResult]:
    with (
        instance.opened(installation) as dagster_instance,
        process_locks.held(installation.database, "command line"),
    ):
        definitions = build_defs(
            health_database=HealthDatabase(lambda: installation),
            export_directories=ExportDirectories(lambda: installation.export_dir),
            **({"progress_log": progress} if progress else {}),
        )
        # The run's own log, in the UI, has every line. The terminal shows the scorecard instead.
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        repository = definitions.get_repository_def().name
        with (
            _interruptible(),
            code_location.runs_belong_here(dagster_instance, repository, job),
            instance.storage_errors(),
            event_batches.stored_in_batches(dagster_instance),
        ):
            result = definitions.resolve_job_def(job).execute_in_process(
                run_config=run_config | quiet,
                instance=dagster_instance,
                asset_selection=selection,
                raise_on_error=False,
                tags=tags | run_requests.NOT_REPEATED,
            )
            asset_checks.conclude(dagster_instance, result.run_id)
        yield result


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt after the block if SIGINT or SIGTERM came meanwhile.

    Dagster turns such a signal into a failed step, or drops it between two steps.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
        with suppress(BlockingIOError):
            if {signal.SIGINT, signal.SIGTERM} & set(reader.recv(4096)):
                stopping.begin()
                raise KeyboardInterrupt


def _tables(
    chosen: Sequence[str], loaded: dict[str, TableOutcome], reasons: dict[str, str]
) -> dict[str, TableOutcome]:
    """Return what became of every chosen table: loaded, failed for a reason, or else skipped for another that failed."""

    def outcome(name: str) -> TableOutcome:
        if name in loaded:
            return loaded[name]
        if name in reasons:
            return TableOutcome("failed", Accounting(), 0.0, reasons[name])
        return TableOutcome("not_tried", Accounting(), 0.0, _NOT_TRIED)

    return {name: outcome(name) for name in chosen}


def _imported(metadata: Any) -> TableOutcome:
    accounting = Accounting(**{name: int(metadata[name].value) for name in COUNTS if name in metadata})
    ignored = metadata[IGNORED].value if IGNORED in metadata else []
    return TableOutcome(
        metadata["status"].value,
        accounting,
        float(metadata["seconds"].value),
        reason=str(metadata[WHY_ABSENT].value) if WHY_ABSENT in metadata else "",
        ignored=tuple(Ignored(**one) for one in ignored),
    )


def _reasons(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return why each failed step failed, in one line."""
    reasons: dict[str, str] = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                reasons[event.step_key] = data.user_failure_data.description
            else:
                reasons[event.step_key] = _unforeseen(data.error)
    return reasons


def _unforeseen(error: SerializableErrorInfo | None) -> str:
    """Return why a step failed that gave no reason itself. Of a foreign error, only its type and place."""
    while error and error.cause:
        error = error.cause
    if error is None:
        return "see the run's log"
    kind, _, text = error.message.strip().partition(": ")
    if kind.startswith("daybreak_pipeline.") and text:
        return text.splitlines()[0]
    return explanations.explain_stack(kind, "".join(error.stack))


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Finding]]:
    found: dict[str, dict[str, Finding]] = {name: {} for name in TABLES}
    for evaluation in result.get_asset_check_evaluations():
        metadata = evaluation.metadata  # as asset_checks writes it
        found.setdefault(evaluation.asset_key.path[-1], {})[evaluation.check_name] = Finding(
            summary=evaluation.description or "",
            count=int(str(metadata[labels.FAILING].value)),
            total=int(str(metadata[labels.LOOKED_AT].value)),
            severity="ERROR" if evaluation.severity == dg.AssetCheckSeverity.ERROR else "WARN",
            passed=evaluation.passed,
            accepted=tuple(str(metadata[labels.ACCEPTED].value).splitlines())
            if labels.ACCEPTED in metadata
            else (),
        )
    return {name: checks for name, checks in found.items() if checks}
