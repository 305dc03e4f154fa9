"""Configuration and tags of a run of ``import_all``, whoever starts it: command line, schedule or sensor.

The tags are for people who search the list of runs. Only two affect decisions: ``PARTIAL``, and ``STARTED_BY``, which
helps find lost runs, since a command's run lives and dies with its process.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from daybreak_pipeline.orchestration.assets.files import OBSERVE_OP, source_key
from daybreak_pipeline.tables import TABLES

STARTED_BY = "daybreak/started_by"
COMMAND_LINE = "command line"
LAUNCHED_BY = "daybreak/launched_by"
"""Who launched a run: the account of the command line, or the user of the web UI, where ``attribution`` makes sure
that nobody sets it themselves."""
EXPORT = "daybreak/export"
PARTIAL = "daybreak/partial"
"""Marks an export that has only some of the files: nobody is alerted that others are absent."""
NOT_REPEATED = {"dagster/max_retries": "0"}
"""Tags of a run that Dagster does not start again when it is lost: a person sees that, and does."""
REPEATED_WHOLE = {"dagster/retry_strategy": "ALL_STEPS"}
"""Tags of a job whose lost run is started again from the beginning: what was imported already costs milliseconds."""
RUN_KEY = "dagster/run_key"
"""Dagster's tag with the key of the request that a run came from."""
WILL_RETRY = "dagster/will_retry"
"""Dagster's tag of a failed run: "true" if it will start it again."""
_HASH_CHARACTERS = 12


def configuration(
    export_dir: Path, tables: Iterable[str], *, full: bool = False, replay: bool = False
) -> dict[str, Any]:
    """Return the run configuration that imports tables, and observes their files, from one directory."""
    options = {"export_dir": str(export_dir), "full": full, "replay": replay}
    steps = {name: {"config": options} for name in tables}
    return {"ops": {**steps, OBSERVE_OP: {"config": {"export_dir": str(export_dir)}}}}


def selection(tables: Iterable[str]) -> list[dg.AssetKey]:
    """Return tables and their files; the tables' checks come with them."""
    return [key for name in tables for key in (source_key(name), dg.AssetKey(name))]


def tags(started_by: str, export_dir: Path, *, partial: bool = False) -> dict[str, str]:
    """Return the tags that every import has."""
    every = {STARTED_BY: started_by, EXPORT: export_dir.absolute().as_uri()}
    return every | ({PARTIAL: "true"} if partial else {})


def hash_tag(table: str, sha256: str) -> dict[str, str]:
    """Return the tag that names, in short, the content a table was imported from."""
    return {f"daybreak/sha256.{table}": sha256[:_HASH_CHARACTERS]}


def with_descendants(tables: Iterable[str]) -> set[str]:
    """Return tables and all that depend on them, directly or not: what a change may repair."""
    found = set(tables)
    while True:
        more = {name for name, table in TABLES.items() if found.intersection(table.parents)} - found
        if not more:
            return found
        found |= more
