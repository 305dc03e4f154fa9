"""Sends an alert and keeps who was told what, in ``ingest.alerts``: one place for all alerts.

What goes wrong with the record never keeps an alert from being sent: it comes after it, is tried once, and is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from daybreak_pipeline import database
from daybreak_pipeline.errors import DaybreakError
from daybreak_pipeline.operations import notifications

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from daybreak_pipeline.settings import DatabaseSettings, NotifierSettings

log = logging.getLogger("daybreak.notifications")

WEBHOOK = "webhook"
"""How a webhook is called: its URL is a secret."""
_SECONDS = 5
_KEEP = """
    INSERT INTO ingest.alerts (run_id, message, told, not_told)
    VALUES (%(run_id)s, %(message)s, %(told)s::text[], %(not_told)s::text[])
"""


def send(
    text: str,
    notifier: NotifierSettings,
    serving: Callable[[], AbstractContextManager[DatabaseSettings]],
    *,
    run_id: str | None = None,
    link: str = "",
) -> None:
    """Send an alert to everybody who gets alerts, and keep whom it reached.

    Args:
        text: what it says: names of tables and checks, and counts.
        notifier: who gets it.
        serving: yields the database to keep it in.
        run_id: the run that it is about.
        link: a last line for those who get it, which is not kept.
    """
    failed = notifications.deliver(f"{text}\n{link}" if link else text, notifier)
    people = {
        WEBHOOK: (WEBHOOK,) if notifier.webhook_url else (),
        "mail": notifier.mail.recipients if notifier.mail else (),
    }
    kept = {
        "run_id": run_id,
        "message": text,
        "told": [who for channel, whom in people.items() if channel not in failed for who in whom],
        "not_told": [who for channel, whom in people.items() if channel in failed for who in whom],
    }
    try:
        with (
            serving() as db,
            database.connect(db, autocommit=True, connect_timeout=_SECONDS) as connection,
            connection.transaction(),
            database.local_settings(connection, statement_timeout=f"{_SECONDS}s"),
        ):
            connection.execute(_KEEP, kept)
    except (DaybreakError, psycopg.Error) as error:
        log.warning("the alert was sent, but not kept in ingest.alerts (%s)", type(error).__name__)
