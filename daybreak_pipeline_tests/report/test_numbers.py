"""The page with the numbers for analysts, and the assets that show them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from daybreak_pipeline.database import Connection
from daybreak_pipeline.orchestration import runs as pipeline_runs
from daybreak_pipeline.orchestration.assets.numbers import NUMBERS
from daybreak_pipeline.report import numbers_page, store
from daybreak_pipeline.report.numbers import FRAMES, Frame
from daybreak_pipeline.report.numbers_page import Numbers
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.orchestration.test_runs import Runs, in_memory
from daybreak_pipeline_tests.report.pages import Page


def example(*, weeks: int = 20) -> Numbers:
    """Return made-up numbers: all together week by week, and two districts, one of which shows its total only."""
    frames = {name: _frame(frame, weeks) for name, frame in FRAMES.items()}
    return Numbers(datetime(2025, 8, 1, 6, tzinfo=UTC), "daybreak_health", "production", frames)


_GROUPS = (
    ("all", None, 400),
    ("district", "Sierra <b>Unified</b>", 250),
    ("district", "Bay Unified", 120),
    ("other districts", None, 30),
)


def _frame(frame: Frame, weeks: int) -> pd.DataFrame:
    rows = []
    for number in range(weeks):
        week = date(2025, 3, 3) + timedelta(days=7 * number)
        for scope, district, size in _GROUPS:
            values = {
                name: size - 17 * place + (number * 7) % 40
                if scope != "other districts" or not place
                else None
                for place, name in enumerate(frame.numbers)
            }
            rows.append(
                {"week": week, "weeks": 1 + (number == 3), "scope": scope, "district": district, **values}
            )
    made = pd.DataFrame(rows, columns=list(frame.columns), dtype="object")
    return made.astype(frame.columns)


def test_it_tells_what_it_shows_and_escapes_names() -> None:
    source = numbers_page.html(example(), beside=(store.LATEST, store.NUMBERS))
    page = Page.read(source)
    assert [link.attributes["href"] for link in page.one("nav").all("a")] == ["latest.html"]
    for frame in FRAMES.values():
        part = page.one("section", id=frame.name)
        by_district, weekly = part.all("table")
        assert [cell.text for cell in weekly.one("thead").all("th")] == ["week", *frame.numbers.values()]
        assert len(weekly.one("tbody").all("tr")) == 13
        assert "Sierra <b>Unified</b>" in by_district.text
        assert "—" in by_district.one("tbody").text
        assert f"daybreak frames {frame.name} --out" in part.text
        for plot in part.all("svg"):
            assert len(plot.all("g", **{"class": "day"})) == 20
            assert "20 periods with a number" in plot.attributes["aria-label"]
    funnel = page.one("section", id="funnel").text
    assert "2025-03-24, 2 weeks: 421 referred, 404 onboarding completed, 353 enrolled" in funnel


def test_a_page_of_nothing_says_so(session: Connection) -> None:
    session.commit()
    page = Page.read(numbers_page.html(numbers_page.read(session)))
    for name in FRAMES:
        assert "There is nothing to show yet" in page.one("section", id=name).text
        assert page.one("section", id=name).all("svg") == []


@pytest.fixture
def runs(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Runs]:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    with in_memory(migrated, monkeypatch) as opened:
        yield opened


def test_each_frame_is_an_asset_with_its_newest_rows_and_the_page_is_there(
    runs: Runs, session: Connection
) -> None:
    session.execute(
        "INSERT INTO contracts (id, effective_date, services, terms) VALUES (%s, '2025-01-01', '{}', '[]')",
        [uuid("c")],
    )
    session.execute("INSERT INTO organizations (id, kind, name) VALUES (%s, 1, 'Any District')", [uuid("d")])
    session.execute(
        "INSERT INTO referrals (submitter_id, organization_id, service_kind, contract_id, referred_at, enrolled_at)"
        " SELECT gen_random_uuid(), %s, 1, %s, timestamptz '2025-03-05' + (n %% 14) * interval '7 days', '2025-07-01'"
        " FROM generate_series(1, 280) n",
        [uuid("d"), uuid("c")],
    )
    session.commit()
    pipeline_runs.refresh_summaries(runs.installation)
    told = {}
    for name in NUMBERS:
        event = runs.dagster.get_latest_materialization_event(dg.AssetKey(name))
        assert event
        assert event.asset_materialization
        told[name] = dict(event.asset_materialization.metadata)
    assert told["funnel"]["dagster/row_count"] == dg.IntMetadataValue(28)
    assert told["funnel"]["enrolled"] == dg.IntMetadataValue(20)
    assert told["time_to_care"]["days_to_care"] == dg.IntMetadataValue(27)
    table = told["funnel"]["newest_rows"]
    assert isinstance(table, dg.TableMetadataValue)
    assert len(table.records) == 12
    assert table.records[-1].data["district"] == "Any District"
    assert told["coverage"]["dagster/row_count"] == dg.IntMetadataValue(0)
    assert "patients" not in told["coverage"]
    page = Page.read((store.directory() / store.NUMBERS).read_text(encoding="utf-8"))
    assert "Any District" in page.one("section", id="funnel").text
