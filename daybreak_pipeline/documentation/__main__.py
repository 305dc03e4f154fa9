"""``python -m daybreak_pipeline.documentation`` writes the documents that are made from a database, and docs/settings.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from daybreak_pipeline import database
from daybreak_pipeline.documentation import diagram, dictionary, relations, sample
from daybreak_pipeline.settings import PROJECT_ROOT
from daybreak_pipeline.settings.page import page as settings_page


def documents() -> Mapping[Path, str]:
    """Return each document as it should be, made on a scratch server."""
    with sample.scratch_server() as db:
        sample.load(db)
        with database.connect(db) as connection:
            docs = PROJECT_ROOT / "docs"
            return {
                docs / "data-dictionary.md": dictionary.page(connection, sample.facts(connection)),
                docs / "images" / "schema.svg": diagram.svg(relations.read(connection)),
                docs / "settings.md": settings_page(),
            }


def main() -> None:
    """Write them, and name those that changed."""
    for path, text in documents().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"written: {path.relative_to(PROJECT_ROOT)}\n")


if __name__ == "__main__":
    main()
