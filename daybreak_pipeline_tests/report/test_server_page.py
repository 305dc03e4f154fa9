"""The page about the server: what it answers, what it says to do, and that it needs nothing but itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daybreak_pipeline.database import Connection
from daybreak_pipeline.monitoring import history, thresholds
from daybreak_pipeline.monitoring.metrics import NOT_PERMITTED, NOT_VISIBLE, Measurement
from daybreak_pipeline.monitoring.statements import Statement, Statements
from daybreak_pipeline.monitoring.survey import Health
from daybreak_pipeline.report import server_page
from daybreak_pipeline_tests.browser import needs_chromium
from daybreak_pipeline_tests.report.pages import Page
from daybreak_pipeline_tests.report.test_browser import brightness, console_of

AT = datetime(2026, 3, 29, 12, tzinfo=UTC)
GIGABYTE = 1 << 30
GOOD = [
    Measurement("connections", 3, {"role": "daybreak_importer", "state": "idle"}),
    Measurement("connections", 1, {"role": "daybreak_app", "state": "active"}),
    Measurement("connections_used", 4),
    Measurement("connections_limit", 97),
    Measurement("connections_used_ratio", 4 / 97),
    Measurement("idle_in_transaction_seconds", 0),
    Measurement("longest_transaction_seconds", 12),
    Measurement("lock_wait_seconds", 0),
    Measurement("database_bytes", 12.4 * GIGABYTE, {"database": "daybreak_health"}),
    Measurement("server_uptime_seconds", 900_000),
    Measurement("table_bytes", 8.1 * GIGABYTE, {"table": "public.appointments"}),
    Measurement("table_rows", 9_000_000, {"table": "public.appointments"}),
    Measurement("table_dead_rows", 1234, {"table": "public.appointments"}),
    Measurement("disk_free_bytes", 80 * GIGABYTE),
    Measurement("disk_free_ratio", 0.4),
    Measurement("import_age_seconds", 4000, {"table": "referrals"}),
    Measurement("backup_age_seconds", 7200),
    Measurement("backup_drill_age_seconds", 90_000),
]
BAD = [
    Measurement("connections_used_ratio", 0.97),
    Measurement("lock_wait_seconds", 45),
    Measurement("disk_free_ratio", 0.03),
    Measurement("table_dead_ratio", 0.34, {"table": "public.appointments"}),
    Measurement("index_invalid_bytes", 1 << 20, {"index": "public.<b>odd</b>"}),
    Measurement("slot_retained_bytes", 2 * GIGABYTE, {"slot": "standby", "active": "no"}),
    Measurement("backup_age_seconds", None, note="no backup known"),
    Measurement("wal_directory_bytes", None, note=NOT_PERMITTED),
]


def health(
    *measurements: Measurement, past: history.Past | None = None, slowest: Statements | None = None
) -> Health:
    """Return a server that was measured so."""
    return Health(
        at=AT,
        database="daybreak_health",
        role="daybreak_importer",
        version="15.18",
        environment="production",
        measurements=measurements,
        judgements=tuple(thresholds.judge(measurements, role="daybreak_importer")),
        statements=slowest or Statements(note="pg_stat_statements is not installed"),
        past=past or history.Past(),
    )


def fine() -> Health:
    return health(*GOOD, Measurement("disk_full_days", 212.0))


def bad() -> Health:
    slowest = Statements((Statement("17", "SELECT $1 FROM appointments WHERE id < $2", 1200, 340.5, 9),))
    days = [12.0 + day / 10 for day in range(28)]
    past = history.Past(
        (
            history.Series(
                "database_bytes", {"database": "daybreak_health"}, [day * GIGABYTE for day in days]
            ),
            history.Series("disk_free_bytes", {}, [(90 - day) * GIGABYTE for day in days]),
            history.Series("wal_bytes_total", {}, [GIGABYTE * (1 + day % 3) for day in days]),
        ),
        {"disk_free": AT - timedelta(days=3), "lock_waits": AT},
    )
    growth = Measurement("database_growth_bytes_per_day", 0.1 * GIGABYTE, {"database": "daybreak_health"})
    return health(*GOOD, *BAD, growth, Measurement("disk_full_days", 5.2), past=past, slowest=slowest)


def nothing_known() -> Health:
    return health(
        Measurement("idle_in_transaction_seconds", None, note=NOT_PERMITTED),
        Measurement("disk_full_days", None, note=NOT_VISIBLE),
    )


STATES = [fine, bad, nothing_known]
State = Callable[[], Health]


def page(found: Health) -> Page:
    return Page.read(server_page.html(found))


@pytest.mark.parametrize("state", STATES)
def test_the_page_is_whole_and_needs_nothing_but_itself(state: State) -> None:
    source = server_page.html(state())
    read = Page.read(source)
    ids = Counter(element.attributes["id"] for element in read.all() if "id" in element.attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    links = {element.attributes["href"] for element in read.all("a")}
    assert {link for link in links if not link.startswith("#") or link[1:] not in ids} == set()
    assert {element.tag for element in read.all()} & {"script", "iframe", "img", "object", "embed"} == set()
    assert re.findall(r"@import|url\(|https?:|//[a-z]", source) == []


@pytest.mark.parametrize("state", STATES)
def test_tables_have_headers_and_captions_and_plots_have_words(state: State) -> None:
    read = page(state())
    assert all(cell.attributes.get("scope") in {"col", "row", "rowgroup"} for cell in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table"))
    assert all(plot.attributes["aria-label"] for plot in read.all("svg"))


def test_a_healthy_server_says_so_and_how_long_it_lasts() -> None:
    text = page(fine()).verdict()
    assert "Yes" in text
    assert "The disk will be full in 212 days, on 2026-10-27, at this rate." in text


def test_what_is_wrong_comes_first_with_what_to_do_and_since_when() -> None:
    read = page(bad())
    assert "No" in read.verdict()
    assert "The disk will be full in 5.2 days, on 2026-04-03" in read.verdict()
    wrong = read.one("section", id="wrong").text
    assert wrong.index("ERROR") < wrong.index("WARN")
    assert (
        "3.0 % of the disk free, limit 5.0 %: make room, or move to a bigger disk; see docs/runbooks/disk-full.md"
        in wrong
    )
    assert "2026-03-26 12:00 UTC" in wrong
    assert "for 3 d" in wrong
    assert "no backup known: make one" in wrong


def test_the_verdict_says_what_was_found_and_not_how_a_check_is_called() -> None:
    found = "97.0 % of the connections used, 3.0 % of the disk free, 5.2 days until the disk is full"
    assert found in page(bad()).verdict().replace(" ,", ",")
    hidden = Measurement("wal_directory_bytes", None, note=NOT_PERMITTED)
    verdict = page(health(hidden, *GOOD)).verdict()
    assert "daybreak_importer may not see wal_directory_bytes ." in verdict


def test_a_table_says_how_much_of_it_is_empty_and_a_role_its_limit() -> None:
    more = [
        Measurement("table_bloat_bytes", GIGABYTE, {"table": "public.appointments", "by": "statistics"}),
        Measurement("role_connections_limit", 40, {"role": "daybreak_app"}),
    ]
    read = page(health(*GOOD, *more))
    assert "1.0 GB by statistics" in read.one("section", id="tables").text
    assert "daybreak_app active 1 40" in " ".join(read.one("section", id="sessions").text.split())


def test_names_from_the_server_are_text() -> None:
    assert "<b>odd</b>" not in server_page.html(bad())
    assert "public.<b>odd</b>" in page(bad()).one("section", id="wrong").text


def test_what_is_not_known_is_named_and_not_taken_for_good() -> None:
    read = page(nothing_known())
    assert "not permitted" in read.one("section", id="unknown").text
    assert "is not visible from here" in read.verdict()
    assert "not known" in read.one("tr", id="idle_in_transaction").text


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (Measurement("disk_full_days", None, note="too little history: 2 d of 3 d"), "is not known yet"),
        (Measurement("disk_full_days", None, note="never at this rate"), "The disk is not filling"),
        (Measurement("disk_full_days", 5000.0), "more than ten years"),
    ],
)  # fmt: skip
def test_it_is_honest_about_how_long_the_disk_lasts(measured: Measurement, said: str) -> None:
    assert said in server_page.lasts(health(measured))


def test_the_past_is_by_day_and_a_failure_begins_after_the_last_good_look(session: Connection) -> None:
    def look(hours: float, size: float, *failing: str) -> None:
        found = [Measurement("connections_used", 3), Measurement("database_bytes", size, {"database": "d"})]
        found += [Measurement("check_state", 1, {"check": check}) for check in failing]
        history.keep(session, AT - timedelta(hours=hours), found)

    look(50, 10, "a")
    look(49, 30, "a")
    look(30, 40)
    look(2, 50, "a", "b")
    look(1, 60, "a", "b")
    look(0, 70, "a")
    found = history.past(session, AT)
    sizes = next(one for one in found.series if one.metric == "database_bytes")
    assert sizes.values == [20, 40, 60]
    assert found.since == {"a": AT - timedelta(hours=2)}


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "background"), [("light", range(240, 256)), ("dark", range(50))])
def test_the_page_renders_in_light_and_dark_without_a_word_in_the_console(
    tmp_path: Path, scheme: str, background: range
) -> None:
    file, picture = tmp_path / "server.html", tmp_path / f"{scheme}.png"
    file.write_text(server_page.html(bad()), encoding="utf-8")
    assert console_of(file, picture, scheme=scheme) == []
    shown, darkest, brightest = brightness(picture)
    assert shown in background
    assert brightest - darkest > 150, "the picture is empty"


def test_the_worst_is_named_first() -> None:
    assert [one.state for one in bad().failing()] == sorted(one.state for one in bad().failing())
    assert replace(bad()).failing()[0].state == "ERROR"
