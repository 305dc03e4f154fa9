"""Whether this process is on its way out: the first Ctrl-C starts that, and later ones must not disturb it."""

from __future__ import annotations

import threading

_begun = threading.Event()


def begin() -> bool:
    """Note that this process stops, and return whether that is news."""
    news = not _begun.is_set()
    _begun.set()
    return news
