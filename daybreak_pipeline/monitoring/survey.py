"""One look at everything: what was measured, what the history adds, and what is judged of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daybreak_pipeline import database, settings
from daybreak_pipeline.monitoring import (
    bloat,
    certificates,
    history,
    measure,
    pools,
    statements,
    surroundings,
    thresholds,
)
from daybreak_pipeline.monitoring.history import Past
from daybreak_pipeline.monitoring.metrics import Measurement
from daybreak_pipeline.monitoring.statements import Statements
from daybreak_pipeline.monitoring.thresholds import Judgement
from daybreak_pipeline.pooler import presence

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings

_STATES = {"passed": 0, "WARN": 1, "ERROR": 2, "none": -1}
_FACTS = """
    SELECT statement_timestamp() AS at, current_database() AS database, session_user::text AS role,
           current_setting('server_version') AS version
"""


@dataclass(frozen=True)
class _Facts:
    at: datetime
    database: str
    role: str
    version: str


@dataclass(frozen=True)
class Health:
    """The server at one moment.

    ``news`` are the checks whose ERROR has not been told within the last hour of the same day; empty where nothing was kept.
    """

    at: datetime
    database: str
    role: str
    version: str
    environment: str
    measurements: tuple[Measurement, ...]
    judgements: tuple[Judgement, ...]
    statements: Statements
    past: Past
    news: frozenset[str] = frozenset()

    def of(self, metric: str) -> list[Measurement]:
        """Return the measurements of a metric."""
        return [m for m in self.measurements if m.metric == metric]

    def value(self, metric: str) -> float | None:
        """Return the value of a metric that is measured once; None where it is not known."""
        return next((m.value for m in self.of(metric)), None)

    def failing(self) -> list[Judgement]:
        """Return what is wrong, the worst first."""
        found = [j for j in self.judgements if j.state in {"WARN", "ERROR"}]
        return sorted(found, key=lambda judgement: judgement.state)


def look(db: DatabaseSettings, *, keep: bool = False) -> Health:
    """Return how the server is, now.

    Args:
        db: its database with the tables.
        keep: whether to write it down for the trends of later looks.

    Raises:
        ServerUnavailableError: the server does not answer.
        UsageError: it refuses the login.
    """
    with database.connect(db, autocommit=True) as connection:
        facts = database.one(connection, _Facts, _FACTS)
        assert facts is not None  # noqa: S101 - a query without FROM has one row
        slowest = statements.read(connection)
        found = [
            *measure.from_server(connection, dagster=settings.dagster_database(db).name),
            *bloat.read(connection),
            *slowest.measurements(),
            *pools.read(presence.watched(db)),
            *certificates.read(db, facts.at),
            *surroundings.disk(connection),
            *surroundings.imports(connection),
            *surroundings.backups(surroundings.known_backups(), datetime.now(UTC)),
        ]
        if keep:
            history.keep(connection, facts.at, found)
        found += history.trends(connection, facts.at, found)
        judged = thresholds.judge(found, role=facts.role)
        news: frozenset[str] = frozenset()
        states = [Measurement("check_state", _STATES[j.state], {"check": j.check}) for j in judged]
        if keep:
            errors = {j.check for j in judged if j.state == "ERROR"}
            news = frozenset(errors - history.already_told(connection, facts.at))
            history.keep(connection, facts.at, states)
        past = history.past(connection, facts.at)
    return Health(
        facts.at,
        facts.database,
        facts.role,
        facts.version,
        settings.environment(),
        (*found, *states),
        tuple(judged),
        slowest,
        past,
        news,
    )
