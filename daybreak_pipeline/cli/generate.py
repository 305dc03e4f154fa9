"""``daybreak generate``: a synthetic export."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from daybreak_pipeline import settings
from daybreak_pipeline.cli.common import Command, Place, only_option, say
from daybreak_pipeline.cli.output import progress_line
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.generator import generate_export
from daybreak_pipeline.locations import Location, ObjectPath


@click.command(cls=Command)
@click.option(
    "--patients", required=True, type=click.IntRange(min=1), help="How many patients and guardians, about."
)
@click.option(
    "--out",
    required=True,
    type=Place(),
    metavar="PLACE",
    help="Directory to write, made if missing, or s3://BUCKET/PREFIX.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed writes the same bytes.")
@click.option("--faults", is_flag=True, help="Plant faults of every kind, and write expected.json.")
@only_option
def generate(
    patients: int,
    out: Location,
    seed: int,
    faults: bool,  # noqa: FBT001 - click passes flags so
    only: tuple[str, ...],
) -> None:
    """Write a synthetic export of 16 files, or of some tables; nobody in it exists."""
    begun = time.monotonic()
    with progress_line() as tell, _directory_for(out) as directory, settings.files_for(directory):
        generate_export(
            directory,
            patients=patients,
            seed=seed,
            faults=faults,
            only=only,
            progress=lambda table, records: tell(f"{table}: {records:,} records"),
        )
    say(f"wrote {out} in {time.monotonic() - begun:.1f} s")


@contextmanager
def _directory_for(out: Location) -> Iterator[Path]:
    """Yield the directory to write; what is in it afterwards is uploaded where ``out`` is on a storage.

    Raises:
        UsageError: something is there already, or the storage does not take it.
    """
    if not isinstance(out, ObjectPath):
        yield out
        return
    try:
        if out.exists():
            msg = f"{out} holds objects already: name a prefix that has none"
            raise UsageError(msg)
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory)
            out.upload(Path(directory))
    except OSError as error:
        msg = f"cannot write {out}: {error.strerror}"
        raise UsageError(msg) from None
