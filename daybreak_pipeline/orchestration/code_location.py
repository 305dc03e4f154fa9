"""Our code location as the web UI and the daemon load it: the file that names it, and which runs are its own.

Dagster notes that of the runs that it launches itself. A run without it is missing from its job's page, from the overview
and from the timeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget

from daybreak_pipeline import settings

if TYPE_CHECKING:
    import dagster as dg


def target() -> WorkspaceFileTarget:
    """Return what Dagster loads the location from."""
    return WorkspaceFileTarget([str(settings.PROJECT_ROOT / "workspace.yaml")])


@contextmanager
def runs_belong_here(instance: dg.DagsterInstance, repository: str, job: str) -> Iterator[None]:
    """Make each run that the instance creates in this block one of our location's.

    ``execute_in_process`` creates its run itself, and takes nothing about where that belongs.

    Args:
        instance: creates runs of the one job only.
        repository: the repository's name in the location.
        job: the job's name.
    """
    (location,) = target().create_origins()
    origin = RemoteRepositoryOrigin(location, repository).get_job_origin(job)
    create = instance.create_run_for_job
    instance.create_run_for_job = partial(create, remote_job_origin=origin)  # type: ignore[method-assign]
    try:
        yield
    finally:
        instance.create_run_for_job = create  # type: ignore[method-assign]
