"""Puts the web UI together, Dagster's web application and the report behind the guard, and serves it."""

from __future__ import annotations

import socket

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import code_location
from daybreak_pipeline.orchestration.attribution import AttributedRuns
from daybreak_pipeline.orchestration.web import finding_page, health_page, metrics_page, report_page
from daybreak_pipeline.orchestration.web.guard import guarded
from daybreak_pipeline.orchestration.web.login import METRICS, Login, is_loopback

# As the command dagster-webserver has them.
_STATEMENT_MILLISECONDS = 15_000
_POOL_RECYCLE_SECONDS = 3600
_POOL_OVERFLOW = 20
_POLL_MILLISECONDS = 2000
_SECONDS_FOR_OPEN_REQUESTS = 5


def serve(listener: socket.socket, token: str) -> None:
    """Serve the web UI on a socket that listens, until SIGINT.

    Raises:
        UsageError: it would be open to others, or nobody would know who launches runs.
    """
    host, port = listener.getsockname()[:2]
    login = Login(settings.web(), port, token)
    if login.settings.auth == "none" and not is_loopback(host):
        msg = f"DAYBREAK_WEB_AUTH is none, and {host} can be reached from other machines: use token or proxy"
        raise UsageError(msg)
    with dg.DagsterInstance.get() as instance:
        if login.settings.auth == "proxy" and not isinstance(instance.run_coordinator, AttributedRuns):
            msg = (
                "DAYBREAK_WEB_AUTH is proxy, but by the dagster.yaml in DAGSTER_HOME runs do not carry who launched them: set "
                f"its run_coordinator to module {AttributedRuns.__module__}, class {AttributedRuns.__name__}"
            )
            raise UsageError(msg)
        instance.optimize_for_webserver(_STATEMENT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW)
        with WorkspaceProcessContext(
            instance,
            code_location.target(),
            version=__version__,
            code_server_log_level="error",  # a server that is replaced warns that nobody talks to it any more,
        ) as workspace:
            dagster = create_app_from_workspace_process_context(
                workspace, live_data_poll_rate=_POLL_MILLISECONDS
            )
            app = Starlette(
                routes=[
                    *report_page.routes(),
                    finding_page.route(instance),
                    Route(METRICS, metrics_page.metrics),
                    Route(health_page.PATH, health_page.for_people),
                    Mount("/", dagster),
                ]
            )
            public_url = settings.web_url(f"http://127.0.0.1:{port}")
            uvicorn.Server(
                uvicorn.Config(
                    guarded(app, login, public_url),
                    log_level="warning",
                    access_log=False,  # its lines would contain the token
                    proxy_headers=False,  # a request's peer is the proxy itself
                    server_header=False,
                    http="h11",  # strict: refuses two Hosts and two lengths
                    lifespan="off",
                    timeout_graceful_shutdown=_SECONDS_FOR_OPEN_REQUESTS,
                )
            ).run([listener])
