"""Opens pages in the local user's browser."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError

_LEADS_ON = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}"><title>Daybreak</title></head>
<body><a href="{link}">The web UI</a></body></html>
"""


def is_there() -> bool:
    """Return whether there is a browser: without a display, a text browser would take over the terminal."""
    return sys.platform != "linux" or settings.has_display()


def show(path: Path) -> bool:
    """Show a file in the browser, and return whether there was one."""
    return is_there() and webbrowser.open(path.as_uri())


@contextmanager
def page_that_leads_to(link: str) -> Iterator[Path]:
    """Yield a private page that redirects to a link, while the block runs.

    The browser opens this page, not the link: everybody on the machine can see the arguments it was started with.

    Raises:
        UsageError: the page cannot be written.
    """
    path = settings.home() / "web-ui.html"
    try:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(_LEADS_ON.format(link=escape(link)), encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise UsageError(msg) from None
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
