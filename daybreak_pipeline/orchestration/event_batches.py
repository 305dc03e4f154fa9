"""Dagster's events of a run in this process, stored in batches: one by one they cost more than a small import itself.

A run of all tables has eight hundred events. Dagster stores each with a few statements, each a transaction of its own.
Here they wait for at most a second, or for the next event that something else depends on. Whatever kills the process
meanwhile takes that second's lines along, and nothing else: the ledger is written with the rows.

How events are stored belongs here; which there are is Dagster's affair.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable

_SECONDS = 1.0
_MOST = 500
_READ_BY_LATER_STEPS = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}
"""Dagster asks for the newest of these when it runs the steps below, and the checks."""
_OF_ASSETS = _READ_BY_LATER_STEPS | {dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED}

_INSERT = SqlEventLogStorageTable.insert().returning(
    SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
)
_EVALUATE_CHECK = AssetCheckExecutionsTable.update().where(
    AssetCheckExecutionsTable.c.asset_key == sa.bindparam("of_asset"),
    AssetCheckExecutionsTable.c.check_name == sa.bindparam("of_check"),
    AssetCheckExecutionsTable.c.run_id == sa.bindparam("of_run"),
    AssetCheckExecutionsTable.c.partition.is_(None),
)


@contextmanager
def stored_in_batches(instance: dg.DagsterInstance) -> Iterator[None]:
    """Store the events that come to the instance in this block in batches; all are stored when it ends.

    An instance that keeps the events of each run in a file of its own stores them as it does.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage) or isinstance(storage, SqliteEventLogStorage):
        yield
        return
    store = instance.handle_new_event
    batches = _Batches(instance, storage)
    instance.handle_new_event = batches.take  # type: ignore[method-assign]
    ended = threading.Event()
    thread = threading.Thread(target=batches.store_every_second, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        instance.handle_new_event = store  # type: ignore[method-assign]
        batches.store()


class _Batches:
    """The events of a process that wait to be stored."""

    def __init__(self, instance: dg.DagsterInstance, storage: SqlEventLogStorage) -> None:
        self._instance = instance
        self._storage = storage
        self._store_alone = instance.handle_new_event
        self._waiting: list[dg.EventLogEntry] = []
        self._guard = threading.RLock()

    def take(self, event: dg.EventLogEntry, **_batch: object) -> None:
        """Take an event as ``DagsterInstance.handle_new_event`` does; which batch it is part of makes no difference."""
        with self._guard:
            if _is_of_a_run(event):  # Dagster also notes it with the run
                self.store()
                self._store_alone(event)
                return
            if self._instance.should_store_event(event):
                self._waiting.append(event)
            if _type(event) in _READ_BY_LATER_STEPS or len(self._waiting) >= _MOST:
                self.store()

    def store(self) -> None:
        """Store what waits. What cannot be stored goes on waiting, and the error is raised."""
        with self._guard:
            if not self._waiting:
                return
            try:
                _store(self._storage, self._waiting)
                self._waiting = []
            except sa.exc.OperationalError:  # the server is away, and takes them one by one no better
                raise
            except sa.exc.SQLAlchemyError:
                while self._waiting:
                    self._store_alone(self._waiting[0])
                    del self._waiting[0]

    def store_every_second(self, ended: threading.Event) -> None:
        """Store what waits, again and again: a step may take minutes, and say nothing meanwhile."""
        while not ended.wait(_SECONDS):
            # Dagster has errors of its own for a server that is away. The run meets any of them with its next event.
            with suppress(Exception):
                self.store()


def _type(event: dg.EventLogEntry) -> dg.DagsterEventType | None:
    return event.dagster_event.event_type if event.dagster_event else None


def _is_of_a_run(event: dg.EventLogEntry) -> bool:
    return event.dagster_event is not None and event.dagster_event.is_job_event


def _store(storage: SqlEventLogStorage, events: Sequence[dg.EventLogEntry]) -> None:
    """Store events in one transaction as the storage does each in its own: in the log, at the assets, at the checks."""
    rows = [storage._event_to_row(event) for event in events]  # noqa: SLF001 - a test lists what is used
    with storage.index_transaction() as connection:
        numbers = connection.execute(_INSERT, rows).scalars().all()
        stored = list(zip(events, numbers, strict=True))
        of_assets = [(event, number) for event, number in stored if _type(event) in _OF_ASSETS]
        if of_assets:
            storage._store_asset_event_tags(connection, *map(list, zip(*of_assets, strict=True)))  # noqa: SLF001
        for event, number in of_assets:
            storage._store_asset_event(connection, event, number)  # noqa: SLF001
        _store_checks(
            connection,
            [(event, _result(row, n)) for event, row, n in zip(events, rows, numbers, strict=True)],
        )


def _result(row: dict[str, Any], number: int) -> dict[str, Any]:
    """Return what a check's row says of the event that its state is from."""
    return {
        "evaluation_event": row["event"],
        "evaluation_event_timestamp": row["timestamp"],
        "evaluation_event_storage_id": number,
    }


def _store_checks(
    connection: sa.Connection, events: Sequence[tuple[dg.EventLogEntry, dict[str, Any]]]
) -> None:
    planned = []
    for event, result in events:
        data = event.dagster_event
        if data and data.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            check = data.asset_check_planned_data
            planned.append(
                {
                    "asset_key": check.asset_key.to_string(),
                    "check_name": check.check_name,
                    "run_id": event.run_id,
                    "execution_status": "PLANNED",
                    **result,
                }
            )
    if planned:
        connection.execute(AssetCheckExecutionsTable.insert(), planned)
    for event, result in events:
        data = event.dagster_event
        if data and data.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check_result = data.asset_check_evaluation_data
            target = check_result.target_materialization_data
            key = (check_result.asset_key.to_string(), check_result.check_name, event.run_id)
            row = result | {
                "execution_status": "SUCCEEDED" if check_result.passed else "FAILED",
                "materialization_event_storage_id": target.storage_id if target else None,
            }
            where = dict(zip(("of_asset", "of_check", "of_run"), key, strict=True))
            if connection.execute(_EVALUATE_CHECK, row | where).rowcount == 0:  # nobody has planned it
                named = dict(zip(("asset_key", "check_name", "run_id"), key, strict=True))
                connection.execute(AssetCheckExecutionsTable.insert(), row | named)
