"""Prometheus' format, the alert rules and the dashboard: they fit each other, and the programs that read them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]  # comes with dagster, without types
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from daybreak_pipeline.cli.main import main
from daybreak_pipeline.monitoring import exposition, rules, survey
from daybreak_pipeline.monitoring.metrics import METRICS
from daybreak_pipeline.monitoring.thresholds import THRESHOLDS
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.promtool import needs_promtool

NAME = re.compile(r"\bdaybreak_[a-z_]+")


@pytest.fixture
def output(migrated: DatabaseSettings) -> str:
    return exposition.text(survey.look(migrated))


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return every sample by the name that a query uses, and an empty list for what is only declared."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        suffix = "_total" if family.type == "counter" else ""
        found[f"{family.name}{suffix}"] = [(sample.labels, sample.value) for sample in family.samples]
    return found


def expressions() -> list[str]:
    panels = json.loads(rules.dashboard())["panels"]
    groups = yaml.safe_load(rules.alert_rules())["groups"]
    return [
        *(str(target["expr"]) for panel in panels for target in panel["targets"]),
        *(str(rule["expr"]) for group in groups for rule in group["rules"]),
    ]


def named(expression: Any) -> set[str]:
    """Return every name that an expression selects by, with the names that a pattern may match."""
    return set(NAME.findall(str(expression)))


def test_every_number_is_in_the_output_with_its_labels(output: str) -> None:
    found = samples(output)
    assert {f"daybreak_{name}" for name in METRICS} <= set(found)
    assert found["daybreak_up"] == [({}, 1.0)]
    assert found["daybreak_connections_used"][0][1] >= 1
    assert {labels["table"] for labels, _ in found["daybreak_table_bytes"]} >= {"public.referrals"}
    assert ({"check": "connections"}, 0.0) in found["daybreak_check_state"]


def test_what_has_no_value_is_left_out_and_named(output: str) -> None:
    found = samples(output)
    assert found["daybreak_disk_full_days"] == []
    assert ({"metric": "disk_free_bytes", "reason": "not visible"}, 1.0) in found["daybreak_not_known"]
    assert ({"metric": "cache_hit_ratio", "reason": "not known"}, 1.0) in found["daybreak_not_known"]


def test_a_server_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DB_HOST": "127.0.0.1", "DB_PORT": "9", "DB_SSLMODE": "disable"}.items():
        monkeypatch.setenv(name, value)
    assert samples(exposition.Exporter().answer()) == {"daybreak_up": [({}, 0.0)]}


def test_two_scrapes_at_once_are_one_look(
    migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    exporter = exposition.Exporter()
    assert exporter.answer() == exporter.answer()


def test_the_command_prints_the_same(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["metrics"])
    assert done.exit_code == 0
    assert set(samples(done.output)) >= {f"daybreak_{name}" for name in METRICS}


def test_the_command_writes_the_files(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["metrics", "--files", str(tmp_path / "new")])
    assert done.output.splitlines() == [str(tmp_path / "new" / name) for name in rules.files()]
    assert {path.name: path.read_text("utf-8") for path in (tmp_path / "new").iterdir()} == rules.files()


def test_the_files_are_what_the_thresholds_say() -> None:
    """After a change: python -m daybreak_pipeline.monitoring."""
    assert {name: (rules.DIRECTORY / name).read_text("utf-8") for name in rules.files()} == rules.files()


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_expression_parses_and_names_metrics_that_there_are(expression: str) -> None:
    promql_parser.parse(expression)
    declared = {f"daybreak_{name}" for name in METRICS} | {
        exposition.UP,
        exposition.INFO,
        exposition.NOT_KNOWN,
    }
    patterns = re.findall(r'__name__=~"([^"]+)"', expression)
    assert not patterns or "rate(" not in expression, "the names are lost, and what is left is the same twice"
    for pattern in patterns:
        alternatives = re.search(r"\(([^)]+)\)", pattern)
        assert alternatives
        matched = [name for name in declared if re.fullmatch(pattern, name)]
        assert len(matched) == len(alternatives[1].split("|"))
        expression = expression.replace(pattern, "")
    assert named(expression) <= declared
    assert named(expression) or patterns


def test_a_wrong_expression_would_be_found() -> None:
    with pytest.raises(ValueError, match="unexpected"):
        promql_parser.parse("rate(daybreak_up)[5m")
    assert named("rate(daybreak_unheard_of[5m])") == {"daybreak_unheard_of"}


def test_every_threshold_is_a_rule_that_names_a_page() -> None:
    (group,) = yaml.safe_load(rules.alert_rules())["groups"]
    found = {rule["alert"] for rule in group["rules"]}
    names = {"Daybreak" + "".join(part.capitalize() for part in one.check.split("_")) for one in THRESHOLDS}
    assert names <= found
    for rule in group["rules"]:
        assert rule["annotations"]["runbook"].startswith("docs/runbooks/")
        assert rule["annotations"]["runbook"] in rule["annotations"]["description"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads(rules.dashboard())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for box in [panel["gridPos"]]
        for x in range(box["x"], box["x"] + box["w"])
        for y in range(box["y"], box["y"] + box["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_page_says_how_to_scrape() -> None:
    page = (PROJECT_ROOT / "docs" / "monitoring.md").read_text("utf-8")
    assert all(name in page for name in (*rules.files(), exposition.UP, exposition.NOT_KNOWN))


@pytest.mark.slow
@needs_promtool
def test_prometheus_itself_takes_the_rules_and_the_output(output: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(rules.DIRECTORY / rules.RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    linted = subprocess.run(
        ["promtool", "check", "metrics"], input=output, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stderr
