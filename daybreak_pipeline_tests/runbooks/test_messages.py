"""Whatever operations say when something is wrong names the page that helps: refusals, alerts, checks, thresholds, rules.

Refusals and alerts are found in the source, checks in the definitions, rules in their file: what is new is looked at too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]  # comes with dagster, without types

import daybreak_pipeline
from daybreak_pipeline.backups.drill import Drill
from daybreak_pipeline.backups.make import Archiver
from daybreak_pipeline.definitions import defs
from daybreak_pipeline.monitoring import rules, thresholds
from daybreak_pipeline.monitoring.metrics import METRICS, NOT_PERMITTED, Measurement
from daybreak_pipeline.orchestration import alerts
from daybreak_pipeline.orchestration.jobs import JOBS
from daybreak_pipeline.runbooks import Runbook
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.tables import TABLES

PACKAGE = Path(daybreak_pipeline.__file__).parent
WATCHED = ("backups", "supervision", "monitoring", "maintenance", "pooler")
FILES = sorted(path for folder in WATCHED for path in (PACKAGE / folder).rglob("*.py")) + [
    PACKAGE / "embedded_postgres" / name for name in ("archiving.py", "pgbackrest.py")
]
NEEDS_NO_PAGE = {
    "a service's name is made of": "what was typed is wrong",
    "a service of the machine needs root": "what was typed is wrong",
    "nothing to remove": "what was typed is wrong",
    "daybreak up runs already": "says where the other one is",
    "maintenance gives way to it": "nothing has to be done",
}
"""Messages without a page, by words of theirs, and why."""


@dataclass(frozen=True)
class Said:
    """A place in the source where somebody is told something: the words there, and whether they name a page."""

    where: str
    text: str
    names_a_page: bool


def _sources(node: ast.AST, around: ast.AST, module: ast.Module, depth: int = 3) -> Iterator[ast.AST]:
    """Yield an expression, and what its names stand for: assignments around it, constants and functions of the module."""
    yield node
    if not depth:
        return
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    called = {
        one.func.id if isinstance(one.func, ast.Name) else getattr(one.func, "attr", "")
        for one in ast.walk(node)
        if isinstance(one, ast.Call)
    }
    for one in ast.walk(around):
        if isinstance(one, ast.Assign) and {t.id for t in one.targets if isinstance(t, ast.Name)} & names:
            yield from _sources(one.value, around, module, depth - 1)
    for top in module.body:
        if isinstance(top, ast.Assign) and {t.id for t in top.targets if isinstance(t, ast.Name)} & names:
            yield top.value
    for one in ast.walk(module):
        if isinstance(one, ast.FunctionDef) and one is not around and one.name in called:
            yield one


def _said(path: Path, line: int, node: ast.AST, around: ast.AST, module: ast.Module) -> Said:
    found = list(_sources(node, around, module))
    text = " ".join(
        one.value
        for source in found
        for one in ast.walk(source)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    )
    pages = any(
        isinstance(one, ast.Attribute) and one.attr == "see" for source in found for one in ast.walk(source)
    )
    return Said(f"{path.relative_to(PACKAGE)}:{line}", text, pages)


def _errors(module: ast.Module) -> set[str]:
    """Return the names of our error classes in a module: imported, or made there."""
    imported = {
        alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("daybreak_pipeline")
        for alias in node.names
    }
    made = {node.name for node in ast.walk(module) if isinstance(node, ast.ClassDef)}
    return {name for name in imported | made if name.endswith("Error")}


def messages(path: Path) -> Iterator[Said]:
    """Yield each error of ours that a module makes, and each alert that it sends."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    errors = _errors(module)
    for around in ast.walk(module):
        if not isinstance(around, ast.FunctionDef):
            continue
        for node in ast.walk(around):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in errors or name in {"_send", "_alert"}:
                yield _said(path, node.lineno, node.args[0], around, module)


SAID = list({said.where: said for path in FILES for said in messages(path)}.values())


def test_the_messages_are_found() -> None:
    assert len(SAID) > 40
    assert {said.where.split("/")[0] for said in SAID} >= {"backups", "supervision", "maintenance", "pooler"}
    assert any("Daybreak: daybreak up has ended" in said.text for said in SAID), "an alert"


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.where)
def test_every_refusal_and_alert_names_a_page(said: Said) -> None:
    excused = [words for words in NEEDS_NO_PAGE if words in said.text]
    assert said.names_a_page or excused, f"{said.where} says {said.text!r} and names no page"


