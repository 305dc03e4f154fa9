"""``daybreak generate``: a synthetic export."""

from __future__ import annotations

import time
from pathlib import Path

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import Command, only_option, say
from daybreak_pipeline.cli.output import progress_line
from daybreak_pipeline.generator import generate_export


@click.command(cls=Command)
@click.option(
    "--patients", required=True, type=click.IntRange(min=1), help="How many patients and guardians, about."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write; made if missing."
)
@click.option("--seed", default=0, show_default=True, help="The same seed writes the same bytes.")
@click.option("--faults", is_flag=True, help="Plant faults of every kind, and write expected.json.")
@only_option
def generate(
    patients: int,
    out: Path,
    seed: int,
    faults: bool,  # noqa: FBT001 - click passes flags so
    only: tuple[str, ...],
) -> None:
    """Write a synthetic export of 16 files, or of some tables; nobody in it exists."""
    begun = time.monotonic()
    with progress_line() as tell, settings.files_for(out):
        generate_export(
            out,
            patients=patients,
            seed=seed,
            faults=faults,
            only=only,
            progress=lambda table, records: tell(f"{table}: {records:,} records"),
        )
    say(f"wrote {out} in {time.monotonic() - begun:.1f} s")
