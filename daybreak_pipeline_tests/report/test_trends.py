"""The page about trends: what it says of each day, which days are gaps, and that it needs nothing but itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from daybreak_pipeline.database import Connection
from daybreak_pipeline.report import plots, queries, store, trends, trends_page
from daybreak_pipeline.report.plots import Chart, Line
from daybreak_pipeline.report.trends import ByDay, Trends
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.report.pages import Page, checked, everything_wrong, imported, quarantined

DAY = 24
HOSTILE = """</style><script>alert(1)</script>"><img src=x>"""
NOTHING = ByDay("", (), (), (), (), (), (), ())


def history(connection: Connection) -> Trends:
    connection.commit()
    return trends.read(connection)


def of(found: Trends, table: str) -> ByDay:
    return next((one for one in found.tables if one.name == table), NOTHING)


def alerted(connection: Connection, message: str, *told: str, not_told: list[str] | None = None) -> None:
    connection.execute(
        "INSERT INTO ingest.alerts (run_id, message, told, not_told) VALUES ('12345678-9', %s, %s, %s)",
        [message, list(told), not_told or []],
    )


def first_day(connection: Connection) -> None:
    imported(connection, "documents")
    checked(connection, "documents", "orphans", 1)


def years(connection: Connection) -> None:
    """400 days, two tables, one of them imported on odd days only."""
    for day in range(400):
        imported(
            connection, "documents", hours_ago=DAY * day, read=1000 + day, quarantined=day % 5, seconds=9
        )
        checked(connection, "documents", "orphans", day % 3, hours_ago=DAY * day)
        if day % 2:
            imported(connection, "kinships", hours_ago=DAY * day, read=50)
    alerted(connection, "Daybreak: run 12345678 of import_all failed\nnot imported: documents", "webhook")


def hostile(connection: Connection) -> None:
    imported(connection, HOSTILE)
    checked(connection, HOSTILE, HOSTILE, 1)
    alerted(connection, HOSTILE, HOSTILE, not_told=[HOSTILE])


State = Callable[[Connection], object]
STATES: list[State] = [lambda _: None, first_day, years, everything_wrong, hostile]


