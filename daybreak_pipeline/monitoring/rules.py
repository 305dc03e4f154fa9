"""The alert rules for Prometheus and the dashboard for Grafana, made of the thresholds and metrics.

The files in ``prometheus`` are what these functions return; ``python -m daybreak_pipeline.monitoring`` writes them again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from daybreak_pipeline.monitoring.exposition import INFO, NOT_KNOWN, PREFIX, UP
from daybreak_pipeline.monitoring.metrics import METRICS, NOT_PERMITTED, NOT_VISIBLE
from daybreak_pipeline.monitoring.thresholds import HIDDEN, THRESHOLDS, Threshold
from daybreak_pipeline.runbooks import Runbook

DIRECTORY = Path(__file__).with_name("prometheus")
RULES, DASHBOARD = "daybreak-alerts.yml", "daybreak-dashboard.json"
_HOLDS = "2m"
_WIDTH, _HEIGHT, _ACROSS = 8, 7, 24
_PANELS: tuple[tuple[str, str, str, str], ...] = (
    # title, expression, unit, legend
    ("Connections by state", f"sum by (state) ({PREFIX}connections)", "short", "{{state}}"),
    ("Connections of roles with a limit", f"{PREFIX}role_connections_used_ratio", "percentunit", "{{role}}"),
    ("Connections used", f"{PREFIX}connections_used_ratio", "percentunit", "used"),
    ("Wait for a connection of PgBouncer", f"{PREFIX}pool_wait_seconds", "s", "{{database}} {{role}}"),
    (
        "Longest",
        f'{{__name__=~"{PREFIX}(longest_transaction|idle_in_transaction|lock_wait|longest_import)_seconds"}}',
        "s",
        "{{__name__}}",
    ),
    ("Size of databases", f"{PREFIX}database_bytes", "bytes", "{{database}}"),
    ("Ten biggest tables", f"topk(10, {PREFIX}table_bytes)", "bytes", "{{table}}"),
    ("Disk: free", f"{PREFIX}disk_free_bytes", "bytes", "free"),
    ("Days until the disk is full", f"{PREFIX}disk_full_days", "d", "days"),
    ("Dead rows", f"topk(10, {PREFIX}table_dead_rows)", "short", "{{table}}"),
    ("Empty space in tables", f"topk(10, {PREFIX}table_bloat_bytes)", "bytes", "{{table}} by {{by}}"),
    ("Empty space in indexes", f"topk(10, {PREFIX}index_bloat_bytes)", "bytes", "{{index}}"),
    (
        "Cache hits",
        f"rate({PREFIX}block_hits_total[1h]) / (rate({PREFIX}block_hits_total[1h]) + rate({PREFIX}block_reads_total[1h]))",
        "percentunit",
        "hits",
    ),
    ("WAL", f"rate({PREFIX}wal_bytes_total[15m])", "Bps", "written"),
    ("Temporary files", f"rate({PREFIX}temporary_bytes_total[15m])", "Bps", "written"),
    (
        "Checkpoints an hour that came early",
        f"3600 * rate({PREFIX}checkpoints_requested_total[1h])",
        "short",
        "requested",
    ),
    ("Segments that wait to be archived", f"{PREFIX}archive_waiting_files", "short", "waiting"),
    ("WAL that replication slots keep", f"{PREFIX}slot_retained_bytes", "bytes", "{{slot}}"),
    ("WAL that replication slots are behind", f"{PREFIX}slot_lag_bytes", "bytes", "{{slot}}"),
    ("Standbys are behind", f"{PREFIX}standby_lag_seconds", "s", "{{standby}}"),
    ("Transaction ids in use", f"max by (database) ({PREFIX}transaction_id_age)", "short", "{{database}}"),
    (
        "Slowest statements",
        f"topk(10, rate({PREFIX}statement_seconds_total[15m]))",
        "percentunit",
        "{{statement}}",
    ),
    ("Age of the last import", f"{PREFIX}import_age_seconds", "s", "{{table}}"),
    ("Records in quarantine", f"{PREFIX}quarantined_records", "short", "{{table}}"),
    (
        "Age of backup and drill",
        f'{{__name__=~"{PREFIX}backup_(age|drill_age)_seconds"}}',
        "s",
        "{{__name__}}",
    ),
)


def alert_rules() -> str:
    """Return the rules in Prometheus' YAML: texts are written as JSON, which YAML includes."""
    rules = [
        _rule(
            "DaybreakServerGone", f"{UP} == 0 or absent({UP})", "critical", "The server does not answer.",
            "look at the server, and at what scrapes it", Runbook.SERVER_GONE,
        ),
        _rule(
            "DaybreakNotPermitted", f'count by (reason) ({NOT_KNOWN}{{reason="{NOT_PERMITTED}"}}) > 0', "warning",
            f"{HIDDEN.wants} Not so now.", HIDDEN.remedy, HIDDEN.runbook,
        ),
        *(rule for threshold in THRESHOLDS for rule in _rules(threshold)),
    ]  # fmt: skip
    return "\n".join([_HEAD, *rules])


