"""The web UI in a real browser, as somebody sees it who has just run ``daybreak up`` on the sample.

What each test saw is kept as pictures in ``build/screenshots``. Words, roles and titles are looked for, and
never the UI's own class names, which change with every release of Dagster.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.monitoring.thresholds import ASSETS
from daybreak_pipeline.orchestration.assets.numbers import NUMBERS
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.browser import CHROMIUM, SANDBOX_OFF, needs_chromium
from daybreak_pipeline_tests.cli.test_up import Up, free_port, temporary_home, up
from daybreak_pipeline_tests.conftest import forget_settings

pytestmark = [pytest.mark.slow, needs_chromium]

PATIENCE_MS = 60_000
"""How long anything may take to appear, on a slow machine too."""
PICTURES = PROJECT_ROOT / "build" / "screenshots"
TABLE = "documents"
AUTOMATIONS = (
    "changed_files",
    "daily_import",
    "daily_maintenance",
    "report_after_runs",
    "tell_of_failed_checks",
    "tell_of_failed_runs",
    "tell_of_trouble",
)


class Ui:
    """A running ``daybreak up``, and where its things are."""

    def __init__(self, home: Path, running: Up) -> None:
        self.home = home
        self.running = running
        self.url = f"http://127.0.0.1:{running.port}"

    def failed(self, table: str) -> dict[str, str]:
        """Return a table's failed checks and what each found, as the scorecard in the terminal says it."""
        found = re.findall(rf"^  (?:ERROR|WARN ) {table}\.(\w+): (.+)$", self.running.said(), re.MULTILINE)
        assert found
        return dict(found)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    output = tmp_path_factory.mktemp("web_ui") / "output"
    with pytest.MonkeyPatch.context() as patch, temporary_home() as home:
        forget_settings(patch)
        with up(home, free_port(), output, "--verbose") as running:
            yield Ui(home, running)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[SANDBOX_OFF])
        yield opened
        opened.close()


class Heard:
    """What a page complained of, and whom it asked for something beside the UI itself."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.strangers: set[str] = set()
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "file://", "data:", "blob:")):
            self.strangers.add(url)


@pytest.fixture
def heard() -> list[Heard]:
    return []


@pytest.fixture
def page(browser: Browser, ui: Ui, heard: list[Heard], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab of somebody who has opened the link, tall enough that no list leaves out what is below.

    It ends without errors in its console.
    """
    context = browser.new_context(viewport={"width": 1600, "height": 2600}, timezone_id="UTC")
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    heard.append(Heard(opened))
    opened.goto(ui.running.link)
    yield opened
    picture(opened, request.node.name.removeprefix("test_"))
    context.close()
    assert heard[0].errors == []
    assert heard[0].strangers == set()


