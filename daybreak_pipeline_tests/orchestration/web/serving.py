"""The process that serves the web UI, alone: with Dagster's records in files, and no daemon, so that runs stay in the queue."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daybreak_pipeline import settings
from daybreak_pipeline.orchestration import webserver
from daybreak_pipeline.orchestration.webserver import WebUi
from daybreak_pipeline.supervision import child
from daybreak_pipeline.supervision.child import Child
from daybreak_pipeline_tests.orchestration.web.raw_http import Answer, call, login

SCRAPERS_TOKEN = "a-token-for-scrapes-of-tests"
RUNS = "{ runsOrError { ... on Runs { results { runId tags { key value } } } } }"
JOB = 'repositoryLocationName: "daybreak_pipeline", repositoryName: "__repository__", jobName: "observe_export_files"'
LAUNCH = f"""
mutation ($tags: [ExecutionTag!]) {{
  launchRun(executionParams: {{selector: {{{JOB}}}, executionMetadata: {{tags: $tags}}}})
  {{ __typename ... on LaunchRunSuccess {{ run {{ runId }} }} }}
}}
"""
OURS = """
run_coordinator: {module: daybreak_pipeline.orchestration.attribution, class: AttributedRuns}
telemetry: {enabled: false}
"""


@dataclass(frozen=True)
class Served:
    """A web UI that is served."""

    ui: WebUi
    home: Path
    server: Child

    @property
    def port(self) -> int:
        return self.ui.port

    @property
    def origin(self) -> str:
        return f"Origin: {self.ui.url}"

    @property
    def cookie(self) -> str:
        """The header of somebody who has opened the link."""
        return login(self.port, self.ui.token)

    @property
    def log(self) -> str:
        return (self.home / "web.log").read_text(encoding="utf-8")

    def get(self, target: str, *headers: str) -> Answer:
        return call(self.port, "GET", target, *headers)

    def graphql(self, query: str, *headers: str, **variables: object) -> Answer:
        """Ask as our own pages do."""
        body = json.dumps({"query": query, "variables": variables})
        return call(self.port, "POST", "/graphql", "Content-Type: application/json", *headers, body=body)

    def launch(self, *headers: str, **tags: str) -> str:
        """Launch a run with tags (``a__b`` is the tag a/b), and return its id."""
        given = [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]
        answer = self.graphql(LAUNCH, *headers, tags=given)
        return str(answer.json()["data"]["launchRun"]["run"]["runId"])

    def runs(self) -> dict[str, dict[str, str]]:
        """Return every run with its tags."""
        found: Any = self.graphql(RUNS, f"Authorization: Bearer {self.ui.token}").json()
        return {
            run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]}
            for run in found["data"]["runsOrError"]["results"]
        }


@contextmanager
def started(
    home: Path, host: str = webserver.HOST, dagster: str = OURS, **environment: str
) -> Iterator[Served]:
    """Start the process, in a home of its own, with an address to listen on and a ``dagster.yaml``."""
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text(dagster)
    given = {
        "DAYBREAK_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        **environment,
    }
    listener = socket.create_server((host, 0))
    with settings.own_environment(**given):
        ui = WebUi(listener.getsockname()[1], settings.web())
    with listener, (home / "web.log").open("wb") as log:
        server = webserver.web_server(ui, listener, settings.child_environment(**given), log)
        server.start()
    try:
        yield Served(ui, home, server)
    finally:
        child.stop([server])


@contextmanager
def served(home: Path, **environment: str) -> Iterator[Served]:
    """Yield the web UI when it answers."""
    with started(home, **environment) as it:
        webserver.wait_until_up(it.server)
        yield it
