"""``daybreak frames``: the numbers for analysts as a file, or as CSV on stdout."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daybreak_pipeline import database
from daybreak_pipeline.cli.common import Command, json_option, say, say_json, say_lines
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.report import numbers, store
from daybreak_pipeline.report.numbers import FRAMES, Frame

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".csv", ".parquet")


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, .parquet or .csv; one that is there is replaced. Without it: CSV on stdout.",
)
@json_option
def frames(name: str | None, out: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Hand over numbers for analysts (funnel, time to care, coverage, capacity); without a name, list what there is."""
    if name is None:
        if out:
            msg = f"--out needs a name: {', '.join(FRAMES)}"
            raise UsageError(msg)
        _list(as_json=as_json)
        return
    frame = _found(name)
    path = _writable(out.expanduser().absolute()) if out else None
    if path and as_json:
        msg = "--out and --json are two ways to get it: choose one"
        raise UsageError(msg)
    with readiness.looked_at() as db, database.connect(db) as connection:
        made = numbers.read(connection, frame)
    if path:
        _write(made, path)
        say(path)
    elif as_json:
        say_json(numbers.records(made))
    else:
        say_lines(made.to_csv(index=False).rstrip("\n"))


def _list(*, as_json: bool) -> None:
    if as_json:
        say_json(
            [{"name": frame.name, "what": frame.what, "columns": frame.columns} for frame in FRAMES.values()]
        )
        return
    width = max(map(len, FRAMES))
    for frame in FRAMES.values():
        say(f"{frame.name:{width}}  {frame.what}")


def _found(name: str) -> Frame:
    if name in FRAMES:
        return FRAMES[name]
    # A person may write the name of the view, or of the asset.
    near = difflib.get_close_matches(name.lower().replace("_", "-"), FRAMES, n=1, cutoff=0.5)
    msg = f"there is no frame {name}: {f'did you mean {near[0]}?' if near else 'daybreak frames lists them'}"
    raise UsageError(msg)


def _writable(path: Path) -> Path:
    """Return a path if a file of this kind can be written there; before the server is asked, as that may take a while."""
    if path.suffix.lower() not in _SUFFIXES:
        msg = f"cannot tell what to write from {path.name}: end its name in {' or '.join(_SUFFIXES)}"
    elif path.is_dir():
        msg = f"{path} is a directory: name a file in it"
    elif not path.parent.is_dir():
        msg = f"there is no directory {path.parent}: make it first"
    else:
        return path
    raise UsageError(msg)


def _write(made: pd.DataFrame, path: Path) -> None:
    """Write a file in one step, so that nobody ever reads half of one; nobody else may read it."""
    try:
        with store.in_one_step(path) as unfinished:
            if path.suffix.lower() == ".csv":
                made.to_csv(unfinished, index=False)
            else:
                made.to_parquet(unfinished, index=False)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise UsageError(msg) from None
