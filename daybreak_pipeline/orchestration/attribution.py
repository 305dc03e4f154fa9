"""Who launched a run in the web UI: what the guard knows, carried to the run as a tag.

``dagster.yaml`` names the coordinator, Dagster's own hook for this: every run that is launched goes through it, however that
was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import dagster as dg

from daybreak_pipeline.orchestration import run_requests

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from dagster._core.run_coordinator import SubmitRunContext

SOMEBODY = "web UI"
"""Who launches a run where everybody who may use the web UI uses the same login."""
UNKNOWN = "unknown"
_HEADER = "x-daybreak-user"


def signed(scope: MutableMapping[str, Any], name: str) -> dict[str, Any]:
    """Return an ASGI scope whose headers say who asks, and whose client has not said that itself."""
    header = _HEADER.encode()
    others = [(key, value) for key, value in scope["headers"] if key.lower() != header]
    return {**scope, "headers": [*others, (header, quote(name).encode())]}


class AttributedRuns(dg.QueuedRunCoordinator):
    """Dagster's queue of runs, where each run from the web UI is tagged with who launched it.

    People who launch a run may choose its tags, but not this one.
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Put a run into the queue."""
        run = context.dagster_run
        header = context.get_request_header(_HEADER)
        name = unquote(header) if header else UNKNOWN if run_requests.LAUNCHED_BY in run.tags else None
        if name:
            self._instance.add_run_tags(run.run_id, {run_requests.LAUNCHED_BY: name})
        return super().submit_run(context)