@pytest.mark.parametrize("state", STATES)
def test_the_page_is_whole_and_needs_nothing_but_itself(session: Connection, state: State) -> None:
    state(session)
    source = trends_page.html(history(session))
    read = Page.read(source)
    ids = Counter(element.attributes["id"] for element in read.all() if "id" in element.attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    assert {element.tag for element in read.all()} & {"script", "iframe", "img", "object", "embed"} == set()
    assert re.findall(r"@import|url\(|https?:|//[a-z]", source) == []
    assert all(cell.attributes.get("scope") in {"col", "row"} for cell in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table"))
    assert all(plot.attributes["aria-label"] for plot in read.all("svg"))
    assert len(read.one("section", id="all").all("svg")) == 4
    assert len(source) < 2_000_000


def test_before_any_import_it_says_so(session: Connection) -> None:
    read = Page.read(trends_page.html(history(session)))
    assert "Too early to say" in read.verdict()
    assert "Nothing has been imported or checked yet" in read.one("section", id="tables").text
    assert "Nobody was alerted" in read.one("section", id="alerts").text


def test_the_first_day_is_a_point_with_its_numbers(session: Connection) -> None:
    first_day(session)
    found = history(session)
    assert len(found.days) == 1
    assert of(found, "documents") == ByDay("documents", (1,), (0,), (0,), (0,), (10,), (2.0,), (0,))
    read = Page.read(trends_page.html(found))
    assert "Too early to say : 1 failing check; 0 records in quarantine." in read.verdict()
    (plot, *_) = read.one("section", id="all").all("svg")
    assert plot.attributes["aria-label"].endswith(f"last {found.days[0]}: 1 error, 0 warnings")
    assert "dot-ERROR" in {path.attributes["class"] for path in plot.all("path")}


def test_a_day_without_an_import_is_a_gap_and_a_failed_one_is_marked(session: Connection) -> None:
    imported(session, "documents", hours_ago=DAY * 4, read=40)
    imported(session, "documents", hours_ago=DAY * 2, status="failed", error="documents: broken")
    imported(session, "documents", read=50, seconds=3)
    one = of(history(session), "documents")
    assert one.read == (40, None, None, None, 50)
    assert one.seconds == (2.0, None, None, None, 3.0)
    assert one.quarantined == (0, None, None, None, 0)
    assert one.errors == (None,) * 5
    assert one.failed == (0, None, 1, None, 0)
    text = Page.read(trends_page.html(history(session))).one("section", id="all").text
    assert "no import; 1 import failed" in text


def test_a_file_that_had_not_changed_has_the_records_it_had_and_no_duration(session: Connection) -> None:
    imported(session, "documents", hours_ago=DAY * 2, read=40)
    imported(session, "documents", hours_ago=DAY, status="skipped")
    imported(session, "documents", uri="quarantine:documents", read=3)  # a replay reads no file
    one = of(history(session), "documents")
    assert (one.read, one.seconds) == ((40, 40, None), (2.0, None, None))


def test_a_table_that_was_not_read_counts_in_the_total_as_it_was(session: Connection) -> None:
    imported(session, "kinships", hours_ago=DAY * 500, read=7)
    imported(session, "documents", hours_ago=DAY * 3, read=40)
    imported(session, "kinships", hours_ago=DAY * 2, read=5, seconds=1)
    imported(session, "documents", hours_ago=DAY * 2, status="failed", error="documents: broken")
    imported(session, "documents", read=41)
    found = history(session)
    assert found.total.read == (47, 45, None, 46)
    assert found.total.seconds == (2.0, 1.0, None, 2.0)
    assert found.total.failed == (0, 1, None, 0)


def test_the_last_result_of_a_day_counts_until_the_next(session: Connection) -> None:
    checked(session, "documents", "orphans", 3, hours_ago=DAY * 500, severity="WARN")
    checked(session, "documents", "valid_json", 1, hours_ago=DAY * 2 + 0.001)
    checked(session, "documents", "valid_json", 0, hours_ago=DAY * 2)
    checked(session, "kinships", "orphans", 9, hours_ago=DAY * 2)
    checked(session, "kinships", "orphans", 0)
    found = history(session)
    assert found.total.errors == (1, None, 0)
    assert found.total.warnings == (1, None, 1)
    assert of(found, "documents").warnings == (1, None, None)
    assert of(found, "kinships").errors == (1, None, 0)


def accepted(connection: Connection, table: str, days_ago: int, *, until: int = 99, **reopened: int) -> None:
    """Accept three orphans of a table, of the kind a; days are counted from today backwards."""
    connection.execute(
        """
        INSERT INTO ingest.accepted_findings
            (table_name, check_name, counts, why, accepted_by, accepted_at, until, reopened_at, reopened_by)
        VALUES (%(table)s, 'orphans', '{"a": 3}', 'known', 'account ann', now() - make_interval(days => %(days_ago)s),
                now()::date + %(until)s::int, now() - make_interval(days => %(reopened)s),
                CASE WHEN %(reopened)s::int IS NOT NULL THEN 'account ann' END)
        """,
        {"table": table, "days_ago": days_ago, "until": until, "reopened": reopened.get("reopened")},
    )


def test_what_was_accepted_is_counted_apart_while_it_was(session: Connection) -> None:
    for table in ("documents", "kinships", "referrals", "contracts"):
        more = {"b": 1} if table == "contracts" else {}
        for day in range(4):
            checked(session, table, "orphans", 3 + len(more), hours_ago=DAY * day, counts={"a": 3} | more)
    accepted(session, "documents", 2, until=-1)  # its last day was yesterday
    accepted(session, "kinships", 400, reopened=1)
    accepted(session, "referrals", 2)
    accepted(session, "contracts", 2)  # one kind of two
    checked(session, "kinships", "valid_json", 1, severity="WARN", hours_ago=DAY * 3)  # nobody accepts it
    found = history(session)
    assert (of(found, "documents").errors, of(found, "documents").accepted) == ((1, 0, 0, 1), (0, 1, 1, 0))
    assert (of(found, "kinships").errors, of(found, "kinships").accepted) == ((0, 0, 1, 1), (1, 1, 0, 0))
    assert (of(found, "referrals").errors, of(found, "referrals").accepted) == ((1, 0, 0, 0), (0, 1, 1, 1))
    assert (of(found, "contracts").errors, of(found, "contracts").accepted) == ((1, 0, 0, 0), (0, 0, 0, 0))
    assert of(found, "contracts").warnings == (0, 1, 1, 1)  # what is left of it alone
    assert found.total.errors == (3, 0, 1, 2)
    assert found.total.warnings == (1, 2, 2, 2)
    assert found.total.accepted == (1, 3, 2, 1)
    now = Counter(check.state for table in queries.read(session).tables for check in table.checks)
    assert (now["ERROR"], now["WARN"], now["accepted"]) == (2, 2, 1)  # the report says the same

    read = Page.read(trends_page.html(found))
    assert "4 failing checks, as many as on" in read.verdict()
    assert "1 finding is accepted" in read.verdict()
    plot = read.one("section", id="all").all("svg")[0]
    assert plot.attributes["aria-label"].endswith(": 2 errors, 2 warnings, 1 accepted")
    assert "line-accepted" in {path.attributes["class"] for path in plot.all("path")}


def test_without_anything_accepted_there_is_no_line_of_it(session: Connection) -> None:
    first_day(session)
    source = trends_page.html(history(session))
    assert "accepted by somebody" not in source
    assert 'class="line-accepted' not in source


def test_quarantine_is_what_waited_at_the_end_of_the_day(session: Connection) -> None:
    for day in range(4):
        imported(session, "documents", hours_ago=DAY * day)
    for code, came, went in (("old", 500, None), ("loaded", 3, 1), ("of_a_day", 2, 2), ("new", 0, None)):
        quarantined(session, "documents", code, None, records=2)
        session.execute(
            """
            UPDATE ingest.quarantine SET first_seen_at = now() - make_interval(days => %(came)s),
                   resolved_at = now() - make_interval(days => %(went)s),
                   resolution = CASE WHEN %(went)s::int IS NOT NULL THEN 'loaded' END
            WHERE reasons -> 0 ->> 'code' = %(code)s
            """,
            {"code": code, "came": came, "went": went},
        )
    found = history(session)
    assert of(found, "documents").quarantined == (4, 4, 2, 4)
    assert found.total.quarantined == (4, 4, 2, 4)


def test_a_day_is_one_of_utc_whatever_zone_the_session_has(session: Connection) -> None:
    imported(session, "documents")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for minutes, read in ((-1, 30), (1, 31)):
        imported(session, "kinships", read=read)
        session.execute(
            "UPDATE ingest.imports SET finished_at = %(at)s, started_at = %(at)s WHERE rows_read = %(read)s",
            {"at": midnight + timedelta(minutes=minutes), "read": read},
        )
    session.execute("SET TIME ZONE 'Pacific/Auckland'")
    found = history(session)
    assert found.days == (midnight.date() - timedelta(days=1), midnight.date())
    assert of(found, "kinships").read == (30, 31)


def test_of_400_days_the_last_twelve_weeks_are_shown(session: Connection) -> None:
    years(session)
    found = history(session)
    assert len(found.days) == 84
    assert of(found, "documents").read == tuple(1000 + day for day in reversed(range(84)))
    read = of(found, "kinships").read
    assert read[-1] is None
    assert read[-2] == 50
    assert set(found.total.read) == {1050 + day for day in range(84)}


def test_what_is_gone_is_left_out(session: Connection) -> None:
    imported(session, "a_table_that_was_dropped", hours_ago=DAY)
    imported(session, "documents")
    assert [one.name for one in history(session).tables] == ["documents", "a_table_that_was_dropped"]
    session.execute("DROP TABLE ingest.alerts, ingest.check_results, documents CASCADE")
    found = history(session)
    assert found.total.read == (10, 20)
    assert found.total.errors == (None, None)
    assert found.alerts == ()


@pytest.mark.parametrize(
    ("failing", "answer"),
    [
        ((3, 3, 1), "Better : 1 failing check, 2 fewer than on"),
        ((1, 3, 3), "Worse : 3 failing checks, 2 more than on"),
        ((2, 9, 2), "The same : 2 failing checks, as many as on"),
    ],
)
def test_it_compares_with_a_week_before(
    session: Connection, failing: tuple[int, int, int], answer: str
) -> None:
    for days, number in zip((8, 4, 0), failing, strict=True):
        for place, table in enumerate(("documents", "kinships", "referrals")):
            checked(session, table, "orphans", int(place < number), hours_ago=DAY * days)
            imported(session, table, hours_ago=DAY * days)
        checked(session, "contracts", "orphans", int(number == 9), hours_ago=DAY * days)
    found = history(session)
    assert f"{answer} {found.days[0]}" in Page.read(trends_page.html(found)).verdict()


def test_who_was_alerted_is_there_with_what_it_said(session: Connection) -> None:
    long = "\n".join(["Daybreak: run 1 failed", *(f"documents.check_{n}: 1 record" for n in range(9))])
    alerted(session, long, "webhook", "oncall@example.org")
    alerted(session, "Daybreak: the archive is full", not_told=["webhook"])
    alerted(session, "Daybreak: run 2 failed")
    rows = Page.read(trends_page.html(history(session))).one("section", id="alerts").one("tbody").all("tr")
    said = [[cell.text for cell in row.all("td")] for row in rows]
    assert said[0] == ["Daybreak: run 2 failed", "nobody: it is in the log only"]
    assert said[1] == [
        "Daybreak: the archive is full",
        "nobody: it is in the log only ✕ not reached: webhook",
    ]
    assert said[2][0].endswith("documents.check_2: 1 record and 6 lines more")
    assert said[2][1] == "webhook, oncall@example.org"


def test_it_leads_to_the_pages_that_are_beside_it(session: Connection) -> None:
    source = trends_page.html(history(session), beside=(store.LATEST, store.TRENDS))
    assert [link.attributes["href"] for link in Page.read(source).one("nav").all("a")] == ["latest.html"]


def test_names_are_text(session: Connection) -> None:
    hostile(session)
    read = Page.read(trends_page.html(history(session)))
    assert read.all("script") == read.all("img") == []
    assert HOSTILE in read.one("section", id="tables").text
    assert HOSTILE in read.one("section", id="alerts").text


def test_a_chart_breaks_its_line_at_a_gap_and_shows_what_stands_alone() -> None:
    days = tuple(datetime(2026, 2, 27, tzinfo=UTC).date() + timedelta(days=n) for n in range(7))
    line = Line((5, 6, None, 7, None, 8, 9), lambda value: f"{value:.0f} rows")
    drawn = Page.read(plots.chart(Chart("Rows", days, (line,), ("",) * 7))).one("svg")
    paths = {path.attributes["class"]: path.attributes["d"] for path in drawn.all("path")}
    assert paths["line-plain"].count("M") == 3
    assert len([p for p in drawn.all("path") if p.attributes["class"] == "dot-plain"]) == 2
    told = [day.text for day in drawn.all("g")]
    assert told[1:3] == ["2026-02-28: 6 rows", "2026-03-01: no import"]
    assert drawn.attributes["aria-label"] == (
        "Rows, 5 days with a number, first 2026-02-27: 5 rows, last 2026-03-05: 9 rows"
    )


def test_every_table_has_its_plots(session: Connection) -> None:
    everything_wrong(session)
    rows = Page.read(trends_page.html(history(session))).one("section", id="tables").one("tbody").all("tr")
    assert ["".join(row.one("th").pieces) for row in rows[: len(TABLES)]] == list(TABLES)
    assert {len(row.all("svg")) for row in rows} == {4}
