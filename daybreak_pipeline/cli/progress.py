"""Progress on the terminal: how far an import is, in one readable line."""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg

from daybreak_pipeline.importer.staging import Progress
from daybreak_pipeline.orchestration.resources import ProgressLog


class TerminalProgress(ProgressLog):
    """Shows on the terminal, as well as in the run log, which table is in which phase."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def listener(self, table: str, log: dg.DagsterLogManager) -> Progress:
        """Return the function that an import calls with its phase and amount."""
        run_log = super().listener(table, log)
        begun = time.monotonic()

        def hear(phase: str, amount: int) -> None:
            run_log(phase, amount)
            seconds = max(time.monotonic() - begun, 0.001)
            staged = (
                f" {amount / 1e6:,.1f} MB, {amount / 1e6 / seconds:,.0f} MB/s" if phase == "stage" else ""
            )
            self._tell(f"{table}: {phase}{staged}")

        return hear
