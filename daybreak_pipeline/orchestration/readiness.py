"""Makes an installation ready for use: server, schema, key, roles, Dagster's home. Does not import Dagster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daybreak_pipeline import database, settings
from daybreak_pipeline.backups import migrations
from daybreak_pipeline.locations import Location
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.orchestration.installation import Installation, KeySource
from daybreak_pipeline.pooler import configuration as pooler_configuration
from daybreak_pipeline.privacy import audit, keys, roles
from daybreak_pipeline.schema import runner
from daybreak_pipeline.wording import shown

if TYPE_CHECKING:
    from daybreak_pipeline.settings import DatabaseSettings


def _warn(text: str) -> None:
    sys.stderr.write(f"daybreak: warning: {shown(text)}\n")


def provide_schema(db: DatabaseSettings, *, migrate: bool = True) -> None:
    """Bring the schema into a database that has none, or migrate an older one.

    An older one is migrated if it is the embedded one or if ``migrate`` is set; otherwise the administrator has to
    migrate it.

    Raises:
        UsageError: the login or the schema is not as it must be.
    """
    roles.require_importer(db)
    with database.connect(db) as connection:
        applied = runner.current_revision(connection)
        if applied and settings.given_database() and not migrate:
            runner.require_newest(connection)
    if applied != runner.newest_revision():
        migrations.keep(db)
        runner.upgrade(db, key=keys.held())


@contextmanager
def looked_at() -> Iterator[DatabaseSettings]:
    """Yield the database for a command that only looks: of a given server as it is, whatever its schema, and without a key.

    The embedded one is brought up to date, as by every command.

    Raises:
        UsageError: the server, the login, or the embedded one's schema is not as it must be.
    """
    given = settings.given_database()
    if given:
        yield given
        return
    with ready(key=lambda: None) as installation:
        yield installation.database


@contextmanager
def ready(
    *,
    export_dir: Location | None = None,
    migrate: bool = True,
    key: KeySource = keys.load,
    warn: Callable[[str], None] = _warn,
) -> Iterator[Installation]:
    """Yield the installation: a running server with the schema in place (``provide_schema``), and Dagster's instance.

    Roles and grants are applied where they are missing; ``warn`` is called with what cannot be granted, which does not
    prevent imports. ``export_dir`` is the export that a person has named, ``key`` where the encryption key comes from.

    Raises:
        UsageError: the server, the login, the key or the schema is not as it must be.
    """
    with database.serving() as db:
        found = Installation.of_environment(db, export_dir=export_dir, key=key)
        provide_schema(db, migrate=migrate)
        with database.connect(db, key=found.key) as connection:
            if found.key:
                keys.verify(connection)
            audit.keep_ahead(connection)
        applied = roles.ensure(db)
        for warning in applied.warnings:
            warn(warning)
        if applied.lines:
            pooler_configuration.refresh(db)
        yield instance.prepare(found)