def picture(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png")


def icon_button(within: Locator, icon: str) -> Locator:
    """Return the button that shows nothing but an icon."""
    return within.get_by_role("button").filter(has=within.page.get_by_role("img", name=icon, exact=True))


def test_the_asset_graph_shows_every_group_and_every_table_by_name(ui: Ui, page: Page) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    groups["analytics"] = sorted((*SUMMARIES, *NUMBERS))
    groups["application"] = ["application_tables"]
    groups["data_quality"] = ["data_quality_report"]
    groups["export"] = sorted(TABLES)
    groups["monitoring"] = sorted(ASSETS)
    groups["operations"] = ["backup_drill", "database_backup", "maintenance"]
    for table in TABLES.values():
        groups[table.group].append(table.name)

    page.goto(ui.url)
    page.get_by_role("link", name="Lineage").click()
    for group in groups:  # in the picture
        expect(page.locator("svg").get_by_text(group, exact=True)).to_be_visible()
    picture(page, "the_asset_graph_by_group")

    rows = page.locator("[data-index]")  # in the list beside it
    for group in sorted(groups, reverse=True):
        row = rows.filter(has=page.get_by_title(group, exact=True))
        icon_button(row, "arrow_drop_down").click()
    expected = [name for group in sorted(groups) for name in (group, *sorted(groups[group]))]
    expect(rows).to_have_count(len(expected))
    titles = rows.locator("[title]")
    expect(titles).to_have_count(len(expected))
    assert [title.get_attribute("title") for title in titles.all()] == expected


def test_the_link_to_the_graph_leads_to_the_tables_and_not_to_closed_groups(ui: Ui, page: Page) -> None:
    found = re.search(r"the tables as a graph are at (\S+)", ui.running.said())
    assert found
    page.goto(found[1])
    for name in ("clinicians", "contracts", "kinships"):  # longer names are cut
        expect(page.locator("svg").get_by_text(name, exact=True).first).to_be_visible()


def test_the_overview_shows_the_import_of_the_command_line(ui: Ui, page: Page) -> None:
    page.goto(ui.running.link)
    page.wait_for_url(re.compile("/overview"))
    for job in ("import_all", "report_data_quality"):
        expect(page.get_by_text(job, exact=True).first).to_be_visible()
    page.goto(f"{ui.url}/locations/daybreak_pipeline/jobs/import_all/runs")
    failed = page.get_by_text(re.compile("^daybreak/failed_checks: [0-9]+ errors, [0-9]+ warnings$"))
    expect(failed.first).to_be_visible()
    imports = '{ runsOrError(filter: {pipelineName: "import_all"}) { ... on Runs { results { runId } } } }'
    first = ui.running.ask(imports)["runsOrError"]["results"][-1]["runId"]
    page.goto(f"{ui.url}/runs/{first}")
    expect(page.get_by_text(re.compile("^Checks found [0-9]+ errors, [0-9]+ warnings: "))).to_be_visible()


def test_a_click_imports_one_table_and_its_run_succeeds(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/assets/{TABLE}")
    page.get_by_role("button").filter(has_text=re.compile("^Materialize$")).click()
    expect(page.get_by_text("Launched run")).to_be_visible()
    picture(page, "a_click_imports_one_table")
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url(re.compile("/runs/[0-9a-f-]{36}"))
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    expect(page.get_by_text(f'Finished execution of step "check_{TABLE}"')).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()

    # The file is the same as before: that is said, and what is known of the table stays.
    page.goto(f"{ui.url}/assets/{TABLE}")
    expect(page.get_by_text(re.compile("^the file has not changed"))).to_be_visible()
    expect(page.get_by_text("Row count", exact=True)).to_be_visible()


def test_the_checks_page_says_which_passed_and_in_a_sentence_what_failed(ui: Ui, page: Page) -> None:
    failed = ui.failed(TABLE)
    page.goto(f"{ui.url}/assets/{TABLE}")
    page.get_by_role("tab", name="Checks").click()
    expect(page.get_by_text(f"Checks ({len(RULES)})")).to_be_visible()
    assert 0 < len(failed) < len(RULES)
    for rule in RULES:  # a long name stands there twice, cut and whole
        outcome = "Failed" if rule.name in failed else "Succeeded"
        line = page.locator("div").filter(has_text=re.compile(f"^({rule.name})+{outcome}$"))
        expect(line.first).to_be_visible()

    page.get_by_title("row_accounting", exact=True).click()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()
    picture(page, "a_check_that_passed")
    page.get_by_title("duplicates", exact=True).click()
    expect(page.get_by_text(failed["duplicates"], exact=True)).to_be_visible()
    expect(page.get_by_text("Passed", exact=True)).to_be_hidden()


def test_the_report_leads_from_what_broke_to_the_failing_rows(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/assets/data_quality_report")
    latest = ui.home / "reports" / "latest.html"
    told = page.get_by_role("row").filter(has_text="latest_report")
    expect(told.get_by_text(str(latest), exact=True)).to_be_visible()
    picture(page, "the_report_in_the_web_ui")

    page.goto(latest.as_uri())
    broken = page.locator("#broken")
    broken.get_by_text(re.compile(r"^\d+ more$")).click()
    row = broken.get_by_role("row").filter(has_text=ui.failed(TABLE)["duplicates"])
    row.get_by_role("link", name="duplicates").click()
    assert page.url == f"{latest.as_uri()}#{TABLE}-duplicates"
    finding = page.locator(f"#{TABLE}-duplicates")
    expect(finding).to_be_in_viewport()
    ids = finding.locator(".ids code").all_inner_texts()
    export = (PROJECT_ROOT / "data" / "sample" / f"{TABLE}.csv").read_text(encoding="utf-8")
    assert ids
    assert [row_id for row_id in ids if row_id not in export] == []


def test_the_newest_report_is_a_click_away_from_its_asset(ui: Ui, page: Page) -> None:
    page.goto(f"{ui.url}/assets/data_quality_report")
    page.get_by_role("link", name="Here is the newest").click()
    expect(page.get_by_role("heading", name="Can I trust today’s data?")).to_be_visible()
    assert page.url == f"{ui.url}/report"


def test_in_three_clicks_from_the_report_the_worst_finding_is_accepted_and_the_verdict_changes(
    ui: Ui, page: Page
) -> None:
    """No click but those that are counted, and no script: the form works where scripts are forbidden."""
    found = re.search(r"the report is at (\S+)", ui.running.said())
    assert found
    page.goto(found[1])
    worst = page.locator("#broken").get_by_role("row").nth(1)
    table, check = (cell.inner_text().split()[0] for cell in worst.get_by_role("cell").all()[1:3])
    before = page.locator(".figures").inner_text()

    worst.get_by_role("link", name=check, exact=True).click()
    finding = page.locator(f"[id='{table}-{check}']")
    expect(finding).to_be_in_viewport()
    expect(finding.locator(".ids code").first).to_be_visible()  # its rows
    expect(finding.get_by_text("daybreak checks accept")).to_be_hidden()
    finding.get_by_role("link", name=f"Accept {table}.{check}").click()
    page.get_by_label("Why can we live with it?").fill("planted, to show what is caught")
    page.get_by_role("button", name="Accept", exact=True).click()

    told = re.compile("accepted by the web UI of .+: planted, to show what is caught")
    expect(page.locator("form").get_by_text(told)).to_be_visible()
    expect(page.locator(".chip.accepted")).to_be_visible()
    picture(page, "an_accepted_finding")
    page.get_by_role("link", name="Back to all that broke").click()
    assert page.url == f"{ui.url}/report#broken"
    assert page.locator(".figures").inner_text() != before
    assert re.search(r"\b1\b accepted", page.locator(".figures").inner_text())
    assert (
        page.locator("#broken").get_by_role("row").filter(has_text=table).filter(has_text=check).count() == 0
    )
    expect(page.locator(f"[id='{table}-{check}'] .chip.accepted")).to_have_count(1)
    executions = f'assetCheckExecutions(assetKey: {{path: ["{table}"]}}, checkName: "{check}", limit: 1)'
    (newest,) = ui.running.ask(f"{{ {executions} {{ evaluation {{ success }} }} }}")["assetCheckExecutions"]
    assert newest["evaluation"] == {"success": True}  # Dagster has no grey

    page.get_by_role("link", name=f"Reopen {table}.{check}").click()
    page.get_by_role("button", name="Reopen it").click()
    expect(page.get_by_role("button", name="Accept", exact=True)).to_be_visible()
    page.goto(f"{ui.url}/report")
    assert page.locator(".figures").inner_text() == before


def test_schedule_and_sensors_are_switched_on(ui: Ui, page: Page) -> None:
    page.goto(ui.url)
    page.get_by_role("link", name="Automation").click()
    for name in AUTOMATIONS:
        row = page.locator("[data-index]").filter(has=page.get_by_text(name, exact=True))
        chosen_and_on = row.get_by_role("checkbox")
        expect(chosen_and_on).to_have_count(2)  # the second appears when the UI knows
        expect(chosen_and_on.last).to_be_checked()


def test_the_browsers_console_would_be_heard(ui: Ui, page: Page, heard: list[Heard]) -> None:
    page.goto(ui.url)
    with page.expect_event("pageerror"):
        page.evaluate("console.error('an error'); setTimeout(() => nobody.knows())")
    assert heard[0].errors == ["an error", "nobody is not defined"]
    heard[0].errors.clear()
