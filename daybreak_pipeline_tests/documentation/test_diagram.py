"""The diagram: every table and reference is in it, nothing covers anything, and a browser shows all of each name."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from daybreak_pipeline.database import Connection
from daybreak_pipeline.documentation import diagram, layout, relations, ways
from daybreak_pipeline.documentation.layout import Arrow, Row
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.browser import CHROMIUM, SANDBOX_OFF, needs_chromium

ARROWS = [
    Arrow(table.name, reference.column, target, reference.target_column, reference.enforced)
    for table in TABLES.values()
    for reference in table.references
    for target in reference.tables
]
ROWS = {
    table: tuple(
        Row(name, "uuid", "column")
        for name in dict.fromkeys(
            [
                "id",
                *(arrow.column for arrow in ARROWS if arrow.table == table),
                *(arrow.target_column for arrow in ARROWS if arrow.target == table),
            ]
        )
    )
    for table in TABLES
}


def test_no_table_covers_another() -> None:
    boxes = layout.placed(ROWS, ARROWS)
    assert boxes.keys() == TABLES.keys()
    for one, other in combinations(boxes.values(), 2):
        if one.column == other.column:
            assert one.y + one.height < other.y or other.y + other.height < one.y


def test_every_reference_begins_and_arrives_at_its_columns() -> None:
    boxes = layout.placed(ROWS, ARROWS)
    lanes = ways.lanes_of(boxes, ARROWS)
    for arrow in ARROWS:
        begins = boxes[arrow.table].middle_of(arrow.column)
        arrives = boxes[arrow.target].middle_of(arrow.target_column)
        mine = [lane for lane in lanes if (lane.target, lane.enforced) == (arrow.target, arrow.enforced)]
        ends = {
            (end.kind, y)
            for lane in mine
            for end in lane.ends
            for y in (begins, arrives)
            if abs(end.y - y) < 10
        }
        assert {("begins", begins), ("arrives", arrives)} <= ends


def test_lines_that_go_across_a_column_have_another_end() -> None:
    lanes = ways.lanes_of(layout.placed(ROWS, ARROWS), ARROWS)
    across = sorted(
        (lane.target, end.y, lane.channel) for lane in lanes for end in lane.ends if end.kind == "across"
    )
    assert across
    assert [(target, y, channel + 1) for target, y, channel in across[::2]] == across[1::2]


@pytest.mark.slow
@needs_chromium
def test_a_browser_shows_every_name_in_its_table(connection: Connection, tmp_path: Path) -> None:
    path = tmp_path / "schema.svg"
    path.write_text(diagram.svg(relations.read(connection)), encoding="utf-8")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[SANDBOX_OFF])
        papers = {}
        for scheme in ("light", "dark"):
            page = chromium.new_page(color_scheme=scheme)
            page.goto(path.as_uri())
            papers[scheme] = page.evaluate("getComputedStyle(document.querySelector('.paper')).fill")
            beyond = page.evaluate(
                """() => {
                    const boxes = [...document.querySelectorAll('.box')].map(box => box.getBBox());
                    const inside = (text, box) => text.y >= box.y && text.y < box.y + box.height
                        && text.x >= box.x - 1 && text.x < box.x + box.width;
                    return [...document.querySelectorAll('text')].filter(text => {
                        const own = text.getBBox(), box = boxes.find(box => inside(own, box));
                        return box && own.x + own.width > box.x + box.width;
                    }).map(text => text.textContent);
                }"""
            )
            assert beyond == []
        chromium.close()
    assert papers["light"] != papers["dark"]
