"""The TypeScript types of ``daybreak models`` compile, and say what the driver pg returns and takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests import node
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.node import needs_node
from daybreak_pipeline_tests.privacy.test_roles import APP, login

_OPTIONS = (
    "--strict",
    "--noUncheckedIndexedAccess",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--types",
    "node",
)


@pytest.mark.slow
@needs_node
def test_types_say_what_the_driver_returns(db: DatabaseSettings, written: Path) -> None:
    node.prepare(written)
    (written / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    shutil.copy(Path(__file__).with_name("uses.ts"), written)
    compiled = node.compiled(written, *_OPTIONS, "uses.ts")
    assert compiled.returncode == 0, compiled.stdout
    role = login(db, APP)
    url = f"postgres://{role.user}:{role.password}@{role.host}:{role.port}/{role.name}"
    done = node.run(written, "uses.js", environment={"URL": url, "KEY": KEY})
    assert done.returncode == 0, done.stderr
    answers = dict(line.split(": ") for line in done.stdout.splitlines())
    assert len(answers) == 15
    assert {what for what, holds in answers.items() if holds != "true"} == set()
