"""Where the tests find Chromium, and how `make browser` gets it. Playwright brings a browser of its own; it is not used.

``python -m daybreak_pipeline_tests.browser`` never fails: without a browser, the tests that need one are
skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from daybreak_pipeline.embedded_postgres.bootstrap import install_package

PACKAGE = "chromium"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SANDBOX_OFF = "--no-sandbox"
"""As root, in a container, Chromium has no sandbox; the pages are ours."""


def find() -> str | None:
    """Return the path of Chromium or Chrome, if there is one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


CHROMIUM = find()
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason=f"none of {', '.join(PROGRAMS)} is on PATH: `make browser` says how to get one"
)


def main() -> int:
    """Install Chromium where that can be done, and say in one line how it stands."""
    there = find()
    if there:
        line = f"the browser is there: {there}"
    elif os.geteuid() != 0 or not shutil.which("apt-get"):
        line = (
            "no browser, so its tests are skipped: install Chromium (Debian: `apt-get install chromium` as root; "
            "Homebrew: `brew install --cask chromium`), or put one of "
            f"{', '.join(PROGRAMS)} on PATH"
        )
    else:
        sys.stdout.write(f"installing the package {PACKAGE} with apt-get …\n")
        sys.stdout.flush()
        install_package(PACKAGE)
        # Ubuntu's package is only a link to a snap, which a container cannot run: what counts is the program.
        found = find()
        line = (
            f"the browser is there: {found}"
            if found
            else "apt-get did not provide a browser: its tests are skipped"
        )
    sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
