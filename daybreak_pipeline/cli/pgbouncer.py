"""``daybreak pgbouncer``: what PgBouncer is told. ``daybreak up --pgbouncer`` runs one."""

from __future__ import annotations

from pathlib import Path

import click

from daybreak_pipeline import database, settings
from daybreak_pipeline.cli.common import Group, say
from daybreak_pipeline.embedded_postgres import data_directory, programs
from daybreak_pipeline.pooler import configuration, process
from daybreak_pipeline.pooler.configuration import Written
from daybreak_pipeline.privacy import roles
from daybreak_pipeline.settings import DatabaseSettings


@click.group(cls=Group)
def pgbouncer() -> None:
    """Write the configuration of PgBouncer, which shares few connections to the server among many clients."""


@pgbouncer.command("config")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to write to (default: pgbouncer in DAYBREAK_HOME).",
)
def config(out: Path | None) -> None:
    """Write pgbouncer.ini and userlist.txt, for transaction mode with SCRAM and TLS; no password is in them."""
    pooler = settings.pooler()
    with database.serving() as db:
        given = settings.given_database() is not None
        account = programs.server_account() if given else data_directory.account_for(settings.home())
        target = out.absolute() if out else process.directory(account)
        written = configuration.write(db, pooler, target, account)
    say(f"{written.file} is written: start it as {account.name} with: pgbouncer {written.file}")
    tell_how_to_connect(written)


def refresh_users(db: DatabaseSettings) -> None:
    """Write the lists of users again that follow the roles, and say so."""
    for path in configuration.refresh(db):
        say(f"{path} is written again; a PgBouncer elsewhere reads it on RELOAD", err=True)


def tell_how_to_connect(written: Written) -> None:
    """Say how an application connects, and who cannot yet."""
    through = written.through
    tls = f"sslmode={through.sslmode}" + (
        f" sslrootcert={through.sslrootcert}" if through.sslrootcert else ""
    )
    say(
        f"applications connect through PgBouncer: host={through.host} port={through.port} dbname={through.name} "
        f"user={roles.APP.name} {tls}"
    )
    for line in written.missing:
        say(f"daybreak: warning: {line}", err=True)
