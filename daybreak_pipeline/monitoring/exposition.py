"""What was measured, in Prometheus' text format. Every metric is declared in it, also one that has no value now."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daybreak_pipeline import database
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.monitoring import survey
from daybreak_pipeline.monitoring.metrics import METRICS, NOT_PERMITTED, NOT_VISIBLE

if TYPE_CHECKING:
    from daybreak_pipeline.monitoring.survey import Health

PREFIX = "daybreak_"
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
UP = f"{PREFIX}up"
INFO = f"{PREFIX}server_info"
NOT_KNOWN = f"{PREFIX}not_known"
_REASONS = (NOT_PERMITTED, NOT_VISIBLE)
_KEPT_SECONDS = 5.0


class _Measured(Collector):
    """The families of one look; of none where the server does not answer."""

    def __init__(self, health: Health | None) -> None:
        self.health = health

    def collect(self) -> Iterable[Metric]:
        """Yield every family, for prometheus-client."""
        yield _gauge(UP, "1 where the server answers.", value=1.0 if self.health else 0.0)
        if self.health is None:
            return
        info = GaugeMetricFamily(
            INFO, "The server and the installation.", labels=("version", "environment", "database")
        )
        info.add_metric([self.health.version, self.health.environment, self.health.database], 1)
        yield info
        yield from _families(self.health)
        yield _not_known(self.health)


def text(health: Health | None) -> str:
    """Return a look in Prometheus' text format; None says that the server does not answer."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(health))
    return generate_latest(registry).decode()


def _families(health: Health) -> Iterator[Metric]:
    for metric in METRICS.values():
        kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
        family = kind(f"{PREFIX}{metric.name}", metric.meaning, labels=metric.labels)
        for one in health.of(metric.name):
            if one.value is not None:
                family.add_metric([one.labels.get(label, "") for label in metric.labels], one.value)
        yield family


def _not_known(health: Health) -> Metric:
    """Return what has no value, and why: where nobody said so, one would take a metric that is missing for a good one."""
    family = GaugeMetricFamily(
        NOT_KNOWN,
        "1 for each metric that has no value: not permitted, not visible, or not known.",
        labels=("metric", "reason"),
    )
    unknown = {
        (m.metric, m.note if m.note in _REASONS else "not known")
        for m in health.measurements
        if m.value is None
    }
    for names in sorted(unknown):
        family.add_metric(list(names), 1)
    return family


def _gauge(name: str, meaning: str, *, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)


class Exporter:
    """Answers scrapes: one look at a time, and the same answer for whoever asks again within a few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._text = ""

    def answer(self) -> str:
        """Return the metrics of now; ``daybreak_up 0`` where the server does not answer."""
        with self._lock:
            if time.monotonic() - self._at > _KEPT_SECONDS:
                self._text = text(self._look())
                self._at = time.monotonic()
            return self._text

    @staticmethod
    def _look() -> Health | None:
        try:
            with database.serving() as db:
                return survey.look(db)
        except DaybreakError:
            return None
