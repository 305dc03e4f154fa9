"""Who is at work on a database: a lock that ends with its process, however that ends.

Dagster keeps a run as started when its process was killed. That no process of a kind is there any more tells
that such runs are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from daybreak_pipeline import database
from daybreak_pipeline.settings import DatabaseSettings

Kind = Literal["command line", "web"]
"""``command line``: commands that run a job in their own process. ``web``: the web UI and its daemon."""


@contextmanager
def held(db: DatabaseSettings, kind: Kind) -> Iterator[None]:
    """Be seen as one of the kind while the block runs.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_advisory_lock_shared(hashtext('daybreak.presence'), hashtext(%s))", [kind]
        )
        yield


def anybody(db: DatabaseSettings, kind: Kind) -> bool:
    """Return whether a process of the kind is there.

    Raises:
        UsageError: the server cannot be reached.
    """
    with database.connect(db) as connection:
        alone = "SELECT pg_try_advisory_xact_lock(hashtext('daybreak.presence'), hashtext(%s))"
        return not database.value(connection, alone, [kind])
