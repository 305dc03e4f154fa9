"""Writes a section of docs/benchmarks.md: each program has its own, and leaves the others."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from daybreak_pipeline.database import Connection
from daybreak_pipeline.settings import DatabaseSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def write(title: str, lines: list[str], page: Path = PAGE) -> None:
    """Put a section into the page in place of the one of the same title, or before all others."""
    section = "\n".join([f"## {title}", "", *lines, ""])
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n\n"
    old = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if old:
        before, after = text[: old.start()], text[old.end() :]
    else:
        before, other, after = text.partition("\n## ")
        before, after = f"{before}\n", f"{other[1:]}{after}"
    page.write_text(before + section + ("\n" if after else "") + after, encoding="utf-8")


def save_room(settings: DatabaseSettings) -> None:
    """Have a server keep less of its write-ahead log, so that much data fits on a small disk."""
    with psycopg.connect(settings.conninfo(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_wal_size = '1GB'")
        connection.execute("SELECT pg_reload_conf()")


def circumstances(connection: Connection) -> str:
    """Return where and when something was measured, as a sentence."""
    row = connection.execute("SHOW server_version").fetchone()
    load = os.getloadavg()[1]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, PostgreSQL {row[0] if row else '?'}, "
        f"Python {platform.python_version()}; other work ran beside (load {load:.0f})."
    )
