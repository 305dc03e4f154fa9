"""The pages of the report, made from a database as it is now: one alone, or the report and the trends that it leads to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from daybreak_pipeline import database
from daybreak_pipeline.monitoring import survey
from daybreak_pipeline.report import numbers_page, render, server_page, store, trends, trends_page
from daybreak_pipeline.report.gather import gather

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings


def make(db: DatabaseSettings, name: str, beside: Collection[str] = ()) -> str:
    """Return a page by the name of its file, as of now.

    Args:
        db: the database.
        name: the name of its file, as ``store`` has it.
        beside: the pages that it can lead to.

    Raises:
        UsageError: there is no schema at all, or the login is refused.
        ServerUnavailableError: the server does not answer.
    """
    if name == store.SERVER:
        return server_page.html(survey.look(db), beside=beside)
    if name == store.TRENDS:
        with database.connect(db) as connection:
            return trends_page.html(trends.read(connection), beside=beside)
    if name == store.NUMBERS:
        with database.connect(db) as connection:
            return numbers_page.html(numbers_page.read(connection), beside=beside)
    return render.html(gather(db, for_report=True), beside=beside)


def renew(db: DatabaseSettings) -> Path:
    """Make the newest report again, with the trends, and return where it is.

    Raises:
        UsageError: as ``make``, or a file cannot be written.
        ServerUnavailableError: as ``make``.
    """
    names = (store.TRENDS, store.LATEST)
    beside = {*store.pages(), *names}
    made = {name: make(db, name, beside) for name in names}
    for name, page in made.items():
        store.write(store.directory() / name, page)
    return store.directory() / store.LATEST
