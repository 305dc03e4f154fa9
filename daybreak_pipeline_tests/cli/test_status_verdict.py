"""``daybreak status`` and ``report`` on what was delivered and refused: without a key, and over a missing migration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daybreak_pipeline.report.verdict import IMPORT
from daybreak_pipeline.schema import runner
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import export_dir, given  # noqa: F401 - fixtures
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.report.pages import Page


def problems(environment: Environment, table: str | None) -> list[dict[str, Any]]:
    """Return what the verdict says of a table's imports, or of the environment."""
    done = daybreak(environment, "status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)["verdict"]
    assert set(answer) == {"answer", "why", "problems"}
    return [
        one for one in answer["problems"] if one["table"] == table and (not table or one["check"] == IMPORT)
    ]


def test_a_file_that_a_missing_migration_refuses_is_no_yes_and_is_over_with_it(
    given: Environment,  # noqa: F811 - fixture
    export_dir: Path,  # noqa: F811 - fixture
    migrated: DatabaseSettings,
) -> None:
    arguments = ("import", "--only", "documents", "--data-dir", export_dir)
    assert daybreak(given, *arguments).returncode == 0
    keyless = given | {"ENCRYPTION_KEY": ""}
    assert problems(keyless, "documents") == problems(keyless, None) == []

    runner.downgrade(migrated, str(int(runner.newest_revision()) - 1))
    path = export_dir / "documents.csv"
    path.write_bytes(path.read_bytes().replace(b"privacy_policy", b"terms_of_usage"))
    assert daybreak(given, *arguments).returncode == 2
    (found,) = problems(keyless, "documents")
    assert (found["severity"], found["kind"]) == ("ERROR", "environment")
    assert found["what"].startswith(
        "documents.csv was delivered and is not loaded: the database has migration "
    )
    assert found["commands"] == [f"daybreak import --only documents --data-dir {export_dir}"]
    assert [one["check"] for one in problems(keyless, None)] == ["migrations"]
    done = daybreak(keyless, "status", "--fail-on", "error")
    assert done.returncode == 2
    assert done.stdout.startswith("Can the data be trusted? No: ")
    assert "a migration is not applied" in done.stdout.splitlines()[0]
    assert daybreak(keyless, "report").returncode == 0
    page = Page.read((Path(given["DAYBREAK_HOME"]) / "reports" / "latest.html").read_text(encoding="utf-8"))
    assert "delivered and not loaded: documents" in page.verdict()
    assert "documents.csv was delivered" in page.one("section", id="documents").text

    runner.upgrade(migrated)
    assert daybreak(given, *arguments).returncode == 0
    assert problems(keyless, "documents") == problems(keyless, None) == []
    assert (
        daybreak(keyless, "status", "--fail-on", "error").returncode == 1
    )  # most tables were never imported


@pytest.mark.slow
def test_an_absent_file_that_is_there_again_is_no_longer_absent(
    given: Environment,  # noqa: F811 - fixture
    export_dir: Path,  # noqa: F811 - fixture
) -> None:
    arguments = ("import", "--only", "documents", "--data-dir", export_dir)
    (export_dir / "kinships.csv").write_text(
        "id\n", encoding="utf-8"
    )  # a directory with no file at all is no export
    assert daybreak(given, *arguments).returncode == 0
    away = (export_dir / "documents.csv").rename(export_dir / "docments.csv")
    assert daybreak(given, *arguments).returncode == 1
    done = daybreak(given, "status").stdout
    assert "absent documents: no file of it since" in done
    assert "WARN documents: docments.csv belongs to no table and was not read; it resembles documents" in done
    away.rename(export_dir / "documents.csv")
    done = daybreak(given, "status").stdout
    assert "absent" not in done
    assert "docments" not in done


@pytest.mark.slow
def test_checks_need_no_key_and_say_what_they_did_not_look_at(given: Environment) -> None:  # noqa: F811 - fixture
    done = daybreak(given | {"ENCRYPTION_KEY": ""}, "check")
    assert done.returncode == 1  # nothing was imported
    assert "ENCRYPTION_KEY is not set" not in done.stderr
