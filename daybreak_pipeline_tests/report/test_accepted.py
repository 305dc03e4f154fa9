"""What the report says of accepted findings, of what is new, of whom to ask, and of what waits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from daybreak_pipeline import importer
from daybreak_pipeline.checks.findings import Finding
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.database import Connection
from daybreak_pipeline.report import render, steps
from daybreak_pipeline.report.reasons import REASONS
from daybreak_pipeline.report.verdict import judge
from daybreak_pipeline_tests.report.pages import checked, everything_fine, facts, imported, page


def accepted(connection: Connection, table: str, check: str, until: str = "", **counts: int) -> None:
    """Accept a finding."""
    connection.execute(
        "INSERT INTO ingest.accepted_findings (table_name, check_name, counts, why, until, accepted_by) "
        "VALUES (%s, %s, %s, 'known since <May>', now()::date + %s::integer, 'account ann')",
        [table, check, json.dumps(counts), until or None],
    )


def found(connection: Connection, table: str, count: int, **options: object) -> None:
    """Let the check of orphans find something."""
    facts_of_it = {"hours_ago": -0.1, "counts": {"a": count}} | options
    checked(connection, table, "orphans", count, **facts_of_it)  # type: ignore[arg-type]


def test_an_accepted_finding_is_grey_and_the_answer_is_yes(session: Connection) -> None:
    everything_fine(session)
    found(session, "kinships", 3)
    accepted(session, "kinships", "orphans", until="7", a=3)
    read = page(session)
    assert (
        "Yes : all 16 tables are imported, and 255 of 256 checks passed; 1 finding is accepted"
        in read.verdict()
    )
    assert read.problems() == []
    cell = read.heat()["kinships"]["orphans"]
    assert (cell.attributes["class"], cell.text) == ("accepted", "○ 3")
    told = read.one("div", id="kinships-orphans").text
    assert re.search(
        r"3 accepted by account ann on \d{4}-\d\d-\d\d until \d{4}-\d\d-\d\d: known since <May>", told
    )
    assert "○ 3" in render.markdown(facts(session))
    assert (
        read.one("p", **{"class": "if-file"}).text
        == "Take that back: daybreak checks reopen kinships orphans"
    )


@pytest.mark.parametrize(("count", "until"), [(4, "7"), (3, "-1")])
def test_one_that_grew_or_is_over_is_a_problem_again(session: Connection, count: int, until: str) -> None:
    everything_fine(session)
    found(session, "kinships", count)
    accepted(session, "kinships", "orphans", until=until, a=3)
    read = page(session)
    assert "checks find errors in kinships" in read.verdict()
    assert (
        "accepted until" if count == 3 else "more than the 3 that account ann accepted"
    ) in read.problems()[0][3]


def test_what_is_new_since_yesterday_is_said_first(session: Connection) -> None:
    everything_fine(session)
    session.execute("DELETE FROM ingest.check_results WHERE check_name = 'orphans'")
    for table, before in (("kinships", 900), ("referrals", 5), ("documents", 0)):
        found(session, table, before, hours_ago=30)
    for table, now in (("kinships", 900), ("referrals", 6), ("documents", 1)):
        found(session, table, now)
    read = page(session)
    assert (
        "No : new since yesterday: referrals , documents ; checks find errors in kinships" in read.verdict()
    )
    assert [(row[0].endswith("new"), row[1].split()[0]) for row in read.problems()] == [
        (True, "referrals"),
        (True, "documents"),
        (False, "kinships"),
    ]


def test_on_the_first_day_nothing_is_called_new(session: Connection) -> None:
    everything_fine(session)
    found(session, "kinships", 3)
    assert "new since" not in page(session).verdict()
    assert [problem.is_new for problem in judge(facts(session)).problems] == [False]


def test_a_problem_names_records_owner_and_the_next_step(session: Connection) -> None:
    everything_fine(session)
    tally = {
        "label": "referral_id (quarantined)",
        "count": 30,
        "columns": ["referral_id"],
        "places": [["referral_members.csv", number] for number in (7, 3)],
        "lost": True,
    }
    found(session, "referral_members", 30, tallies=[tally], file="referral_members.csv")
    read = page(session)
    ((_, table, _, what, _, action),) = read.problems()
    assert table == "referral_ members care-operations"
    assert what == "what was found referral_members.csv, records 3, 7 and more"
    assert action.startswith("Ask the sender of referral_members.csv for the missing rows of referrals")
    assert "daybreak import --only referrals --only referral_members" in read.commands()[0]


def test_what_waits_for_a_failed_table_is_named_with_its_rows(session: Connection) -> None:
    everything_fine(session)
    imported(session, "referrals", status="failed", error="referrals: it is empty")
    ((_, _, _, what, _, _),) = page(session).problems()
    assert what == "import failed: referrals: it is empty; waiting for it: referral_members (0 rows)"
    imported(session, "referral_members", hours_ago=-0.1, status="skipped")
    ((_, _, _, what, _, _),) = page(session).problems()
    assert what == "import failed: referrals: it is empty"


def test_every_rule_has_a_next_step() -> None:
    finding = Finding("", 1, 1, "ERROR", passed=False)
    assert [rule.name for rule in RULES if not steps.step("documents", rule.name, finding)] == []


def test_the_glossary_has_every_reason_that_an_import_writes(session: Connection) -> None:
    source = "".join(path.read_text("utf-8") for path in Path(importer.__file__).parent.glob("*.py"))
    prefixes = "missing|malformed|invalid|duplicate|dangling"
    written = set(re.findall(rf"['\"]((?:{prefixes})_[a-z]+)['\"]", source)) - {"invalid_key"}  # an outcome
    assert written == set(REASONS)
    assert all(code in page(session).one("section", id="reasons").text for code in REASONS)
