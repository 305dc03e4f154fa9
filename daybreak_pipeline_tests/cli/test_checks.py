"""``daybreak checks`` and ``daybreak quarantine export``: from a finding to one that is accepted, or sent back."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of, one_line
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.exports import Export, record

WHY = "labels of old forms; the sender mends them"
TOMORROW = str(datetime.now(UTC).date() + timedelta(days=1))


@pytest.fixture
def given(migrated: DatabaseSettings, tmp_path: Path) -> Environment:
    """What to set for a migrated database of the test's own."""
    return environment_of(migrated, tmp_path / "home")


@pytest.mark.slow
def test_accepted_by_a_command_and_shown_everywhere_until_it_is_reopened(
    given: Environment, export: Export, tmp_path: Path
) -> None:
    export.write("documents", record("documents", "good"), record("documents", "bad", label=None))
    imported = ("import", "--json", "--data-dir", export.directory, "--only", "documents")
    first = json.loads(daybreak(given, *imported).stdout)["checks"]["documents"]["required_values"]
    assert first == {"passed": False, "severity": "ERROR", "count": 1}
    named = ("documents", "required_values")
    done = daybreak(given, "checks", "accept", *named, "--until", TOMORROW, "--why", WHY)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[0] == f"accepted: documents.required_values: 1 until {TOMORROW}"
    assert "data-quality report: " in done.stderr
    assert WHY not in done.stdout + done.stderr

    page = (tmp_path / "home" / "reports" / "latest.html").read_text(encoding="utf-8")
    assert WHY in page
    (listed,) = [
        one for one in json.loads(daybreak(given, "checks", "list", "--json").stdout) if one["accepted"]
    ]
    assert (listed["table"], listed["check"], listed["state"], listed["count"]) == (*named, "accepted", 1)
    assert [(one["why"], one["until"], one["count"]) for one in listed["accepted"]] == [(WHY, TOMORROW, 1)]
    status = json.loads(daybreak(given, "status", "--json").stdout)["tables"]["documents"]
    assert "required_values" not in status["failed_checks"]
    again = json.loads(daybreak(given, *imported, "--full").stdout)["checks"]["documents"]["required_values"]
    assert again == {"passed": True, "severity": "WARN", "count": 1, "accepted": True}
    assert "1 accepted (daybreak checks list)" in daybreak(given, "check").stdout

    assert daybreak(given, "checks", "reopen", *named).returncode == 0
    status = json.loads(daybreak(given, "status", "--json").stdout)["tables"]["documents"]
    assert "required_values" in status["failed_checks"]
    lines = export.connection.execute(
        "SELECT action, changed_columns FROM audit.changes WHERE table_name = 'accepted_findings' ORDER BY id"
    ).fetchall()
    assert lines == [("INSERT", None), ("UPDATE", ["reopened_at", "reopened_by"])]


@pytest.mark.parametrize(
    ("arguments", "why_not"),
    [
        (("documents", "--why", "x"), "name a table and a check, or --all in place of the check"),
        (("documents", "orphans", "--all", "--why", "x"), "name a table and a check, or --all"),
        (("documents", "orphans", "--why", "x"), "documents.orphans has no result: run daybreak check first"),
        (("documents", "--all", "--why", "x"), "no check of documents fails that could be accepted"),
    ],
)
def test_what_cannot_be_accepted_is_one_line(
    given: Environment, arguments: tuple[str, ...], why_not: str
) -> None:
    assert why_not in one_line(daybreak(given, "checks", "accept", *arguments))


def test_no_key_is_needed(given: Environment) -> None:
    without = given | {"ENCRYPTION_KEY": ""}
    assert daybreak(without, "checks", "list").stdout == "open: 0, accepted: 0\n"
    for command in (("accept", "--why", "x"), ("reopen",)):
        name, *more = command
        said = one_line(daybreak(without, "checks", name, "documents", "orphans", *more))
        assert "has no result" in said or "nothing is accepted" in said


@pytest.mark.slow
def test_from_all_findings_of_the_sample_to_none(given: Environment) -> None:
    sample = PROJECT_ROOT / "data" / "sample"
    daybreak(given, "import", "--data-dir", sample)
    before = json.loads(daybreak(given, "checks", "list", "--json").stdout)
    assert len(before) > 50
    assert {one["state"] for one in before} == {"ERROR", "WARN"}  # it ships with none accepted
    done = daybreak(given, "checks", "accept", "--all", "--why", "the sample's planted faults")
    assert done.stdout.splitlines()[-1] == "can today's data be trusted: yes"
    after = json.loads(daybreak(given, "checks", "list", "--json").stdout)
    assert {one["state"] for one in after} == {"accepted"}
    assert len(after) == len(before)
    assert "these found something" not in daybreak(given, "check").stdout
    first = after[0]
    done = daybreak(given, "checks", "reopen", first["table"], first["check"])
    assert done.stdout.splitlines()[-1] != "can today's data be trusted: yes"


# --- What is sent back ------------------------------------------------------------------------------------


def test_what_is_sent_back_names_file_record_column_and_reason(
    given: Environment, export: Export, tmp_path: Path
) -> None:
    canary = {"first_name": "Kanarie", "phone": "+19995550147"}
    export.load(
        "patients_and_guardians",
        record("patients_and_guardians", "good", **canary),
        record("patients_and_guardians", "bad", **canary | {"account_status": "Kanarie", "user_type": None}),
        record("patients_and_guardians", "worse", **canary | {"created_at": "Kanarie"}),
    )
    export.connection.commit()
    out = tmp_path / "back.csv"
    done = daybreak(given, "quarantine", "export", "--table", "patients_and_guardians", "--out", out)
    assert done.returncode == 0, done
    text = out.read_text(encoding="utf-8")
    assert "kanarie" not in text.lower()
    assert "9995550147" not in text
    lines = list(csv.DictReader(text.splitlines()))
    assert list(lines[0]) == ["file", "record", "column", "reason", "detail"]
    assert {line["file"] for line in lines} == {"patients_and_guardians_anonymized.csv"}
    refused = export.refused("patients_and_guardians")
    assert [(int(line["record"]), line["reason"], line["column"]) for line in lines] == [
        (number, code, column)
        for number, reasons in refused
        for code, column in sorted(reasons, key=lambda r: r[1] or "")
    ]
    assert done.stdout.endswith(f"{len(lines)} lines, one for each reason\n")
    only = ("--table", "patients_and_guardians", "--reason", "invalid_enum", "--out", out)
    daybreak(given, "quarantine", "export", *only)
    assert {line["reason"] for line in csv.DictReader(out.read_text().splitlines())} <= {"invalid_enum"}


def test_a_file_that_cannot_be_written_is_one_line(given: Environment, tmp_path: Path) -> None:
    out = tmp_path / "no" / "back.csv"
    done = daybreak(given, "quarantine", "export", "--table", "documents", "--out", out)
    assert f"cannot write {out}: No such file or directory" in one_line(done)
