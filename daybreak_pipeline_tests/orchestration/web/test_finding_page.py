"""The form that accepts a finding, and takes that back, on the process that serves it: what it does, and who cannot use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from daybreak_pipeline import database, settings
from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import Databases, forget_settings
from daybreak_pipeline_tests.orchestration.web.raw_http import Answer, call
from daybreak_pipeline_tests.orchestration.web.serving import Served, served
from daybreak_pipeline_tests.report.pages import Page, checked, everything_fine

pytestmark = pytest.mark.slow

FORM = "Content-Type: application/x-www-form-urlencoded"
NAMED = {"table": "kinships", "check": "orphans"}
WHY = "the export is a sample"
TOMORROW = str(datetime.now(UTC).date() + timedelta(days=1))
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def db(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with databases.copy(template.name) as copied:
        yield copied


@pytest.fixture(scope="module")
def ui(db: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        forget_settings(patch)
        with served(tmp_path_factory.mktemp("finding") / "home", **db.environment()) as it:
            yield it


@pytest.fixture
def rows(db: DatabaseSettings) -> Iterator[Connection]:
    """Two kinds of orphans in kinships, a warning in documents, and nothing else."""
    with database.connect(db, autocommit=True) as connection:
        connection.execute("TRUNCATE ingest.accepted_findings, ingest.check_results, ingest.imports CASCADE")
        everything_fine(connection)
        tallies = [{"label": name, "count": 3, "columns": [name]} for name in ("user_0_id", "user_1_id")]
        checked(connection, "kinships", "orphans", 6, hours_ago=-0.1, tallies=tallies, rows=["row-7"])
        yield connection


def accepted(rows: Connection) -> list[tuple[object, ...]]:
    return rows.execute(
        "SELECT column_name, why, accepted_by, reopened_by FROM ingest.accepted_findings ORDER BY id"
    ).fetchall()


def look(ui: Served, **given: str) -> Answer:
    return ui.get(f"/report/finding?{urlencode(NAMED | given)}", ui.cookie)


def send(ui: Served, *headers: str, **fields: str) -> Answer:
    """Send the form as a browser does, or with the headers that are given."""
    given = NAMED | {"do": "accept", "why": WHY} | fields
    return call(
        ui.port, "POST", "/report/finding", *(headers or (ui.cookie, ui.origin, FORM)), body=urlencode(given)
    )


def seen(answer: Answer) -> str:
    found = re.search(r'name="seen" value="([0-9a-f]+)"', answer.text())
    assert found
    return found[1]


# --- What it does -----------------------------------------------------------------------------------------


def test_accepted_and_reopened_and_the_verdict_follows(ui: Served, rows: Connection) -> None:
    before = look(ui)
    assert (before.status, before.header("cache-control")) == (200, "no-store")
    read = Page.read(before.text())
    assert read.verdict().startswith("✕ Can I trust today’s data? No :")
    assert "row-7" in read.text
    options = [option.attributes["value"] for option in read.all("option")]
    assert options == ["", "user_0_id", "user_1_id"]

    done = send(ui, seen=seen(before), until=TOMORROW)
    assert (done.status, done.header("location")) == (303, "finding?table=kinships&check=orphans")
    after = Page.read(look(ui).text())
    assert after.verdict().startswith("✓ Can I trust today’s data? Yes :")
    account = f"the web UI of {settings.account()}"
    (told,) = [p.text for p in after.one("form", **{"class": "accepted-one"}).all("p") if "○" in p.text]
    assert told.startswith(f"○ 6 accepted by {account} on ")
    assert told.endswith(f" until {TOMORROW}: {WHY}")
    report = ui.get("/report", ui.cookie).text()
    assert WHY in report
    assert 'href="report/finding?table=kinships&amp;check=orphans"' in report
    assert accepted(rows) == [(None, WHY, account, None)]
    trail = rows.execute("SELECT action FROM audit.changes WHERE table_name = 'accepted_findings'").fetchall()
    assert ("INSERT",) in trail

    assert send(ui, do="reopen").status == 303
    assert Page.read(look(ui).text()).verdict().startswith("✕ Can I trust today’s data? No :")
    assert accepted(rows) == [(None, WHY, account, account)]


def test_one_column_is_accepted_and_the_other_is_still_open(ui: Served, rows: Connection) -> None:
    assert send(ui, column="user_0_id").status == 303
    page = Page.read(look(ui).text())
    assert "3 of them accepted" in page.text
    assert page.one("form", **{"class": "accept"})
    assert send(ui, column="user_1_id").status == 303
    assert Page.read(look(ui).text()).verdict().startswith("✓")
    assert send(ui, do="reopen", column="user_1_id").status == 303
    assert [(row[0], row[3] is not None) for row in accepted(rows)] == [
        ("user_0_id", False),
        ("user_1_id", True),
    ]


def test_what_has_changed_since_somebody_looked_is_not_accepted(ui: Served, rows: Connection) -> None:
    before = seen(look(ui))
    checked(rows, "kinships", "orphans", 7, hours_ago=-0.2, counts={"user_0_id": 7})
    refused = send(ui, seen=before)
    assert refused.status == 400
    assert "kinships.orphans has found something else since: look at it again" in refused.text()
    assert accepted(rows) == []
    assert send(ui, seen=seen(refused)).status == 303


@pytest.mark.parametrize(
    ("fields", "why_not"),
    [
        ({"why": ""}, "a reason of 1 to 500 characters"),
        ({"why": " \r\n\t "}, "a reason of 1 to 500 characters"),
        ({"why": "a" * 501}, "a reason of 1 to 500 characters"),
        ({"why": "known\x00 since May"}, "characters that cannot be shown"),
        ({"why": "known\x1b[2J"}, "characters that cannot be shown"),
        ({"until": "2020-01-01"}, "2020-01-01 has passed"),
        ({"until": "31.12.2030"}, "the last day is written as 2027-03-31"),
        ({"until": "2030-02-30"}, "the last day is written as 2027-03-31"),
        ({"column": "no_such_column"}, "nothing that can be accepted in no_such_column"),
        ({"check": "valid_json"}, "kinships.valid_json passes: there is nothing to accept"),
        ({"check": "row_accounting"}, "row_accounting cannot be accepted"),
        ({"do": "reopen"}, "nothing is accepted of kinships.orphans"),
    ],
)
def test_what_cannot_be_accepted_is_said_and_what_was_entered_stays(
    ui: Served, rows: Connection, fields: dict[str, str], why_not: str
) -> None:
    refused = send(ui, **fields)
    assert refused.status == 400
    (told,) = Page.read(refused.text()).all("p", role="alert")
    assert why_not in told.text
    if not fields.keys() & {"why", "check"}:
        assert Page.read(refused.text()).one("textarea").text == WHY
    assert accepted(rows) == []


def test_a_reason_is_text_whatever_it_says(ui: Served, rows: Connection) -> None:
    hostile = f"{EVIL}\r\n\r\nSet-Cookie: a=b {{{{ 7 * 7 }}}} '; DROP TABLE ingest.imports; -- \u202egnp.exe"
    for refused_first in ({"until": "2020-01-01"}, {}):
        answer = send(ui, why=hostile, **refused_first)
    assert answer.status == 303
    assert answer.all("set-cookie") == []
    for page in (look(ui), ui.get("/report", ui.cookie)):
        read = Page.read(page.text())
        assert read.all("script") == read.all("img") == []
        assert "\u202e" not in page.text()
        assert "7 * 7" in page.text()
    assert accepted(rows)[0][1] == " ".join(hostile.split())


# --- Who cannot use it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Origin: http://127.0.0.1:1",),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: none",),
        ("Referer: http://127.0.0.1/report/finding",),
    ],
)
def test_no_page_of_others_accepts(ui: Served, rows: Connection, headers: tuple[str, ...]) -> None:
    assert send(ui, ui.cookie, FORM, *headers).status == 403
    assert accepted(rows) == []


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "Content-Type: text/plain",
        "Content-Type: application/json",
        "Content-Type: multipart/form-data; boundary=x",
    ],
)
def test_no_other_type_is_taken(ui: Served, rows: Connection, kind: str) -> None:
    assert send(ui, ui.cookie, ui.origin, *filter(None, [kind])).status == 415
    assert accepted(rows) == []


def test_nobody_accepts_without_the_login(ui: Served, rows: Connection) -> None:
    for header in (
        "Authorization: Bearer wrong",
        "X-Forwarded-User: alice",
        f"Cookie: daybreak-{ui.port}=wrong",
    ):
        assert send(ui, ui.origin, FORM, header).status == 401
    assert ui.get(f"/report/finding?{urlencode(NAMED)}").status == 401
    assert accepted(rows) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_only_a_post_accepts(ui: Served, rows: Connection, method: str) -> None:
    fields = urlencode(NAMED | {"do": "accept", "why": WHY})
    for body, target in ((fields, "/report/finding"), ("", f"/report/finding?{fields}")):
        answer = call(ui.port, method, target, ui.cookie, ui.origin, FORM, body=body)
        assert answer.status in {200, 404, 405}
    assert accepted(rows) == []


def test_who_it_was_cannot_be_forged(ui: Served, rows: Connection) -> None:
    forged = {"who": "alice", "accepted_by": "alice", "x-daybreak-user": "alice"}
    assert (
        send(
            ui, ui.cookie, ui.origin, FORM, "X-Daybreak-User: alice", "X-Forwarded-User: alice", **forged
        ).status
        == 303
    )
    assert accepted(rows)[0][2] == f"the web UI of {settings.account()}"


def test_the_user_that_a_proxy_names_is_recorded_and_nobody_without(
    db: DatabaseSettings, rows: Connection, tmp_path: Path
) -> None:
    public = "https://daybreak.example"
    environment = db.environment() | {"DAYBREAK_WEB_AUTH": "proxy", "DAYBREAK_WEB_URL": public}
    with served(tmp_path / "home", **environment) as proxied:
        named = "X-Forwarded-User: alice@example.org"
        assert send(proxied, f"Origin: {public}", FORM).status == 401
        assert send(proxied, named, "Origin: https://evil.example", FORM).status == 403
        assert send(proxied, named, FORM).status == 403  # it comes from nowhere
        assert accepted(rows) == []
        assert send(proxied, named, f"Origin: {public}", FORM, who="bob").status == 303
    assert [row[2] for row in accepted(rows)] == ["alice@example.org"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (urlencode(NAMED | {"do": "accept", "why": "a" * 100_000}), 413),
        (urlencode(NAMED | {"do": "accept", "why": WHY}) + "&why=another", 400),
        (urlencode(NAMED | {"do": "accept"}) + "&why=%ff", 400),
        (urlencode(NAMED | {"do": "accept"}) + "&why=é", 400),
        ("&".join(f"f{n}=1" for n in range(11)), 400),
        (urlencode({"table": "pg_authid", "check": "orphans", "do": "accept", "why": WHY}), 404),
        (urlencode({"table": EVIL, "check": "orphans", "do": "accept", "why": WHY}), 404),
        (urlencode({"table": "kinships", "check": "no_such", "do": "accept", "why": WHY}), 404),
        (urlencode(NAMED | {"do": "", "why": WHY}), 400),
        ("", 404),
    ],
    ids=range(10),
)
def test_what_no_form_of_ours_sends_is_refused(ui: Served, rows: Connection, body: str, status: int) -> None:
    answer = call(ui.port, "POST", "/report/finding", ui.cookie, ui.origin, FORM, body=body)
    assert (answer.status, answer.header("content-type")) == (status, "text/plain; charset=utf-8")
    assert "script" not in answer.text()
    assert accepted(rows) == []


def test_a_finding_that_is_none_is_not_found(ui: Served, rows: Connection) -> None:
    rows.execute("DELETE FROM ingest.check_results WHERE table_name = 'documents'")
    for named in ({"table": "documents"}, {"check": "x"}, {"table": "../key"}):
        assert look(ui, **named).status == 404


@pytest.mark.usefixtures("rows")
def test_the_page_runs_no_script_and_sends_its_form_nowhere_else(ui: Served) -> None:
    page = look(ui)
    policies = page.all("content-security-policy")
    assert any("default-src 'none'" in policy and "form-action 'self'" in policy for policy in policies)
    assert not any("script-src" in policy for policy in policies)
    assert page.header("x-frame-options") == "DENY"
    assert Page.read(page.text()).all("script") == []


def test_a_database_that_is_away_is_one_sentence(ui: Served, rows: Connection) -> None:
    rows.execute("ALTER TABLE ingest.accepted_findings RENAME TO elsewhere")
    try:
        answer = send(ui)
    finally:
        rows.execute("ALTER TABLE ingest.elsewhere RENAME TO accepted_findings")
    assert answer.status == 503
    assert len(answer.text().splitlines()) == 1
    assert "Traceback" not in ui.log
