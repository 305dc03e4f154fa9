"""``daybreak models``: types of the tables and views, for those who write applications. ``documentation`` makes them."""

from __future__ import annotations

from pathlib import Path

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli.common import Command, say, say_lines
from daybreak_pipeline.documentation import python_models, relations, typescript
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.orchestration import readiness
from daybreak_pipeline.schema import runner

_LANGUAGES = {"typescript": typescript, "python": python_models}


@click.command(cls=Command)
@click.option(
    "--language",
    required=True,
    type=click.Choice(list(_LANGUAGES), case_sensitive=False),
    help="TypeScript for the driver pg, or Python for SQLAlchemy 2 and pydantic 2.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help=f"Write into this file, or into {typescript.FILE} or {python_models.FILE} of this directory, and print nothing else.",
)
def models(language: str, out: Path | None) -> None:
    """Write types for applications, as the database has its tables and views: for TypeScript or for Python.

    They have what an application may use: sealed columns are read through the views of schema app.
    """
    module = _LANGUAGES[language]
    with readiness.looked_at() as db, database.connect(db) as connection:
        found = [relation for relation in relations.read(connection) if relation.is_for_applications]
        revision = runner.current_revision(connection)
    if revision is None or not found:
        msg = "this database has no schema: run daybreak migrate up"
        raise UsageError(msg)
    source = module.source(found, revision)
    if out is None:
        say_lines(source.rstrip("\n"))
        return
    path = out / module.FILE if out.is_dir() else out
    try:
        with settings.files_for(path):
            path.write_text(source, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise UsageError(msg) from None
    say(path)
