"""The report's pages as people use them, in a real browser: by eye, by pointer, by keyboard and by screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.database import Connection
from daybreak_pipeline.report import (
    finding_page,
    numbers_page,
    queries,
    render,
    server_page,
    store,
    trends,
    trends_page,
)
from daybreak_pipeline.report.finding_page import Entered, Subject
from daybreak_pipeline_tests.browser import CHROMIUM, SANDBOX_OFF, needs_chromium
from daybreak_pipeline_tests.report.pages import bad_morning, checked
from daybreak_pipeline_tests.report.test_accepted import accepted
from daybreak_pipeline_tests.report.test_numbers import example
from daybreak_pipeline_tests.report.test_server_page import bad as bad_server

pytestmark = needs_chromium

PAGES = (store.LATEST, store.TRENDS, store.SERVER, store.NUMBERS)
RULES_OF_AXE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental"]
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[SANDBOX_OFF])
        yield opened
        opened.close()


def written(connection: Connection, directory: Path) -> Path:
    """Write every page of a database, as files that lead to each other, and return their directory."""
    connection.commit()
    sources = (
        render.html(queries.read(connection), beside=PAGES),
        trends_page.html(trends.read(connection), beside=PAGES),
        server_page.html(bad_server(), beside=PAGES),
        numbers_page.html(example(), beside=PAGES),
    )
    for name, source in zip(PAGES, sources, strict=True):
        (directory / name).write_text(source, encoding="utf-8")
    return directory


FINDINGS = (
    ("referrals", "valid_enums", ""),
    ("referrals", "valid_enums", "it takes a reason"),
    ("clinicians", "placeholder_values", ""),
    ("documents", "orphans", ""),
)
"""One that is open, one whose form was refused, one that is accepted, one that passes."""


def finding(connection: Connection, table: str, check: str, refused: str) -> str:
    """Return the page of a finding."""
    found = acceptance.as_found(connection, table, check)
    assert found
    all_accepted = acceptance.in_force(connection)
    connection.commit()
    return finding_page.html(
        queries.read(connection),
        Subject(table, check, found, all_accepted.get((table, check), ())),
        who="alice",
        entered=Entered(),
        refused=refused,
        beside=PAGES,
    )


def opened(browser: Browser, page: Path, *, scheme: Scheme = "light", width: int = 1280) -> Page:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    shown = context.new_page()
    shown.goto(page.as_uri())
    return shown


def complaints(page: Page) -> list[str]:
    """Return what axe-core has against a page, rule by rule, with the first element of each."""
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("tags => axe.run(document, {runOnly: tags})", RULES_OF_AXE)
    return [
        f"{one['id']}: {one['help']} ({len(one['nodes'])}), {one['nodes'][0]['html']}"
        for one in found["violations"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_nothing_in_light_and_dark_narrow_and_wide(
    session: Connection, browser: Browser, tmp_path: Path, scheme: Scheme, width: int
) -> None:
    bad_morning(session)
    checked(session, "database", "backup_age", 2)
    accepted(session, "clinicians", "placeholder_values", kind=4)
    directory = written(session, tmp_path)
    served = (
        (directory / store.LATEST).read_text("utf-8").replace('<body class="file">', '<body class="served">')
    )
    (directory / "served.html").write_text(served, encoding="utf-8")
    for number, (table, check, refused) in enumerate(FINDINGS):
        page = finding(session, table, check, refused)
        (directory / f"finding-{number}.html").write_text(page, encoding="utf-8")
    found = [
        f"{name}: {complaint}"
        for name in (*PAGES, "served.html", *(f"finding-{number}.html" for number in range(len(FINDINGS))))
        for complaint in complaints(opened(browser, directory / name, scheme=scheme, width=width))
    ]
    assert found == []


def test_axe_would_be_heard(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<title>t</title><a href="#" aria-label="other">Seen</a><img src="data:,">', encoding="utf-8"
    )
    found = {one.split(":")[0] for one in complaints(opened(browser, page))}
    assert found >= {"image-alt", "label-content-name-mismatch", "html-has-lang"}


def test_from_the_report_it_is_a_click_to_the_failing_rows_of_the_worst_finding(
    session: Connection, browser: Browser, tmp_path: Path
) -> None:
    bad_morning(session)
    page = opened(browser, written(session, tmp_path) / store.TRENDS)
    page.get_by_role("link", name="Can I trust today\u2019s data?").click()
    worst = page.locator("#broken").get_by_role("row").filter(has_text="31 records have a kind").first
    worst.get_by_role("link", name="valid_enums").click()
    finding = page.locator("#referrals-valid_enums")
    expect(finding).to_be_in_viewport()
    for told in (
        "record 7",
        "SELECT id, kind FROM referrals",
        "daybreak quarantine list --table referrals --reason invalid_enum",
        "daybreak checks accept referrals valid_enums",  # a file has no form: nobody would take it
    ):
        expect(finding.get_by_text(told)).to_be_visible()
    expect(finding.get_by_text("Accept referrals.valid_enums")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pointing_at_a_day_shows_its_numbers(
    session: Connection, browser: Browser, tmp_path: Path, scheme: Scheme
) -> None:
    bad_morning(session)
    page = opened(browser, written(session, tmp_path) / store.TRENDS, scheme=scheme)
    plot = page.locator("#all svg").nth(2)
    days = plot.locator("g.day")
    assert days.count() == 15
    expect(days.last.locator("text")).to_be_visible()  # nobody points: the last day
    days.first.locator("rect").hover()
    expect(days.first.locator("text")).to_be_visible()
    expect(days.last.locator("text")).to_be_hidden()
    assert str(days.first.locator("text").text_content()).endswith(": 16,000 records")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pointing_at_a_period_shows_its_numbers(browser: Browser, tmp_path: Path, scheme: Scheme) -> None:
    path = tmp_path / store.NUMBERS
    path.write_text(numbers_page.html(example()), encoding="utf-8")
    page = opened(browser, path, scheme=scheme)
    periods = page.locator("#funnel svg g.day")
    periods.nth(3).locator("rect").hover()
    expect(periods.nth(3).locator("text")).to_be_visible()
    expect(periods.last.locator("text")).to_be_hidden()
    assert str(periods.nth(3).locator("text").text_content()).startswith("2025-03-24, 2 weeks: 421 referred")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
