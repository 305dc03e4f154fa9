"""Who launched a run in the web UI: tags the run with the user that the guard knows.

A run that is repeated there brings the tags of the first one along, which may have been a command's.

``dagster.yaml`` names the coordinator, Dagster's own hook for this: every launched run goes through it, however it was
requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import dagster as dg
from starlette.requests import HTTPConnection

from daybreak_pipeline.orchestration import run_requests

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from dagster._core.run_coordinator import SubmitRunContext

SOMEBODY = "web UI"
"""The launcher's name where all users of the web UI share one login."""
UNKNOWN = "unknown"
_HEADER = "x-daybreak-user"


def signed(scope: MutableMapping[str, Any], name: str) -> dict[str, Any]:
    """Return an ASGI scope with a header that names the user, in place of any that the client sent."""
    header = _HEADER.encode()
    others = [(key, value) for key, value in scope["headers"] if key.lower() != header]
    return {**scope, "headers": [*others, (header, quote(name).encode())]}


def name_of(request: HTTPConnection) -> str:
    """Return the user that ``signed`` has named."""
    return unquote(request.headers[_HEADER])


class AttributedRuns(dg.QueuedRunCoordinator):
    """Dagster's queue of runs, where each run from the web UI is tagged with who launched it.

    A person who launches a run may choose its tags, except for this one.
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Put a run into the queue."""
        run = context.dagster_run
        header = context.get_request_header(_HEADER)
        name = unquote(header) if header else UNKNOWN if run_requests.LAUNCHED_BY in run.tags else None
        tags = {run_requests.LAUNCHED_BY: name} if name else {}
        if run.tags.get(run_requests.STARTED_BY) == run_requests.COMMAND_LINE:
            tags[run_requests.STARTED_BY] = SOMEBODY  # no command's process runs it
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)
