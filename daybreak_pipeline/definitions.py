"""The code location that Dagster loads. What is in it, ``orchestration.build`` says; loading it needs no database."""

from __future__ import annotations

from daybreak_pipeline import settings
from daybreak_pipeline.orchestration.build import build_defs

__all__ = ["build_defs", "defs"]

settings.close_files()  # Dagster's own programs start here, and write below the home too
defs = build_defs()
