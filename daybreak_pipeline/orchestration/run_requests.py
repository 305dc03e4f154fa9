"""Configuration and tags of a run of ``import_all``, whoever starts it: command line, schedule or sensor.

The tags are for people who search the list of runs. Only two affect decisions: ``PARTIAL``, and ``STARTED_BY``, which
helps find lost runs, since a command's run lives and dies with its process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from daybreak_pipeline.locations import Location
from daybreak_pipeline.orchestration.assets.files import OBSERVE_OP, source_key
from daybreak_pipeline.tables import TABLES

STARTED_BY = "daybreak/started_by"
COMMAND_LINE = "command line"
LAUNCHED_BY = "daybreak/launched_by"
"""Who launched a run: the account of the command line, or the user of the web UI, where ``attribution`` makes sure
that nobody sets it themselves."""
EXPORT = "daybreak/export"
CONTENT = "daybreak/content"
FAILED_CHECKS = "daybreak/failed_checks"
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
    export_dir: Location, tables: Iterable[str], *, full: bool = False, replay: bool = False
) -> dict[str, Any]:
    """Return the run configuration that imports tables, and observes their files, from one directory."""
    options = {"export_dir": str(export_dir), "full": full, "replay": replay}
    steps = {name: {"config": options} for name in tables}
    return {"ops": {**steps, OBSERVE_OP: {"config": {"export_dir": str(export_dir)}}}}


def selection(tables: Iterable[str]) -> list[dg.AssetKey]:
    """Return tables and their files; the tables' checks come with them."""
    return [key for name in tables for key in (source_key(name), dg.AssetKey(name))]


def tags(started_by: str, export_dir: Location, *, partial: bool = False) -> dict[str, str]:
    """Return the tags that every import has."""
    every = {STARTED_BY: started_by, EXPORT: export_dir.absolute().as_uri()}
    return every | ({PARTIAL: "true"} if partial else {})


def content_tag(contents: Mapping[str, str]) -> dict[str, str]:
    """Return the tag that names, in short, the contents of files, given by table: the same contents, the same tag."""
    listed = "".join(f"{table} {sha256}\n" for table, sha256 in sorted(contents.items()))
    files = f"{len(contents)} {'file' if len(contents) == 1 else 'files'}"
    return {CONTENT: f"{hashlib.sha256(listed.encode()).hexdigest()[:_HASH_CHARACTERS]} ({files})"}


def checks_tag(errors: int, warnings: int) -> dict[str, str]:
    """Return the tag by which a run's page says that checks failed in it; none where all passed."""
    counted = [(errors, "error"), (warnings, "warning")]
    told = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counted if number)
    return {FAILED_CHECKS: told} if told else {}


def with_descendants(tables: Iterable[str]) -> set[str]:
    """Return tables and all that depend on them, directly or not: what a change may repair."""
    found = set(tables)
    while True:
        more = {name for name, table in TABLES.items() if found.intersection(table.parents)} - found
        if not more:
            return found
        found |= more