_HEAD = """\
# Made of daybreak_pipeline/monitoring/thresholds.py: python -m daybreak_pipeline.monitoring writes it again.
groups:
  - name: daybreak
    rules:"""


def _rules(threshold: Threshold) -> list[str]:
    metric, sign, opposite = (
        f"{PREFIX}{threshold.metric}",
        "<" if threshold.below else ">=",
        ">=" if threshold.below else "<",
    )
    name = "Daybreak" + "".join(word.capitalize() for word in threshold.check.split("_"))
    what = f"{threshold.wants} Not so now."
    found = []
    if threshold.warn is not None:
        up_to = "" if threshold.error is None else f" {opposite} {threshold.error:g}"
        expression = f"{metric} {sign} {threshold.warn:g}{up_to}"
        found.append(_rule(name, expression, "warning", what, threshold.remedy, threshold.runbook))
    if threshold.error is not None:
        expression = f"{metric} {sign} {threshold.error:g}"
        found.append(_rule(name, expression, "critical", what, threshold.remedy, threshold.runbook))
    if threshold.missing != "none":
        unknown = f'{NOT_KNOWN}{{metric="{threshold.metric}",reason!="{NOT_VISIBLE}"}} == 1'
        found.append(_rule(f"{name}NotKnown", unknown, "warning", what, threshold.remedy, threshold.runbook))
    return found


def _rule(name: str, expression: str, severity: str, what: str, remedy: str, runbook: Runbook) -> str:  # noqa: PLR0913, PLR0917 - the parts of a rule
    described = f"{{{{ $labels }}}}: {{{{ $value | humanize }}}}. What to do: {remedy}; {runbook.see}"
    return f"""\
      - alert: {name}
        expr: {json.dumps(expression)}
        for: {_HOLDS}
        labels:
          severity: {severity}
        annotations:
          summary: {json.dumps(what)}
          description: {json.dumps(described, ensure_ascii=False)}
          runbook: {json.dumps(runbook.page)}
"""


def dashboard() -> str:
    """Return the dashboard as JSON that Grafana imports; it asks which Prometheus it is for."""
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    states = _panel(
        1, "Checks", f"{PREFIX}check_state", source, kind="table", unit="short", legend="{{check}}"
    )
    states["targets"][0] |= {"format": "table", "instant": True}
    states["gridPos"] = {"x": 0, "y": 0, "w": _ACROSS, "h": _HEIGHT}
    panels = [states]
    for number, (title, expression, unit, legend) in enumerate(_PANELS):
        panel = _panel(number + 2, title, expression, source, kind="timeseries", unit=unit, legend=legend)
        row, column = divmod(number, _ACROSS // _WIDTH)
        panel["gridPos"] = {"x": column * _WIDTH, "y": (row + 1) * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
        panels.append(panel)
    whole = {
        "__inputs": [
            {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}
        ],
        "uid": "daybreak-server",
        "title": "Daybreak: is the server healthy, and how long will it last?",
        "tags": ["daybreak", "postgresql"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "templating": {"list": []},
        "description": f"Made of metrics of `daybreak metrics`; {INFO} says which server it is.",
        "panels": panels,
    }
    return json.dumps(whole, indent=2) + "\n"


def _panel(  # noqa: PLR0913 - the parts of a panel
    number: int, title: str, expression: str, source: dict[str, str], *, kind: str, unit: str, legend: str
) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "title": title,
        "description": METRICS[found].meaning if (found := expression.removeprefix(PREFIX)) in METRICS else "",
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {},
        "targets": [{"refId": "A", "datasource": source, "expr": expression, "legendFormat": legend}],
    }  # fmt: skip


def files() -> dict[str, str]:
    """Return the files by name, as they should be."""
    return {RULES: alert_rules(), DASHBOARD: dashboard()}
