"""``daybreak audit`` as people meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from daybreak_pipeline.cli.main import main
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.privacy.conftest import ROLE


@pytest.fixture(autouse=True)
def _given(migrated: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    home = {"DAYBREAK_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path), "ENCRYPTION_KEY": KEY}
    for name, value in (migrated.environment() | home).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def changed(client: Connection) -> Connection:
    """A clinician who came, was renamed and left, and a document."""
    client.execute("INSERT INTO clinicians (id, first_name) VALUES (%s, 'Ada')", [uuid("ada")])
    client.execute("UPDATE clinicians SET first_name = 'Eva'")
    client.execute("DELETE FROM clinicians")
    client.execute("INSERT INTO documents (id, label) VALUES (%s, 'x')", [uuid("d")])
    return client


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


def shown(*arguments: str) -> list[dict[str, Any]]:
    done = run("show", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout))


@pytest.mark.usefixtures("changed")
def test_changes_are_listed_newest_first_without_a_value() -> None:
    done = run("show")
    assert done.exit_code == 0
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["when", "(UTC)", "action", "table", "row", "what", "who", "from"]
    assert [line.split()[2] for line in lines] == ["INSERT", "DELETE", "UPDATE", "INSERT"]
    assert f"first_name  {ROLE}  127.0.0.1 (intake form)" in lines[2]
    assert "Ada" not in done.output
    assert "Ada" not in json.dumps(shown())


@pytest.mark.usefixtures("changed")
def test_values_are_shown_when_asked_for() -> None:
    assert [line["before"] and line["before"].get("first_name") for line in shown("--values")] == [
        None,
        "Eva",
        "Ada",
        None,
    ]
    assert '"first_name": "Ada"' in run("show", "--values").stdout


def test_what_cannot_be_shown_says_why(changed: Connection, session: Connection) -> None:
    with changed.transaction():
        changed.execute("RESET daybreak.encryption_key")
        changed.execute("DELETE FROM documents")
    assert "(not kept: the session had no key)" in run("show", "--values").stdout
    session.execute("SELECT set_config('daybreak.rotation_xid', pg_current_xact_id()::text, true)")
    session.execute("UPDATE audit.changes SET before_encrypted = 'x' WHERE before_encrypted IS NOT NULL")
    session.commit()
    assert run("show", "--values").stdout.count("(sealed with another key)") == 2


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize(
    ("arguments", "actions"),
    [
        (("--table", "documents"), ["INSERT"]),
        (("--table", "clinicians", "--limit", "2"), ["DELETE", "UPDATE"]),
        (("--id", uuid("ada").upper()), ["DELETE", "UPDATE", "INSERT"]),
        (("--since", "2001-01-01", "--role", ROLE, "--limit", "1"), ["INSERT"]),
        (("--since", "2999-01-01"), []),
        (("--role", "nobody"), []),
    ],
)
def test_the_list_can_be_narrowed(arguments: tuple[str, ...], actions: list[str]) -> None:
    assert [line["action"] for line in shown(*arguments)] == actions
    assert ("no such change is on record" in run("show", *arguments).stdout) is (not actions)


@pytest.mark.usefixtures("changed")
def test_a_list_that_is_cut_says_so() -> None:
    assert "the newest 3: --limit shows more" in run("show", "--limit", "3").stdout
    assert "--limit" not in run("show").stdout


def test_old_months_are_dropped_only_when_told_so(session: Connection) -> None:
    assert run("prune").stdout == "nothing is older than 72 months\n"
    session.execute(
        "INSERT INTO audit.changes (changed_at, table_name, action, row_id) VALUES ('2001-05-05', 'documents', 'DELETE', 'x')"
    )
    session.commit()
    asked = run("prune")
    assert asked.exit_code == 2
    assert "in the audit trail older than 72 months: changes_2001_05: repeat with --yes" in asked.output
    assert len(shown()) == 1
    session.rollback()
    assert run("prune", "--yes").stdout == "dropped changes_2001_05, lines: 1\n"
    (left,) = shown()
    assert (left["action"], left["rows_deleted"]) == ("RETENTION", 1)


def test_a_hole_in_the_trail_is_seen_by_the_doctor(session: Connection) -> None:
    assert "audit trail: changes of every table are recorded" in CliRunner().invoke(main, ["doctor"]).output
    session.execute("ALTER TABLE kinships DISABLE TRIGGER audit_update")
    session.commit()
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 2
    assert "audit trail: triggers of the audit trail are missing or disabled on kinships" in done.output
