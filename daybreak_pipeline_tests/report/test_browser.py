"""The page in a real browser: it renders in light and dark, and the console stays silent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from daybreak_pipeline.database import Connection
from daybreak_pipeline.report import render
from daybreak_pipeline_tests.browser import CHROMIUM, SANDBOX_OFF, needs_chromium
from daybreak_pipeline_tests.report.pages import everything_wrong, facts

pytestmark = needs_chromium


def console_of(page: Path, picture: Path, *, scheme: str) -> list[str]:
    """Take a picture of a page, and return what the browser's console said."""
    assert CHROMIUM
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            SANDBOX_OFF,
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            f"--user-data-dir={picture.parent / 'profile'}",
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            f"--screenshot={picture}",
            "--window-size=1400,2400",
            page.as_uri(),
        ],
        env=os.environ | {"HOME": str(picture.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def brightness(picture: Path) -> list[int]:
    """Return how bright the page's background is (left edge), and how bright its brightest and darkest parts."""
    with Image.open(picture) as image:
        gray = image.convert("L")
        low, high = gray.getextrema()
        background = gray.getpixel((2, 1200))
    return [int(value) for value in (background, low, high)]  # type: ignore[arg-type]  # one band: plain numbers


@pytest.mark.parametrize(("scheme", "background"), [("light", range(240, 256)), ("dark", range(50))])
def test_the_page_renders_in_light_and_dark_without_a_word_in_the_console(
    session: Connection, tmp_path: Path, scheme: str, background: range
) -> None:
    everything_wrong(session)
    page, picture = tmp_path / "report.html", tmp_path / f"{scheme}.png"
    page.write_text(render.html(facts(session)), encoding="utf-8")
    assert console_of(page, picture, scheme=scheme) == []
    shown, darkest, brightest = brightness(picture)
    assert shown in background
    assert brightest - darkest > 150, "the picture is empty"


def test_the_browsers_console_would_be_heard(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<script>nobody.knows()</script>", encoding="utf-8")
    assert console_of(page, tmp_path / "broken.png", scheme="light") != []