@pytest.mark.parametrize("words", NEEDS_NO_PAGE)
def test_what_is_excused_is_still_said(words: str) -> None:
    assert any(words in said.text and not said.names_a_page for said in SAID)


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("msg = 'it is broken'\n    raise UsageError(msg)", False),
        ("msg = f'it is broken; {Runbook.DISK_FULL.see}'\n    raise UsageError(msg)", True),
        ("raise UsageError(f'{_WHY}')", True),
        ("raise UsageError(self._words())", False),
    ],
)
def test_a_refusal_without_a_page_would_be_found(tmp_path: Path, statement: str, names: bool) -> None:
    file = PACKAGE / "backups" / "made_up.py"
    source = (
        "from daybreak_pipeline.errors import UsageError\n_WHY = Runbook.DISK_FULL.see\n"
        f"def refuse(self):\n    {statement}\n"
    )
    copy = tmp_path / file.name
    copy.write_text(source)
    module = ast.parse(source)
    (call,) = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UsageError"
    ]
    assert _said(file, 1, call.args[0], module.body[-1], module).names_a_page is names


# --- What is said while it runs ----------------------------------------------------------------------------


def is_there(page: object) -> bool:
    return isinstance(page, str) and page in {one.page for one in Runbook} and (PROJECT_ROOT / page).is_file()


def test_every_check_of_operations_names_a_page() -> None:
    specs = [
        spec
        for one in [*(defs.asset_checks or []), *(defs.assets or [])]
        if isinstance(one, dg.AssetsDefinition)
        for spec in one.check_specs
        if spec.asset_key.path[-1] not in TABLES
    ]
    assert {spec.name for spec in specs} >= {"backup_is_restorable", "disk_free", "everything_is_visible"}
    assert {spec.name for spec in specs if not is_there(spec.metadata.get("runbook"))} == set()


@pytest.mark.parametrize("threshold", thresholds.CHECKS, ids=lambda one: one.check)
def test_every_threshold_that_is_crossed_ends_with_its_page(threshold: thresholds.Threshold) -> None:
    labels = (
        dict.fromkeys(METRICS[threshold.metric].labels, "x") if threshold is not thresholds.HIDDEN else {}
    )
    worst = -1.0 if threshold.below else 1e15
    found = (
        [Measurement("connections_used", None, note=NOT_PERMITTED)]
        if threshold is thresholds.HIDDEN
        else [Measurement(threshold.metric, worst, labels)]
    )
    (judged,) = [one for one in thresholds.judge(found, role="somebody") if one.threshold is threshold]
    assert judged.state in {"WARN", "ERROR"}
    assert judged.summary.endswith(threshold.runbook.see)
    assert is_there(threshold.runbook.page)
    if threshold.missing != "none":
        (judged,) = thresholds.judge(
            [Measurement(threshold.metric, None, labels, "unknown")], role="somebody", limits=[threshold]
        )[:1]
        assert judged.summary.endswith(threshold.runbook.see)


def test_every_rule_of_prometheus_names_a_page() -> None:
    groups = yaml.safe_load((rules.DIRECTORY / rules.RULES).read_text(encoding="utf-8"))["groups"]
    alerting = [rule for group in groups for rule in group["rules"]]
    assert len(alerting) > 30
    for rule in alerting:
        assert is_there(rule["annotations"]["runbook"]), rule["alert"]
        assert rule["annotations"]["description"].endswith(f"see {rule['annotations']['runbook']}"), rule[
            "alert"
        ]


@pytest.mark.parametrize("of_dump", [False, True])
@pytest.mark.parametrize("why", ["it is broken", f"the disk is full; {Runbook.DISK_FULL.see}"])
def test_a_failed_drill_names_one_page(why: str, of_dump: bool) -> None:
    found = str(Drill(datetime.now(UTC), problems=[why], of_dump=of_dump))
    assert found.startswith("a dump of the server" if of_dump else "the newest backup")
    assert found.count("docs/runbooks/") == 1


@pytest.mark.parametrize("archiver", [Archiver(9, True, ""), Archiver(9, False, "2026-03-04T05:06:07Z")])
def test_an_archive_that_does_not_work_names_a_page(archiver: Archiver) -> None:
    assert Runbook.is_named_in(str(archiver))


@pytest.mark.parametrize("job", [job.name for job in JOBS])
@pytest.mark.parametrize("failed", [True, False])
def test_an_alert_about_a_run_names_a_page(job: str, failed: bool) -> None:
    checks: dict[str, int | str] = {} if failed else {"organizations.valid_enums": 1}
    told = alerts.message(dg.DagsterRun(job_name=job), alerts.Trouble([], [], checks), failed=failed)
    assert Runbook.is_named_in(told)


def test_an_alert_about_a_check_that_names_its_page_names_no_other() -> None:
    found = alerts.Trouble(
        [], [], {"backup_drill.backup_is_restorable": f"it is broken; {Runbook.LOST_KEY.see}"}
    )
    told = alerts.message(dg.DagsterRun(job_name="restore_drill"), found, failed=False)
    assert told.count("docs/runbooks/") == 1
